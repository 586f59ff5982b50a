#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lease-worker: works while it renews; after too long a pause its write is refused by the store.

. "$(dirname "$0")/common.sh"

store=$dir/store

"$bin/lease-worker" "$store" 3 >"$dir/good"
same "a worker that renews does its work" 0 $?
same "all of it" 3 "$(grep -c '^stored lock:example/lease:' "$dir/good")"

# The first one pauses in the middle of its work for longer than its lease. The second one's grant
# is the sign that the lease is over: no time is measured here.
start paused "$bin/lease-worker" --lease-ms=200 --step "$store" 1
hear paused
matches "the first has the lease" "ready lock:example/lease:*" "$line"
"$bin/lease-worker" "$store" 1 >"$dir/next"
same "the second gets it when it has run out" 0 $?
matches "and is told so" "*ran out*stored *" "$(cat "$dir/next")"
kept=$(cat "$store")

tell paused "go on"
hear paused
matches "the first one's late write is refused" "refused lock:example/lease:*" "$line"
hear paused
matches "its lease is lost" "lost lock:example/lease:*" "$line"
finished paused
same "and it says so" 1 "$status"
same "the store kept the newer value" "$kept" "$(cat "$store")"

finish
