#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl refuses what makes no sense: exit status 64 and one line that says what to do.
# shellcheck disable=SC2154,SC2317 # out and err are set by expect
. "$(dirname "$0")/ctl.bash"

refused() {
        local words=$1
        shift
        expect 64 ctl "$@"
        says "$words"
        same "$out" ""
}

commands() {
        refused 'no command given'
        refused "unknown command 'frobnicate'" frobnicate
        refused "unknown command 'top'" top
        refused "unknown command 'queue'" queue put x
        refused "unknown command 'snmp'" snmp get x
        refused "unknown command 'reload'" reload
        refused "unknown option '--bogus'" --bogus list
        refused "unknown option '-Z'" -Z list
        refused "unknown option '--bogus'" list --bogus
        refused "unknown option '--json=x'" --json=x list
}

arguments() {
        refused 'usage: coordctl release' release
        refused 'usage: coordctl release' release a b
        refused 'usage: coordctl renew' renew lock:x:1.1
        refused 'usage: coordctl check' check
        refused 'usage: coordctl break' break
        refused 'usage: coordctl show' show
        refused 'usage: coordctl show' show a b
        refused 'usage: coordctl watch' watch a b
        refused 'usage: coordctl status' status now
        refused 'usage: coordctl version' version 2
        refused 'not one of locks, semaphores, queues' list lamps
        refused "there is only 'semaphore set NAME N'" semaphore get x 1
        refused 'no number of permits' semaphore set x 0
        refused 'no number of permits' semaphore set x -- -3
        refused 'no number of permits' semaphore set x many
        refused 'usage: coordctl semaphore' semaphore set x
}

run_arguments() {
        refused 'no name given' run
        refused 'no name given' run -n
        refused 'no command to run' run x
        refused 'no command to run' run x --
        refused 'no command to run' run a b --
        refused 'options stand before the name' run x -n true
        refused 'options stand before the names' run a -n -- true
        refused "unknown option '-Z'" run -Z x true
        refused "unknown option '--bogus'" run --bogus x true
        refused '-w needs a value' run -w
        refused '-F leaves nobody to send a signal' run -F --on-loss=TERM x true
        refused '-F leaves nobody to wait' run -F --scope x true
        refused 'no such signal' run --on-loss=NOSUCH x true
        refused 'no such signal' run --on-loss=0 x true
        refused 'no such signal' run --on-loss=99999 x true
        refused 'a semaphore' run -s -j 2 x true
        refused 'there are only 2 permits' run -j 2 -p 3 x true
}

numbers() {
        local value

        for value in -1 -0.5 nan NaN inf infinity 1e3 0x10 '' . 1.2.3 5s ' 1' '1 ' +1 ten 1,5; do
                refused 'not a number of seconds' run -w "$value" x true
        done
        for value in 18446744073709551615 99999999999999999999999 18446744073710; do
                refused 'more than can be waited' run -w "$value" x true
        done
        for value in -1 256 '' 1.5 x 0x1; do
                refused 'not an exit status' run -E "$value" x true
        done
        for value in 0 -1 '' x 1.5 4294967296 99999999999999999999; do
                refused 'not a number from 1 up' run -j "$value" x true
                refused 'not a number from 1 up' run -p "$value" x true
        done
        for value in -21 20 '' x 1.5 99999999999; do
                refused 'not a number from -20' run --priority="$value" x true
        done
        refused 'neither yes nor no' run --strict=perhaps x true
        for value in 0 '' x 1y nan 1e3 99999999999999999999d 5min3 min; do
                refused 'no duration' renew lock:x:1.1 "$value"
        done
}

accepted_numbers() {
        local value

        for value in 0 5 0.25 .5 5. 000.0000001 18446744073709; do
                expect 0 ctl run -w "$value" x true
        done
        for value in -20 19 0 +3; do
                expect 0 ctl run --priority="$value" x true
        done
        for value in TERM SIGTERM sigusr1 15 RTMIN RTMIN+3 SIGRTMIN+1; do
                expect 0 ctl run --on-loss="$value" x true
        done
        for value in yes no true off 1; do
                expect 0 ctl run --strict="$value" x true
        done
        expect 0 ctl run -s -x x true
        expect 0 ctl run --shared --exclusive -e --nonblock --wait=1 --timeout=1 \
                --conflict-exit-code=3 --description=why x true
        expect 0 ctl run --slots=2 --permits=2 numbers true
}

