#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# hello-lock: takes, shows, releases; each token is higher than the one before.

. "$(dirname "$0")/common.sh"

counter_of() {
        sed -n 's/.* as lock:hello:[0-9]*\.\([0-9]*\) .*/\1/p' <<<"$1"
}

first=$("$bin/hello-lock" 2>&1)
same "hello-lock runs" 0 $?
matches "hello-lock shows its token" "holding hello as lock:hello:*.* (fence *.*)*" "$first"
matches "hello-lock releases" "*released" "$first"

second=$("$bin/hello-lock" 2>&1)
if [ "$(counter_of "$second")" -gt "$(counter_of "$first")" ]; then
        ok "the next token is higher"
else
        fail "the next token is higher" "first: $first; second: $second"
fi

message=$("$bin/hello-lock" "no such:name" 2>&1)
same "an invalid name is refused" 1 $?
matches "and the message says what was refused" "hello-lock: ?*" "$message"

finish
