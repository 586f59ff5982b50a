#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl acquire, release, renew, check and break: holds that belong to another process or to time.
# shellcheck disable=SC2016,SC2154,SC2317 # variables set by expect and hold
. "$(dirname "$0")/ctl.bash"

# sleeper ID: a process that lives until end ID; sets $owner.
sleeper() {
        fifos "$1.life"
        sh -c 'read -r line <"$1"' sh "$work/$1.life" &
        owner=$!
        started+=("$owner")
}

of_a_process() {
        local token

        sleeper one
        token=$(ctl acquire --owner="pid:$owner" x) || fail "acquire: $?"
        case $token in
        lock:x:*.*) ;;
        *) fail "token: $token" ;;
        esac
        expect 0 ctl check "$token"
        same "$out$err" ""
        expect 1 ctl run -n x true
        out=$(ctl --json show x)
        same "$(json 'j["holders"][0]["owner"]')" "pid:$owner"
        same "$(json 'j["holders"][0]["token"]')" "$token"
        expect 0 ctl release "$token"
        expect 1 ctl check "$token"
        expect 1 ctl release "$token"
        expect 0 ctl run -n x true
        kill "$owner"
}

ends_with_the_process() {
        local token

        sleeper one
        token=$(ctl acquire --owner="pid:$owner" x)
        watch x
        start run x sh -c '[ "$COORD_ABANDONED" = 1 ]'
        event Waiting "\"pid\":$!"
        kill -KILL "$owner"
        expect_end 0 "$!"
        expect 1 ctl check "$token"
        expect 1 ctl release "$token"
}

of_a_process_that_is_gone() {
        sleeper one
        kill "$owner"
        wait "$owner" 2>/dev/null
        expect 1 ctl acquire --owner="pid:$owner" x
        expect 1 ctl show x
}

lease_runs_out() {
        local token

        token=$(ctl acquire --owner=lease:100ms x)
        expect 0 ctl run -w 60 x true
        expect 1 ctl check "$token"
        expect 1 ctl renew "$token" 1s
        expect 1 ctl release "$token"
}

lease_is_renewed() {
        local token

        token=$(ctl acquire --owner=lease:1h x)
        expect 0 ctl renew "$token" 2h
        expect 0 ctl check "$token"
        out=$(ctl --json show x)
        case $(json 'j["holders"][0]["owner"]') in
        lease:*) ;;
        *) fail "owner: $out" ;;
        esac
        # Shortened, it runs out.
        expect 0 ctl renew "$token" 1ms
        expect 0 ctl run -w 60 x true
        expect 1 ctl renew "$token" 1h
}

renew_what_is_no_lease() {
        local token

        sleeper one
        token=$(ctl acquire --owner="pid:$owner" x)
        expect 64 ctl renew "$token" 5s
        expect 0 ctl release "$token"
        kill "$owner"
}

release_by_name() {
        expect 0 ctl acquire --owner=lease:1h x
        expect 0 ctl release x
        expect 1 ctl release x
        expect 0 ctl acquire --owner=lease:1h -j 2 s
        expect 0 ctl release s
        expect 1 ctl release s
        # Twice held, the name alone doesn't say which.
        expect 0 ctl acquire --owner=lease:1h -s x
        expect 0 ctl acquire --owner=lease:1h -s x
        ctl release x 2>/dev/null && fail "released one of two"
        expect 0 ctl --user break x
}

not_granted() {
        expect 0 ctl acquire --owner=lease:1h x
        expect 1 ctl acquire --owner=lease:1h -n x
        same "$out" ""
        expect 1 ctl acquire --owner=lease:1h -w 0.01 x
        expect 9 ctl acquire --owner=lease:1h -n -E 9 x
        expect 1 ctl -q acquire --owner=lease:1h -n x
        same "$err" ""
        expect 0 ctl release x
}

permits() {
        local first second

        first=$(ctl acquire --owner=lease:1h -j 3 -p 2 seats)
        second=$(ctl acquire --owner=lease:1h -j 3 seats)
        expect 1 ctl acquire --owner=lease:1h -n -j 3 seats
        expect 65 ctl acquire --owner=lease:1h -n -j 4 seats
        expect 0 ctl release "$first"
        expect 0 ctl acquire --owner=lease:1h -n -p 2 seats
        expect 0 ctl release "$second"
        expect 0 ctl --user break sem:seats
        expect 0 ctl run -n -p 3 seats true
}

several() {
        expect 0 ctl acquire --owner=lease:1h a sem:b:1:2
        same "$(wc -l <"$work/out")" 2
        while read -r token; do
                expect 0 ctl check "$token"
        done <<<"$out"
        expect 1 ctl acquire --owner=lease:1h -n c a
        expect 1 ctl show c
        expect 0 ctl --user break a
        expect 0 ctl --user break sem:b
}

json_of_acquire() {
        expect 0 ctl --json acquire --owner=lease:1h -d why x
        same "$(json 'j["name"]')" x
        same "$(json 'j["abandoned"]')" False
        token=$(json 'j["token"]')
        expect 0 ctl --json check "$token"
        same "$(json 'j["valid"]')" True
        expect 0 ctl release "$token"
        expect 1 ctl --json check "$token"
        same "$(json 'j["valid"]')" False
}

breaking() {
        local token

        token=$(ctl acquire --owner=lease:1h x)
        expect 0 ctl --user break x
        expect 1 ctl check "$token"
        expect 1 ctl release "$token"
        expect 0 ctl run -n x true
        ctl --user break never-held 2>"$work/err"
        case $? in
        0 | 1) ;;
        *) fail "break of a free lock: $?" ;;
        esac
}

# The token of an older grant ends nothing that came later.
old_tokens_do_nothing() {
        local old new

        old=$(ctl acquire --owner=lease:1h x)
        expect 0 ctl release "$old"
        new=$(ctl acquire --owner=lease:1h x)
        expect 1 ctl release "$old"
        expect 1 ctl renew "$old" 1s
        expect 1 ctl check "$old"
        expect 0 ctl check "$new"
        expect 1 ctl check "${new/:x:/:y:}"
        expect 1 ctl release "${new/:x:/:y:}"
        expect 0 ctl check "$new"
        expect 0 ctl release "$new"
}

# A reader that is gone would never give the hold back.
unread_token_is_released() {
        (
                trap '' PIPE
                exec 3> >(:)
                wait $!
                "$COORDCTL" acquire --owner=lease:1h x >&3 2>"$work/err"
                echo $? >"$work/status"
        )
        same "$(<"$work/status")" 74
        expect 1 ctl show x
}

# The shell script of the manual.
script() {
        cat >"$work/script" <<'END'
token=$("$COORDCTL" acquire --owner=pid:$$ -w 10 deploy) || exit
"$COORDCTL" check "$token" || exit
"$COORDCTL" release "$token"
END
        expect 0 bash "$work/script"
        expect 1 ctl show deploy
}

testcase pid_owner_is_released of_a_process
testcase pid_owner_dies_and_the_waiter_is_told ends_with_the_process
testcase dead_pid_gets_nothing of_a_process_that_is_gone
testcase lease_runs_out lease_runs_out
testcase lease_is_renewed lease_is_renewed
testcase only_leases_are_renewed renew_what_is_no_lease
testcase release_by_name release_by_name
testcase acquire_not_granted not_granted
testcase acquire_takes_permits permits
testcase acquire_several several
testcase acquire_and_check_speak_json json_of_acquire
testcase break_ends_holds breaking
testcase old_tokens_do_nothing old_tokens_do_nothing
testcase unread_token_is_released unread_token_is_released
testcase script_of_the_manual script
finish
