# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Completion of coordctl for fish. It asks coordctl itself for the names.

function __coordctl_scope
    string match -- '--user' (commandline -opc) | head -n 1
end

function __coordctl_names
    # NAME is the first column; names hold no blanks.
    coordctl (__coordctl_scope) list 2>/dev/null | awk 'NR > 1 { print $1 }'
end

function __coordctl_tokens
    coordctl (__coordctl_scope) --json list 2>/dev/null | string match -ar '(?<="token":")[^"]*'
end

function __coordctl_using
    __fish_seen_subcommand_from $argv
end

# Print what stands behind the options and the name of "run", or behind its "--": the command, a word a
# line. Fails where neither has come yet.
function __coordctl_run_command
    set -l words (commandline -opc)
    set -l at (contains -i -- run $words)
    or return 1
    set -l value 0
    set -l name 0
    for i in (seq (math $at + 1) (count $words))
        set -l word $words[$i]
        if contains -- -- $words[(math $at + 1)..-1]
            test $word = --
            or continue
            set name $i
            break
        else if test $value = 1
            set value 0
        else if contains -- $word -w -E -j -p -d --wait --timeout --conflict-exit-code --slots --permits --description --priority --strict --on-loss
            set value 1
        else if not string match -q -- '-*' $word
            set name $i
            break
        end
    end
    test $name -gt 0
    or return 1
    test $name -lt (count $words)
    and printf '%s\n' $words[(math $name + 1)..-1]
    return 0
end

function __coordctl_complete_command
    complete -C (string join ' ' -- (__coordctl_run_command | string escape) (commandline -ct))
end

set -l verbs run acquire release renew check break list show watch semaphore status version

complete -c coordctl -f
complete -c coordctl -l system -d 'The locks of the system'
complete -c coordctl -l user -d 'The locks of this user alone'
complete -c coordctl -l json -d 'JSON for programs'
complete -c coordctl -s q -l quiet -d 'Say nothing when something is not granted'
complete -c coordctl -s h -l help -d 'How to use it'
complete -c coordctl -n "not __coordctl_using $verbs" -l version -d 'The version'

complete -c coordctl -n "not __coordctl_using $verbs" -a run -d 'Run a command while holding names'
complete -c coordctl -n "not __coordctl_using $verbs" -a acquire -d 'Acquire for an owner, print the token'
complete -c coordctl -n "not __coordctl_using $verbs" -a release -d 'End a hold'
complete -c coordctl -n "not __coordctl_using $verbs" -a renew -d 'Let a lease end later'
complete -c coordctl -n "not __coordctl_using $verbs" -a check -d 'Whether a hold stands'
complete -c coordctl -n "not __coordctl_using $verbs" -a break -d 'End every hold of a name by force'
complete -c coordctl -n "not __coordctl_using $verbs" -a list -d 'What is held or waited for'
complete -c coordctl -n "not __coordctl_using $verbs" -a show -d 'Who holds a name and who waits'
complete -c coordctl -n "not __coordctl_using $verbs" -a watch -d 'Each change as it comes'
complete -c coordctl -n "not __coordctl_using $verbs" -a semaphore -d 'Give a semaphore a capacity'
complete -c coordctl -n "not __coordctl_using $verbs" -a status -d 'The figures of the shared segment'
complete -c coordctl -n "not __coordctl_using $verbs" -a version -d 'The version'

set -l want '__coordctl_using run acquire; and not __coordctl_run_command >/dev/null'
complete -c coordctl -n $want -s s -l shared -d 'Beside other shared holders'
complete -c coordctl -n $want -s x -l exclusive -d 'Alone'
complete -c coordctl -n $want -s n -l nonblock -d 'Do not wait'
complete -c coordctl -n $want -s w -l wait -x -d 'Wait at most so many seconds'
complete -c coordctl -n $want -s E -l conflict-exit-code -x -d 'Exit status when not granted'
complete -c coordctl -n $want -s j -l slots -x -d 'A semaphore of so many permits'
complete -c coordctl -n $want -s p -l permits -x -d 'Take so many permits'
complete -c coordctl -n $want -s d -l description -x -d 'What it is for'
complete -c coordctl -n $want -l priority -x -d '-20 (sooner) to 19 (later)'
complete -c coordctl -n $want -l strict -x -a 'yes no' -d 'Wait for all threads of a dead holder'

set -l run '__coordctl_using run; and not __coordctl_run_command >/dev/null'
complete -c coordctl -n $run -s F -l exec -d 'The command takes the place of coordctl'
complete -c coordctl -n $run -l on-loss -x -a 'TERM INT HUP KILL' -d 'Sent when the hold is lost'
complete -c coordctl -n $run -l scope -d 'Until all descendants are gone'
complete -c coordctl -n $run -l verbose -d 'Tell what is done'
complete -c coordctl -n $run -a '(__coordctl_names)'
complete -c coordctl -n '__coordctl_run_command >/dev/null' -x -a '(__coordctl_complete_command)'

complete -c coordctl -n '__coordctl_using acquire' -l owner -x -a 'pid:%self lease:30s' -d 'What the hold ends with'
complete -c coordctl -n '__coordctl_using acquire show break watch release' -a '(__coordctl_names)'
complete -c coordctl -n '__coordctl_using release renew check' -a '(__coordctl_tokens)'
complete -c coordctl -n '__coordctl_using list' -a 'locks semaphores queues'
complete -c coordctl -n '__coordctl_using semaphore; and not __coordctl_using set' -a set
complete -c coordctl -n '__coordctl_using semaphore; and __coordctl_using set' -a '(__coordctl_names)'
