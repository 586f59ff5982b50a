/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holds with another owner than the acquiring process: pid:, pairs of pids, leases and their
 * renewal. It must never know the library's insides.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK
};

/* ---- pid: --------------------------------------------------------------------------------- */

static struct order for_pid(const struct actor *a, const struct actor *b) {
        struct order o = {.text = "a"};

        if (b)
                snprintf(o.owner, sizeof(o.owner), "pid:%d+%d", (int) a->pid, (int) b->pid);
        else
                snprintf(o.owner, sizeof(o.owner), "pid:%d", (int) a->pid);
        return o;
}

static coord_hold *hold_for(coord_client *c, const char *owner) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_hold *h = NULL;

        r.name = "a";
        r.owner = owner;
        assert_result(coord_acquire_full(c, &r, &h), 0);
        return h;
}

START_TEST(last_unref_releases_whatever_the_owner) {
        struct actor *owner = api_process();
        struct order o = for_pid(owner, NULL);
        coord_client *c = api_client();

        coord_hold_unref(hold_for(c, o.owner));
        ck_assert(api_free("a"));
        coord_hold_unref(hold_for(c, "lease:1h"));
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(detached_hold_stands_without_an_object) {
        struct actor *owner = api_process();
        struct order o = for_pid(owner, NULL);
        coord_client *c = api_client();
        coord_hold *h = hold_for(c, o.owner);
        char token[64];

        snprintf(token, sizeof(token), "%s", coord_hold_token(h));
        assert_result(coord_hold_detach(h), 0);
        assert_result(coord_check(c, token), 1);
        ck_assert(!api_free("a"));
        assert_result(coord_release(c, token), 0);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(hold_of_the_process_is_not_detached) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_detach(h), -EINVAL);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(detached_hold_ends_with_its_owner) {
        struct actor *owner = api_process(), *waiter = api_process();
        struct order o = for_pid(owner, NULL);
        coord_client *c = api_client();

        assert_result(coord_hold_detach(hold_for(c, o.owner)), 0);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_kill(owner);
        assert_answer(api_answer(waiter), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(pid_hold_outlives_the_process_that_acquired_it) {
        struct actor *owner = api_process(), *taker = api_process();
        struct order o = for_pid(owner, NULL);

        assert_answer(api_do(taker, &o), 0);
        api_kill(taker);
        ck_assert(!api_free("a"));
        api_kill(owner);
        ck_assert_int_eq(api_take(api_process(), "a").abandoned, 1);
}
END_TEST

START_TEST(waiter_gets_it_when_the_pid_dies) {
        struct actor *owner = api_process(), *taker = api_process(), *waiter = api_process();
        struct order o = for_pid(owner, NULL);
        struct answer got;

        assert_answer(api_do(taker, &o), 0);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_kill(owner);
        got = api_answer(waiter);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
}
END_TEST

START_TEST(waiters_behind_a_dead_watcher_get_it_when_the_pid_dies) {
        struct actor *owner = api_process(), *taker = api_process();
        struct actor *first = api_process(), *second = api_process();
        struct order o = for_pid(owner, NULL);

        assert_answer(api_do(taker, &o), 0);
        api_send(first, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_send(second, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 2);
        api_kill(first);
        api_kill(owner);
        assert_answer(api_answer(second), 0);
}
END_TEST

START_TEST(waiter_gets_it_when_a_pid_hold_is_released) {
        struct actor *owner = api_process(), *taker = api_process(), *waiter = api_process();
        struct order o = for_pid(owner, NULL);
        struct answer got;

        assert_answer(api_do(taker, &o), 0);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_drop(taker);
        got = api_answer(waiter);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 0);
}
END_TEST

START_TEST(pair_of_pids_holds_until_both_are_gone) {
        struct actor *one = api_process(), *two = api_process(), *taker = api_process();
        struct actor *waiter = api_process();
        struct order o = for_pid(one, two);

        assert_answer(api_do(taker, &o), 0);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_kill(one);
        assert_answer(api_do(taker, ORDER(.op = ACTOR_CHECK)), 1);
        ck_assert(!api_free("a"));
        ck_assert(api_silent(waiter));
        api_kill(two);
        assert_answer(api_answer(waiter), 0);
}
END_TEST

START_TEST(pid_that_is_gone_is_esrch) {
        struct actor *owner = api_process();
        struct order o = for_pid(owner, NULL);
        struct answer got;

        api_kill(owner);
        got = api_do(api_process(), &o);
        assert_answer(got, -ESRCH);
        ck_assert_str_ne(got.said, "");
        ck_assert(api_free("a"));
}
END_TEST

START_TEST(owners_that_are_none_are_refused) {
        static const char *const owners[] = {"", "nobody", "pid:", "pid:0", "pid:-1", "pid:x",
                        "pid:1x", "pid:1+", "pid:+1", "pid:99999999999999999999",
                        "lease:", "lease:x", "lease:-5s", "lease:0", "lease:5parsec", "process:1"};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(owners); i++) {
                struct coord_request r = COORD_REQUEST_INIT;
                coord_hold *h = NULL;
                int e;

                r.name = "a";
                r.owner = owners[i];
                e = coord_acquire_full(c, &r, &h);
                ck_assert_msg(e == -EINVAL, "\"%s\": %d", owners[i], e);
        }
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(owner_process_is_the_default) {
        struct actor *taker = api_process();

        assert_answer(api_do(taker, ORDER(.owner = "process", .text = "a")), 0);
        api_kill(taker);
        ck_assert_int_eq(api_take(api_process(), "a").abandoned, 1);
}
END_TEST

/* ---- leases ------------------------------------------------------------------------------- */

START_TEST(lease_ends_by_itself_and_the_waiter_is_told) {
        coord_client *c = api_client();
        coord_hold *h = hold_for(c, "lease:300ms");
        struct actor *waiter = api_process();
        struct answer got = api_do(waiter, ORDER(.text = "a"));

        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
        assert_result(coord_hold_check(h), 0);
        assert_result(coord_hold_release(h), -ESTALE);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(lease_lasts_no_shorter_than_it_says) {
        coord_client *c = api_client();
        uint64_t began = api_now();
        coord_hold *h = hold_for(c, "lease:200ms");
        struct actor *waiter = api_process();

        api_take(waiter, "a");
        ck_assert_uint_ge(api_now() - began, 200 * MSEC);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(lease_that_is_over_cannot_be_renewed) {
        coord_client *c = api_client();
        coord_hold *h = hold_for(c, "lease:50ms");
        struct actor *waiter = api_process();

        api_take(waiter, "a");
        assert_result(coord_hold_renew(h, 10 * SEC), -ESTALE);
        assert_result(coord_renew(c, coord_hold_token(h), 10 * SEC), -ESTALE);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(renewal_sets_the_end_anew) {
        coord_client *c = api_client();
        coord_hold *h = hold_for(c, "lease:1h");
        struct actor *waiter = api_process();

        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_hold_renew(h, 50 * MSEC), 0);
        assert_answer(api_answer(waiter), 0);
        assert_result(coord_hold_check(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

/* False when this machine was too slow to renew it in time. */
static bool renewed_lease_lasts(uint64_t lease_msec) {
        coord_client *c = api_client();
        coord_hold *h;
        char owner[32];
        int e;

        snprintf(owner, sizeof(owner), "lease:%llums", (unsigned long long) lease_msec);
        h = hold_for(c, owner);
        e = coord_hold_renew(h, 3600 * SEC);
        if (e == 0) {
                struct actor *waiter = api_process();

                assert_answer(api_do(waiter, ORDER(.patience = (lease_msec + 100) * MSEC,
                                                             .text = "a")),
                                -ETIMEDOUT);
                assert_result(coord_hold_check(h), 1);
                assert_result(coord_hold_release(h), 0);
        }
        coord_hold_unref(h);
        coord_client_unref(c);
        return e == 0;
}

START_TEST(renewed_lease_outlasts_its_first_end) {
        uint64_t lease_msec = 300;

        while (!renewed_lease_lasts(lease_msec))
                lease_msec *= 2;
}
END_TEST

START_TEST(lease_is_renewed_by_token_from_another_process) {
        coord_client *c = api_client();
        coord_hold *h = hold_for(c, "lease:1h");
        struct actor *a = api_process();
        struct order o = {.op = ACTOR_RENEW_TOKEN, .patience = 10 * MSEC};

        snprintf(o.text, sizeof(o.text), "%s", coord_hold_token(h));
        assert_answer(api_do(a, &o), 0);
        api_take(a, "a");
        assert_result(coord_hold_check(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(only_leases_are_renewed) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_renew(h, SEC), -EINVAL);
        assert_result(coord_renew(c, coord_hold_token(h), SEC), -EINVAL);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(endless_renewal_does_not_end_it_now) {
        coord_client *c = api_client();
        coord_hold *h = hold_for(c, "lease:1h");
        int e = coord_hold_renew(h, UINT64_MAX - 1);

        ck_assert(e == 0 || e == -EINVAL);
        assert_result(coord_hold_check(h), 1);
        ck_assert(!api_free("a"));
        assert_result(coord_hold_release(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(lease_outlives_its_taker) {
        struct actor *taker = api_process(), *a = api_process();
        struct answer got = api_do(taker, ORDER(.owner = "lease:5min", .text = "a"));
        struct order o = {.op = ACTOR_RELEASE_TOKEN};

        assert_answer(got, 0);
        api_kill(taker);
        assert_answer(api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "a")), -EAGAIN);
        snprintf(o.text, sizeof(o.text), "%s", got.token);
        assert_answer(api_do(a, &o), 0);
        ck_assert_int_eq(api_take(a, "a").abandoned, 0);
}
END_TEST

/* ---- permits ------------------------------------------------------------------------------- */

START_TEST(permits_may_have_an_owner_too) {
        struct actor *owner = api_process(), *waiter = api_process();
        struct order o = for_pid(owner, NULL);
        coord_client *c = api_client();

        o.kind = COORD_KIND_SEMAPHORE;
        o.capacity = 3;
        o.permits = 2;
        assert_answer(api_do(api_process(), &o), 0);
        assert_result(api_try_permits(c, "a", 3, 2), -EAGAIN);
        assert_result(api_try_permits(c, "a", 3, 1), 0);
        api_send(waiter, ORDER(.kind = COORD_KIND_SEMAPHORE, .permits = 3, .text = "a"));
        api_until_waiters(COORD_KIND_SEMAPHORE, "a", 1);
        api_kill(owner);
        assert_answer(api_answer(waiter), 0);
        coord_client_unref(c);
}
END_TEST

static Suite *owner_suite(void) {
        Suite *s = suite_create("lock-owner");

        api_fact(s, last_unref_releases_whatever_the_owner);
        api_fact(s, detached_hold_stands_without_an_object);
        api_fact(s, hold_of_the_process_is_not_detached);
        api_fact(s, detached_hold_ends_with_its_owner);
        api_fact(s, pid_hold_outlives_the_process_that_acquired_it);
        api_fact(s, waiter_gets_it_when_the_pid_dies);
        api_fact(s, waiters_behind_a_dead_watcher_get_it_when_the_pid_dies);
        api_fact(s, waiter_gets_it_when_a_pid_hold_is_released);
        api_fact(s, pair_of_pids_holds_until_both_are_gone);
        api_fact(s, pid_that_is_gone_is_esrch);
        api_fact(s, owners_that_are_none_are_refused);
        api_fact(s, owner_process_is_the_default);
        api_fact(s, lease_ends_by_itself_and_the_waiter_is_told);
        api_fact(s, lease_lasts_no_shorter_than_it_says);
        api_fact(s, lease_that_is_over_cannot_be_renewed);
        api_fact(s, renewal_sets_the_end_anew);
        api_fact(s, renewed_lease_outlasts_its_first_end);
        api_fact(s, lease_is_renewed_by_token_from_another_process);
        api_fact(s, only_leases_are_renewed);
        api_fact(s, endless_renewal_does_not_end_it_now);
        api_fact(s, lease_outlives_its_taker);
        api_fact(s, permits_may_have_an_owner_too);
        return s;
}

int main(void) {
        return api_run(owner_suite());
}
