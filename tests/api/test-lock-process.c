/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks and the lives of processes: fork, exec, exit, kill, stop, and what the next holder is
 * told. It must never know the library's insides.
 */
#include <errno.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        GROWN_MIB = 192
};

/* ---- fork --------------------------------------------------------------------------------- */

/* In the child: every call on what came through the fork is refused. */
static int inherited_calls(coord_client *c, coord_hold *h, coord_lock *l) {
        struct coord_entry *entries = NULL;
        coord_hold *none = NULL;
        uint64_t cursor = 0;
        size_t n = 0;

        return !(coord_lock_acquire(c, "b", 0, ENDLESS, &none) == -ECHILD &&
                        coord_lock_try(c, "b", 0, &none) == -ECHILD &&
                        coord_lock_lock(l, 0, ENDLESS, &none) == -ECHILD &&
                        coord_semaphore_try(c, "s", 1, 1, 0, &none) == -ECHILD &&
                        coord_semaphore_configure(c, "s", 1) == -ECHILD &&
                        coord_hold_release(h) == -ECHILD &&
                        coord_hold_convert(h, COORD_SHARED, 0) == -ECHILD &&
                        coord_hold_transfer(h, "lease:1h") == -ECHILD &&
                        coord_release(c, coord_hold_token(h)) == -ECHILD &&
                        coord_break(c, "a") == -ECHILD &&
                        coord_list(c, COORD_KIND_ANY, &entries, &n) == -ECHILD &&
                        coord_watch(c, "a", &cursor, 0) == -ECHILD);
}

START_TEST(child_gets_echild_from_every_call) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        coord_lock *l = NULL;
        pid_t pid;

        assert_result(coord_lock_open(c, "b", &l), 0);
        pid = api_fork();
        if (pid == 0)
                _exit(inherited_calls(c, h, l));
        ck_assert_int_eq(api_status(pid), 0);
        assert_result(coord_hold_check(h), 1);
        coord_lock_unref(l);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(childs_exit_frees_nothing) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        pid_t pid = api_fork();

        if (pid == 0)
                _exit(0);
        ck_assert_int_eq(api_status(pid), 0);
        assert_result(coord_hold_check(h), 1);
        ck_assert(!api_free("a"));
        coord_hold_unref(h);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(childs_unrefs_free_nothing) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        pid_t pid = api_fork();

        if (pid == 0) {
                coord_hold_unref(h);
                coord_client_unref(c);
                _exit(0);
        }
        ck_assert_int_eq(api_status(pid), 0);
        assert_result(coord_hold_check(h), 1);
        ck_assert(!api_free("a"));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

/* In the child: what the parent holds excludes, everything else works. */
static int newcomer(void) {
        coord_client *c = NULL;
        coord_hold *h = NULL;

        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) != 0)
                return 1;
        if (coord_lock_try(c, "a", 0, &h) != -EAGAIN)
                return 2;
        if (coord_lock_try(c, "b", 0, &h) != 0 || coord_hold_check(h) != 1)
                return 3;
        if (coord_hold_release(h) != 0)
                return 4;
        coord_hold_unref(h);
        coord_client_unref(c);
        return 0;
}

START_TEST(child_makes_a_new_client_and_works) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        pid_t pid = api_fork();

        if (pid == 0)
                _exit(newcomer());
        ck_assert_int_eq(api_status(pid), 0);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(childs_own_hold_ends_with_the_child) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        pid_t pid = api_fork();

        if (pid == 0) {
                coord_client *own = NULL;
                coord_hold *b = NULL;
                int e = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &own);

                _exit(e < 0 || coord_lock_try(own, "b", 0, &b) != 0);
        }
        ck_assert_int_eq(api_status(pid), 0);
        coord_hold_unref(h);
        h = api_lock(c, "b");
        assert_result(coord_hold_was_abandoned(h), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

/* Holds "a", forks a child that lives until the pipe closes, and waits to be killed. */
static void parent_of_a_survivor(int tell, const int stay[2]) {
        coord_client *c = NULL;
        coord_hold *h = NULL;
        pid_t child;
        char byte;

        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) < 0 ||
                        coord_lock_acquire(c, "a", 0, ENDLESS, &h) < 0)
                _exit(1);
        child = fork();
        if (child == 0) {
                (void) close(stay[1]);
                _exit(read(stay[0], &byte, 1) == 0 ? 0 : 1);
        }
        if (write(tell, "x", 1) != 1)
                _exit(1);
        for (;;)
                (void) pause();
}

