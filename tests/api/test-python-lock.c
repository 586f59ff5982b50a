/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What CPython promises of threading.Lock, RLock, Semaphore and BoundedSemaphore, asked of this
 * library: Lock and the semaphores are permits (1 and 7 of them), RLock is a lock. It must never
 * know the library's insides.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "api.h"

enum {
        SEMAPHORE = COORD_KIND_SEMAPHORE,
        VALUE = 7,
        BUNCH = 10
};

/* What is under test: a semaphore of so many permits, or (0) a reentrant lock. */
struct thing {
        coord_client *c;
        uint32_t value;
};

static int thing_acquire(const struct thing *t, uint64_t timeout, coord_hold **ret) {
        if (t->value == 0)
                return coord_lock_acquire(t->c, "thing", 0, timeout, ret);
        return coord_semaphore_acquire(t->c, "thing", t->value, 1, 0, timeout, ret);
}

static coord_hold *take(const struct thing *t) {
        coord_hold *h = NULL;

        assert_result(thing_acquire(t, ENDLESS, &h), 0);
        return h;
}

static void give(coord_hold *h) {
        assert_result(coord_hold_release(h), 0);
        coord_hold_unref(h);
}

/* Threads that run one function on the thing at once. */
struct bunch {
        const struct thing *t;
        int (*function)(struct bunch *b);
        atomic_int inside, most, failed;
        pthread_t threads[BUNCH];
};

static void *bunch_play(void *argument) {
        struct bunch *b = argument;

        if (b->function(b) != 0)
                atomic_fetch_add(&b->failed, 1);
        return NULL;
}

static void bunch_start(struct bunch *b) {
        for (int i = 0; i < BUNCH; i++)
                ck_assert_int_eq(pthread_create(&b->threads[i], NULL, bunch_play, b), 0);
}

static void bunch_end(struct bunch *b) {
        for (int i = 0; i < BUNCH; i++)
                ck_assert_int_eq(pthread_join(b->threads[i], NULL), 0);
        ck_assert_int_eq(b->failed, 0);
}

static int enter_and_leave(struct bunch *b) {
        for (int i = 0; i < 50; i++) {
                coord_hold *h = NULL;
                int now, most;

                if (thing_acquire(b->t, ENDLESS, &h) != 0)
                        return 1;
                now = atomic_fetch_add(&b->inside, 1) + 1;
                most = atomic_load(&b->most);
                while (now > most && !atomic_compare_exchange_weak(&b->most, &most, now))
                        ;
                atomic_fetch_sub(&b->inside, 1);
                if (coord_hold_release(h) != 0)
                        return 1;
                coord_hold_unref(h);
        }
        return 0;
}

static int try_and_fail(struct bunch *b) {
        coord_hold *h = NULL;

        return thing_acquire(b->t, 0, &h) == -EAGAIN ? 0 : 1;
}

static int try_once(struct bunch *b) {
        coord_hold *h = NULL;

        if (thing_acquire(b->t, 0, &h) == 0) {
                atomic_fetch_add(&b->most, 1);
                coord_hold_unref(h);
        }
        return 0;
}

/* ---- every kind --------------------------------------------------------------------------- */

static const uint32_t kinds[] = {0, 1, VALUE};

static struct thing thing_new(int which) {
        return (struct thing){api_client(), kinds[which]};
}

START_TEST(taken_and_dropped_without_use) {
        struct thing t = thing_new(_i);

        coord_client_unref(t.c);
}
END_TEST

START_TEST(taken_given_back_and_taken_again) {
        struct thing t = thing_new(_i);

        for (int i = 0; i < 3; i++)
                give(take(&t));
        coord_client_unref(t.c);
}
END_TEST

START_TEST(dropping_the_last_reference_gives_back) {
        struct thing t = thing_new(_i);
        coord_hold *h = take(&t);

        coord_hold_unref(h);
        give(take(&t));
        coord_client_unref(t.c);
}
END_TEST

