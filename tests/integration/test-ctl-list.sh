#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# coordctl list, show, watch and status: tables for people, JSON for programs, nothing for terminals.
# shellcheck disable=SC2154,SC2016,SC2317 # variables set by expect and hold; expansions meant for inner shells
. "$(dirname "$0")/ctl.bash"

nothing_there() {
        expect 0 ctl list
        same "$(wc -l <"$work/out")" 1
        case $out in
        NAME*KIND*STATE*HOLDER*OWNER*SINCE*WAITERS*DESCRIPTION) ;;
        *) fail "head: $out" ;;
        esac
        expect 0 ctl --json list
        same "$out" '[]'
        expect 0 ctl list --json locks
        same "$out" '[]'
        expect 1 ctl show x
        says "nobody holds 'x'"
        expect 1 ctl --json show x
        same "$(json 'j["held"], j["holders"], j["waiters"], j["kind"], j["name"]')" "(False, [], [], 'lock', 'x')"
}

table() {
        hold one -d 'the description' backup
        expect 0 ctl list
        same "$(wc -l <"$work/out")" 2
        case $(tail -n 1 "$work/out") in
        backup*exclusive*held*"$pid"*"pid:$pid+$child"*'the description') ;;
        *) fail "$out" ;;
        esac
        expect 0 ctl list locks
        same "$(wc -l <"$work/out")" 2
        expect 0 ctl list semaphores
        same "$(wc -l <"$work/out")" 1
        hold two -j 3 -p 2 seats
        expect 0 ctl list semaphores
        case $(tail -n 1 "$work/out") in
        seats*semaphore*2/3*"x2"*) ;;
        *) fail "$out" ;;
        esac
        expect 0 ctl list
        same "$(awk 'NR > 1 { print $1 }' "$work/out")" $'backup\nseats'
}

# A line for each holder, and columns that stand one beneath the other.
several_holders() {
        hold one -s x
        hold two -s x
        hold three -s x
        expect 0 ctl list
        same "$(grep -c '^x  *shared' "$work/out")" 3
        python3 - "$work/out" <<'END' || fail "not aligned: $out"
import sys
lines = open(sys.argv[1]).read().splitlines()
at = [lines[0].index(word) for word in lines[0].split()]
sys.exit(any(line[i - 1] != " " or line[i] == " " for line in lines for i in at[1:]))
END
}

schema() {
        local first waiter

        hold one -d why x
        first=$pid
        watch x
        start run --priority=-3 -d 'me too' x true
        waiter=$!
        event Waiting "\"pid\":$waiter"
        hold two -j 3 -p 2 s
        out=$(ctl --json list)
        python3 - "$out" "$first" "$waiter" <<'END' || fail "$out"
import json, sys
entries, holder, waiter = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
# A semaphore stays when nobody holds it: there may be some from before.
entries = [e for e in entries if e["holders"]]
keys = {"kind", "name", "held", "mode", "reserved", "capacity", "free", "holders", "waiters"}
party = {"token", "owner", "pid", "uid", "command", "unit", "description", "mode", "permits",
         "priority", "reserved", "since_usec"}
assert [e["name"] for e in entries] == ["x", "s"]
for e in entries:
    assert set(e) == keys, e
    for p in e["holders"] + e["waiters"]:
        assert set(p) == party, p
x, s = entries
assert (x["kind"], x["held"], x["mode"], x["reserved"]) == ("lock", True, "exclusive", False)
assert x["capacity"] is None and x["free"] is None
h, = x["holders"]
assert h["token"].startswith("lock:x:") and h["pid"] == holder and h["description"] == "why"
assert h["owner"].startswith("pid:%d+" % holder) and h["command"] == "coordctl"
import os, time
assert h["uid"] == os.getuid() and 0 < h["since_usec"] <= time.time() * 1e6
w, = x["waiters"]
assert w["token"] is None and w["pid"] == waiter and w["priority"] == -3
assert w["mode"] == "exclusive" and w["description"] == "me too"
assert (s["kind"], s["held"], s["mode"]) == ("semaphore", True, None)
assert (s["capacity"], s["free"], s["holders"][0]["permits"]) == (3, 1, 2)
END
        out=$(ctl --json show lock:x)
        same "$(json 'j["name"], len(j["holders"]), len(j["waiters"])')" "('x', 1, 1)"
        let_go one
        expect_end 0 "$first"
}

details() {
        hold one -d 'what for' x
        watch x
        start run -d 'waits too' x true
        event Waiting "\"pid\":$!"
        expect 0 ctl show x
        for words in 'Name: *x' 'Kind: *lock' 'State: *held, exclusive' "Holder: *$pid (coordctl)" \
                'Token: *lock:x:' "Owner: *pid:$pid+$child" 'Since: .* ago' 'Description: *what for' \
                "Waiter 1: *$! (coordctl)" 'Description: *waits too'; do
                grep -q "$words" "$work/out" || fail "no '$words' in: $out"
        done
        hold two -j 2 x
        expect 0 ctl show x
        same "$(grep -c '^Name:' "$work/out")" 2 'lock and semaphore'
        expect 0 ctl show lock:x
        same "$(grep -c '^Name:' "$work/out")" 1
        expect 0 ctl --json show sem:x
        same "$(json 'j["kind"]')" semaphore
}

