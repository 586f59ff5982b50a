/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How holds end: release by object, token and name, by whom; break; the lost callback; what
 * coord_check() says afterwards. It must never know the library's insides.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK
};

/* ---- release ------------------------------------------------------------------------------ */

START_TEST(release_twice_is_estale) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_release(h), 0);
        assert_result(coord_hold_release(h), -ESTALE);
        assert_result(coord_hold_check(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(release_by_ones_own_token) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_release(c, coord_hold_token(h)), 0);
        ck_assert(api_free("a"));
        assert_result(coord_hold_check(h), 0);
        assert_result(coord_hold_release(h), -ESTALE);
        assert_result(coord_release(c, coord_hold_token(h)), -ESTALE);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(release_by_bare_name) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_release(c, "a"), 0);
        ck_assert(api_free("a"));
        assert_result(coord_hold_release(h), -ESTALE);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(bare_name_held_twice_is_refused) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *first = api_share(c, "a"), *second = api_share(other, "a");

        ck_assert_int_lt(coord_release(c, "a"), 0);
        assert_result(coord_hold_check(first), 1);
        assert_result(coord_hold_check(second), 1);
        coord_hold_unref(second);
        coord_hold_unref(first);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(old_token_does_not_release_the_new_hold) {
        coord_client *c = api_client();
        coord_hold *old = api_lock(c, "a"), *now;

        assert_result(coord_hold_release(old), 0);
        now = api_lock(c, "a");
        assert_result(coord_release(c, coord_hold_token(old)), -ESTALE);
        assert_result(coord_hold_release(old), -ESTALE);
        assert_result(coord_hold_check(now), 1);
        assert_result(coord_check(c, coord_hold_token(old)), 0);
        assert_result(coord_check(c, coord_hold_token(now)), 1);
        coord_hold_unref(now);
        coord_hold_unref(old);
        coord_client_unref(c);
}
END_TEST

START_TEST(what_nobody_holds_is_estale) {
        coord_client *c = api_client();

        assert_result(coord_release(c, "never-seen"), -ESTALE);
        assert_result(coord_release(c, "lock:never-seen:7.42"), -ESTALE);
        assert_result(coord_release(c, "lock:never-seen:4294967295.18446744073709551615"), -ESTALE);
        assert_result(coord_check(c, "lock:never-seen:7.42"), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(neither_token_nor_name_is_einval) {
        static const char *const texts[] = {"", ":", "lock:", "lock:a:", "lock:a:1", "lock:a:1.",
                        "lock:a:.1", "lock:a:x.y", "lock:a:1.2x", "lock:a:1.2:3", "lock:a:-1.2",
                        "lock:a:4294967296.1", "lock:a:1.18446744073709551616", "lock::1.2",
                        "bolt:a:1.2", "-a", "a b", "a\n", "lock:-a:1.2", "\xc3\xa4"};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(texts); i++) {
                int e = coord_release(c, texts[i]);

                ck_assert_msg(e == -EINVAL, "release \"%s\": %d", texts[i], e);
                e = coord_check(c, texts[i]);
                ck_assert_msg(e == -EINVAL, "check \"%s\": %d", texts[i], e);
        }
        coord_client_unref(c);
}
END_TEST

static struct order with_token(int op, const char *token) {
        struct order o = {.op = op};

        snprintf(o.text, sizeof(o.text), "%s", token);
        return o;
}

START_TEST(hold_of_another_process_is_not_released) {
        struct actor *holder = api_process(), *other = api_process();
        struct order o = with_token(ACTOR_RELEASE_TOKEN, api_take(holder, "a").token);
        struct answer got = api_do(other, &o);

        ck_assert_msg(got.result == -EPERM || got.result == -ESTALE, "%d", got.result);
        ck_assert_str_ne(got.said, "");
        ck_assert_int_lt(api_do(other, ORDER(.op = ACTOR_RELEASE_TOKEN, .text = "a")).result, 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_CHECK)), 1);
        api_drop(holder);
}
END_TEST

START_TEST(lease_is_released_by_token_from_another_process) {
        struct actor *holder = api_process(), *other = api_process();
        struct answer got = api_do(holder, ORDER(.owner = "lease:1h", .text = "a"));
        struct order o = with_token(ACTOR_RELEASE_TOKEN, got.token);

        assert_answer(got, 0);
        assert_answer(api_do(other, &o), 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_CHECK)), 0);
        ck_assert_int_eq(api_take(other, "a").abandoned, 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_RELEASE)), -ESTALE);
}
END_TEST

