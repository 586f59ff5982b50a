# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests of the examples share: a private place, ok and FAIL lines, and programs in the
# background that are talked to over pipes, so that every test waits for what it has heard and never
# for time. It knows no example. $here, $bin, $line and $status are for the tests.
# shellcheck disable=SC2034

: "${COORDCTL:?names the coordctl to test}" "${COORD_BUILD_DIR:?names the build directory}"

here=$(cd "$(dirname "$0")" && pwd)
bin=$COORD_BUILD_DIR/tests/examples
dir=$(mktemp -d)

mkdir -m 0700 "$dir/run" "$dir/state"
: >"$dir/coordd.conf"
export COORDCTL COORD_RUNTIME_DIR="$dir/run" COORD_STATE_DIR="$dir/state" \
        COORD_CONFIG="$dir/coordd.conf"

failed=0
declare -A pids=() ins=() outs=()

cleanup() {
        local job

        for job in $(jobs -p); do
                kill -KILL "$job" 2>/dev/null
        done
        wait
        rm -rf "$dir"
}
trap cleanup EXIT

ok() {
        echo "ok $1"
}

fail() {
        echo "FAIL $1: $2"
        failed=1
}

# same NAME EXPECTED GOT
same() {
        if [ "$2" = "$3" ]; then
                ok "$1"
        else
                fail "$1" "expected '$2', got '$3'"
        fi
}

# matches NAME PATTERN TEXT: a glob pattern
matches() {
        # shellcheck disable=SC2254
        case $3 in
        $2) ok "$1" ;;
        *) fail "$1" "expected '$2', got '$3'" ;;
        esac
}

# start ID COMMAND...: in the background, with pipes for tell, hear and hang_up
start() {
        local id=$1 fd

        shift
        mkfifo "$dir/$id.in" "$dir/$id.out"
        (
                for fd in "${ins[@]}" "${outs[@]}"; do
                        exec {fd}>&-
                done
                exec "$@"
        ) <"$dir/$id.in" >"$dir/$id.out" 2>"$dir/$id.err" &
        pids[$id]=$!

        exec {fd}>"$dir/$id.in"
        ins[$id]=$fd
        exec {fd}<"$dir/$id.out"
        outs[$id]=$fd
}

# hear ID: the next line in $line. The guard turns a hang into a failure, nothing waits for it.
hear() {
        if ! read -r -t 120 -u "${outs[$1]}" line; then
                line="nothing ($1 said: $(cat "$dir/$1.err"))"
        fi
}

tell() {
        echo "$2" >&"${ins[$1]}"
}

hang_up() {
        local fd=${ins[$1]}

        exec {fd}>&-
        unset "ins[$1]"
}

# finished ID: its exit status in $status
finished() {
        wait "${pids[$1]}" 2>/dev/null # where the shell would tell of a signal
        status=$?
}

# murder ID: killed, and gone
murder() {
        kill -KILL "${pids[$1]}"
        finished "$1"
}

finish() {
        exit "$failed"
}
