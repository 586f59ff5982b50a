# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Completion of coordctl for bash. It asks coordctl itself for the names.

__coordctl_names() {
        # NAME is the first column; names hold no blanks.
        coordctl "${scope[@]}" list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

__coordctl_tokens() {
        coordctl "${scope[@]}" --json list 2>/dev/null |
                grep -o '"token":"[^"]*"' | cut -d '"' -f 4
}

__coordctl_reply() {
        mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# Complete the value of an option: true if the word before is one that takes a value.
__coordctl_value() {
        case $1 in
        --owner) __coordctl_reply 'pid: lease:30s' ;;
        --on-loss) mapfile -t COMPREPLY < <(compgen -A signal -- "SIG${cur#SIG}") ;;
        --strict) __coordctl_reply 'yes no' ;;
        --priority | --wait | --timeout | --slots | --permits | --description | --conflict-exit-code) ;;
        -w | -E | -j | -p | -d) ;;
        *) return 1 ;;
        esac
}

_coordctl() {
        local cur prev i word command='' scope=() args=0 start=0 dashes=0
        local verbs='run acquire release renew check break list show watch semaphore status version'
        local global='--system --user --json --quiet --help'
        local want='--shared --exclusive --nonblock --wait= --conflict-exit-code= --slots= --permits=
                --description= --priority= --strict='

        COMPREPLY=()
        cur=${COMP_WORDS[COMP_CWORD]}
        prev=${COMP_WORDS[COMP_CWORD - 1]}
        # "--owner=pid" comes as three words.
        if [ "$cur" = = ]; then
                cur=
        elif [ "$prev" = = ]; then
                prev=${COMP_WORDS[COMP_CWORD - 2]}
        fi

        for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                case $word in
                --system | --user) scope=("$word") ;;
                --)
                        dashes=$i
                        break
                        ;;
                -w | -E | -j | -p | -d | --owner | --on-loss | --strict | --priority | --wait | --timeout | \
                        --slots | --permits | --description | --conflict-exit-code)
                        [ "${COMP_WORDS[i + 1]}" = = ] && i=$((i + 1))
                        i=$((i + 1))
                        ;;
                -*) ;;
                *)
                        if [ -z "$command" ]; then
                                command=$word
                        else
                                args=$((args + 1))
                                [ "$start" -gt 0 ] || start=$((i + 1))
                        fi
                        ;;
                esac
        done

        if [ "$command" = run ] && { [ "$dashes" -gt 0 ] || [ "$args" -gt 0 ]; }; then
                [ "$dashes" -eq 0 ] || start=$((dashes + 1))
                if declare -F _command_offset >/dev/null; then
                        _command_offset "$start"
                elif [ "$COMP_CWORD" -eq "$start" ]; then
                        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
                else
                        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                fi
                return
        fi
        ! __coordctl_value "$prev" || return 0

        case $command in
        '')
                case $cur in
                -*) __coordctl_reply "$global --version" ;;
                *) __coordctl_reply "$verbs" ;;
                esac
                return
                ;;
        esac
        case $cur in
        -*)
                case $command in
                run) __coordctl_reply "$global $want --exec --on-loss= --scope --verbose" ;;
                acquire) __coordctl_reply "$global $want --owner=" ;;
                *) __coordctl_reply "$global" ;;
                esac
                [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
                return
                ;;
        esac
        case $command in
        run | acquire | show | break | watch) __coordctl_reply "$(__coordctl_names)" ;;
        release) __coordctl_reply "$(__coordctl_names) $(__coordctl_tokens)" ;;
        renew | check) __coordctl_reply "$(__coordctl_tokens)" ;;
        list) __coordctl_reply 'locks semaphores queues' ;;
        semaphore)
                if [ "$args" -eq 0 ]; then
                        __coordctl_reply set
                elif [ "$args" -eq 1 ]; then
                        __coordctl_reply "$(__coordctl_names)"
                fi
                ;;
        esac
        # The colons of a token part words, so only what is behind the last one is put in.
        if declare -F __ltrim_colon_completions >/dev/null; then
                __ltrim_colon_completions "$cur"
        fi
}

complete -F _coordctl coordctl
