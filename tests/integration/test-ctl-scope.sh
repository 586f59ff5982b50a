#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl run --scope: the hold lasts until every descendant is gone.
# shellcheck disable=SC2154,SC2016,SC2317 # variables set by expect and hold; expansions meant for inner shells
. "$(dirname "$0")/ctl.bash"

# A descendant that has left its parent, its session and its standard files says that it is there, and
# ends when told; the command itself ends at once, with 6. Sets $pid (coordctl) and $daemon.
start_daemon() {
        fifos command up go
        start run --scope x sh -c '
                echo $$ >"$3"
                setsid sh -c "(echo \$\$ >\"\$1\"; read -r line <\"\$2\") &" sh "$1" "$2" \
                        </dev/null >/dev/null 2>&1
                exit 6' sh "$work/up" "$work/go" "$work/command" 2>"$work/scope"
        pid=$!
        read -r command <"$work/command"
        read -r daemon <"$work/up"
        gone "$command"
}

waits_for_all() {
        start_daemon
        expect 1 ctl run -n x true
        echo >"$work/go"
        expect_end 6 "$pid"
        expect 0 ctl run -n x true
}

without_scope_it_does_not() {
        fifos up go
        start run x sh -c '(echo up >"$1"; read -r line <"$2") & read -r line <"$1"; exit 4' \
                sh "$work/up" "$work/go" </dev/null >/dev/null
        expect_end 4 "$!"
        expect 0 ctl run -n x true
        echo >"$work/go"
}

loss_ends_all() {
        start_daemon
        expect 0 ctl --user break x
        expect_end 6 "$pid"
        expect 0 ctl run -n x true
}

stubborn_descendants_are_killed() {
        fifos command up
        start run --scope x sh -c '
                echo $$ >"$2"
                python3 -c "
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], \"w\").close()
        while True:
            signal.pause()
" "$1"; exit 3' sh "$work/up" "$work/command" 2>"$work/scope"
        pid=$!
        read -r command <"$work/command"
        read -r line <"$work/up"
        gone "$command"
        expect 0 ctl --user break x
        expect_end 3 "$pid"
}

signals_reach_who_is_left() {
        start_daemon
        kill -TERM "$pid"
        expect_end 6 "$pid"
}

status_is_the_commands() {
        expect 0 ctl run --scope x true
        expect 127 ctl run --scope x nosuchcommand
        expect 137 ctl run --scope x sh -c 'kill -KILL $$'
        expect 5 ctl run --scope x sh -c '(exit 9) & (exit 8) & exit 5'
}

# Inside one another, each removes its control group.
no_group_is_left() {
        expect 3 ctl run --scope x "$COORDCTL" run --scope y sh -c 'cat /proc/self/cgroup; exit 3'
        group=$(sed -n 's/^0:://p' "$work/out")
        case $group in
        *coordctl-*)
                [ -z "$(find /sys/fs/cgroup -maxdepth 4 -path "*$group" 2>/dev/null)" ] ||
                        fail "$group is still there"
                ;;
        esac
}

# Two processes look after it. When one is killed, the other one ends all, and then the hold.
killed_outer_ends_all() {
        start_daemon
        kill -KILL "$pid"
        expect_end 137 "$pid"
        expect 0 ctl run -w 60 x bash -c 'is_dead "$1"' bash "$daemon"
        hold one --scope x
        kill -KILL "$pid"
        expect_end 137 "$pid"
        expect 0 ctl run -w 60 x bash -c 'is_dead "$1"' bash "$child"
}

killed_inner_ends_all() {
        start_daemon
        out=$(ctl --json show lock:x)
        kill -KILL "$(json 'j["holders"][0]["owner"].split("+")[1]')"
        expect_end 137 "$pid"
        expect 0 ctl run -n x bash -c 'is_dead "$1"' bash "$daemon"
        hold one --scope x
        out=$(ctl --json show lock:x)
        kill -KILL "$(json 'j["holders"][0]["owner"].split("+")[1]')"
        expect_end 137 "$pid"
        expect 0 ctl run -w 60 x bash -c 'is_dead "$1" && [ "$COORD_ABANDONED" = 1 ]' bash "$child"
}

killed_while_it_waits() {
        local inner

        hold one x
        watch x
        start run --scope x false
        event Waiting '"permits":1'
        out=$line
        inner=$(json 'j["party"]["pid"]')
        kill -KILL "$!"
        expect_end 137 "$!"
        gone "$inner"
        let_go one
        expect_end 0 "$pid"
        expect 0 ctl run -w 60 x true
}

signal_while_it_waits() {
        hold one x
        watch x
        start run --scope x false
        event Waiting
        kill -TERM "$!"
        expect_end 143 "$!"
        expect 7 ctl run --scope -n -E 7 x true
        let_go one
        expect_end 0 "$pid"
}

testcase hold_lasts_until_all_descendants_are_gone waits_for_all
testcase without_scope_the_command_alone_counts without_scope_it_does_not
testcase loss_ends_all_descendants loss_ends_all
testcase stubborn_descendants_are_killed stubborn_descendants_are_killed
testcase signals_reach_who_is_left signals_reach_who_is_left
testcase status_is_that_of_the_command status_is_the_commands
testcase no_control_group_is_left no_group_is_left
testcase killed_outer_process_ends_all killed_outer_ends_all
testcase killed_inner_process_ends_all killed_inner_ends_all
testcase killed_while_it_waits_it_leaves_the_queue killed_while_it_waits
testcase signal_while_it_waits_ends_it signal_while_it_waits
finish