START_TEST(contended_never_more_inside_than_allowed) {
        struct thing t = thing_new(_i);
        struct bunch b = {.t = &t, .function = enter_and_leave};

        bunch_start(&b);
        bunch_end(&b);
        ck_assert_int_le(b.most, t.value ? (int) t.value : 1);
        ck_assert_int_ge(b.most, 1);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(try_fails_in_every_other_thread_when_exhausted) {
        struct thing t = thing_new(_i);
        struct bunch b = {.t = &t, .function = try_and_fail};
        coord_hold *holds[VALUE] = {NULL};
        uint32_t n = t.value ? t.value : 1;

        for (uint32_t i = 0; i < n; i++)
                holds[i] = take(&t);
        bunch_start(&b);
        bunch_end(&b);
        for (uint32_t i = 0; i < n; i++)
                give(holds[i]);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(try_by_many_succeeds_for_some) {
        struct thing t = thing_new(_i);
        struct bunch b = {.t = &t, .function = try_once};

        bunch_start(&b);
        bunch_end(&b);
        ck_assert_int_ge(b.most, 1);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(timeout_while_exhausted_runs_its_length) {
        struct thing t = thing_new(_i);
        struct actor *holder = api_process();
        coord_hold *none = NULL;
        uint64_t began;

        if (t.value)
                assert_answer(api_do(holder, ORDER(.kind = SEMAPHORE, .capacity = t.value,
                                                             .permits = t.value, .text = "thing")),
                                0);
        else
                api_take(holder, "thing");
        began = api_now();
        assert_result(thing_acquire(&t, 40 * MSEC, &none), -ETIMEDOUT);
        ck_assert_uint_ge(api_now() - began, 40 * MSEC);
        assert_result(thing_acquire(&t, 0, &none), -EAGAIN);
        api_drop(holder);
        assert_result(thing_acquire(&t, 40 * MSEC, &none), 0);
        give(none);
        coord_client_unref(t.c);
}
END_TEST

static void *give_elsewhere(void *h) {
        return coord_hold_release(h) == 0 ? NULL : h;
}

START_TEST(one_thread_may_give_back_what_another_took) {
        struct thing t = thing_new(_i);
        coord_hold *h = take(&t);
        pthread_t thread;
        void *failed;

        ck_assert_int_eq(pthread_create(&thread, NULL, give_elsewhere, h), 0);
        ck_assert_int_eq(pthread_join(thread, &failed), 0);
        ck_assert_ptr_null(failed);
        coord_hold_unref(h);
        give(take(&t));
        coord_client_unref(t.c);
}
END_TEST

START_TEST(giving_back_twice_is_an_error) {
        struct thing t = thing_new(_i);
        coord_hold *h = take(&t);

        assert_result(coord_hold_release(h), 0);
        assert_result(coord_hold_release(h), -ESTALE);
        coord_hold_unref(h);
        give(take(&t));
        coord_client_unref(t.c);
}
END_TEST

START_TEST(giving_back_what_was_never_taken_is_an_error) {
        struct thing t = thing_new(_i);

        assert_result(coord_release(t.c, "thing"), -ESTALE);
        give(take(&t));
        assert_result(coord_release(t.c, "thing"), -ESTALE);
        coord_client_unref(t.c);
}
END_TEST

static int leave_scope_early(const struct thing *t) {
        coord_hold *h COORD_HOLD_CLEANUP = NULL;

        if (thing_acquire(t, ENDLESS, &h) != 0)
                return -1;
        return coord_hold_check(h);
}

START_TEST(leaving_a_scope_gives_back) {
        struct thing t = thing_new(_i);
        struct bunch b = {.t = &t, .function = try_once};

        for (int i = 0; i < VALUE + 1; i++)
                ck_assert_int_eq(leave_scope_early(&t), 1);
        bunch_start(&b);
        bunch_end(&b);
        ck_assert_int_ge(b.most, 1);
        coord_client_unref(t.c);
}
END_TEST

/* ---- Lock: not reentrant ------------------------------------------------------------------ */

START_TEST(lock_taken_twice_by_one_thread_waits) {
        struct thing t = {api_client(), 1};
        coord_hold *h = take(&t), *none = NULL;

        assert_result(thing_acquire(&t, 0, &none), -EAGAIN);
        assert_result(thing_acquire(&t, 20 * MSEC, &none), -ETIMEDOUT);
        give(h);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(lock_second_acquire_ends_when_another_thread_gives_back) {
        struct thing t = {api_client(), 1};
        struct actor *second = api_thread(t.c);
        coord_hold *h = take(&t);

        api_send(second, ORDER(.kind = SEMAPHORE, .capacity = 1, .text = "thing"));
        api_until_waiters(SEMAPHORE, "thing", 1);
        give(h);
        assert_answer(api_answer(second), 0);
        api_drop(second);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(lock_state_is_visible) {
        struct thing t = {api_client(), 1};
        coord_hold *h = take(&t);

        ck_assert_uint_eq(api_holders(SEMAPHORE, "thing"), 1);
        give(h);
        ck_assert_uint_eq(api_holders(SEMAPHORE, "thing"), 0);
        coord_client_unref(t.c);
}
END_TEST

/* ---- RLock -------------------------------------------------------------------------------- */

START_TEST(rlock_is_taken_again_by_its_thread) {
        struct thing t = {api_client(), 0};
        coord_hold *outer = take(&t), *inner = take(&t), *again;

        give(inner);
        again = take(&t);
        give(again);
        give(outer);
        ck_assert(api_free("thing"));
        coord_client_unref(t.c);
}
END_TEST

START_TEST(rlock_given_back_too_often_is_an_error) {
        struct thing t = {api_client(), 0};
        coord_hold *outer = take(&t), *inner = take(&t);

        assert_result(coord_hold_release(inner), 0);
        assert_result(coord_hold_release(outer), 0);
        assert_result(coord_hold_release(outer), -ESTALE);
        coord_hold_unref(inner);
        coord_hold_unref(outer);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(rlock_of_another_thread_is_refused) {
        struct thing t = {api_client(), 0};
        struct actor *other = api_thread(t.c);
        coord_hold *h = take(&t);

        assert_answer(api_do(other, ORDER(.patience = PATIENCE_NONE, .text = "thing")), -EAGAIN);
        give(h);
        assert_answer(api_do(other, ORDER(.patience = PATIENCE_NONE, .text = "thing")), 0);
        api_drop(other);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(rlock_depth_is_kept_through_contention) {
        struct thing t = {api_client(), 0};
        struct bunch b = {.t = &t, .function = try_and_fail};
        coord_hold *holds[VALUE];

        for (int i = 0; i < VALUE; i++)
                holds[i] = take(&t);
        for (int i = 0; i < VALUE; i++) {
                bunch_start(&b);
                bunch_end(&b);
                give(holds[i]);
        }
        ck_assert(api_free("thing"));
        coord_client_unref(t.c);
}
END_TEST

/* ---- Semaphore ---------------------------------------------------------------------------- */

START_TEST(semaphore_lets_in_its_value_and_no_more) {
        struct thing t = {api_client(), VALUE};
        coord_hold *holds[VALUE], *none = NULL;

        for (int i = 0; i < VALUE; i++)
                holds[i] = take(&t);
        assert_result(thing_acquire(&t, 0, &none), -EAGAIN);
        give(holds[3]);
        holds[3] = take(&t);
        assert_result(thing_acquire(&t, 0, &none), -EAGAIN);
        for (int i = 0; i < VALUE; i++)
                give(holds[i]);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(semaphore_gives_back_several_at_once) {
        struct thing t = {api_client(), VALUE};
        struct actor *waiters[BUNCH];
        coord_hold *h = api_permits(t.c, "thing", VALUE, VALUE);
        size_t in = 0;

        for (size_t i = 0; i < BUNCH; i++) {
                waiters[i] = api_thread(t.c);
                api_send(waiters[i], ORDER(.kind = SEMAPHORE, .text = "thing"));
                api_until_waiters(SEMAPHORE, "thing", i + 1);
        }
        give(h);
        api_until_waiters(SEMAPHORE, "thing", BUNCH - VALUE);
        for (size_t i = 0; i < VALUE; i++)
                assert_answer(api_answer(waiters[i]), 0);
        for (size_t i = 0; i < BUNCH; i++)
                in += i < VALUE || !api_silent(waiters[i]);
        ck_assert_uint_eq(in, VALUE);
        for (size_t i = 0; i < BUNCH; i++) {
                if (i >= VALUE)
                        assert_answer(api_answer(waiters[i]), 0);
                api_drop(waiters[i]);
        }
        coord_client_unref(t.c);
}
END_TEST

START_TEST(semaphore_of_one_excludes) {
        struct thing t = {api_client(), 1};
        struct bunch b = {.t = &t, .function = enter_and_leave};

        bunch_start(&b);
        bunch_end(&b);
        ck_assert_int_eq(b.most, 1);
        coord_client_unref(t.c);
}
END_TEST

START_TEST(bounded_release_cannot_exceed_the_value) {
        struct thing t = {api_client(), VALUE};
        coord_hold *h = take(&t);
        struct glance g;

        assert_result(coord_hold_release(h), 0);
        for (int i = 0; i < 3; i++)
                assert_result(coord_hold_release(h), -ESTALE);
        g = api_glance(SEMAPHORE, "thing");
        ck_assert_uint_eq(g.entry->free, VALUE);
        ck_assert_uint_eq(g.entry->capacity, VALUE);
        api_glance_end(&g);
        coord_hold_unref(h);
        coord_client_unref(t.c);
}
END_TEST

static void each_kind(Suite *s, const TTest *test) {
        for (int i = 0; i < (int) ELEMENTS(kinds); i++)
                api_fact_of(s, test, i);
}

static Suite *python_suite(void) {
        Suite *s = suite_create("python-lock");

        each_kind(s, taken_and_dropped_without_use);
        each_kind(s, taken_given_back_and_taken_again);
        each_kind(s, dropping_the_last_reference_gives_back);
        each_kind(s, contended_never_more_inside_than_allowed);
        each_kind(s, try_fails_in_every_other_thread_when_exhausted);
        each_kind(s, try_by_many_succeeds_for_some);
        each_kind(s, timeout_while_exhausted_runs_its_length);
        each_kind(s, one_thread_may_give_back_what_another_took);
        each_kind(s, giving_back_twice_is_an_error);
        each_kind(s, giving_back_what_was_never_taken_is_an_error);
        each_kind(s, leaving_a_scope_gives_back);
        api_fact(s, lock_taken_twice_by_one_thread_waits);
        api_fact(s, lock_second_acquire_ends_when_another_thread_gives_back);
        api_fact(s, lock_state_is_visible);
        api_fact(s, rlock_is_taken_again_by_its_thread);
        api_fact(s, rlock_given_back_too_often_is_an_error);
        api_fact(s, rlock_of_another_thread_is_refused);
        api_fact(s, rlock_depth_is_kept_through_contention);
        api_fact(s, semaphore_lets_in_its_value_and_no_more);
        api_fact(s, semaphore_gives_back_several_at_once);
        api_fact(s, semaphore_of_one_excludes);
        api_fact(s, bounded_release_cannot_exceed_the_value);
        return s;
}

int main(void) {
        return api_run(python_suite());
}
