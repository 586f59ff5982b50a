/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving a hold another owner: by object and by token, by whom, and what it leaves as it was. It
 * must never know the library's insides.
 */
#include <errno.h>
#include <stdio.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK
};

static struct order for_pid(const struct actor *a) {
        struct order o = {.text = "a"};

        snprintf(o.owner, sizeof(o.owner), "pid:%d", (int) a->pid);
        return o;
}

START_TEST(transfer_to_a_pid_keeps_the_token) {
        struct actor *taker = api_process(), *owner = api_process(), *waiter = api_process();
        struct order o = for_pid(owner), check = {.op = ACTOR_CHECK_TOKEN};
        struct answer got = api_take(taker, "a");

        o.op = ACTOR_TRANSFER;
        assert_answer(api_do(taker, &o), 0);
        api_kill(taker);
        snprintf(check.text, sizeof(check.text), "%s", got.token);
        assert_answer(api_do(waiter, &check), 1);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_kill(owner);
        assert_answer(api_answer(waiter), 0);
}
END_TEST

START_TEST(transfer_tells_waiters_that_came_before) {
        struct actor *taker = api_process(), *owner = api_process(), *waiter = api_process();
        struct order o = for_pid(owner);

        api_take(taker, "a");
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        o.op = ACTOR_TRANSFER;
        assert_answer(api_do(taker, &o), 0);
        api_kill(taker);
        api_kill(owner);
        assert_answer(api_answer(waiter), 0);
}
END_TEST

START_TEST(transfer_to_a_lease_lets_it_end) {
        struct actor *waiter = api_process();
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_transfer(h, "lease:50ms"), 0);
        api_take(waiter, "a");
        assert_result(coord_hold_check(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(transferred_hold_may_be_detached) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_transfer(h, "lease:1h"), 0);
        assert_result(coord_hold_detach(h), 0);
        ck_assert(!api_free("a"));
        assert_result(coord_release(c, "a"), 0);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(pid_hold_is_transferred_by_token_from_another_process) {
        struct actor *owner = api_process(), *taker = api_process(), *a = api_process();
        struct order o = for_pid(owner), move = {.op = ACTOR_TRANSFER_TOKEN};
        struct answer got = api_do(taker, &o);

        assert_answer(got, 0);
        snprintf(move.owner, sizeof(move.owner), "lease:1h");
        snprintf(move.text, sizeof(move.text), "%s", got.token);
        assert_answer(api_do(a, &move), 0);
        api_kill(owner);
        assert_answer(api_do(taker, ORDER(.op = ACTOR_CHECK)), 1);
        ck_assert(!api_free("a"));
}
END_TEST

START_TEST(process_hold_is_not_transferred_by_another_process) {
        struct actor *taker = api_process(), *a = api_process();
        struct order move = {.op = ACTOR_TRANSFER_TOKEN, .owner = "lease:1h"};

        snprintf(move.text, sizeof(move.text), "%s", api_take(taker, "a").token);
        assert_answer(api_do(a, &move), -EPERM);
        assert_answer(api_do(taker, ORDER(.op = ACTOR_CHECK)), 1);
        api_drop(taker);
        ck_assert(api_free("a"));
}
END_TEST

START_TEST(failed_transfer_leaves_the_hold_as_it_was) {
        struct actor *gone = api_process();
        struct order o = for_pid(gone);
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        api_kill(gone);
        assert_result(coord_hold_transfer(h, o.owner), -ESRCH);
        assert_result(coord_hold_transfer(h, "nonsense"), -EINVAL);
        assert_result(coord_hold_check(h), 1);
        assert_result(coord_hold_release(h), 0);
        ck_assert(api_free("a"));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(released_hold_is_not_transferred) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_release(h), 0);
        assert_result(coord_hold_transfer(h, "lease:1h"), -ESTALE);
        ck_assert(api_free("a"));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

static Suite *transfer_suite(void) {
        Suite *s = suite_create("lock-transfer");

        api_fact(s, transfer_to_a_pid_keeps_the_token);
        api_fact(s, transfer_tells_waiters_that_came_before);
        api_fact(s, transfer_to_a_lease_lets_it_end);
        api_fact(s, transferred_hold_may_be_detached);
        api_fact(s, pid_hold_is_transferred_by_token_from_another_process);
        api_fact(s, process_hold_is_not_transferred_by_another_process);
        api_fact(s, failed_transfer_leaves_the_hold_as_it_was);
        api_fact(s, released_hold_is_not_transferred);
        return s;
}

int main(void) {
        return api_run(transfer_suite());
}