queue_order() {
        local waiters=() i

        hold one x
        watch x
        for i in 1 2 3 4; do
                start run x true
                waiters+=("$!")
                event Waiting "\"pid\":$!"
        done
        out=$(ctl --json show lock:x)
        same "$(json '[w["pid"] for w in j["waiters"]]')" "[$(printf '%s, ' "${waiters[@]}" | sed 's/, $//')]"
        let_go one
        for i in "${waiters[@]}"; do
                expect_end 0 "$i"
        done
}

# Nothing that a holder says reaches the terminal as it is.
terminals_are_safe() {
        hold one -d $'\e[31mred\nline\t\x7f\u009b5m \u202eturned \xff \\' x
        for command in 'list' 'show x' 'list --json' 'show --json x'; do
                # shellcheck disable=SC2086
                expect 0 ctl $command
                python3 - "$work/out" <<'END' || fail "$command: $out"
import sys, unicodedata
text = open(sys.argv[1], "rb").read().decode("utf-8")
sys.exit(any(unicodedata.category(c) in ("Cc", "Cf") and c != "\n" for c in text))
END
        done
        expect 0 ctl list locks
        same "$(wc -l <"$work/out")" 2
        case $out in
        *'\x1b[31mred\x0aline'*) ;;
        *) fail "$out" ;;
        esac
        # Who is refused is told of the holder, in one line.
        expect 1 ctl run -n x true
        same "$(tr -d '[:print:]\n' <"$work/err" | wc -c)" 0 'bytes that are not printable'
        same "$(wc -l <"$work/err")" 1
}

program_names_are_escaped() {
        local name=$'ta\e[2Jil'

        cp "$(command -v tail)" "$work/$name"
        fifos up
        start run -F x sh -c 'echo >"$1"; exec "$2" -f /dev/null' sh "$work/up" "$work/$name"
        read -r line <"$work/up"
        expect 0 ctl list
        same "$(tr -d '[:print:]\n' <"$work/out" | wc -c)" 0
}

watch_json() {
        local first

        hold early -d before a
        exec {events}< <(exec "$COORDCTL" --json watch)
        watcher=$!
        started+=("$watcher")
        event Acquired '"name":"a"'
        out=$line
        same "$(json 'j["initial"], j["party"]["description"], j["kind"]')" "(True, 'before', 'lock')"
        event Watching
        out=$line
        same "$(json 'j["glob"]')" '*'
        hold one b
        first=$pid
        event Acquired '"name":"b"'
        out=$line
        same "$(json 'j["initial"], j["token"].startswith("lock:b:"), j["time_usec"] > 10**15')" '(False, True, True)'
        token=$(json 'j["token"]')
        start run b true
        event Waiting '"name":"b"'
        out=$line
        same "$(json 'j["party"]["pid"], j["waiters"]')" "($!, 1)"
        event Contended '"name":"b"'
        out=$line
        same "$(json 'j["waiters"]')" 1
        let_go one
        expect_end 0 "$first"
        event Released "\"token\":\"$token\""
        expect_end 0 "$!"
        kill -TERM "$watcher"
        wait "$watcher" || fail "watch ended with $?"
}

watch_text() {
        local signal lines

        for signal in INT TERM; do
                exec {lines}< <(exec python3 -c '
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$COORDCTL" watch "wanted-$signal*")
                watcher=$!
                started+=("$watcher")
                read -r -u "$lines" line
                case $line in
                *'  Watching '*'wanted-'*) ;;
                *) fail "$line" ;;
                esac
                ctl run unwanted true
                hold "w$signal" "wanted-$signal"
                read -r -u "$lines" line
                case $line in
                20*'  Acquired '*"lock:wanted-$signal:"*"$pid (coordctl)") ;;
                *) fail "$line" ;;
                esac
                kill -s "$signal" "$watcher"
                wait "$watcher" || fail "SIG$signal: watch ended with $?"
                exec {lines}<&-
        done
}

status() {
        hold one x
        expect 0 ctl status
        for words in 'Scope: *system' "Segment: *$COORD_RUNTIME_DIR/segment" 'Epoch: *[1-9]' \
                'Names: *[1-9][0-9]* of' 'Daemon: *not running'; do
                grep -q "$words" "$work/out" || fail "no '$words' in: $out"
        done
        expect 0 ctl --json status
        same "$(json 'j["scope"], j["path"], j["daemon"], j["deleted"]')" \
                "('system', '$COORD_RUNTIME_DIR/segment', False, False)"
        same "$(json 'j["names"] >= 1, j["names_max"] > 1000, j["processes"] >= 1, j["epoch"] > 0')" \
                '(True, True, True, True)'
        expect 0 ctl --json --user status
        same "$(json 'j["scope"]')" user
}

testcase nothing_held_is_an_empty_table nothing_there
testcase table_shows_who_holds_what table
testcase table_has_a_line_for_each_holder several_holders
testcase json_has_every_key schema
testcase show_tells_all details
testcase waiters_are_in_queue_order queue_order
testcase control_characters_are_escaped terminals_are_safe
testcase program_names_are_escaped program_names_are_escaped
testcase watch_tells_each_change watch_json
testcase watch_ends_with_0_by_a_signal watch_text
testcase status_shows_the_segment status
finish
