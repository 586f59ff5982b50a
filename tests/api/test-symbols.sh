#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the shared library shows to the world: exactly the functions that its header declares, each
# with a version; its SONAME; and nothing needed but libc.
#
# usage: test-symbols.sh LIBRARY HEADER
set -euo pipefail

library=$1
header=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/coord-symbols-XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0

complain() {
        echo "not ok: $*"
        failed=1
}

# Functions that the header declares, inline ones and types apart.
sed -e 's,//.*,,' "$header" | tr '\n' ' ' | sed -e 's,/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/,,g' |
        grep -o '[a-z_ *]*\bcoord_[a-z_]*(' | grep -v 'static inline' |
        grep -o 'coord_[a-z_]*($' | tr -d '(' | sort -u |
        grep -v -E '^coord_(client_unrefp|lock_unrefp|hold_unrefp|slot_unrefp|holds_freep)$' \
                >"$work/declared"

# NAME@@VERSION for each defined dynamic symbol; the version node itself is absolute.
nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' >"$work/versioned"
sed -e 's/@.*//' "$work/versioned" | sort -u >"$work/exported"

[ -s "$work/declared" ] || complain "no function found in $header"
if ! diff "$work/declared" "$work/exported" >"$work/diff"; then
        complain "the header declares (<) something else than the library exports (>):"
        cat "$work/diff"
fi
if grep -v -E '^coord_[a-z_]+$' "$work/exported"; then
        complain "these symbols are no coord_ names"
fi
if grep -v -E '@@?[A-Z]+[A-Z0-9_.]*$' "$work/versioned"; then
        complain "these symbols have no version"
fi

soname=$(readelf -dW "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
[ "$soname" = libcoordclient.so.0 ] || complain "SONAME is '$soname'"

# A sanitizer's run-time library is the build's own choice.
needed=$(readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' |
        grep -v -E '^lib(a|t|ub|l)san\.so' || true)
for name in $needed; do
        case $name in
        libc.so.6 | ld-linux*.so.*) ;;
        *) complain "$name is needed" ;;
        esac
done

if readelf -lW "$library" | grep GNU_STACK | grep -q RWE; then
        complain "the stack is executable"
fi
if readelf -dW "$library" | grep -q TEXTREL; then
        complain "there are text relocations"
fi
if [ "$failed" -eq 0 ]; then
        echo "ok: $(wc -l <"$work/exported") symbols, $soname, needs only libc"
fi
exit "$failed"
