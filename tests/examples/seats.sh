#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# seats.sh COMMAND [ARG...]: run a program that needs one of three licence seats.
#
# A seat comes back by itself when the program ends, however it ends. Who has no seat within
# SEATS_WAIT seconds (default 10) is told who sits there, and gets 75 (try again later).

: "${COORDCTL:=coordctl}" "${SEATS_WAIT:=10}"
SEATS=3
NAME=licence/cad

if [ $# -eq 0 ]; then
        echo "usage: seats.sh COMMAND [ARG...]" >&2
        exit 64
fi

exec "$COORDCTL" --user run \
        --slots="$SEATS" -w "$SEATS_WAIT" -E 75 -d "seat of $(id -un)" "$NAME" -- "$@"
