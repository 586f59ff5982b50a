#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl run and signals: those that it gets, those that kill it, and the loss of the hold.
# shellcheck disable=SC2154,SC2016,SC2317 # variables set by expect and hold; expansions meant for inner shells
. "$(dirname "$0")/ctl.bash"

# While it waits a signal ends it at once. Python starts it, for a shell's background jobs ignore
# SIGINT and SIGQUIT.
signal_while_waiting() {
        local signal number

        hold one x
        watch x
        for signal in HUP INT QUIT TERM USR1 USR2; do
                number=$(kill -l "$signal")
                python3 - "$COORDCTL" run -d "for $signal" x true <<'END' &
import os, signal, sys
for s in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(s, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
END
                started+=("$!")
                event Waiting "for $signal"
                kill -s "$signal" "$!"
                expect_end $((128 + number)) "$!"
        done
        # It left the queue: the next one is next.
        let_go one
        expect_end 0 "$pid"
        expect 0 ctl run -w 60 x true
}

# What nohup or a shell made it ignore, it ignores.
ignored_signals_stay_ignored() {
        local waiter

        hold one x
        watch x
        fifos got
        (
                trap '' HUP TERM
                exec "$COORDCTL" run x sh -c 'kill -TERM $$; kill -HUP $$; echo alive >"$1"' sh "$work/got"
        ) &
        waiter=$!
        started+=("$waiter")
        event Waiting "\"pid\":$waiter"
        kill -HUP "$waiter"
        kill -TERM "$waiter"
        let_go one
        read -r line <"$work/got"
        same "$line" alive
        expect_end 0 "$waiter"
}

# A command that writes each of the signals that it gets, after "ready".
catcher='import os, signal, sys
wanted = set(map(int, sys.argv[2:]))
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
fd = os.open(sys.argv[1], os.O_WRONLY)
os.write(fd, b"ready\n")
while True:
    os.write(fd, b"%d\n" % signal.sigwait(wanted))'

signals_are_passed_on() {
        local numbers=() signal number got

        for signal in HUP INT QUIT TERM USR1 USR2 ALRM WINCH RTMIN RTMAX; do
                numbers+=("$(kill -l "$signal")")
        done
        fifos caught
        # In a session of its own: not a background job of a shell.
        setsid "$COORDCTL" run x python3 -c "$catcher" "$work/caught" "${numbers[@]}" &
        pid=$!
        started+=("$pid")
        exec {got}<"$work/caught"
        read -r -u "$got" line
        same "$line" ready
        for number in "${numbers[@]}"; do
                kill -s "$number" "$pid"
                read -r -u "$got" line
                same "$line" "$number"
        done
        exec {got}<&-
        kill -KILL "$pid"
        expect_end 137 "$pid"
}

no_echo_to_the_sender() {
        local got

        fifos caught
        setsid "$COORDCTL" run x python3 -c '
import os, signal, sys
count = [0]
def caught(number, frame):
    count[0] += 1
signal.signal(signal.SIGUSR1, caught)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
os.killpg(0, signal.SIGUSR1)
# What coordctl would send back comes before what it passes on later.
with open(sys.argv[1], "w") as f:
    print("ready", file=f, flush=True)
    signal.sigwait({signal.SIGUSR2})
    print(count[0], file=f, flush=True)' "$work/caught" &
        pid=$!
        started+=("$pid")
        exec {got}<"$work/caught"
        read -r -u "$got" line
        same "$line" ready
        kill -USR2 "$pid"
        read -r -u "$got" line
        same "$line" 1
        expect_end 0 "$pid"
}

term_ends_the_command() {
        hold one x
        kill -TERM "$pid"
        expect_end 143 "$pid"
        expect 0 ctl run -n x sh -c '[ -z "${COORD_ABANDONED-}" ]'
}

# kill -9 of coordctl kills the command, and only then is the lock free: the waiter that follows sees
# the command gone.
killed_coordctl_takes_the_command_along() {
        local i victim

        for i in 1 2 3 4 5; do
                hold "k$i" x
                victim=$child
                watch x
                start run x bash -c '[ "$COORD_ABANDONED" = 1 ] && is_dead "$1"' bash "$victim"
                event Waiting "\"pid\":$!"
                kill -KILL "$pid"
                expect_end 0 "$!"
                expect_end 137 "$pid"
                kill "$watcher"
        done
}

# The command that is killed leaves coordctl, which releases.
killed_command_releases() {
        hold one x
        kill -KILL "$child"
        expect_end 137 "$pid"
        expect 0 ctl run -n x sh -c '[ -z "${COORD_ABANDONED-}" ]'
}

# A stopped coordctl still holds, and so does a stopped command.
stopped_holders_hold() {
        hold one x
        kill -STOP "$pid"
        expect 1 ctl run -n x true
        kill -STOP "$child"
        expect 1 ctl run -n x true
        kill -CONT "$child"
        kill -CONT "$pid"
        let_go one
        expect_end 0 "$pid"
        expect 0 ctl run -n x true
}

broken_hold_ends_the_command() {
        hold one x 2>"$work/broken"
        expect 0 ctl --user break x
        expect_end 143 "$pid"
        grep -q 'lost lock:x:' "$work/broken" || fail "not told: $(<"$work/broken")"
        expect 0 ctl run -n x true
}

loss_signal_can_be_chosen() {
        fifos up
        start run --on-loss=USR1 x python3 -c '
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
open(sys.argv[1], "w").close()
signal.sigwait({signal.SIGUSR1})
sys.exit(33)' "$work/up" 2>"$work/broken"
        pid=$!
        read -r line <"$work/up"
        expect 0 ctl --user break x
        expect_end 33 "$pid"
}

# One that ignores the signal is killed some seconds later.
stubborn_command_is_killed() {
        fifos up
        start run x python3 -c '
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
while True:
    signal.pause()' "$work/up" 2>"$work/broken"
        pid=$!
        read -r line <"$work/up"
        expect 0 ctl --user break x
        expect_end 137 "$pid"
}

# So is one that is stopped.
stopped_command_is_ended() {
        hold one x 2>"$work/broken"
        kill -STOP "$child"
        expect 0 ctl --user break x
        expect_end 143 "$pid"
}

loss_of_one_of_several() {
        hold one x y sem:z:1:2 2>"$work/broken"
        expect 0 ctl --user break sem:z
        expect_end 143 "$pid"
        expect 0 ctl run -n x y sem:z:2 -- true
}

# A command that ended well with a lost hold keeps its status, and its user is told.
lost_before_the_end() {
        fifos up go
        start run --on-loss=CONT x sh -c 'echo >"$1"; read -r line <"$2"; exit 5' sh "$work/up" "$work/go" \
                2>"$work/broken"
        pid=$!
        read -r line <"$work/up"
        expect 0 ctl --user break x
        echo >"$work/go"
        expect_end 5 "$pid"
        grep -q 'was lost before it was released' "$work/broken" || fail "not told: $(<"$work/broken")"
}

# Killed at any moment of its start it leaves neither a command without the lock nor the lock without a
# holder. The command is one process, and proves that it is alone by an open file lock.
killed_at_any_moment() {
        local i got alone='import fcntl, sys
f = open(sys.argv[1], "w")
fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)'

        for i in $(seq 40); do
                start run x python3 -c "$alone" "$work/flock" 2>"$work/broken"
                pid=$!
                python3 -c '
import os, signal, sys
for n in range(int(sys.argv[2]) * 50):
    os.getppid()
os.kill(int(sys.argv[1]), signal.SIGKILL)' "$pid" "$i"
                got=0
                wait "$pid" 2>/dev/null || got=$?
                case $got in
                0 | 137) ;;
                *) fail "killed: $got, $(<"$work/broken")" ;;
                esac
                expect 0 ctl run -w 60 x python3 -c "$alone" "$work/flock"
        done
}

testcase signal_ends_the_wait_with_128_and_n signal_while_waiting
testcase ignored_signals_stay_ignored ignored_signals_stay_ignored
testcase signals_are_passed_on_once signals_are_passed_on
testcase signal_of_the_command_is_not_sent_back no_echo_to_the_sender
testcase term_ends_the_command_and_releases term_ends_the_command
testcase killed_coordctl_takes_the_command_along killed_coordctl_takes_the_command_along
testcase killed_command_is_released killed_command_releases
testcase stopped_holders_hold stopped_holders_hold
testcase broken_hold_ends_the_command broken_hold_ends_the_command
testcase loss_signal_can_be_chosen loss_signal_can_be_chosen
testcase stubborn_command_is_killed stubborn_command_is_killed
testcase stopped_command_is_ended_too stopped_command_is_ended
testcase loss_of_one_of_several_ends_the_command loss_of_one_of_several
testcase status_stays_when_the_hold_was_lost lost_before_the_end
testcase killed_at_any_moment_nothing_overlaps killed_at_any_moment
finish