names() {
        local name long

        long=$(printf '%0256d' 0)
        for name in '' 'a b' 'x:y' 'ä' 'x*' "$long" 'a#b' $'a\nb' 'lock:' 'lock:x:bogus' 'sem:x' \
                'sem:x:0' 'queue:x:1' 'lock:x:shared:more'; do
                expect 64 ctl run -n "$name" true
                same "$(wc -l <"$work/err")" 1 "lines for the name '$name'"
                expect 64 ctl acquire --owner=lease:1s -n "$name"
        done
        expect 64 ctl show 'a b'
        expect 64 ctl show ''
        expect 64 ctl --user break 'a b'
        expect 64 ctl release 'a b'
        expect 64 ctl check nonsense
        expect 64 ctl check lock:x:1
        expect 64 ctl renew 'a b' 5s
        expect 64 ctl check 'a b'
        expect 64 ctl semaphore set 'a b' 3
        long=${long:1}
        expect 0 ctl run "$long" true
        # shellcheck disable=SC2016
        expect 0 ctl run 'Az09._/@%+-' sh -c '[ "$COORD_NAME" = "Az09._/@%+-" ]'
}

owners() {
        refused '--owner= is needed' acquire x
        refused 'no name given' acquire --owner=lease:1s
        refused 'would end with coordctl' acquire --owner=process x
        refused 'would end with coordctl' acquire --owner=connection x
        refused 'would end with coordctl' acquire --owner=fd x
        refused 'no such owner' acquire --owner=nobody x
        refused 'no such owner' acquire --owner= x
        expect 69 ctl acquire --owner=unit x
        says coordd
        expect 69 ctl acquire --owner=unit:cron.service x
        says coordd
        for owner in pid: pid:x pid:-1 pid:0 lease: lease:x lease:-1s lease:0; do
                expect 64 ctl acquire --owner="$owner" x
        done
        expect 1 ctl show lock:x
}

help() {
        local verb

        expect 0 ctl --help
        same "$err" ""
        for verb in run acquire release renew check break list show watch semaphore status version; do
                case $out in
                *"  $verb"*) ;;
                *) fail "$verb is not in the help" ;;
                esac
        done
        for verb in run acquire release renew check break list show watch semaphore status version; do
                expect 0 ctl "$verb" --help
                case $out in
                "usage: coordctl $verb"*) ;;
                *) fail "$verb --help: $out" ;;
                esac
        done
        [ ! -e "$COORD_RUNTIME_DIR/segment" ] || fail "help made a segment"
}

version() {
        expect 0 ctl version
        case $out in
        'coordctl '[0-9]*) ;;
        *) fail "version: $out" ;;
        esac
        same "$(ctl --version)" "$out"
        expect 0 ctl --json version
        same "coordctl $(json 'j["version"]')" "$(ctl version)"
}

full_output() {
        [ -c /dev/full ] || return 0
        ctl version >/dev/full 2>"$work/err"
        same $? 74
        ctl list >/dev/full 2>"$work/err"
        same $? 74
        ctl --json list >/dev/full 2>"$work/err"
        same $? 74
        ctl acquire --owner=pid:$$ x >/dev/full 2>"$work/err"
        same $? 74
        expect 1 ctl show x
}

# With its standard files closed the segment must not become one of them.
closed_files() {
        local before

        ctl run x true <&- >&- 2>&-
        same $? 0
        before=$(head -c 64 "$COORD_RUNTIME_DIR/segment" | od -An -tx1)
        ctl run x nosuchcommand <&- >&- 2>&-
        same $? 127
        same "$(head -c 64 "$COORD_RUNTIME_DIR/segment" | od -An -tx1)" "$before"
        ctl list >&-
        same $? 74
}

testcase help_needs_no_segment help
testcase unknown_commands_and_options_are_64 commands
testcase wrong_arguments_are_64 arguments
testcase wrong_run_arguments_are_64 run_arguments
testcase wrong_numbers_are_64 numbers
testcase right_numbers_are_taken accepted_numbers
testcase wrong_names_are_64 names
testcase wrong_owners_are_64_or_69 owners
testcase version_is_told version
testcase output_that_cannot_be_written_is_74 full_output
testcase closed_standard_files_are_survived closed_files
finish
