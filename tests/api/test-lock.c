/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exclusive locks: acquiring, trying, waiting, cancelling; exclusion among threads, clients and
 * processes; what a token is. It must never know the library's insides.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK
};

/* ---- acquiring ---------------------------------------------------------------------------- */

START_TEST(acquire_gives_a_token_that_names_kind_name_and_fence) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "backup");
        uint64_t epoch = 0, counter = 0;
        char text[128];

        assert_result(coord_hold_fence(h, &epoch, &counter), 0);
        snprintf(text, sizeof(text), "lock:backup:%llu.%llu", (unsigned long long) epoch,
                        (unsigned long long) counter);
        ck_assert_str_eq(coord_hold_token(h), text);
        ck_assert_str_eq(coord_hold_name(h), "backup");
        ck_assert_uint_gt(epoch, 0);
        ck_assert_uint_le(epoch, UINT32_MAX);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(fresh_hold_is_current_and_not_abandoned) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_check(h), 1);
        assert_result(coord_hold_was_abandoned(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(try_of_a_free_lock_succeeds) {
        coord_client *c = api_client();
        coord_hold *h = NULL;

        assert_result(coord_lock_try(c, "a", 0, &h), 0);
        ck_assert(!api_free("a"));
        assert_result(coord_hold_release(h), 0);
        ck_assert(api_free("a"));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(try_of_a_taken_lock_is_eagain_and_leaves_ret_alone) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *h = api_lock(c, "a"), *untouched = h;

        assert_result(coord_lock_try(other, "a", 0, &untouched), -EAGAIN);
        ck_assert_ptr_eq(untouched, h);
        coord_hold_unref(h);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(timeout_of_zero_is_eagain_when_taken) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *h = api_lock(c, "a"), *none = NULL;

        assert_result(coord_lock_acquire(other, "a", 0, 0, &none), -EAGAIN);
        coord_hold_unref(h);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(timeout_that_runs_out_is_etimedout_and_not_early) {
        coord_client *c = api_client();
        struct actor *a = api_process();
        coord_hold *none = NULL;
        uint64_t began;

        api_take(a, "a");
        began = api_now();
        assert_result(coord_lock_acquire(c, "a", 0, 30 * MSEC, &none), -ETIMEDOUT);
        ck_assert_uint_ge(api_now() - began, 30 * MSEC);
        coord_client_unref(c);
}
END_TEST

START_TEST(timeout_is_not_awaited_when_the_lock_comes_free) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        struct actor *a = api_thread(c);

        api_send(a, ORDER(.patience = 3600 * SEC, .text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_hold_release(h), 0);
        assert_answer(api_answer(a), 0);
        api_drop(a);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(endless_wait_ends_with_the_release) {
        coord_client *c = api_client();
        struct actor *holder = api_process(), *waiter = api_process();

        api_take(holder, "a");
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        ck_assert(api_silent(waiter));
        api_drop(holder);
        assert_answer(api_answer(waiter), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(opened_lock_is_the_lock_of_that_name) {
        coord_client *c = api_client();
        coord_lock *l = NULL;
        coord_hold *h = NULL;

        assert_result(coord_lock_open(c, "a", &l), 0);
        for (int i = 0; i < 100; i++) {
                assert_result(coord_lock_lock(l, 0, ENDLESS, &h), 0);
                if (i == 50)
                        ck_assert(!api_free("a"));
                h = coord_hold_unref(h);
        }
        ck_assert(api_free("a"));
        ck_assert_ptr_null(coord_lock_unref(l));
        coord_client_unref(c);
}
END_TEST

START_TEST(opened_lock_times_out_and_tries) {
        coord_client *c = api_client();
        struct actor *a = api_process();
        coord_lock *l = NULL;
        coord_hold *h = NULL;

        api_take(a, "a");
        assert_result(coord_lock_open(c, "a", &l), 0);
        assert_result(coord_lock_lock(l, 0, 0, &h), -EAGAIN);
        assert_result(coord_lock_lock(l, 0, 10 * MSEC, &h), -ETIMEDOUT);
        assert_result(coord_lock_lock(l, 8, 0, &h), -EINVAL);
        coord_lock_unref(l);
        coord_client_unref(c);
}
END_TEST

START_TEST(hold_outlives_its_clients_last_reference) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        coord_client_unref(c);
        assert_result(coord_hold_check(h), 1);
        ck_assert(!api_free("a"));
        coord_hold_unref(h);
        ck_assert(api_free("a"));
}
END_TEST

/* ---- cancelling --------------------------------------------------------------------------- */

START_TEST(cancel_ends_waits_now_and_later_and_leaves_holds) {
        coord_client *c = api_client();
        coord_hold *mine = api_lock(c, "mine"), *none = NULL;
        struct actor *holder = api_process(), *waiter = api_thread(c);

        api_take(holder, "a");
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_client_cancel(c), 0);
        assert_answer(api_answer(waiter), -ECANCELED);
        assert_result(coord_lock_acquire(c, "a", 0, ENDLESS, &none), -ECANCELED);
        assert_result(coord_hold_check(mine), 1);
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 0);
        assert_result(coord_hold_release(mine), 0);
        coord_hold_unref(mine);
        coord_client_unref(c);
}
END_TEST

static coord_client *signalled;

static void on_signal(int number) {
        (void) number;
        (void) coord_client_cancel(signalled);
}

START_TEST(cancel_works_from_a_signal_handler) {
        struct sigaction action = {.sa_handler = on_signal};
        struct actor *holder = api_process(), *waiter;

        signalled = api_client();
        ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
        api_take(holder, "a");
        waiter = api_thread(signalled);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        ck_assert_int_eq(pthread_kill(waiter->thread, SIGUSR1), 0);
        assert_answer(api_answer(waiter), -ECANCELED);
        api_actor_free(waiter);
        coord_client_unref(signalled);
}
END_TEST

static void on_nothing(int number) {
        (void) number;
}

START_TEST(signal_does_not_end_a_wait) {
        struct sigaction action = {.sa_handler = on_nothing};
        struct actor *holder = api_process(), *waiter;
        coord_client *c = api_client();

        ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
        api_take(holder, "a");
        waiter = api_thread(c);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        for (int i = 0; i < 20; i++)
                ck_assert_int_eq(pthread_kill(waiter->thread, SIGUSR1), 0);
        ck_assert(api_silent(waiter));
        api_drop(holder);
        assert_answer(api_answer(waiter), 0);
        coord_client_unref(c);
}
END_TEST

/* ---- exclusion ---------------------------------------------------------------------------- */

enum {
        THREADS = 8,
        ROUNDS = 400
};

struct contest {
        coord_client *c;
        unsigned plain; /* only the lock guards it */
        int failed;
};

static void *contest_run(void *argument) {
        struct contest *all = argument;

        for (int i = 0; i < ROUNDS; i++) {
                coord_hold *h = NULL;

                if (coord_lock_acquire(all->c, "a", 0, ENDLESS, &h) != 0)
                        return argument;
                all->plain++;
                coord_hold_unref(h);
        }
        return NULL;
}

START_TEST(threads_of_one_client_exclude_each_other) {
        struct contest all = {.c = api_client()};
        pthread_t threads[THREADS];

        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, contest_run, &all), 0);
        for (int i = 0; i < THREADS; i++) {
                void *failed;

                ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
                ck_assert_ptr_null(failed);
        }
        ck_assert_uint_eq(all.plain, THREADS * ROUNDS);
        coord_client_unref(all.c);
}
END_TEST

struct guest {
        atomic_int *inside;
        int rounds;
};

/* A client of its own; returns how often it was not alone. */
static int guest_run(const struct guest *g) {
        coord_client *c = NULL;
        int bad = 0;

        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) < 0)
                return 100;
        for (int i = 0; i < g->rounds; i++) {
                coord_hold *h = NULL;

                if (coord_lock_acquire(c, "a", 0, ENDLESS, &h) < 0)
                        return 101;
                bad += atomic_fetch_add(g->inside, 1) != 0;
                atomic_fetch_sub(g->inside, 1);
                coord_hold_unref(h);
        }
        coord_client_unref(c);
        return bad;
}

