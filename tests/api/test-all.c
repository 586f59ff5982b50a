/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several holds at once: all or none, in whatever order they are asked for. It must never know
 * the library's insides.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        SEMAPHORE = COORD_KIND_SEMAPHORE,
        ROUNDS = 150,
        PARTIES = 4
};

#define WANTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static coord_hold **all(coord_client *c, const char *const *wants) {
        coord_hold **holds = NULL;

        assert_result(coord_acquire_all(c, wants, 0, ENDLESS, &holds), 0);
        return holds;
}

static int try_all(coord_client *c, const char *const *wants) {
        coord_hold **holds = NULL;
        int e = coord_acquire_all(c, wants, 0, 0, &holds);

        coord_holds_free(holds);
        return e;
}

START_TEST(holds_come_in_the_order_of_wants) {
        coord_client *c = api_client();
        coord_hold **holds = all(c, WANTS("lock:z", "sem:s:2:3", "lock:a:shared", "lock:m"));
        static const char *const begin[] = {"lock:z:", "sem:s:", "lock:a:", "lock:m:"};

        for (size_t i = 0; i < ELEMENTS(begin); i++) {
                ck_assert_ptr_nonnull(holds[i]);
                ck_assert_int_eq(
                                strncmp(coord_hold_token(holds[i]), begin[i], strlen(begin[i])), 0);
                assert_result(coord_hold_check(holds[i]), 1);
        }
        ck_assert_ptr_null(holds[ELEMENTS(begin)]);
        ck_assert_ptr_null(coord_holds_free(holds));
        ck_assert(api_free("z") && api_free("a") && api_free("m"));
        coord_client_unref(c);
}
END_TEST

START_TEST(each_want_is_held_as_it_was_asked_for) {
        coord_client *c = api_client();
        struct actor *a = api_process();
        coord_hold **holds = all(c, WANTS("lock:x", "lock:r:shared", "sem:s:2:3"));

        assert_answer(api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "x")), -EAGAIN);
        assert_answer(api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "r")), -EAGAIN);
        assert_answer(api_do(a, ORDER(.patience = PATIENCE_NONE, .mode = 1, .text = "r")), 0);
        assert_result(api_try_permits(c, "s", 3, 2), -EAGAIN);
        assert_result(api_try_permits(c, "s", 3, 1), 0);
        coord_holds_free(holds);
        coord_client_unref(c);
}
END_TEST

START_TEST(one_hold_of_all_may_be_released_alone) {
        coord_client *c = api_client();
        coord_hold **holds = all(c, WANTS("lock:a", "lock:b"));

        assert_result(coord_hold_release(holds[0]), 0);
        ck_assert(api_free("a"));
        ck_assert(!api_free("b"));
        coord_holds_free(holds);
        ck_assert(api_free("b"));
        coord_client_unref(c);
}
END_TEST

