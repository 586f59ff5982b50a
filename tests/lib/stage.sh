# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The stage of tests/try: a private place to run coordctl in, commands whose going on is decided from
# here, and the checking of what came out. Every wait is for an event, and ends after 30 s at the
# latest.

stage=
steps=()
wrong=0
background_pids=()

# A directory, private to this run, which is the current one from here on.
stage_set() {
        local in=${TMPDIR:-/tmp}

        [ ! -w /dev/shm ] || in=/dev/shm
        stage=$(mktemp -d "$in/coord-try.XXXXXX")
        mkdir -m 700 "$stage/run" "$stage/state"
        : >"$stage/coordd.conf"
        export COORD_RUNTIME_DIR=$stage/run COORD_STATE_DIR=$stage/state COORD_CONFIG=$stage/coordd.conf
        cd "$stage" || exit

        # Both ends open here: nobody who writes or reads has to wait for the other side's opening.
        mkfifo heard going
        exec 8<>heard 9<>going

        stage_props
}

# prop NAME: a script on the stage, from standard input.
prop() {
        { echo '#!/bin/bash'; cat; } >"$1"
        chmod +x "$1"
}

stage_props() {
        prop add-one <<'EOF'
read -r n <count
echo $((n + 1)) >count
EOF
        # Says that it runs, and goes on when let_go says so.
        prop stay <<'EOF'
echo $$ >heard
read -r _ <going
EOF
        # The same, and keeps a log of who is inside.
        prop sit <<'EOF'
echo "in $1" >>seats.log
echo $$ >heard
read -r _ <going
echo "out $1" >>seats.log
EOF
        # Says when it ran, and whether the one before it had died with the lock.
        prop stamp <<'EOF'
echo "${EPOCHREALTIME/[.,]/} ${COORD_ABANDONED:-0}" >heard
EOF
        prop print-token <<'EOF'
echo "$COORD_TOKEN"
EOF
}

# Ends what still runs, removes the stage.
stage_clear() {
        local pid

        [ -n "$stage" ] || return 0
        for pid in "${background_pids[@]}"; do
                kill "$pid" 2>/dev/null || true
        done
        wait 2>/dev/null || true
        cd /
        rm -rf "$stage"
        stage=
}

step() {
        steps+=("$*")
        printf '\n-- %d. %s\n' "${#steps[@]}" "$*"
}

# Show a command, then its output.
run() {
        printf '$ %s\n' "$*"
        "$@"
}

# check CLAIM COMMAND...: the claim is right if the command succeeds.
check() {
        local claim=$1
        shift
        if "$@"; then
                printf 'ok    %s\n' "$claim"
        else
                printf 'WRONG %s\n' "$claim"
                wrong=$((wrong + 1))
        fi
}

fails() {
        ! "$@"
}

# Is the pattern in the text, within a line?
matches() {
        grep -Eq -- "$1" <<<"$2"
}

background() {
        "$@" &
        background_pids+=("$!")
}

wait_for_background() {
        local pid

        for pid in "${background_pids[@]}"; do
                wait "$pid" 2>/dev/null || true
        done
        background_pids=()
}

# The next line from a command on the stage.
hear() {
        local line

        read -r -t 30 -u 8 line || die "nothing was heard for 30 s"
        printf '%s\n' "$line"
}

# Until N wait for NAME.
until_waiting() {
        local line fd watch

        exec {fd}< <(exec coordctl watch "$1")
        watch=$!
        until [[ ${line:-} == *"waiters: $2"* ]]; do
                read -r -t 30 -u "$fd" line || die "$2 waiters for $1 were not seen for 30 s"
        done
        exec {fd}<&-
        kill "$watch" 2>/dev/null || true
}

# Let N commands that stay go on.
let_go() {
        local i

        for ((i = 0; i < $1; i++)); do
                echo go >&9
        done
}

now_usec() {
        printf '%s\n' "${EPOCHREALTIME/[.,]/}"
}

# The first token's fence is below the second's.
fence_below() {
        local a=${1##*:} b=${2##*:}

        [ "${a%.*}" -lt "${b%.*}" ] || { [ "${a%.*}" = "${b%.*}" ] && [ "${a#*.}" -lt "${b#*.}" ]; }
}

stage_end() {
        printf '\nShown:\n'
        printf '   %s\n' "${steps[@]}"
        if [ "$wrong" -gt 0 ]; then
                printf 'try: %d results were wrong\n' "$wrong"
                exit 1
        fi
        printf 'try: all %d steps shown\n' "${#steps[@]}"
}
