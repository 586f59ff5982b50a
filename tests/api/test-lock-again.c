/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reentrant acquiring, and who may release: each acquire needs its own release, threads of one
 * process share what they hold. It must never know the library's insides.
 */
#include <errno.h>
#include <stdlib.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        LIMIT = 65536
};

START_TEST(same_thread_gets_the_same_token_again) {
        coord_client *c = api_client();
        coord_hold *first = api_lock(c, "a"), *second = api_lock(c, "a"), *third = NULL;

        assert_result(coord_lock_try(c, "a", 0, &third), 0);
        ck_assert_str_eq(coord_hold_token(first), coord_hold_token(second));
        ck_assert_str_eq(coord_hold_token(first), coord_hold_token(third));
        coord_hold_unref(third);
        coord_hold_unref(second);
        coord_hold_unref(first);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(opened_lock_nests_with_the_name) {
        coord_client *c = api_client();
        coord_lock *l = NULL;
        coord_hold *first = api_lock(c, "a"), *second = NULL;

        assert_result(coord_lock_open(c, "a", &l), 0);
        assert_result(coord_lock_lock(l, 0, 0, &second), 0);
        ck_assert_str_eq(coord_hold_token(first), coord_hold_token(second));
        assert_result(coord_hold_release(second), 0);
        ck_assert(!api_free("a"));
        assert_result(coord_hold_release(first), 0);
        ck_assert(api_free("a"));
        coord_hold_unref(second);
        coord_hold_unref(first);
        coord_lock_unref(l);
        coord_client_unref(c);
}
END_TEST

START_TEST(each_acquire_needs_its_own_release) {
        coord_client *c = api_client();
        coord_hold *holds[5];

        for (size_t i = 0; i < ELEMENTS(holds); i++)
                holds[i] = api_lock(c, "a");
        for (size_t i = 0; i < ELEMENTS(holds); i++) {
                ck_assert(!api_free("a"));
                assert_result(coord_hold_check(holds[4]), 1);
                assert_result(coord_hold_release(holds[i]), 0);
        }
        ck_assert(api_free("a"));
        assert_result(coord_hold_check(holds[0]), 0);
        for (size_t i = 0; i < ELEMENTS(holds); i++)
                coord_hold_unref(holds[i]);
        coord_client_unref(c);
}
END_TEST

START_TEST(one_release_too_many_is_estale) {
        coord_client *c = api_client();
        coord_hold *first = api_lock(c, "a"), *second = api_lock(c, "a");

        assert_result(coord_hold_release(second), 0);
        assert_result(coord_hold_release(first), 0);
        assert_result(coord_hold_release(first), -ESTALE);
        coord_hold_unref(second);
        coord_hold_unref(first);
        coord_client_unref(c);
}
END_TEST

START_TEST(last_unref_releases_all_that_was_acquired) {
        coord_client *c = api_client();
        coord_hold *first = api_lock(c, "a"), *second = api_lock(c, "a");

        coord_hold_unref(second);
        ck_assert(!api_free("a"));
        coord_hold_unref(first);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(extra_reference_keeps_the_hold) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a"), *extra = coord_hold_ref(h);

        coord_hold_unref(h);
        assert_result(coord_hold_check(extra), 1);
        ck_assert(!api_free("a"));
        coord_hold_unref(extra);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(release_ends_it_whatever_references_stand) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a"), *extra = coord_hold_ref(h);

        assert_result(coord_hold_release(h), 0);
        ck_assert(api_free("a"));
        assert_result(coord_hold_check(extra), 0);
        coord_hold_unref(extra);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(unref_of_a_released_hold_does_not_free_its_successor) {
        coord_client *c = api_client();
        coord_hold *old = api_lock(c, "a"), *now;

        assert_result(coord_hold_release(old), 0);
        now = api_lock(c, "a");
        ck_assert_str_ne(coord_hold_token(now), coord_hold_token(old));
        coord_hold_unref(old);
        assert_result(coord_hold_check(now), 1);
        ck_assert(!api_free("a"));
        coord_hold_unref(now);
        coord_client_unref(c);
}
END_TEST

START_TEST(nesting_ends_at_its_limit_with_an_error) {
        coord_hold **holds = calloc(LIMIT + 1, sizeof(*holds));
        coord_client *c = api_client();

        ck_assert_ptr_nonnull(holds);
        for (int i = 0; i < LIMIT; i++) {
                int e = coord_lock_try(c, "a", 0, &holds[i]);

                ck_assert_msg(e == 0, "acquire %d of %d: %d", i + 1, LIMIT, e);
        }
        ck_assert_int_lt(coord_lock_try(c, "a", 0, &holds[LIMIT]), 0);
        for (int i = 0; i < LIMIT - 1; i++) {
                assert_result(coord_hold_release(holds[i]), 0);
                coord_hold_unref(holds[i]);
        }
        ck_assert(!api_free("a"));
        assert_result(coord_hold_release(holds[LIMIT - 1]), 0);
        ck_assert(api_free("a"));
        coord_hold_unref(holds[LIMIT - 1]);
        free(holds);
        coord_client_unref(c);
}
END_TEST

START_TEST(another_thread_waits_until_the_outermost_release) {
        coord_client *c = api_client();
        coord_hold *first = api_lock(c, "a"), *second = api_lock(c, "a");
        struct actor *a = api_thread(c);

        assert_answer(api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "a")), -EAGAIN);
        api_send(a, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_hold_release(second), 0);
        ck_assert(api_silent(a));
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 1);
        assert_result(coord_hold_release(first), 0);
        assert_answer(api_answer(a), 0);
        api_drop(a);
        coord_hold_unref(second);
        coord_hold_unref(first);
        coord_client_unref(c);
}
END_TEST

