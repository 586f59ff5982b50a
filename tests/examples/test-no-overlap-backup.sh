#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# no-overlap-backup.sh: the second start skips and says so; the status of the backup is passed on.

. "$(dirname "$0")/common.sh"

start first "$here/no-overlap-backup.sh" sh -c 'echo running; read -r x; echo finished'
hear first
same "the first runs" running "$line"

"$here/no-overlap-backup.sh" touch "$dir/second" 2>"$dir/message"
same "the second is no error" 0 $?
matches "it says that it skips" "*skipped*" "$(cat "$dir/message")"
[ ! -e "$dir/second" ]
same "its backup did not run" 0 $?

tell first go
hear first
same "the first was left alone" finished "$line"
finished first
same "and ends well" 0 "$status"

"$here/no-overlap-backup.sh" touch "$dir/third"
same "then the next one runs" 0 $?
[ -e "$dir/third" ]
same "its backup did run" 0 $?

"$here/no-overlap-backup.sh" sh -c 'exit 3'
same "a failed backup is told" 3 $?

finish
