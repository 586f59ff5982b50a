#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The manual page and the completions of coordctl: they load, and know every command and option.
# shellcheck disable=SC2016,SC2154,SC2317 # out and err are set by expect
. "$(dirname "$0")/ctl.bash"

client=${COORD_SOURCE_DIR:-$(dirname "$0")/../..}/client
verbs='run acquire release renew check break list show watch semaphore status version'
options=$({ ctl run --help; ctl acquire --help; } | grep -o -e '--[a-z-]*' | sort -u)

manual_is_clean() {
        command -v mandoc >/dev/null || return 0
        expect 0 mandoc -T lint -W warning "$client/coordctl.1"
}

manual_is_complete() {
        local word text

        text=$(sed 's/Fl -/--/g; s/\\-/-/g' "$client/coordctl.1")
        for word in $verbs; do
                case $text in
                *"$word"*) ;;
                *) fail "$word is not in the manual" ;;
                esac
        done
        for word in $options; do
                case $word in
                --) continue ;;
                esac
                case $text in
                *"$word"* | *", ${word#--}"* | *", -${word#--}"*) ;;
                *) fail "$word is not in the manual" ;;
                esac
        done
}

bash_completion() {
        cat >"$work/complete" <<'END'
. "$1"
coordctl() { "$COORDCTL" "$@"; }
try() {
        COMP_WORDS=(coordctl "$@")
        COMP_CWORD=$(($# > 0 ? $# : 1))
        COMPREPLY=()
        _coordctl
        printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
        echo
}
try r
try --us
try list s
try run --sc
try acquire --owner = p
try show ba
try run ba
try run -w 5 ba
try release ba
try check lock:ba
try semaphore s
try run backup no-such-command-anywhere
complete -p coordctl
END
        hold one backup
        expect 0 bash --norc -e "$work/complete" "$client/completion/coordctl.bash"
        same "$err" ""
        python3 - "$out" <<'END' || fail "$out"
import sys
lines = [line.split() for line in sys.argv[1].split("\n")]
assert lines[:8] == [["release", "renew", "run"], ["--user"], ["semaphores"], ["--scope"], ["pid:"],
                     ["backup"], ["backup"], ["backup"]], lines
assert lines[8] == ["backup"] and lines[9][0].startswith("lock:backup:") and lines[10] == ["set"], lines
assert lines[11] == [] and lines[12][0] == "complete", lines
END
}

zsh_completion() {
        command -v zsh >/dev/null || return 0
        expect 0 zsh -f -n "$client/completion/_coordctl"
        same "$err" ""
        # It is found and loaded as a completion, too.
        expect 0 zsh -f -c 'fpath=("$1" $fpath); autoload -Uz compinit; compinit -D -u;
                [[ $_comps[coordctl] == _coordctl ]] && autoload +X _coordctl' zsh "$client/completion"
}

fish_completion() {
        command -v fish >/dev/null || return 0
        export XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work HOME=$work
        expect 0 fish -n "$client/completion/coordctl.fish"
        same "$err" ""
        ln -sf "$(realpath "$COORDCTL")" "$work/coordctl"
        export PATH=$work:$PATH
        expect 0 fish -N -c "source '$client/completion/coordctl.fish'
                complete -C 'coordctl rel'
                complete -C 'coordctl run --sco'
                complete -C 'coordctl list se'"
        same "$(cut -f 1 <<<"$out" | tr '\n' ' ')" 'release --scope semaphores '
}

all_know_every_option() {
        local word file

        for file in coordctl.bash _coordctl coordctl.fish; do
                for word in $verbs; do
                        grep -q -w -e "$word" "$client/completion/$file" || fail "$word is not in $file"
                done
                for word in $options; do
                        case $word in
                        -- | --help) continue ;;
                        esac
                        grep -q -w -e "${word#--}" "$client/completion/$file" ||
                                fail "$word is not in $file"
                done
        done
}

testcase manual_page_is_clean manual_is_clean
testcase manual_page_is_complete manual_is_complete
testcase bash_completion_works bash_completion
testcase zsh_completion_loads zsh_completion
testcase fish_completion_works fish_completion
testcase completions_know_every_option all_know_every_option
finish