static void *guest_thread(void *argument) {
        return guest_run(argument) == 0 ? NULL : argument;
}

START_TEST(clients_in_one_process_exclude_each_other) {
        atomic_int inside = 0;
        struct guest g = {&inside, ROUNDS};
        pthread_t threads[THREADS];

        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, guest_thread, &g), 0);
        for (int i = 0; i < THREADS; i++) {
                void *failed;

                ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
                ck_assert_ptr_null(failed);
        }
}
END_TEST

START_TEST(processes_exclude_each_other) {
        struct guest g = {NULL, ROUNDS};
        pid_t pids[4];
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(page, MAP_FAILED);
        g.inside = page;
        for (size_t i = 0; i < ELEMENTS(pids); i++) {
                pids[i] = api_fork();
                if (pids[i] == 0)
                        _exit(guest_run(&g));
        }
        for (size_t i = 0; i < ELEMENTS(pids); i++)
                ck_assert_int_eq(api_status(pids[i]), 0);
        ck_assert_int_eq(munmap(page, 4096), 0);
}
END_TEST

START_TEST(second_client_of_the_same_thread_is_excluded) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(api_try(other, "a"), -EAGAIN);
        coord_hold_unref(h);
        assert_result(api_try(other, "a"), 0);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(names_are_told_apart_to_the_last_byte) {
        coord_client *c = api_client();
        const char *names[] = {"a", "A", "a.", "aa", "a/b", "a@b", "_a", "0", "a%+-b"};
        coord_hold *holds[ELEMENTS(names)];

        for (size_t i = 0; i < ELEMENTS(names); i++)
                holds[i] = api_lock(c, names[i]);
        for (size_t i = 0; i < ELEMENTS(names); i++)
                ck_assert_str_eq(coord_hold_name(holds[i]), names[i]);
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                ck_assert(!api_free(names[i]));
                coord_hold_unref(holds[i]);
                ck_assert(api_free(names[i]));
        }
        coord_client_unref(c);
}
END_TEST