START_TEST(taken_one_refuses_all) {
        coord_client *c = api_client();
        struct actor *a = api_process();

        api_take(a, "b");
        assert_result(try_all(c, WANTS("lock:a", "lock:b", "lock:c")), -EAGAIN);
        ck_assert(api_free("a") && api_free("c"));
        api_drop(a);
        assert_result(try_all(c, WANTS("lock:a", "lock:b", "lock:c")), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(timeout_gives_back_everything) {
        coord_client *c = api_client();
        coord_hold **none = NULL;
        struct actor *a = api_process();

        api_take(a, "b");
        assert_result(coord_acquire_all(c, WANTS("lock:c", "sem:s:3:3", "lock:b", "lock:a"), 0,
                                      20 * MSEC, &none),
                        -ETIMEDOUT);
        ck_assert_ptr_null(none);
        ck_assert(api_free("a") && api_free("c"));
        assert_result(api_try_permits(c, "s", 3, 3), 0);
        ck_assert_uint_eq(api_waiters(LOCK, "b"), 0);
        coord_client_unref(c);
}
END_TEST

static bool reserved(const char *name) {
        struct glance g = api_glance(LOCK, name);
        bool yes = g.entry && g.entry->reserved;

        if (yes) {
                ck_assert_uint_eq(g.entry->n_holders, 1);
                ck_assert_int_eq(g.entry->holders[0].reserved, 1);
                ck_assert_ptr_null(g.entry->holders[0].token);
        }
        api_glance_end(&g);
        return yes;
}

START_TEST(what_is_gathered_shows_as_reserved_and_counts_as_taken) {
        struct actor *holder = api_process(), *waiter = api_process(), *other = api_process();

        api_take(holder, "b");
        api_send(waiter, ORDER(.op = ACTOR_ALL, .text = "lock:a lock:b lock:c"));
        api_until_waiters(LOCK, "b", 1);
        ck_assert(reserved("a") || reserved("c"));
        ck_assert(!reserved("b"));
        if (reserved("a"))
                assert_answer(api_do(other, ORDER(.patience = PATIENCE_NONE, .text = "a")),
                                -EAGAIN);
        api_drop(holder);
        assert_answer(api_answer(waiter), 0);
        ck_assert(!reserved("a") && !reserved("b") && !reserved("c"));
        ck_assert_uint_eq(api_holders(LOCK, "a"), 1);
        api_drop(waiter);
}
END_TEST

START_TEST(waiting_for_all_ends_when_the_last_comes_free) {
        struct actor *holders[] = {api_process(), api_process(), api_process()};
        struct actor *waiter = api_process();

        api_take(holders[0], "a");
        api_take(holders[1], "b");
        assert_answer(api_do(holders[2], ORDER(.kind = SEMAPHORE, .capacity = 2, .text = "s")), 0);
        api_send(waiter, ORDER(.op = ACTOR_ALL, .text = "lock:b sem:s:2 lock:a:shared"));
        for (size_t i = 0; i < ELEMENTS(holders); i++) {
                ck_assert(api_silent(waiter));
                api_drop(holders[i]);
        }
        assert_answer(api_answer(waiter), 0);
        api_drop(waiter);
        ck_assert(api_free("a") && api_free("b"));
}
END_TEST

START_TEST(cancel_gives_back_everything) {
        struct actor *holder = api_process(), *waiter;
        coord_client *c = api_client();

        api_take(holder, "b");
        waiter = api_thread(c);
        api_send(waiter, ORDER(.op = ACTOR_ALL, .text = "lock:a lock:b lock:c"));
        api_until_waiters(LOCK, "b", 1);
        assert_result(coord_client_cancel(c), 0);
        assert_answer(api_answer(waiter), -ECANCELED);
        ck_assert(api_free("a") && api_free("c"));
        coord_client_unref(c);
}
END_TEST

/* ---- bad wants ---------------------------------------------------------------------------- */

START_TEST(bad_wants_are_refused) {
        static const char *const bad[] = {"", "a", "lock:", "lock:a:", "lock:a:exclusively",
                        "lock:a:shared:1", "lock:-a", "lock:a b", "sem:s", "sem:s:", "sem:s:0",
                        "sem:s:x", "sem:s:-1", "sem:s:1:", "sem:s:1:0", "sem:s:4:3", "sem:s:1:1025",
                        "sem::1", "sem:s:1:2:3", "sem:s:99999999999", "queue:q", "Lock:a", "lock"};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                int e = try_all(c, WANTS("lock:first", bad[i]));

                ck_assert_msg(e == -EINVAL, "\"%s\": %d", bad[i], e);
        }
        ck_assert(api_free("first"));
        coord_client_unref(c);
}
END_TEST

START_TEST(duplicates_are_refused) {
        coord_client *c = api_client();

        assert_result(try_all(c, WANTS("lock:a", "lock:b", "lock:a")), -EINVAL);
        assert_result(try_all(c, WANTS("lock:a", "lock:a:shared")), -EINVAL);
        assert_result(try_all(c, WANTS("sem:s:1:3", "sem:s:2:3")), -EINVAL);
        assert_result(try_all(c, WANTS("lock:a", "sem:a:1:1")), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(nothing_wanted_is_refused) {
        const char *const none[] = {NULL};
        coord_client *c = api_client();
        coord_hold **holds = NULL;

        assert_result(coord_acquire_all(c, none, 0, 0, &holds), -EINVAL);
        assert_result(coord_acquire_all(c, NULL, 0, 0, &holds), -EINVAL);
        assert_result(coord_acquire_all(c, WANTS("lock:a"), 8, 0, &holds), -EINVAL);
        ck_assert_ptr_null(holds);
        coord_client_unref(c);
}
END_TEST

START_TEST(capacity_is_needed_once_and_must_agree) {
        coord_client *c = api_client();

        assert_result(try_all(c, WANTS("lock:a", "sem:s:1")), -ENOENT);
        ck_assert(api_free("a"));
        assert_result(try_all(c, WANTS("lock:a", "sem:s:1:3")), 0);
        assert_result(try_all(c, WANTS("lock:a", "sem:s:3")), 0);
        assert_result(try_all(c, WANTS("lock:a", "sem:s:1:4")), -ERANGE);
        assert_result(try_all(c, WANTS("lock:a", "sem:s:4")), -EINVAL);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

/* ---- owners ------------------------------------------------------------------------------- */

START_TEST(owner_and_description_are_those_of_every_hold) {
        coord_client *c = api_client();
        struct coord_request r = COORD_REQUEST_INIT;
        coord_hold **holds = NULL;
        struct glance g;

        r.owner = "lease:1h";
        r.description = "both";
        assert_result(coord_acquire_all_full(c, WANTS("lock:a", "lock:b"), &r, &holds), 0);
        for (const char *name = "a"; name; name = *name == 'a' ? "b" : NULL) {
                g = api_glance(LOCK, name);
                ck_assert_ptr_nonnull(g.entry);
                ck_assert_uint_eq(g.entry->n_holders, 1);
                ck_assert_int_eq(strncmp(g.entry->holders[0].owner, "lease:", 6), 0);
                ck_assert_str_eq(g.entry->holders[0].description, "both");
                api_glance_end(&g);
        }
        coord_holds_free(holds);
        ck_assert(api_free("a") && api_free("b"));
        coord_client_unref(c);
}
END_TEST

/* ---- contests ----------------------------------------------------------------------------- */

static const char *const orders[PARTIES][6] = {
                {"lock:a", "lock:b", "sem:s:2:3", "lock:c"},
                {"lock:c", "sem:s:2:3", "lock:b", "lock:a"},
                {"sem:s:3:3", "lock:a", "lock:c:shared"},
                {"lock:b:shared", "lock:c", "sem:s:1:3"},
};

static int contest(coord_client *c, size_t which) {
        for (int i = 0; i < ROUNDS; i++) {
                coord_hold **holds = NULL;

                if (coord_acquire_all(c, orders[which], 0, ENDLESS, &holds) < 0)
                        return 1;
                coord_holds_free(holds);
        }
        return 0;
}

struct party {
        coord_client *c;
        size_t which;
        int result;
};

static void *party_run(void *argument) {
        struct party *p = argument;

        p->result = contest(p->c, p->which);
        return NULL;
}

START_TEST(opposite_orders_never_deadlock_in_threads) {
        coord_client *c = api_client();
        pthread_t threads[PARTIES];
        struct party parties[PARTIES];

        for (size_t i = 0; i < PARTIES; i++) {
                parties[i] = (struct party){c, i, -1};
                ck_assert_int_eq(pthread_create(&threads[i], NULL, party_run, &parties[i]), 0);
        }
        for (size_t i = 0; i < PARTIES; i++) {
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
                ck_assert_int_eq(parties[i].result, 0);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(opposite_orders_never_deadlock_in_processes) {
        pid_t pids[PARTIES];

        for (size_t i = 0; i < PARTIES; i++) {
                pids[i] = api_fork();
                if (pids[i] == 0) {
                        coord_client *c = NULL;

                        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) < 0)
                                _exit(2);
                        _exit(contest(c, i));
                }
        }
        for (size_t i = 0; i < PARTIES; i++)
                ck_assert_int_eq(api_status(pids[i]), 0);
}
END_TEST

START_TEST(killed_while_gathering_leaves_nothing_held_nor_abandoned) {
        struct actor *holder = api_process(), *waiter = api_process(), *next = api_process();

        api_take(holder, "b");
        api_send(waiter, ORDER(.op = ACTOR_ALL, .text = "lock:a lock:b lock:c"));
        api_until_waiters(LOCK, "b", 1);
        api_kill(waiter);
        ck_assert_int_eq(api_take(next, "a").abandoned, 0);
        api_drop(next);
        ck_assert_int_eq(api_take(next, "c").abandoned, 0);
        api_drop(next);
        api_drop(holder);
        ck_assert_int_eq(api_take(next, "b").abandoned, 0);
}
END_TEST

START_TEST(killed_holder_of_all_abandons_all) {
        struct actor *holder = api_process(), *next = api_process();

        assert_answer(api_do(holder, ORDER(.op = ACTOR_ALL, .text = "lock:a lock:b")), 0);
        api_kill(holder);
        ck_assert_int_eq(api_take(next, "a").abandoned, 1);
        api_drop(next);
        ck_assert_int_eq(api_take(next, "b").abandoned, 1);
}
END_TEST

static Suite *all_suite(void) {
        Suite *s = suite_create("all");

        api_fact(s, holds_come_in_the_order_of_wants);
        api_fact(s, each_want_is_held_as_it_was_asked_for);
        api_fact(s, one_hold_of_all_may_be_released_alone);
        api_fact(s, taken_one_refuses_all);
        api_fact(s, timeout_gives_back_everything);
        api_fact(s, what_is_gathered_shows_as_reserved_and_counts_as_taken);
        api_fact(s, waiting_for_all_ends_when_the_last_comes_free);
        api_fact(s, cancel_gives_back_everything);
        api_fact(s, bad_wants_are_refused);
        api_fact(s, duplicates_are_refused);
        api_fact(s, nothing_wanted_is_refused);
        api_fact(s, capacity_is_needed_once_and_must_agree);
        api_fact(s, owner_and_description_are_those_of_every_hold);
        api_fact(s, opposite_orders_never_deadlock_in_threads);
        api_fact(s, opposite_orders_never_deadlock_in_processes);
        api_fact(s, killed_while_gathering_leaves_nothing_held_nor_abandoned);
        api_fact(s, killed_holder_of_all_abandons_all);
        return s;
}

int main(void) {
        return api_run(all_suite());
}
