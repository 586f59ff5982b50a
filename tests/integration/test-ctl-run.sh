#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl run: what the command gets, who waits for whom, and what status comes back.
# shellcheck disable=SC2154,SC2016,SC2317 # variables set by expect and hold; expansions meant for inner shells
. "$(dirname "$0")/ctl.bash"

statuses() {
        expect 0 ctl run x true
        expect 1 ctl run x false
        expect 42 ctl run x sh -c 'exit 42'
        expect 255 ctl run x sh -c 'exit 255'
        expect 143 ctl run x sh -c 'kill -TERM $$'
        expect 137 ctl run x sh -c 'kill -KILL $$'
        expect 127 ctl run x nosuchcommand
        says "cannot run 'nosuchcommand'"
        expect 127 ctl run x /nosuch/command
        # A directory of PATH that nobody may search hides nothing.
        mkdir -p "$work/closed"
        chmod 0 "$work/closed"
        PATH=$work/closed:$PATH expect 127 ctl run x nosuchcommand
        PATH=$work/closed:$PATH expect 127 ctl run -F x nosuchcommand
        expect 126 ctl run x /
        expect 126 ctl run x "$work/out"
        says 'Permission denied'
        expect 1 ctl show x
}

arguments_reach_the_command() {
        expect 0 ctl run x printf '%s|' a 'b c' '' -n --verbose
        same "$out" 'a|b c||-n|--verbose|'
        expect 0 ctl run x -- printf '%s|' -- a
        same "$out" '--|a|'
        expect 0 ctl run -- x echo hello
        same "$out" hello
        same "$(echo hello | ctl run x cat)" hello
}

environment() {
        expect 0 ctl run x sh -c 'echo "$COORD_NAME $COORD_TOKEN ${COORD_ABANDONED-unset}"'
        case $out in
        'x lock:x:'*.*' unset') ;;
        *) fail "$out" ;;
        esac
        expect 0 ctl run -j 3 three sh -c 'echo "$COORD_NAME $COORD_TOKEN"; coordctl=$1; "$coordctl" check "$COORD_TOKEN"' \
                sh "$COORDCTL"
        case $out in
        'three sem:three:'*.*) ;;
        *) fail "$out" ;;
        esac
        expect 0 ctl run b a -- sh -c 'set -- $COORD_TOKEN; echo "$COORD_NAME $# ${1%:*} ${2%:*}"'
        same "$out" 'b a 2 lock:b lock:a'
}

tokens_rise() {
        local first second

        first=$(ctl run x sh -c 'echo "$COORD_TOKEN"')
        second=$(ctl run x sh -c 'echo "$COORD_TOKEN"')
        python3 -c '
import sys
a, b = (tuple(map(int, t.rsplit(":", 1)[1].split("."))) for t in sys.argv[1:])
sys.exit(not a < b)' "$first" "$second" || fail "$second after $first"
}

exclusion() {
        hold one x
        expect 1 ctl run -n x true
        says x
        case $err in
        *"$pid"* | *"$child"*) ;;
        *) fail "who holds it is not in: $err" ;;
        esac
        expect 1 ctl run -w 0 x true
        expect 1 ctl run -w 0.01 x true
        expect 1 ctl run -n -s x true
        expect 7 ctl run -n -E 7 x true
        expect 0 ctl run -n -E 0 x false
        expect 1 ctl -q run -n x true
        same "$err" ""
        expect 3 ctl run -q -n -E 3 x true
        same "$err" ""
        expect 0 ctl run -n other true
        let_go one 5
        expect_end 5 "$pid"
        expect 0 ctl run -n x true
}

shared_holds() {
        local first

        hold one -s x
        first=$pid
        hold two -s x
        expect 1 ctl run -n x true
        let_go one
        expect_end 0 "$first"
        expect 1 ctl run -n x true
        let_go two
        expect_end 0 "$pid"
        expect 0 ctl run -n x true
}

waiting_in_order() {
        local first

        watch x
        hold one x
        first=$pid
        fifos second
        start run x sh -c 'echo second >"$1"' sh "$work/second"
        event Waiting "\"pid\":$!"
        expect 1 ctl run -n x true
        let_go one
        expect_end 0 "$first"
        read -r line <"$work/second"
        same "$line" second
        wait "$!" || fail "second: $?"
}

