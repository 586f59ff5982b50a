# shellcheck shell=bash disable=SC2016,SC2030,SC2031,SC2034 # for inner shells; subshells; for the tests
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests of coordctl share. Each test has places of its own, prints "ok NAME" or
# "FAIL NAME: why" for each case, and waits for events (a FIFO, a line of `coordctl watch`, the end of a
# process), never for time.

: "${COORDCTL:?the path of coordctl}"

work=$(mktemp -d)
export COORD_RUNTIME_DIR=$work/run COORD_STATE_DIR=$work/state
mkdir -m 700 "$COORD_RUNTIME_DIR"
unset COORD_TOKEN COORD_NAME COORD_ABANDONED

failed=0
started=()

clean_up() {
        local pid

        for pid in "${started[@]}"; do
                kill -KILL "$pid" 2>/dev/null
        done
        rm -rf "$work"
}
trap clean_up EXIT

# testcase NAME FUNCTION: run it in a shell of its own; what it says when it fails is the reason.
testcase() {
        local why

        if why=$(
                started=()
                trap 'for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null; done' EXIT
                "$2" 2>&1
        ); then
                echo "ok $1"
        else
                echo "FAIL $1: $(printf '%s' "$why" | tail -n 5 | tr '\n' '|')"
                failed=1
        fi
}

fail() {
        echo "$*"
        exit 1
}

ctl() {
        "$COORDCTL" "$@"
}

# expect STATUS COMMAND...: sets $out and $err.
expect() {
        local want=$1 got=0
        shift

        "$@" >"$work/out" 2>"$work/err" || got=$?
        out=$(<"$work/out")
        err=$(<"$work/err")
        [ "$got" = "$want" ] ||
                fail "exit status $got, not $want, of: $* (out: $out; err: $err)"
}

# says WORDS: standard error of the last expect is one line that has them.
says() {
        [ "$(wc -l <"$work/err")" = 1 ] || fail "not one line: $err"
        case $err in
        coordctl:*"$1"*) ;;
        *) fail "'$1' is not in: $err" ;;
        esac
}

same() {
        [ "$1" = "$2" ] || fail "'$1' instead of '$2'${3:+ ($3)}"
}

# fifos NAME...: make them, empty, in $work.
fifos() {
        local name

        for name; do
                rm -f "$work/$name"
                mkfifo "$work/$name"
        done
}

# start ARGUMENT...: coordctl in the background, its pid in $!.
start() {
        "$COORDCTL" "$@" &
        started+=("$!")
}

# hold ID OPTION... NAME...: run a command under coordctl that says when it runs and ends when
# let_go ID says so. Sets $pid (coordctl) and $child (the command).
hold() {
        local id=$1
        shift

        fifos "$id.up" "$id.go"
        start run "$@" -- sh -c 'echo $$ >"$1"; read -r line <"$2"; exit "$line"' \
                sh "$work/$id.up" "$work/$id.go"
        pid=$!
        read -r child <"$work/$id.up"
}

# let_go ID [STATUS]: let it end, with that exit status.
let_go() {
        echo "${2:-0}" >"$work/$1.go"
}

# expect_end STATUS PID: it ends so.
expect_end() {
        local got=0

        wait "$2" || got=$?
        [ "$got" = "$1" ] || fail "process $2 ended with $got, not $1"
}

# watch [GLOB]: read the lines of `coordctl --json watch` from $events, from when it watches.
watch() {
        exec {events}< <(exec "$COORDCTL" --json watch "$@")
        started+=("$!")
        watcher=$!
        event Watching
}

# event NAME [TEXT]: read lines up to an event of that name that has TEXT. Sets $line.
event() {
        while read -r -u "$events" line; do
                case $line in
                *"\"event\":\"$1\""*"${2-}"*) return 0 ;;
                esac
        done
        fail "watch ended before '$1' ${2-}"
}

# json FILTER: a Python expression of j, the JSON text in $out.
json() {
        python3 -c 'import json, sys; j = json.loads(sys.argv[1]); print(eval(sys.argv[2]))' "$out" "$1"
}

# gone PID: wait until a process that is no child of ours is gone, by its pidfd.
gone() {
        python3 -c '
import os, select, sys
try:
    fd = os.pidfd_open(int(sys.argv[1]))
except ProcessLookupError:
    sys.exit()
poll = select.poll()
poll.register(fd, select.POLLIN)
poll.poll()' "$1"
}

# is_dead PID: it is gone, or a zombie that nobody has waited for yet.
is_dead() {
        ! grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null
}
export -f is_dead

finish() {
        exit "$failed"
}
