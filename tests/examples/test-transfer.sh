#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# transfer: in opposite orders and in a ring at once, nobody is stuck and no money is lost.

. "$(dirname "$0")/common.sh"

START=2000
ROUNDS=500

mkdir "$dir/accounts"
for account in cash bank fund; do
        echo "$START" >"$dir/accounts/$account"
done

jobs=()
for way in "cash bank" "bank cash" "bank fund" "fund cash"; do
        # shellcheck disable=SC2086
        "$bin/transfer" "$dir/accounts" $way "$ROUNDS" >/dev/null &
        jobs+=($!)
done
for job in "${jobs[@]}"; do
        wait "$job" || fail "transfer ends well" "status $?"
done
ok "all transfers end"

sum=0
for account in cash bank fund; do
        balance=$((10#$(cat "$dir/accounts/$account")))
        sum=$((sum + balance))
        eval "$account=$balance"
done
same "the sum is what it was" $((3 * START)) "$sum"
# shellcheck disable=SC2154
same "and every transfer is in it" "$((START + ROUNDS)) $((START - ROUNDS)) $START" \
        "$cash $bank $fund"

finish
