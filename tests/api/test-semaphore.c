/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Semaphores: permits taken together or not at all, in order of arrival, coming back from the dead.
 * It must never know the library's insides.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

enum {
        SEMAPHORE = COORD_KIND_SEMAPHORE,
        MAX = 1024,
        THREADS = 16,
        ROUNDS = 300
};

#define PERMITS(...) ORDER(.kind = SEMAPHORE, .text = "s", __VA_ARGS__)

static uint32_t free_permits(void) {
        struct glance g = api_glance(SEMAPHORE, "s");
        uint32_t n = g.entry ? g.entry->free : UINT32_MAX;

        api_glance_end(&g);
        return n;
}

/* ---- taking ------------------------------------------------------------------------------- */

START_TEST(as_many_permits_as_the_capacity) {
        coord_client *c = api_client();
        coord_hold *holds[3];

        for (size_t i = 0; i < ELEMENTS(holds); i++)
                holds[i] = api_permits(c, "s", 3, 1);
        assert_result(api_try_permits(c, "s", 3, 1), -EAGAIN);
        ck_assert_uint_eq(free_permits(), 0);
        coord_hold_unref(holds[1]);
        assert_result(api_try_permits(c, "s", 3, 1), 0);
        coord_hold_unref(holds[0]);
        coord_hold_unref(holds[2]);
        ck_assert_uint_eq(free_permits(), 3);
        coord_client_unref(c);
}
END_TEST

START_TEST(permits_never_nest) {
        coord_client *c = api_client();
        coord_hold *first = api_permits(c, "s", 2, 1), *second = api_permits(c, "s", 2, 1);

        ck_assert_str_ne(coord_hold_token(first), coord_hold_token(second));
        ck_assert_uint_eq(free_permits(), 0);
        coord_hold_unref(second);
        coord_hold_unref(first);
        coord_client_unref(c);
}
END_TEST

START_TEST(several_permits_are_taken_together_or_not_at_all) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 4, 2);

        assert_result(api_try_permits(c, "s", 4, 3), -EAGAIN);
        ck_assert_uint_eq(free_permits(), 2);
        assert_result(api_try_permits(c, "s", 4, 2), 0);
        coord_hold_unref(h);
        ck_assert_uint_eq(free_permits(), 4);
        coord_client_unref(c);
}
END_TEST

