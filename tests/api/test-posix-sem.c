/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What POSIX promises of named semaphores (open, wait, trywait, timedwait, post, getvalue, close),
 * asked of this library. A value is a capacity, a post is a release. It must never know the
 * library's insides.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

enum {
        SEMAPHORE = COORD_KIND_SEMAPHORE,
        NAMES = 200
};

static int value_of(const char *name) {
        struct glance g = api_glance(SEMAPHORE, name);
        int value = g.entry ? (int) g.entry->free : -1;

        api_glance_end(&g);
        return value;
}

/* ---- open --------------------------------------------------------------------------------- */

START_TEST(open_makes_it_with_its_value) {
        coord_client *c = api_client();

        assert_result(coord_semaphore_configure(c, "s", 5), 0);
        ck_assert_int_eq(value_of("s"), 5);
        coord_client_unref(c);
}
END_TEST

START_TEST(open_again_with_another_value_is_refused) {
        coord_client *c = api_client();

        assert_result(api_try_permits(c, "s", 1, 1), 0);
        assert_result(api_try_permits(c, "s", 2, 1), -ERANGE);
        ck_assert_int_eq(value_of("s"), 1);
        coord_client_unref(c);
}
END_TEST

START_TEST(open_of_what_was_never_made_is_enoent) {
        coord_client *c = api_client();

        assert_result(api_try_permits(c, "s", 0, 1), -ENOENT);
        ck_assert_int_eq(value_of("s"), -1);
        coord_client_unref(c);
}
END_TEST

