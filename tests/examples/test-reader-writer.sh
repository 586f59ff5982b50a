#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# reader-writer: readers are inside together, a writer alone, and no reader meets half a write.

. "$(dirname "$0")/common.sh"

file=$dir/file

"$bin/reader-writer" "$file" write 1 >/dev/null
same "a writer writes" 0 $?

start reader "$bin/reader-writer" --step "$file" read 1
hear reader
same "a reader is inside" inside "$line"
"$bin/reader-writer" --no-wait "$file" read 1 >/dev/null
same "another reads beside it" 0 $?
"$bin/reader-writer" --no-wait "$file" write 1 >/dev/null 2>&1
same "a writer is kept out" 1 $?
tell reader go
finished reader

start writer "$bin/reader-writer" --step "$file" write 1
hear writer
same "a writer is inside" inside "$line"
"$bin/reader-writer" --no-wait "$file" read 1 >/dev/null 2>&1
same "a reader is kept out" 1 $?
tell writer go
finished writer

jobs=()
for what in read write read write read; do
        "$bin/reader-writer" "$file" "$what" 500 >>"$dir/said" &
        jobs+=($!)
done
for job in "${jobs[@]}"; do
        wait "$job" || fail "reader-writer ends well" "status $?"
done
same "nobody met half a write" 0 "$(grep -c torn "$dir/said")"
same "every write counts" 1002 $((10#$(head -n 1 "$file")))

finish
