/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mutex of one process.
 */
#include <pthread.h>

#include "unit.h"
#include "util/lite.h"

enum {
        THREADS = 8,
        ROUNDS = 5000
};

static Lite lite;
static uint64_t count, inside;

START_TEST(zeroed_memory_is_a_free_mutex) {
        Lite l = 0;

        ck_assert(lite_trylock(&l));
        ck_assert(!lite_trylock(&l));
        lite_unlock(&l);
        lite_lock(&l);
        lite_unlock(&l);
        ck_assert_uint_eq(atomic_load(&l), 0);
}
END_TEST

static void *count_up(void *arg) {
        bool exclusive = true;

        (void) arg;
        for (int i = 0; i < ROUNDS; i++) {
                if (i % 3 == 0)
                        while (!lite_trylock(&lite))
                                (void) sched_yield();
                else if (lite_lock_until(&lite, USEC_INFINITE) < 0)
                        return NULL;
                exclusive &= inside++ == 0;
                count++;
                if (i % 64 == 0)
                        (void) sched_yield(); /* so that others come to sleep */
                inside--;
                lite_unlock(&lite);
        }
        return exclusive ? &lite : NULL;
}

START_TEST(threads_exclude_each_other_and_none_stays_asleep) {
        pthread_t threads[THREADS];
        void *ret;

        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, NULL), 0);
        for (int i = 0; i < THREADS; i++) {
                ck_assert_int_eq(pthread_join(threads[i], &ret), 0);
                ck_assert_ptr_eq(ret, &lite);
        }
        ck_assert_uint_eq(count, (uint64_t) THREADS * ROUNDS);
        ck_assert_uint_eq(atomic_load(&lite), 0);
}
END_TEST

START_TEST(deadline_of_the_past_is_etimedout_when_held_and_ignored_when_free) {
        Lite l = 0;

        assert_result(lite_lock_until(&l, 1), 0);
        assert_result(lite_lock_until(&l, 1), -ETIMEDOUT);
        assert_result(lite_lock_until(&l, 0), -ETIMEDOUT);
        lite_unlock(&l);
        assert_result(lite_lock_until(&l, 1), 0);
        lite_unlock(&l);
}
END_TEST

START_TEST(deadline_is_not_reported_early) {
        uint64_t deadline = clock_usec(CLOCK_MONOTONIC) + 2000;
        Lite l = 1;

        assert_result(lite_lock_until(&l, deadline), -ETIMEDOUT);
        ck_assert_uint_ge(clock_usec(CLOCK_MONOTONIC), deadline);
        lite_unlock(&l);
        ck_assert(lite_trylock(&l));
}
END_TEST

int main(void) {
        Suite *s = suite_create("lite");

        unit_fact(s, zeroed_memory_is_a_free_mutex);
        unit_fact(s, threads_exclude_each_other_and_none_stays_asleep);
        unit_fact(s, deadline_of_the_past_is_etimedout_when_held_and_ignored_when_free);
        unit_fact(s, deadline_is_not_reported_early);
        return unit_run(s);
}