START_TEST(open_of_a_bad_name_is_einval) {
        static const char *const bad[] = {"", "-s", "a:b", "a b", "a\tb", "a\nb", "\x7f", "\x80",
                        "caf\xc3\xa9", "a*", "a,b", "a\\b", "~", "a=b", "#", "$"};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                int e = api_try_permits(c, bad[i], 1, 1);

                ck_assert_msg(e == -EINVAL, "\"%s\": %d", bad[i], e);
                e = coord_semaphore_configure(c, bad[i], 1);
                ck_assert_msg(e == -EINVAL, "\"%s\": %d", bad[i], e);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(open_of_long_names_up_to_the_limit) {
        coord_client *c = api_client();
        char name[300];

        for (size_t n = 1; n < sizeof(name); n += n < 250 ? 31 : 1) {
                memset(name, 'n', n);
                name[n] = 0;
                assert_result(api_try_permits(c, name, 1, 1), n <= 255 ? 0 : -EINVAL);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(names_that_differ_in_their_last_byte_differ) {
        coord_client *c = api_client();
        char name[256], other[256];
        coord_hold *h;

        memset(name, 'n', 255);
        name[255] = 0;
        strcpy(other, name);
        other[254] = 'm';
        h = api_permits(c, name, 1, 1);
        assert_result(api_try_permits(c, other, 1, 1), 0);
        assert_result(api_try_permits(c, name, 1, 1), -EAGAIN);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(names_like_paths_are_names) {
        static const char *const names[] = {
                        "/posix", "a/b/c", ".", "..", "/", "_x", "@host", "50%", "a+b", "0"};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(names); i++)
                assert_result(api_try_permits(c, names[i], 1, 1), 0);
        ck_assert_int_eq(access(api_path("posix"), F_OK), -1);
        coord_client_unref(c);
}
END_TEST

START_TEST(same_name_is_the_same_object_for_everybody) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *h = api_permits(c, "s", 2, 1);
        struct actor *a = api_process();

        assert_answer(api_do(a, ORDER(.kind = SEMAPHORE, .capacity = 2, .text = "s")), 0);
        assert_result(api_try_permits(other, "s", 2, 1), -EAGAIN);
        ck_assert_int_eq(value_of("s"), 0);
        coord_hold_unref(h);
        assert_result(api_try_permits(other, "s", 2, 1), 0);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(many_names_live_beside_each_other) {
        coord_hold *holds[NAMES];
        coord_client *c = api_client();
        char name[32];

        for (int i = 0; i < NAMES; i++) {
                snprintf(name, sizeof(name), "many.%d", i);
                holds[i] = api_permits(c, name, (uint32_t) i % 7 + 1, 1);
        }
        for (int i = 0; i < NAMES; i++) {
                snprintf(name, sizeof(name), "many.%d", i);
                ck_assert_str_eq(coord_hold_name(holds[i]), name);
                assert_result(api_try_permits(c, name, 0, 1), i % 7 ? 0 : -EAGAIN);
                coord_hold_unref(holds[i]);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(largest_value_is_accepted_and_the_next_refused) {
        coord_client *c = api_client();

        assert_result(coord_semaphore_configure(c, "s", 1024), 0);
        ck_assert_int_eq(value_of("s"), 1024);
        assert_result(coord_semaphore_configure(c, "t", 1025), -EINVAL);
        ck_assert_int_eq(value_of("t"), -1);
        coord_client_unref(c);
}
END_TEST

/* ---- wait, trywait, timedwait -------------------------------------------------------------- */

START_TEST(wait_takes_one_when_there_is_one) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 3, 1);

        ck_assert_int_eq(value_of("s"), 2);
        assert_result(coord_hold_release(h), 0);
        ck_assert_int_eq(value_of("s"), 3);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(wait_blocks_at_zero_until_a_post) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);
        struct actor *a = api_process();

        api_send(a, ORDER(.kind = SEMAPHORE, .capacity = 1, .text = "s"));
        api_until_waiters(SEMAPHORE, "s", 1);
        ck_assert(api_silent(a));
        ck_assert_int_eq(value_of("s"), 0);
        assert_result(coord_hold_release(h), 0);
        assert_answer(api_answer(a), 0);
        ck_assert_int_eq(value_of("s"), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(trywait_at_zero_is_eagain_and_changes_nothing) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);

        for (int i = 0; i < 5; i++)
                assert_result(api_try_permits(c, "s", 1, 1), -EAGAIN);
        ck_assert_int_eq(value_of("s"), 0);
        coord_hold_unref(h);
        ck_assert_int_eq(value_of("s"), 1);
        coord_client_unref(c);
}
END_TEST

START_TEST(timedwait_with_time_already_over_takes_what_is_there) {
        coord_client *c = api_client();
        coord_hold *h = NULL, *none = NULL;

        assert_result(coord_semaphore_acquire(c, "s", 1, 1, 0, 0, &h), 0);
        assert_result(coord_semaphore_acquire(c, "s", 1, 1, 0, 0, &none), -EAGAIN);
        coord_hold_unref(h);
        assert_result(coord_semaphore_acquire(c, "s", 1, 1, 0, 1, &h), 0);
        assert_result(coord_semaphore_acquire(c, "s", 1, 1, 0, 1, &none), -ETIMEDOUT);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(timedwait_waits_its_time_and_no_less) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1), *none = NULL;
        uint64_t began = api_now();

        assert_result(coord_semaphore_acquire(c, "s", 1, 1, 0, 50 * MSEC, &none), -ETIMEDOUT);
        ck_assert_uint_ge(api_now() - began, 50 * MSEC);
        ck_assert_int_eq(value_of("s"), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(timedwait_ends_early_with_a_post) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);
        struct actor *a = api_process();

        api_send(a, ORDER(.kind = SEMAPHORE, .capacity = 1, .patience = 3600 * SEC, .text = "s"));
        api_until_waiters(SEMAPHORE, "s", 1);
        coord_hold_unref(h);
        assert_answer(api_answer(a), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(timed_out_waiter_takes_no_later_post) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);
        struct actor *a = api_process();

        assert_answer(api_do(a, ORDER(.kind = SEMAPHORE, .patience = 10 * MSEC, .text = "s")),
                        -ETIMEDOUT);
        coord_hold_unref(h);
        ck_assert_int_eq(value_of("s"), 1);
        coord_client_unref(c);
}
END_TEST

static void on_signal(int number) {
        (void) number;
}

START_TEST(wait_goes_on_after_a_signal) {
        struct sigaction action = {.sa_handler = on_signal};
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);
        struct actor *a = api_thread(c);

        ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
        api_send(a, ORDER(.kind = SEMAPHORE, .text = "s"));
        api_until_waiters(SEMAPHORE, "s", 1);
        ck_assert_int_eq(pthread_kill(a->thread, SIGUSR1), 0);
        ck_assert_uint_eq(api_waiters(SEMAPHORE, "s"), 1);
        coord_hold_unref(h);
        assert_answer(api_answer(a), 0);
        api_drop(a);
        coord_client_unref(c);
}
END_TEST

/* ---- post --------------------------------------------------------------------------------- */

