#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# event-loop and event-loop-sd: the loop goes on while the lock is waited for.

. "$(dirname "$0")/common.sh"

one_loop() {
        local loop=$1

        start "$loop-holder" "$COORDCTL" --user run "$loop" -- sh -c 'echo in; read -r x'
        hear "$loop-holder"
        same "$loop: somebody holds the lock" in "$line"

        start "$loop" "$bin/$loop" "$loop"
        hear "$loop"
        same "$loop: starts" started "$line"
        tell "$loop" ping
        hear "$loop"
        same "$loop: serves others while it waits" "heard ping while waiting" "$line"

        start "$loop-tired" "$bin/$loop" "$loop"
        hear "$loop-tired"
        hang_up "$loop-tired"
        hear "$loop-tired"
        same "$loop: can end while it waits" ended "$line"
        finished "$loop-tired"
        same "$loop: without an error" 0 "$status"

        tell "$loop-holder" go
        hear "$loop"
        matches "$loop: is granted the lock" "granted lock:$loop:*" "$line"
        tell "$loop" pong
        hear "$loop"
        same "$loop: serves others while it holds" "heard pong while holding" "$line"

        "$COORDCTL" --user run -n -E 75 "$loop" -- true 2>/dev/null
        same "$loop: does hold" 75 $?
        hang_up "$loop"
        hear "$loop"
        same "$loop: ends" ended "$line"
        finished "$loop"
        same "$loop: well" 0 "$status"
        "$COORDCTL" --user run -n -E 75 "$loop" -- true
        same "$loop: the lock is free again" 0 $?
}

for loop in event-loop event-loop-sd; do
        if [ -x "$bin/$loop" ]; then
                one_loop "$loop"
        elif [ "$loop" = event-loop-sd ]; then
                ok "$loop # SKIP built without libsystemd"
        else
                fail "$loop" "not built"
        fi
done

finish
