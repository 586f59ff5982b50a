#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# seats.sh: three sit, the fourth waits or is told; a seat comes back however its program ends.

. "$(dirname "$0")/common.sh"

for i in 1 2 3; do
        start "seat$i" "$here/seats.sh" sh -c 'echo seated; read -r x'
        hear "seat$i"
        same "seat $i is taken" seated "$line"
done

SEATS_WAIT=0 "$here/seats.sh" touch "$dir/fourth" 2>"$dir/message"
same "the fourth gets 75" 75 $?
[ ! -e "$dir/fourth" ]
same "and its program did not run" 0 $?

tell seat1 up
finished seat1
same "a program ends" 0 "$status"
SEATS_WAIT=60 "$here/seats.sh" touch "$dir/fourth"
same "and its seat is free" 0 $?

start waiter env SEATS_WAIT=60 "$here/seats.sh" echo seated
murder seat2
start waiter2 env SEATS_WAIT=60 "$here/seats.sh" sh -c 'echo seated; read -r x'
hear waiter
same "a killed holder's seat is given to one who waited" seated "$line"
finished waiter
hear waiter2
same "and then to the next" seated "$line"

tell waiter2 up
tell seat3 up
finished waiter2
finished seat3
finish