START_TEST(child_does_not_keep_what_its_killed_parent_held) {
        struct actor *next = api_process();
        int tell[2], stay[2];
        pid_t parent;
        char byte;

        ck_assert_int_eq(pipe(tell), 0);
        ck_assert_int_eq(pipe(stay), 0);
        parent = api_fork();
        if (parent == 0)
                parent_of_a_survivor(tell[1], stay);
        (void) close(tell[1]);
        ck_assert_int_eq(read(tell[0], &byte, 1), 1);
        ck_assert_int_eq(kill(parent, SIGKILL), 0);
        assert_answer(api_do(next, ORDER(.text = "a")), 0);
        ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
        (void) close(tell[0]);
        (void) close(stay[0]);
        (void) close(stay[1]);
}
END_TEST

/* ---- exec, exit, kill --------------------------------------------------------------------- */

START_TEST(exec_frees) {
        struct actor *a = api_process(), *next = api_process();
        struct answer got;

        api_take(a, "a");
        api_send(next, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_answer(api_do(a, ORDER(.op = ACTOR_EXEC)), 0);
        got = api_answer(next);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
        assert_answer(api_do(a, ORDER(.op = ACTOR_PING)), 0);
}
END_TEST

START_TEST(killed_holders_lock_goes_to_the_next_and_is_abandoned_once) {
        struct actor *a = api_process(), *waiter = api_process(), *third = api_process();
        struct answer got;

        api_take(a, "a");
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_kill(a);
        got = api_answer(waiter);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
        api_drop(waiter);
        ck_assert_int_eq(api_take(third, "a").abandoned, 0);
}
END_TEST

START_TEST(killed_holders_lock_is_abandoned_without_waiters_too) {
        struct actor *a = api_process(), *next = api_process();

        api_take(a, "a");
        api_kill(a);
        ck_assert_int_eq(api_take(next, "a").abandoned, 1);
        api_drop(next);
        ck_assert_int_eq(api_take(next, "a").abandoned, 0);
}
END_TEST

START_TEST(try_after_a_kill_is_told_abandoned) {
        struct actor *a = api_process(), *next = api_process();
        struct answer got;

        api_take(a, "a");
        api_kill(a);
        got = api_do(next, ORDER(.patience = PATIENCE_NONE, .text = "a"));
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
}
END_TEST

START_TEST(exit_without_a_release_is_abandoned) {
        struct actor *a = api_process(), *next = api_process();

        api_take(a, "a");
        api_send(a, ORDER(.op = ACTOR_EXIT));
        api_gone(a);
        ck_assert_int_eq(api_take(next, "a").abandoned, 1);
}
END_TEST

START_TEST(exit_after_a_release_is_not_abandoned) {
        struct actor *a = api_process(), *next = api_process();

        api_take(a, "a");
        api_drop(a);
        api_kill(a);
        ck_assert_int_eq(api_take(next, "a").abandoned, 0);
}
END_TEST

START_TEST(killed_readers_lock_is_abandoned_once) {
        for (int mode = 0; mode < 2; mode++) {
                struct actor *a = api_process(), *next = api_process();
                struct answer got;

                assert_answer(api_do(a, ORDER(.mode = COORD_MODE_SHARED, .text = "a")), 0);
                api_kill(a);
                got = api_do(next, ORDER(.mode = mode, .text = "a"));
                assert_answer(got, 0);
                ck_assert_int_eq(got.abandoned, 1);
                api_drop(next);
                ck_assert_int_eq(api_take(next, "a").abandoned, 0);
                api_drop(next);
        }
}
END_TEST

START_TEST(nested_hold_of_a_killed_process_is_free_at_once) {
        struct actor *a = api_process(), *next = api_process();

        for (int key = 0; key < 8; key++)
                assert_answer(api_do(a, ORDER(.key = key, .text = "a")), 0);
        api_kill(a);
        ck_assert_int_eq(api_take(next, "a").abandoned, 1);
        api_drop(next);
}
END_TEST

START_TEST(everything_a_killed_process_held_comes_free) {
        struct actor *a = api_process();
        coord_client *c = api_client();
        static const char *const names[] = {"a", "b", "c", "d", "e"};

        for (size_t i = 0; i < ELEMENTS(names); i++) {
                struct order o = {.key = (int) i, .mode = i % 2};

                o.text[0] = names[i][0];
                assert_answer(api_do(a, &o), 0);
        }
        api_kill(a);
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                coord_hold *h = api_lock(c, names[i]);

                ck_assert_int_eq(coord_hold_was_abandoned(h), 1);
                coord_hold_unref(h);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(released_hold_is_not_abandoned_by_conversion) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");

        assert_result(coord_hold_convert(h, 0, 0), 0);
        assert_result(coord_hold_was_abandoned(h), 0);
        assert_result(coord_hold_release(h), 0);
        coord_hold_unref(h);
        h = api_lock(c, "a");
        assert_result(coord_hold_was_abandoned(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

static bool is_gone(const struct actor *a) {
        struct pollfd p = {a->pidfd, POLLIN, 0};

        return poll(&p, 1, 0) == 1;
}

START_TEST(strict_hold_passes_on_when_the_whole_process_is_gone) {
        struct actor *a = api_process(), *waiter = api_process();
        struct answer got;

        assert_answer(api_do(a, ORDER(.op = ACTOR_GROW, .permits = GROWN_MIB)), 0);
        assert_answer(api_do(a, ORDER(.flags = COORD_STRICT, .text = "a")), 0);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        ck_assert_int_eq(kill(a->pid, SIGKILL), 0);
        got = api_answer(waiter);
        ck_assert(is_gone(a));
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
}
END_TEST

START_TEST(strict_hold_of_a_living_process_is_as_any_other) {
        struct actor *a = api_process(), *waiter = api_process();

        assert_answer(api_do(a, ORDER(.flags = COORD_STRICT, .text = "a")), 0);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_drop(a);
        assert_answer(api_answer(waiter), 0);
        assert_answer(api_do(a, ORDER(.op = ACTOR_PING)), 0);
}
END_TEST

START_TEST(stopped_holder_still_holds) {
        struct actor *a = api_process(), *waiter = api_process();

        api_take(a, "a");
        api_stop(a);
        assert_answer(api_do(waiter, ORDER(.patience = 20 * MSEC, .text = "a")), -ETIMEDOUT);
        assert_answer(api_do(waiter, ORDER(.patience = PATIENCE_NONE, .text = "a")), -EAGAIN);
        api_continue(a);
        api_drop(a);
        ck_assert_int_eq(api_take(waiter, "a").abandoned, 0);
}
END_TEST

START_TEST(fifty_kills_strand_nobody) {
        struct actor *waiter = api_process();

        for (int i = 0; i < 50; i++) {
                struct actor *a = api_process();

                api_take(a, "a");
                api_send(waiter, ORDER(.text = "a"));
                if (i % 2)
                        api_until_waiters(LOCK, "a", 1);
                api_kill(a);
                assert_answer(api_answer(waiter), 0);
                api_drop(waiter);
                api_actor_free(a);
        }
}
END_TEST

static Suite *process_suite(void) {
        Suite *s = suite_create("lock-process");

        api_fact(s, child_gets_echild_from_every_call);
        api_fact(s, childs_exit_frees_nothing);
        api_fact(s, childs_unrefs_free_nothing);
        if (THREADS_AFTER_FORK) {
                api_fact(s, child_makes_a_new_client_and_works);
                api_fact(s, childs_own_hold_ends_with_the_child);
        }
        api_fact(s, child_does_not_keep_what_its_killed_parent_held);
        api_fact(s, exec_frees);
        api_fact(s, killed_holders_lock_goes_to_the_next_and_is_abandoned_once);
        api_fact(s, killed_holders_lock_is_abandoned_without_waiters_too);
        api_fact(s, try_after_a_kill_is_told_abandoned);
        api_fact(s, exit_without_a_release_is_abandoned);
        api_fact(s, exit_after_a_release_is_not_abandoned);
        api_fact(s, killed_readers_lock_is_abandoned_once);
        api_fact(s, nested_hold_of_a_killed_process_is_free_at_once);
        api_fact(s, everything_a_killed_process_held_comes_free);
        api_fact(s, released_hold_is_not_abandoned_by_conversion);
        api_fact(s, strict_hold_passes_on_when_the_whole_process_is_gone);
        api_fact(s, strict_hold_of_a_living_process_is_as_any_other);
        api_fact(s, stopped_holder_still_holds);
        api_fact(s, fifty_kills_strand_nobody);
        return s;
}

int main(void) {
        return api_run(process_suite());
}