START_TEST(timed_out_request_gives_back_what_it_gathered) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 4, 1), *none = NULL;

        assert_result(coord_semaphore_acquire(c, "s", 4, 4, 0, 20 * MSEC, &none), -ETIMEDOUT);
        ck_assert_uint_eq(free_permits(), 3);
        assert_result(api_try_permits(c, "s", 4, 3), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(token_and_entry_tell_kind_and_permits) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 5, 3);
        struct glance g = api_glance(SEMAPHORE, "s");

        ck_assert_int_eq(strncmp(coord_hold_token(h), "sem:s:", 6), 0);
        ck_assert_uint_eq(g.entry->capacity, 5);
        ck_assert_uint_eq(g.entry->free, 2);
        ck_assert_uint_eq(g.entry->n_holders, 1);
        ck_assert_uint_eq(g.entry->holders[0].permits, 3);
        ck_assert_str_eq(g.entry->holders[0].token, coord_hold_token(h));
        api_glance_end(&g);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(fence_of_a_semaphore_rises) {
        coord_client *c = api_client();
        uint64_t last = 0, last_epoch = 0;

        for (int i = 0; i < 100; i++) {
                coord_hold *h = api_permits(c, "s", 3, 1 + (uint32_t) i % 3);
                uint64_t epoch, counter;

                assert_result(coord_hold_fence(h, &epoch, &counter), 0);
                ck_assert(epoch > last_epoch || (epoch == last_epoch && counter > last));
                last = counter;
                last_epoch = epoch;
                coord_hold_unref(h);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(lock_and_semaphore_of_one_name_are_two_things) {
        coord_client *c = api_client();
        coord_hold *lock = api_lock(c, "s"), *sem = api_permits(c, "s", 1, 1);

        coord_hold_unref(lock);
        assert_result(api_try_permits(c, "s", 1, 1), -EAGAIN);
        assert_result(api_try(c, "s"), 0);
        coord_hold_unref(sem);
        coord_client_unref(c);
}
END_TEST

START_TEST(each_hold_is_released_once) {
        coord_client *c = api_client();
        coord_hold *first = api_permits(c, "s", 2, 1), *second = api_permits(c, "s", 2, 1);

        assert_result(coord_hold_release(first), 0);
        assert_result(coord_hold_release(first), -ESTALE);
        assert_result(coord_release(c, coord_hold_token(first)), -ESTALE);
        ck_assert_uint_eq(free_permits(), 1);
        assert_result(coord_hold_check(second), 1);
        coord_hold_unref(second);
        coord_hold_unref(first);
        ck_assert_uint_eq(free_permits(), 2);
        coord_client_unref(c);
}
END_TEST

/* ---- waiting ------------------------------------------------------------------------------ */

START_TEST(waiters_are_served_in_order_of_arrival) {
        struct actor *holder = api_process(), *waiters[6];

        assert_answer(api_do(holder, PERMITS(.capacity = 1)), 0);
        for (size_t i = 0; i < ELEMENTS(waiters); i++) {
                waiters[i] = api_process();
                api_send(waiters[i], PERMITS(.capacity = 1));
                api_until_waiters(SEMAPHORE, "s", i + 1);
        }
        api_drop(holder);
        for (size_t i = 0; i < ELEMENTS(waiters); i++) {
                ck_assert_uint_eq(api_next(waiters + i, ELEMENTS(waiters) - i), 0);
                assert_answer(api_answer(waiters[i]), 0);
                api_drop(waiters[i]);
        }
}
END_TEST

START_TEST(big_request_at_the_head_is_not_passed_by_small_ones) {
        struct actor *holders[] = {api_process(), api_process(), api_process()};
        struct actor *big = api_process(), *small = api_process(), *hasty = api_process();

        for (size_t i = 0; i < ELEMENTS(holders); i++)
                assert_answer(api_do(holders[i], PERMITS(.capacity = 4)), 0);
        api_send(big, PERMITS(.permits = 4));
        api_until_waiters(SEMAPHORE, "s", 1);
        assert_answer(api_do(hasty, PERMITS(.patience = PATIENCE_NONE)), -EAGAIN);
        api_send(small, PERMITS(.permits = 1));
        api_until_waiters(SEMAPHORE, "s", 2);
        for (size_t i = 0; i < ELEMENTS(holders); i++) {
                ck_assert(api_silent(big));
                ck_assert(api_silent(small));
                api_drop(holders[i]);
        }
        assert_answer(api_answer(big), 0);
        ck_assert(api_silent(small));
        api_drop(big);
        assert_answer(api_answer(small), 0);
}
END_TEST

START_TEST(big_request_shows_what_it_gathered_as_reserved) {
        struct actor *holder = api_process(), *big = api_process();

        assert_answer(api_do(holder, PERMITS(.capacity = 4)), 0);
        api_send(big, PERMITS(.permits = 4));
        api_until_reserved(SEMAPHORE, "s");
        api_drop(holder);
        assert_answer(api_answer(big), 0);
        ck_assert_uint_eq(free_permits(), 0);
        api_drop(big);
        ck_assert_uint_eq(free_permits(), 4);
}
END_TEST

START_TEST(killed_gatherer_lets_the_small_one_in) {
        struct actor *holder = api_process(), *big = api_process(), *small = api_process();
        struct answer got;

        assert_answer(api_do(holder, PERMITS(.capacity = 4)), 0);
        api_send(big, PERMITS(.permits = 4));
        api_until_waiters(SEMAPHORE, "s", 1);
        api_send(small, PERMITS(.permits = 3));
        api_until_waiters(SEMAPHORE, "s", 2);
        api_kill(big);
        got = api_answer(small);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 0);
}
END_TEST

START_TEST(several_waiters_are_let_in_by_one_release) {
        struct actor *holder = api_process();
        struct actor *waiters[] = {api_process(), api_process(), api_process()};

        assert_answer(api_do(holder, PERMITS(.capacity = 3, .permits = 3)), 0);
        for (size_t i = 0; i < ELEMENTS(waiters); i++) {
                api_send(waiters[i], PERMITS(.permits = 1));
                api_until_waiters(SEMAPHORE, "s", i + 1);
        }
        api_drop(holder);
        for (size_t i = 0; i < ELEMENTS(waiters); i++)
                assert_answer(api_answer(waiters[i]), 0);
        ck_assert_uint_eq(free_permits(), 0);
}
END_TEST

/* ---- the dead ----------------------------------------------------------------------------- */

START_TEST(permits_of_a_killed_process_come_back) {
        struct actor *holder = api_process(), *other = api_process(), *waiter = api_process();
        struct answer got;

        assert_answer(api_do(holder, PERMITS(.capacity = 4, .permits = 3)), 0);
        assert_answer(api_do(other, PERMITS(.permits = 1)), 0);
        api_send(waiter, PERMITS(.permits = 3));
        api_until_waiters(SEMAPHORE, "s", 1);
        api_kill(holder);
        got = api_answer(waiter);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
        assert_answer(api_do(other, ORDER(.op = ACTOR_CHECK)), 1);
        api_drop(waiter);
        ck_assert_int_eq(api_do(waiter, PERMITS(.permits = 3)).abandoned, 0);
}
END_TEST

START_TEST(permits_of_many_killed_processes_come_back) {
        coord_client *c = api_client();
        coord_hold *h;

        for (int i = 0; i < 20; i++) {
                struct actor *a = api_process();

                assert_answer(api_do(a, PERMITS(.capacity = 3, .permits = 2)), 0);
                api_kill(a);
                api_actor_free(a);
        }
        h = api_permits(c, "s", 3, 3);
        assert_result(coord_hold_was_abandoned(h), 1);
        coord_hold_unref(h);
        ck_assert_uint_eq(free_permits(), 3);
        h = api_permits(c, "s", 3, 3);
        assert_result(coord_hold_was_abandoned(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

/* ---- many --------------------------------------------------------------------------------- */

START_TEST(a_thousand_and_twenty_four_permits_at_once) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", MAX, MAX);

        assert_result(api_try_permits(c, "s", MAX, 1), -EAGAIN);
        coord_hold_unref(h);
        ck_assert_uint_eq(free_permits(), MAX);
        coord_client_unref(c);
}
END_TEST

START_TEST(a_thousand_and_twenty_four_permits_one_by_one) {
        coord_hold **holds = calloc(MAX, sizeof(*holds));
        coord_client *c = api_client();

        ck_assert_ptr_nonnull(holds);
        for (int i = 0; i < MAX; i++)
                holds[i] = api_permits(c, "s", MAX, 1);
        assert_result(api_try_permits(c, "s", MAX, 1), -EAGAIN);
        ck_assert_uint_eq(api_holders(SEMAPHORE, "s"), MAX);
        for (int i = 0; i < MAX; i++)
                coord_hold_unref(holds[i]);
        ck_assert_uint_eq(free_permits(), MAX);
        free(holds);
        coord_client_unref(c);
}
END_TEST

struct room {
        coord_client *c;
        atomic_uint inside;
        atomic_uint most;
};

static void *room_visit(void *argument) {
        struct room *r = argument;

        for (uint32_t i = 0; i < ROUNDS; i++) {
                uint32_t k = 1 + i % 3, now, most = atomic_load(&r->most);
                coord_hold *h = NULL;

                if (coord_semaphore_acquire(r->c, "s", 5, k, 0, ENDLESS, &h) < 0)
                        return argument;
                now = atomic_fetch_add(&r->inside, k) + k;
                while (now > most && !atomic_compare_exchange_weak(&r->most, &most, now))
                        ;
                atomic_fetch_sub(&r->inside, k);
                coord_hold_unref(h);
        }
        return NULL;
}

START_TEST(never_more_inside_than_the_capacity) {
        struct room r = {.c = api_client()};
        pthread_t threads[THREADS];

        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, room_visit, &r), 0);
        for (int i = 0; i < THREADS; i++) {
                void *failed;

                ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
                ck_assert_ptr_null(failed);
        }
        ck_assert_uint_le(r.most, 5);
        ck_assert_uint_eq(free_permits(), 5);
        coord_client_unref(r.c);
}
END_TEST

static Suite *semaphore_suite(void) {
        Suite *s = suite_create("semaphore");

        api_fact(s, as_many_permits_as_the_capacity);
        api_fact(s, permits_never_nest);
        api_fact(s, several_permits_are_taken_together_or_not_at_all);
        api_fact(s, timed_out_request_gives_back_what_it_gathered);
        api_fact(s, token_and_entry_tell_kind_and_permits);
        api_fact(s, fence_of_a_semaphore_rises);
        api_fact(s, lock_and_semaphore_of_one_name_are_two_things);
        api_fact(s, each_hold_is_released_once);
        api_fact(s, waiters_are_served_in_order_of_arrival);
        api_fact(s, big_request_at_the_head_is_not_passed_by_small_ones);
        api_fact(s, big_request_shows_what_it_gathered_as_reserved);
        api_fact(s, killed_gatherer_lets_the_small_one_in);
        api_fact(s, several_waiters_are_let_in_by_one_release);
        api_fact(s, permits_of_a_killed_process_come_back);
        api_fact(s, permits_of_many_killed_processes_come_back);
        api_fact(s, a_thousand_and_twenty_four_permits_at_once);
        api_fact(s, a_thousand_and_twenty_four_permits_one_by_one);
        api_fact(s, never_more_inside_than_the_capacity);
        return s;
}

int main(void) {
        return api_run(semaphore_suite());
}
