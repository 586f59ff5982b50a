/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Instrumented steps: the places where a death between two instructions matters. In ordinary builds
 * they are nothing; built with -DCOORD_STEPS each calls a hook, and the torture kills there.
 */
#pragma once

/* clang-format off */
#define COORD_STEP_LIST(X) \
        X(FAST_LISTED) X(FAST_TAKEN) X(FAST_GRANTED) X(QLOCK_WAIT) X(QLOCK_WOKEN) \
        X(QLOCK_TAKEN) X(QLOCK_FREED) X(QLOCK_WAKED) X(TRIMMED) X(CELL_CLAIMED) X(CELL_LISTED) \
        X(CELL_OWNED) X(CELL_LINKED) X(GATE_CLOSED) X(CELL_PENDING) X(CELL_FREED) \
        X(CELL_WAKED) X(SKIPPED) X(PRED_SLEEP) X(HEAD_SLEEP) X(HEAD_WOKEN) X(FIXED) \
        X(GATE_TAKEN) X(QUEUE_EMPTIED) X(READER_CLAIMED) X(READER_UNDONE) X(PERMIT_TAKEN) \
        X(PERMIT_BACK) X(FENCE_GIVEN) X(FENCE_CLEARED) X(RELEASE_PENDING) X(RELEASE_STORED) \
        X(RELEASE_WAKED) X(RELEASE_GATE_DONE) X(RECORD_WRITTEN) X(RECORD_MOVING) \
        X(RECORD_STANDS) X(CLAIMED) X(CLAIM_FREED) X(INSERTED) X(INSERT_ACKED) X(TABLE_TAKEN) \
        X(SLOT_LINKED) X(RECLAIMING)
/* clang-format on */

#define COORD_STEP_ENUM(name) COORD_STEP_##name,
enum {
        COORD_STEP_LIST(COORD_STEP_ENUM) COORD_STEP_MAX
};

#ifdef COORD_STEPS
extern void (*coord_step_hook)(unsigned step);
const char *coord_step_name(unsigned step);
#define STEP(name)                                                                                 \
        do {                                                                                       \
                if (coord_step_hook)                                                               \
                        coord_step_hook(COORD_STEP_##name);                                        \
        } while (0)
#else
#define STEP(name)                                                                                 \
        do {                                                                                       \
        } while (0)
#endif
