#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Verifies the models with spin, exhaustively, and shows that each planted fault is found.
#
#	run.sh [DIRECTORY [MODEL...]]
#
# One line a check, "ok" or "FAIL"; exit status 0 if all are ok. A search that was cut short (depth,
# memory, bit states) is a failure and never an "ok". Knows nothing of what the models say.
set -u
export LC_ALL=C

dir=$(cd "${1:-$(dirname "$0")}" && pwd) || exit 1
[ $# -gt 0 ] && shift
spin=${SPIN:-spin}
cc=${CC:-cc}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
failed=0

say() { # RESULT TEXT [FILE to show]
	printf '%s %s\n' "$1" "$2"
	if [ "$1" = FAIL ]; then
		failed=1
		[ $# -lt 3 ] || sed 's/^/     /' "$3"
	fi
}

# build MODEL [SPIN OPTION...]: makes $work/pan as anybody would by hand.
build() {
	rm -f "$work"/pan*
	model=$1
	shift
	(
		cd "$work" &&
			"$spin" "$@" -a "$dir/$model.pml" &&
			"$cc" -O2 -w -DSAFETY -o pan pan.c
	) >"$work/log" 2>&1
}

# Was every state looked at?
whole() {
	grep -q '^Full statespace search for:' "$1" &&
		! grep -qi -e 'max search depth too small' -e 'out of memory' -e 'search not completed' \
			-e 'bit statespace' -e 'hash-compact' -e 'aborted' -e 'warning' "$1"
}

verify() { # MODEL
	build "$1" || {
		say FAIL "$1: does not build" "$work/log"
		return
	}
	(cd "$work" && ./pan) >"$work/out" 2>&1
	status=$?
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$work/out")
	depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' "$work/out")
	if [ $status -eq 0 ] && grep -q 'errors: 0$' "$work/out" && whole "$work/out"; then
		say ok "$1: no error in $states states, depth $depth, nothing left out"
	else
		grep -v '^Depth=' "$work/out" >"$work/short"
		[ ! -f "$work/$1.pml.trail" ] || (cd "$work" && "$spin" -t -p -g "$dir/$1.pml") >>"$work/short" 2>&1
		say FAIL "$1: not verified (status $status)" "$work/short"
	fi
}

plant() { # MODEL FAULT
	build "$1" "-D$2" || {
		say FAIL "$1: $2 does not build" "$work/log"
		return
	}
	(cd "$work" && ./pan) >"$work/out" 2>&1
	what=$(sed -n 's/^pan:1: \([a-z ]*[a-z]\).*/\1/p' "$work/out")
	if grep -q 'errors: 1$' "$work/out" && [ -n "$what" ]; then
		say ok "$1: $2 is found ($what)"
	else
		say FAIL "$1: $2 is not found" "$work/out"
	fi
}

if [ $# -eq 0 ]; then
	for file in "$dir"/*.pml; do
		name=${file##*/}
		set -- "$@" "${name%.pml}"
	done
fi

for name; do
	verify "$name"
	faults=$(grep -o '\bFAULT_[A-Z_]*' "$dir/$name.pml" | grep -v '^FAULT_$' | sort -u)
	[ -n "$faults" ] || say FAIL "$name: plants no fault"
	for fault in $faults; do
		plant "$name" "$fault"
	done
done
exit $failed