semaphores() {
        local first second

        hold one -j 2 seats
        first=$pid
        hold two -j 2 seats
        second=$pid
        expect 1 ctl run -n -j 2 seats true
        expect 65 ctl run -n -j 3 seats true
        says seats
        expect 1 ctl run -n -p 1 seats true
        let_go one
        expect_end 0 "$first"
        expect 0 ctl run -n -p 1 seats true
        expect 0 ctl run -n sem:seats:1 true
        expect 1 ctl run -n -j 2 -p 2 seats true
        expect 64 ctl run -n -p 3 seats true
        let_go two
        expect_end 0 "$second"
        expect 0 ctl run -n -j 2 -p 2 seats true
        expect 1 ctl run -n -p 1 undeclared true
        expect 0 ctl run -n -j 1024 large true
        expect 64 ctl run -n -j 1025 toolarge true
        expect 0 ctl run -n seats true
}

semaphore_set() {
        expect 0 ctl semaphore set chairs 2
        expect 0 ctl run -n -p 2 chairs true
        expect 65 ctl run -n -j 3 chairs true
        expect 0 ctl semaphore set chairs 3
        expect 0 ctl run -n -j 3 chairs true
        expect 64 ctl semaphore set chairs 1025
}

several_names() {
        hold one -n a lock:b sem:c:2:3
        expect 1 ctl run -n a true
        expect 1 ctl run -n b true
        expect 1 ctl run -n -j 3 -p 2 c true
        expect 0 ctl run -n -j 3 c true
        expect 1 ctl run -n d a -- true
        expect 0 ctl run -n d true
        let_go one
        expect_end 0 "$pid"
        expect 0 ctl run -n a b sem:c:3 -- true
        hold two -s a b
        expect 0 ctl run -n lock:a:shared lock:b:shared -- true
        expect 1 ctl run -n lock:a -- true
        let_go two
        expect_end 0 "$pid"
        hold three -j 2 d e
        expect 0 ctl run -n -j 2 d e -- true
        expect 1 ctl run -n -j 2 -p 2 d e -- true
        let_go three
        expect_end 0 "$pid"
}

opposite_orders() {
        local i pids=()

        for i in 1 2 3 4 5 6 7 8; do
                if [ $((i % 2)) = 0 ]; then
                        start run a b c -- true
                else
                        start run c b a -- true
                fi
                pids+=("$!")
        done
        for i in "${pids[@]}"; do
                expect_end 0 "$i"
        done
}

exec_mode() {
        fifos up go
        start run -F x sh -c 'echo "$$ $COORD_NAME $COORD_TOKEN" >"$1"; read -r line <"$2"; exit "$line"' \
                sh "$work/up" "$work/go"
        pid=$!
        read -r child name token <"$work/up"
        same "$child" "$pid" 'not in the place of coordctl'
        same "$name" x
        expect 0 ctl check "$token"
        expect 1 ctl run -n x true
        out=$(ctl --json show x)
        same "$(json 'j["holders"][0]["owner"]')" "pid:$pid"
        echo 9 >"$work/go"
        expect_end 9 "$pid"
        expect 0 ctl run -w 60 x true
        expect 127 ctl run -F x nosuchcommand
        expect 126 ctl run --exec x /
        expect 0 ctl run -n x sh -c '[ -z "${COORD_ABANDONED-}" ]'
}

exec_mode_killed() {
        fifos up
        start run -F x sh -c 'echo up >"$1"; exec tail -f /dev/null' sh "$work/up"
        pid=$!
        read -r line <"$work/up"
        kill -KILL "$pid"
        expect 0 ctl run -w 60 x sh -c '[ "$COORD_ABANDONED" = 1 ]'
}

# The description may hold anything.
descriptions() {
        hold one -d 'nightly backup' x
        out=$(ctl --json show x)
        same "$(json 'j["holders"][0]["description"]')" 'nightly backup'
        expect 1 ctl run -n x true
        let_go one
        expect_end 0 "$pid"
}