START_TEST(nested_acquire_passes_waiters) {
        coord_client *c = api_client();
        coord_hold *first = api_lock(c, "a"), *second;
        struct actor *a = api_process();

        api_send(a, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        second = api_lock(c, "a");
        assert_result(coord_hold_release(second), 0);
        assert_result(coord_hold_release(first), 0);
        assert_answer(api_answer(a), 0);
        coord_hold_unref(second);
        coord_hold_unref(first);
        coord_client_unref(c);
}
END_TEST

START_TEST(other_mode_does_not_nest) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a"), *none = NULL;

        assert_result(coord_lock_try(c, "a", COORD_SHARED, &none), -EAGAIN);
        coord_hold_unref(h);
        h = api_share(c, "a");
        assert_result(coord_lock_try(c, "a", 0, &none), -EAGAIN);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(shared_hold_nests_past_a_waiting_writer) {
        coord_client *c = api_client();
        coord_hold *first = api_share(c, "a"), *second;
        struct actor *writer = api_process();

        api_send(writer, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        second = api_share(c, "a");
        ck_assert_str_eq(coord_hold_token(first), coord_hold_token(second));
        coord_hold_unref(second);
        coord_hold_unref(first);
        assert_answer(api_answer(writer), 0);
        coord_client_unref(c);
}
END_TEST

/* ---- threads share what their process holds ----------------------------------------------- */

static void *release_it(void *h) {
        return coord_hold_release(h) == 0 ? NULL : h;
}

static void *acquire_it(void *c) {
        coord_hold *h = NULL;

        return coord_lock_acquire(c, "a", 0, ENDLESS, &h) == 0 ? h : NULL;
}

static void *in_thread(void *(*function)(void *), void *argument) {
        pthread_t thread;
        void *result = NULL;

        ck_assert_int_eq(pthread_create(&thread, NULL, function, argument), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        return result;
}

START_TEST(another_thread_may_release) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        ck_assert_ptr_null(in_thread(release_it, h));
        ck_assert(api_free("a"));
        assert_result(coord_hold_check(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(thread_that_released_elsewhere_may_acquire_anew) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a"), *again;

        ck_assert_ptr_null(in_thread(release_it, h));
        again = api_lock(c, "a");
        ck_assert_str_ne(coord_hold_token(h), coord_hold_token(again));
        assert_result(coord_hold_release(again), 0);
        coord_hold_unref(again);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(hold_passed_to_another_thread_does_not_nest_there) {
        coord_client *c = api_client();
        coord_hold *h = in_thread(acquire_it, c);

        ck_assert_ptr_nonnull(h);
        assert_result(api_try(c, "a"), -EAGAIN);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(end_of_a_thread_frees_nothing) {
        coord_client *c = api_client();
        coord_hold *h = in_thread(acquire_it, c);

        ck_assert_ptr_nonnull(h);
        assert_result(coord_hold_check(h), 1);
        ck_assert(!api_free("a"));
        assert_result(coord_hold_release(h), 0);
        ck_assert(api_free("a"));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(thread_owned_client_loses_its_hold_with_the_thread) {
        coord_client *c = NULL, *next = api_client();
        coord_hold *lost, *h;

        assert_result(coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON |
                                                       COORD_CLIENT_THREAD_OWNED,
                                      &c),
                        0);
        lost = in_thread(acquire_it, c);
        ck_assert_ptr_nonnull(lost);
        h = api_lock(next, "a");
        assert_result(coord_hold_was_abandoned(h), 1);
        assert_result(coord_hold_check(lost), 0);
        coord_hold_unref(lost);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(next);
        coord_client_unref(c);
}
END_TEST

static Suite *again_suite(void) {
        Suite *s = suite_create("lock-again");

        api_fact(s, same_thread_gets_the_same_token_again);
        api_fact(s, opened_lock_nests_with_the_name);
        api_fact(s, each_acquire_needs_its_own_release);
        api_fact(s, one_release_too_many_is_estale);
        api_fact(s, last_unref_releases_all_that_was_acquired);
        api_fact(s, extra_reference_keeps_the_hold);
        api_fact(s, release_ends_it_whatever_references_stand);
        api_fact(s, unref_of_a_released_hold_does_not_free_its_successor);
        api_fact(s, nesting_ends_at_its_limit_with_an_error);
        api_fact(s, another_thread_waits_until_the_outermost_release);
        api_fact(s, nested_acquire_passes_waiters);
        api_fact(s, other_mode_does_not_nest);
        api_fact(s, shared_hold_nests_past_a_waiting_writer);
        api_fact(s, another_thread_may_release);
        api_fact(s, thread_that_released_elsewhere_may_acquire_anew);
        api_fact(s, hold_passed_to_another_thread_does_not_nest_there);
        api_fact(s, end_of_a_thread_frees_nothing);
        api_fact(s, thread_owned_client_loses_its_hold_with_the_thread);
        return s;
}

int main(void) {
        return api_run(again_suite());
}
