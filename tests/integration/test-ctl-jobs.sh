#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl run on a terminal: Ctrl-C, Ctrl-Z, fg.
. "$(dirname "$0")/ctl.bash"

# Ended with us, whatever hangs: the terminal's processes are in sessions of their own.
python3 "$(dirname "$0")/ctl-jobs.py" "$@"
failed=$?
finish