verbosity() {
        expect 0 ctl run --verbose x true
        case $err in
        *'acquiring x'*'holding lock:x:'*) ;;
        *) fail "$err" ;;
        esac
        expect 0 ctl run x true
        same "$err" ""
}

# What coordctl has open is none of the command's business.
descriptors() {
        expect 0 ctl run x python3 -c 'import os; print(sorted(map(int, os.listdir("/proc/self/fd"))))'
        same "$out" "$(python3 -c 'import os; print(sorted(map(int, os.listdir("/proc/self/fd"))))')"
        ctl run x sh -c '[ ! -e /proc/self/fd/0 ]' <&-
        same $? 0 'closed standard input'
}

# A script that does not start with #! is run by the shell, as everywhere.
plain_script() {
        echo 'echo ran "$1"' >"$work/script"
        chmod +x "$work/script"
        expect 0 ctl run x "$work/script" it
        same "$out" 'ran it'
        # With as many arguments as fit, found through PATH.
        # shellcheck disable=SC2046
        PATH=/nonexistent:$work:$PATH expect 0 ctl run x script it $(seq 100000)
        same "$out" 'ran it'
}

places() {
        unset COORD_RUNTIME_DIR COORD_STATE_DIR
        export XDG_RUNTIME_DIR=$work/xdg XDG_STATE_HOME=$work/xdg-state HOME=$work
        mkdir -m 700 "$XDG_RUNTIME_DIR"
        expect 0 ctl --user run x true
        [ -e "$XDG_RUNTIME_DIR/coordd/segment" ] || fail "no segment below XDG_RUNTIME_DIR"
        expect 0 ctl run --user x true
        export COORD_RUNTIME_DIR=$work/elsewhere
        mkdir -m 700 "$COORD_RUNTIME_DIR"
        expect 0 ctl --user run x true
        [ -e "$COORD_RUNTIME_DIR/segment" ] || fail "no segment in COORD_RUNTIME_DIR"
}

nothing_to_talk_to() {
        export COORD_RUNTIME_DIR=$work/file
        echo text >"$COORD_RUNTIME_DIR"
        for arguments in 'run x true' 'list' 'acquire --owner=lease:1s x' 'check lock:x:1.1' 'status'; do
                # shellcheck disable=SC2086
                ctl $arguments >"$work/out" 2>"$work/err"
                case $? in
                69 | 77) ;;
                *) fail "$arguments: $? $(<"$work/err")" ;;
                esac
                same "$(wc -l <"$work/err")" 1 "lines of: $arguments"
        done
        # A file that is no segment is refused, and not changed.
        export COORD_RUNTIME_DIR=$work/alien
        mkdir -m 700 "$COORD_RUNTIME_DIR"
        head -c 100000 /dev/zero | tr '\0' 'x' >"$COORD_RUNTIME_DIR/segment"
        sum=$(cksum <"$COORD_RUNTIME_DIR/segment")
        expect 69 ctl run x true
        same "$(cksum <"$COORD_RUNTIME_DIR/segment")" "$sum"
}

testcase status_of_the_command_is_passed_on statuses
testcase arguments_and_stdin_reach_the_command arguments_reach_the_command
testcase command_is_told_name_and_token environment
testcase tokens_rise_with_every_grant tokens_rise
testcase one_holder_excludes_others exclusion
testcase shared_holders_exclude_only_exclusive_ones shared_holds
testcase waiter_follows_when_the_holder_ends waiting_in_order
testcase permits_are_counted semaphores
testcase capacity_can_be_set semaphore_set
testcase several_names_are_all_or_none several_names
testcase several_names_in_opposite_orders_never_block opposite_orders
testcase exec_takes_the_place_of_coordctl exec_mode
testcase exec_killed_is_abandoned exec_mode_killed
testcase description_is_shown descriptions
testcase verbose_tells_quiet_does_not verbosity
testcase command_inherits_no_descriptors descriptors
testcase script_without_interpreter_is_run plain_script
testcase user_scope_and_places places
testcase unusable_segment_is_69 nothing_to_talk_to
finish