/* ---- tokens ------------------------------------------------------------------------------- */

static bool fence_rises(struct answer *last, const struct answer *now) {
        bool rises = now->epoch > last->epoch ||
                     (now->epoch == last->epoch && now->counter > last->counter);

        *last = *now;
        return rises;
}

START_TEST(fence_rises_with_every_grant_to_anyone) {
        coord_client *c = api_client();
        struct actor *actors[] = {api_process(), api_thread(c), api_process(), api_thread(c)};
        struct answer last = {0};

        for (int i = 0; i < 200; i++) {
                struct actor *a = actors[i % 4];
                struct answer got = api_take(a, "a");

                ck_assert_msg(fence_rises(&last, &got), "%s", got.token);
                api_drop(a);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(fence_rises_across_deaths) {
        struct answer last = {0};

        for (int i = 0; i < 10; i++) {
                struct actor *a = api_process();
                struct answer got = api_take(a, "a");

                ck_assert_msg(fence_rises(&last, &got), "%s", got.token);
                api_kill(a);
                api_actor_free(a);
        }
}
END_TEST

static Suite *lock_suite(void) {
        Suite *s = suite_create("lock");

        api_fact(s, acquire_gives_a_token_that_names_kind_name_and_fence);
        api_fact(s, fresh_hold_is_current_and_not_abandoned);
        api_fact(s, try_of_a_free_lock_succeeds);
        api_fact(s, try_of_a_taken_lock_is_eagain_and_leaves_ret_alone);
        api_fact(s, timeout_of_zero_is_eagain_when_taken);
        api_fact(s, timeout_that_runs_out_is_etimedout_and_not_early);
        api_fact(s, timeout_is_not_awaited_when_the_lock_comes_free);
        api_fact(s, endless_wait_ends_with_the_release);
        api_fact(s, opened_lock_is_the_lock_of_that_name);
        api_fact(s, opened_lock_times_out_and_tries);
        api_fact(s, hold_outlives_its_clients_last_reference);
        api_fact(s, cancel_ends_waits_now_and_later_and_leaves_holds);
        api_fact(s, cancel_works_from_a_signal_handler);
        api_fact(s, signal_does_not_end_a_wait);
        api_fact(s, threads_of_one_client_exclude_each_other);
        api_fact(s, clients_in_one_process_exclude_each_other);
        api_fact(s, processes_exclude_each_other);
        api_fact(s, second_client_of_the_same_thread_is_excluded);
        api_fact(s, names_are_told_apart_to_the_last_byte);
        api_fact(s, fence_rises_with_every_grant_to_anyone);
        api_fact(s, fence_rises_across_deaths);
        return s;
}

int main(void) {
        return api_run(lock_suite());
}
