#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# counter: exact with the lock, less without it, and told when a holder died while counting.

. "$(dirname "$0")/common.sh"

PROCESSES=4
ROUNDS=2000
number=$dir/number

number_is() {
        echo $((10#$(cat "$number")))
}

# Many at once, with the lock.
jobs=()
for ((i = 0; i < PROCESSES; i++)); do
        "$bin/counter" "$number" "$ROUNDS" >"$dir/count.$i" &
        jobs+=($!)
done
for job in "${jobs[@]}"; do
        wait "$job" || fail "counter ends well" "status $?"
done
same "$PROCESSES processes count right" $((PROCESSES * ROUNDS)) "$(number_is)"

# Without it: one has read, another counts, the first writes what it knew.
rm "$number"
start slow "$bin/counter" --no-lock --step "$number" 1
hear slow
same "the first has read" "read 0" "$line"
"$bin/counter" --no-lock "$number" 1 >/dev/null
same "the second has counted" 1 "$(number_is)"
tell slow go
finished slow
same "without the lock one of two is lost" 1 "$(number_is)"

# The same hour with the lock: the second cannot come between.
rm "$number"
start careful "$bin/counter" --step "$number" 1
hear careful
same "the first has read under the lock" "read 0" "$line"
"$bin/counter" --no-wait "$number" 1 >/dev/null 2>&1
same "the second is kept out" 1 $?
start patient "$bin/counter" "$number" 1
tell careful go
finished careful
finished patient
same "with the lock both count" 2 "$(number_is)"

# Killed between reading and writing.
rm "$number"
start victim "$bin/counter" --step "$number" 1
hear victim
start heir "$bin/counter" "$number" 1
murder victim
finished heir
same "a killed holder's lock passes on" 0 "$status"
matches "the next one is told" "*died while counting*" "$(cat "$dir/heir.err")"
same "and counts right" 1 "$(number_is)"

finish
