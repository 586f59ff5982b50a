/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Futex calls, and nothing else: no word's meaning is known here.
 */
#include "segment/word.h"

#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef FUTEX_32
#define FUTEX_32 2
struct futex_waitv {
        uint64_t val, uaddr;
        uint32_t flags, __reserved;
};
#endif

/* Where futex_waitv is missing (a filter, an emulator) the first word is slept on for at most this long. */
#define FALLBACK_USEC 2000

static struct timespec to_timespec(uint64_t usec) {
        return (struct timespec){
                        .tv_sec = (time_t) (usec / USEC_PER_SEC),
                        .tv_nsec = (long) (usec % USEC_PER_SEC) * 1000,
        };
}

static int sleep_one(const WordSleep *s, uint64_t deadline) {
        struct timespec ts = to_timespec(deadline);
        int op = FUTEX_WAIT_BITSET | (s->private ? FUTEX_PRIVATE_FLAG : 0);

        if (syscall(SYS_futex, (uint32_t *) s->word, op, s->value,
                            deadline == USEC_INFINITE ? NULL : &ts, NULL,
                            FUTEX_BITSET_MATCH_ANY) < 0 &&
                        errno == ETIMEDOUT)
                return -ETIMEDOUT;
        return 0;
}

static int sleep_fallback(const WordSleep *sleeps, size_t n, uint64_t deadline) {
        uint64_t until = usec_add(clock_usec(CLOCK_MONOTONIC), FALLBACK_USEC);

        for (size_t i = 0; i < n; i++)
                if (atomic_load(sleeps[i].word) != sleeps[i].value)
                        return 0;
        if (sleep_one(sleeps, MIN_OF(until, deadline)) < 0 && until >= deadline)
                return -ETIMEDOUT;
        return 0;
}

int word_sleep(const WordSleep *sleeps, size_t n, uint64_t deadline) {
        static _Atomic bool missing = false;
        struct futex_waitv waits[WORD_SLEEP_MAX];
        struct timespec ts = to_timespec(deadline);

        if (n == 1)
                return sleep_one(sleeps, deadline);
        if (n > WORD_SLEEP_MAX)
                return 0;
        if (atomic_load_explicit(&missing, memory_order_relaxed))
                return sleep_fallback(sleeps, n, deadline);
        for (size_t i = 0; i < n; i++)
                waits[i] = (struct futex_waitv){
                                .val = sleeps[i].value,
                                .uaddr = (uint64_t) (uintptr_t) sleeps[i].word,
                                .flags = FUTEX_32 | (sleeps[i].private ? FUTEX_PRIVATE_FLAG : 0),
                };
        if (syscall(SYS_futex_waitv, waits, (unsigned) n, 0, deadline == USEC_INFINITE ? NULL : &ts,
                            CLOCK_MONOTONIC) >= 0)
                return 0;
        if (errno == ETIMEDOUT)
                return -ETIMEDOUT;
        if (errno == ENOSYS || errno == EPERM)
                atomic_store_explicit(&missing, true, memory_order_relaxed);
        return 0;
}

void word_wake(Word *word, int n) {
        (void) syscall(SYS_futex, (uint32_t *) word, FUTEX_WAKE, n, NULL, NULL, 0);
}

void word_wake_private(Word *word, int n) {
        (void) syscall(SYS_futex, (uint32_t *) word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, NULL, NULL,
                        0);
}

bool word_owner_exists(uint32_t tid) {
        return kill((pid_t) tid, 0) >= 0 || errno != ESRCH;
}