START_TEST(post_wakes_exactly_one) {
        struct actor *waiters[] = {api_process(), api_process(), api_process()};
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);

        for (size_t i = 0; i < ELEMENTS(waiters); i++) {
                api_send(waiters[i], ORDER(.kind = SEMAPHORE, .text = "s"));
                api_until_waiters(SEMAPHORE, "s", i + 1);
        }
        coord_hold_unref(h);
        assert_answer(api_answer(waiters[0]), 0);
        ck_assert(api_silent(waiters[1]) && api_silent(waiters[2]));
        ck_assert_uint_eq(api_waiters(SEMAPHORE, "s"), 2);
        api_drop(waiters[0]);
        assert_answer(api_answer(waiters[1]), 0);
        coord_client_unref(c);
}
END_TEST

static void *post(void *h) {
        return coord_hold_release(h) == 0 ? NULL : h;
}

START_TEST(post_comes_from_any_thread_of_the_process) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 1, 1);
        pthread_t thread;
        void *failed;

        ck_assert_int_eq(pthread_create(&thread, NULL, post, h), 0);
        ck_assert_int_eq(pthread_join(thread, &failed), 0);
        ck_assert_ptr_null(failed);
        ck_assert_int_eq(value_of("s"), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(post_comes_from_another_process_by_token) {
        struct actor *taker = api_process(), *poster = api_process();
        struct order o = {.op = ACTOR_RELEASE_TOKEN};
        struct answer got;

        got = api_do(taker,
                        ORDER(.kind = SEMAPHORE, .capacity = 1, .owner = "lease:1h", .text = "s"));
        assert_answer(got, 0);
        ck_assert_int_eq(value_of("s"), 0);
        snprintf(o.text, sizeof(o.text), "%s", got.token);
        assert_answer(api_do(poster, &o), 0);
        ck_assert_int_eq(value_of("s"), 1);
        assert_answer(api_do(poster, &o), -ESTALE);
        ck_assert_int_eq(value_of("s"), 1);
}
END_TEST

START_TEST(close_without_a_post_gives_back) {
        struct actor *a = api_process(), *next = api_process();

        assert_answer(api_do(a, ORDER(.kind = SEMAPHORE, .capacity = 1, .text = "s")), 0);
        api_send(a, ORDER(.op = ACTOR_EXIT));
        api_gone(a);
        assert_answer(api_do(next, ORDER(.kind = SEMAPHORE, .text = "s")), 0);
}
END_TEST

START_TEST(value_outlives_everybody_who_used_it) {
        struct actor *a = api_process();
        coord_client *c;

        assert_answer(api_do(a, ORDER(.kind = SEMAPHORE, .capacity = 4, .text = "s")), 0);
        api_drop(a);
        api_actor_free(a);
        c = api_client();
        assert_result(api_try_permits(c, "s", 0, 4), 0);
        assert_result(api_try_permits(c, "s", 3, 1), -ERANGE);
        coord_client_unref(c);
}
END_TEST

static Suite *posix_suite(void) {
        Suite *s = suite_create("posix-sem");

        api_fact(s, open_makes_it_with_its_value);
        api_fact(s, open_again_with_another_value_is_refused);
        api_fact(s, open_of_what_was_never_made_is_enoent);
        api_fact(s, open_of_a_bad_name_is_einval);
        api_fact(s, open_of_long_names_up_to_the_limit);
        api_fact(s, names_that_differ_in_their_last_byte_differ);
        api_fact(s, names_like_paths_are_names);
        api_fact(s, same_name_is_the_same_object_for_everybody);
        api_fact(s, many_names_live_beside_each_other);
        api_fact(s, largest_value_is_accepted_and_the_next_refused);
        api_fact(s, wait_takes_one_when_there_is_one);
        api_fact(s, wait_blocks_at_zero_until_a_post);
        api_fact(s, trywait_at_zero_is_eagain_and_changes_nothing);
        api_fact(s, timedwait_with_time_already_over_takes_what_is_there);
        api_fact(s, timedwait_waits_its_time_and_no_less);
        api_fact(s, timedwait_ends_early_with_a_post);
        api_fact(s, timed_out_waiter_takes_no_later_post);
        api_fact(s, wait_goes_on_after_a_signal);
        api_fact(s, post_wakes_exactly_one);
        api_fact(s, post_comes_from_any_thread_of_the_process);
        api_fact(s, post_comes_from_another_process_by_token);
        api_fact(s, close_without_a_post_gives_back);
        api_fact(s, value_outlives_everybody_who_used_it);
        return s;
}

int main(void) {
        return api_run(posix_suite());
}