START_TEST(lease_is_released_by_name_from_another_process) {
        struct actor *holder = api_process(), *other = api_process();

        assert_answer(api_do(holder, ORDER(.owner = "lease:1h", .text = "a")), 0);
        assert_answer(api_do(other, ORDER(.op = ACTOR_RELEASE_TOKEN, .text = "a")), 0);
        api_take(other, "a");
}
END_TEST

START_TEST(token_of_another_name_is_estale) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        uint64_t epoch = 0, counter = 0;
        char token[128];

        assert_result(coord_hold_fence(h, &epoch, &counter), 0);
        snprintf(token, sizeof(token), "lock:b:%llu.%llu", (unsigned long long) epoch,
                        (unsigned long long) counter);
        assert_result(coord_release(c, token), -ESTALE);
        snprintf(token, sizeof(token), "lock:a:%llu.%llu", (unsigned long long) epoch,
                        (unsigned long long) counter + 1);
        assert_result(coord_release(c, token), -ESTALE);
        snprintf(token, sizeof(token), "sem:a:%llu.%llu", (unsigned long long) epoch,
                        (unsigned long long) counter);
        assert_result(coord_release(c, token), -ESTALE);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(another_process_can_check_a_token) {
        struct actor *holder = api_process(), *other = api_process();
        struct order o = with_token(ACTOR_CHECK_TOKEN, api_take(holder, "a").token);

        assert_answer(api_do(other, &o), 1);
        api_drop(holder);
        assert_answer(api_do(other, &o), 0);
        api_take(other, "a");
        assert_answer(api_do(other, &o), 0);
}
END_TEST

START_TEST(token_of_a_killed_holder_is_no_longer_current) {
        struct actor *holder = api_process(), *other = api_process();
        struct order o = with_token(ACTOR_CHECK_TOKEN, api_take(holder, "a").token);

        api_kill(holder);
        assert_answer(api_do(other, &o), 0);
}
END_TEST

/* ---- break -------------------------------------------------------------------------------- */

START_TEST(break_ends_the_hold_and_the_waiter_is_told) {
        struct actor *holder = api_process(), *waiter = api_process();
        coord_client *c = api_client();
        struct answer got;

        api_take(holder, "a");
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_break(c, "a"), 0);
        got = api_answer(waiter);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_CHECK)), 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_RELEASE)), -ESTALE);
        assert_answer(api_do(waiter, ORDER(.op = ACTOR_CHECK)), 1);
        coord_client_unref(c);
}
END_TEST

START_TEST(break_ends_every_shared_hold) {
        struct actor *readers[] = {api_process(), api_process(), api_process()};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(readers); i++)
                assert_answer(api_do(readers[i], ORDER(.mode = 1, .text = "a")), 0);
        assert_result(coord_break(c, "a"), 0);
        for (size_t i = 0; i < ELEMENTS(readers); i++)
                assert_answer(api_do(readers[i], ORDER(.op = ACTOR_CHECK)), 0);
        assert_result(api_try(c, "a"), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(broken_holder_does_not_free_its_successor) {
        struct actor *holder = api_process(), *next = api_process();
        coord_client *c = api_client();

        api_take(holder, "a");
        assert_result(coord_break(c, "a"), 0);
        ck_assert_int_eq(api_take(next, "a").abandoned, 1);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_DROP)), -ESTALE);
        assert_answer(api_do(next, ORDER(.op = ACTOR_CHECK)), 1);
        api_kill(holder);
        assert_answer(api_do(next, ORDER(.op = ACTOR_CHECK)), 1);
        ck_assert(!api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(broken_holder_may_acquire_anew) {
        struct actor *holder = api_process();
        coord_client *c = api_client();

        api_take(holder, "a");
        assert_result(coord_break(c, "a"), 0);
        assert_answer(api_do(holder, ORDER(.key = 1, .text = "a")), 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_DROP)), -ESTALE);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_CHECK, .key = 1)), 1);
        ck_assert(!api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(break_of_a_lease_and_of_permits) {
        struct actor *holder = api_process();
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 2, 2);

        assert_answer(api_do(holder, ORDER(.owner = "lease:1h", .text = "a")), 0);
        assert_result(coord_break(c, "a"), 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_CHECK)), 0);
        assert_result(api_try(c, "a"), 0);
        assert_result(coord_break(c, "sem:s"), 0);
        assert_result(coord_hold_check(h), 0);
        assert_result(coord_hold_release(h), -ESTALE);
        assert_result(api_try_permits(c, "s", 2, 2), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

/* ---- the lost callback -------------------------------------------------------------------- */

static void on_lost(coord_hold *h, void *userdata) {
        uint64_t one = 1;

        if (coord_hold_check(h) != 0)
                one = 1000;
        if (write(*(int *) userdata, &one, sizeof(one)) != sizeof(one))
                abort();
}

static uint64_t calls(int fd, int timeout_msec) {
        struct pollfd p = {fd, POLLIN, 0};
        uint64_t n = 0;

        if (poll(&p, 1, timeout_msec) == 1)
                ck_assert_int_eq(read(fd, &n, sizeof(n)), sizeof(n));
        return n;
}

static coord_hold *watched(coord_client *c, const char *owner, int *fd) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_hold *h = NULL;

        *fd = eventfd(0, EFD_CLOEXEC);
        ck_assert_int_ge(*fd, 0);
        r.name = "a";
        r.owner = owner;
        assert_result(coord_acquire_full(c, &r, &h), 0);
        assert_result(coord_hold_set_lost_callback(h, on_lost, fd), 0);
        return h;
}

