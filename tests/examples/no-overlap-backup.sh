#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# no-overlap-backup.sh COMMAND [ARG...]: run a backup, unless the last one is still running.
#
# For a crontab, where a slow night must not start a second backup beside the first:
#
#     */30 * * * *  no-overlap-backup.sh rsync -a "$HOME/" /backup/home/
#
# Nothing is left behind to clean up: the lock is free when the backup has ended, however it ended, and
# not before: a coordctl that is killed takes the backup with it.

: "${COORDCTL:=coordctl}"
NAME=backup
SKIPPED=75 # of coordctl: the lock is taken. A backup that may itself exit with 75 needs another.

if [ $# -eq 0 ]; then
        echo "usage: no-overlap-backup.sh COMMAND [ARG...]" >&2
        exit 64
fi

"$COORDCTL" --user -q run -n -E "$SKIPPED" -d "backup of $(id -un)" "$NAME" -- "$@"
status=$?

if [ "$status" -eq "$SKIPPED" ]; then
        echo "no-overlap-backup: the last backup is still running, skipped" >&2
        exit 0
fi

exit "$status"
