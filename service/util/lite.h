/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mutex of one process, four bytes, with a deadline: 0 free, 1 held, 2 held and awaited. Unlike a
 * pthread mutex it may be waited for until a CLOCK_MONOTONIC time and lies in zeroed memory.
 */
#pragma once

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "util/util.h"

typedef _Atomic uint32_t Lite;

/* 0, or -ETIMEDOUT when deadline (microseconds of CLOCK_MONOTONIC) came first. */
static inline int lite_lock_until(Lite *l, uint64_t deadline) {
        uint32_t v = 0;

        if (LIKELY(atomic_compare_exchange_strong_explicit(
                            l, &v, 1, memory_order_acquire, memory_order_relaxed)))
                return 0;
        while (atomic_exchange_explicit(l, 2, memory_order_acquire) != 0) {
                struct timespec ts = {
                                .tv_sec = (time_t) (deadline / USEC_PER_SEC),
                                .tv_nsec = (long) (deadline % USEC_PER_SEC) * 1000,
                };
                long r = syscall(SYS_futex, (uint32_t *) l, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
                                2, deadline == USEC_INFINITE ? NULL : &ts, NULL,
                                FUTEX_BITSET_MATCH_ANY);
                if (r < 0 && errno == ETIMEDOUT)
                        return -ETIMEDOUT;
        }
        return 0;
}

static inline void lite_lock(Lite *l) {
        (void) lite_lock_until(l, USEC_INFINITE);
}

static inline bool lite_trylock(Lite *l) {
        uint32_t v = 0;

        return atomic_compare_exchange_strong_explicit(
                        l, &v, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void lite_unlock(Lite *l) {
        if (atomic_exchange_explicit(l, 0, memory_order_release) == 2)
                (void) syscall(SYS_futex, (uint32_t *) l, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL,
                                NULL, 0);
}

static inline void lite_unlockp(Lite **l) {
        if (*l)
                lite_unlock(*l);
}
