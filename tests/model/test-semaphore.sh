#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# semaphore.pml is right, and its planted faults are found. Knows nothing of the protocol.
here=$(dirname "$0")
exec sh "$here/run.sh" "$here" semaphore