START_TEST(broken_hold_is_reported_lost) {
        coord_client *c = api_client();
        int fd;
        coord_hold *h = watched(c, NULL, &fd);

        assert_answer(api_do(api_process(), ORDER(.op = ACTOR_BREAK, .text = "a")), 0);
        ck_assert_uint_eq(calls(fd, 60000), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
        ck_assert_uint_eq(calls(fd, 0), 0);
        (void) close(fd);
}
END_TEST

START_TEST(lease_that_ends_is_reported_lost) {
        coord_client *c = api_client();
        int fd;
        coord_hold *h = watched(c, "lease:300ms", &fd);

        ck_assert_uint_eq(calls(fd, 60000), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
        ck_assert_uint_eq(calls(fd, 0), 0);
        (void) close(fd);
}
END_TEST

START_TEST(own_release_is_not_reported) {
        coord_client *c = api_client();
        int fd;
        coord_hold *h = watched(c, NULL, &fd);

        assert_result(coord_hold_release(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
        ck_assert_uint_eq(calls(fd, 0), 0);
        (void) close(fd);
}
END_TEST

START_TEST(callback_taken_back_is_not_called) {
        coord_client *c = api_client();
        int fd, other;
        coord_hold *h = watched(c, NULL, &fd), *second;

        assert_result(coord_hold_set_lost_callback(h, NULL, NULL), 0);
        assert_result(coord_break(c, "a"), 0);
        second = watched(c, NULL, &other);
        assert_result(coord_break(c, "a"), 0);
        ck_assert_uint_eq(calls(other, 60000), 1);
        ck_assert_uint_eq(calls(fd, 0), 0);
        coord_hold_unref(second);
        coord_hold_unref(h);
        coord_client_unref(c);
        (void) close(other);
        (void) close(fd);
}
END_TEST

static Suite *end_suite(void) {
        Suite *s = suite_create("lock-end");

        api_fact(s, release_twice_is_estale);
        api_fact(s, release_by_ones_own_token);
        api_fact(s, release_by_bare_name);
        api_fact(s, bare_name_held_twice_is_refused);
        api_fact(s, old_token_does_not_release_the_new_hold);
        api_fact(s, what_nobody_holds_is_estale);
        api_fact(s, neither_token_nor_name_is_einval);
        api_fact(s, hold_of_another_process_is_not_released);
        api_fact(s, lease_is_released_by_token_from_another_process);
        api_fact(s, lease_is_released_by_name_from_another_process);
        api_fact(s, token_of_another_name_is_estale);
        api_fact(s, another_process_can_check_a_token);
        api_fact(s, token_of_a_killed_holder_is_no_longer_current);
        api_fact(s, break_ends_the_hold_and_the_waiter_is_told);
        api_fact(s, break_ends_every_shared_hold);
        api_fact(s, broken_holder_does_not_free_its_successor);
        api_fact(s, broken_holder_may_acquire_anew);
        api_fact(s, break_of_a_lease_and_of_permits);
        api_fact(s, broken_hold_is_reported_lost);
        api_fact(s, lease_that_ends_is_reported_lost);
        api_fact(s, own_release_is_not_reported);
        api_fact(s, callback_taken_back_is_not_called);
        return s;
}

int main(void) {
        return api_run(end_suite());
}
