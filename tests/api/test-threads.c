/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fifty threads on one client, each doing something else in turn: made to be run under
 * ThreadSanitizer. Plain counters are guarded by nothing but what is tested. It must never know
 * the library's insides.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>

#include "api.h"

enum {
        THREADS = 50,
        ROUNDS = 24,
        SEATS = 5
};

struct crowd {
        coord_client *c;
        coord_lock *fast;
        unsigned by_name, by_handle, by_all; /* each guarded by its lock alone */
        atomic_int seated;
        atomic_int failed;
        atomic_int doing, error; /* of the last that failed */
        atomic_int grants;       /* of asynchronous waits */
};

struct member {
        struct crowd *all;
        int number;
};

/* Each returns 0 or a negative errno, -EPROTO for a promise that was not kept. */
static int take_by_name(struct crowd *all) {
        coord_hold *h = NULL, *again = NULL;
        int e = coord_lock_acquire(all->c, "name", 0, ENDLESS, &h);

        if (e == 0)
                e = coord_lock_acquire(all->c, "name", 0, ENDLESS, &again);
        if (e < 0) {
                coord_hold_unref(h);
                return e;
        }
        all->by_name++;
        coord_hold_unref(again);
        all->by_name++;
        coord_hold_unref(h);
        return 0;
}

static int take_by_handle(struct crowd *all) {
        coord_hold *h = NULL;
        int e = coord_lock_lock(all->fast, 0, ENDLESS, &h);

        if (e < 0)
                return e;
        all->by_handle++;
        e = coord_hold_check(h) == 1 ? coord_hold_release(h) : -EPROTO;
        coord_hold_unref(h);
        return e;
}

static int share_and_convert(struct crowd *all) {
        coord_hold *h = NULL;
        int e = coord_lock_acquire(all->c, "shared", COORD_SHARED, ENDLESS, &h);

        if (e < 0)
                return e;
        e = coord_hold_convert(h, 0, MSEC);
        coord_hold_unref(h);
        return e == -ETIMEDOUT || e == -EDEADLK ? 0 : e;
}

static int take_a_seat(struct crowd *all) {
        coord_hold *h = NULL;
        int e = coord_semaphore_acquire(all->c, "seats", SEATS, 2, 0, ENDLESS, &h);

        if (e < 0)
                return e;
        e = atomic_fetch_add(&all->seated, 2) + 2 > SEATS ? -EPROTO : 0;
        atomic_fetch_sub(&all->seated, 2);
        coord_hold_unref(h);
        return e;
}

static int take_all(struct crowd *all) {
        const char *const wants[] = {"lock:all", "sem:seats:1:5", "lock:shared:shared", NULL};
        coord_hold **holds = NULL;
        int e = coord_acquire_all(all->c, wants, 0, ENDLESS, &holds);

        if (e < 0)
                return e;
        all->by_all++;
        coord_holds_free(holds);
        return 0;
}

static int look_around(struct crowd *all) {
        struct coord_entry *entries = NULL;
        uint64_t cursor = 0;
        size_t n = 0;
        int e = coord_list(all->c, COORD_KIND_ANY, &entries, &n);

        coord_entries_free(entries, n);
        if (e >= 0)
                e = coord_watch(all->c, "*", &cursor, 0);
        return e < 0 ? e : coord_check(all->c, "lock:name:1.1");
}

static void crowd_failed(struct crowd *all, int doing, int error) {
        atomic_store(&all->doing, doing);
        atomic_store(&all->error, error);
        atomic_fetch_add(&all->failed, 1);
}

static void on_granted(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        struct crowd *all = userdata;

        (void) slot;
        if (result < 0)
                crowd_failed(all, -1, result);
        coord_hold_unref(hold);
        atomic_fetch_add(&all->grants, 1);
}

static int ask(struct crowd *all) {
        struct coord_request r = COORD_REQUEST_INIT;

        r.name = "asked";
        return coord_acquire_async(all->c, NULL, &r, on_granted, all);
}

static int ask_and_drop(struct crowd *all) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_slot *slot = NULL;
        int e;

        r.name = "asked";
        e = coord_acquire_async(all->c, &slot, &r, on_granted, all);
        coord_slot_unref(slot);
        return e;
}

static int (*const doings[])(struct crowd *all) = {take_by_name, take_by_handle, share_and_convert,
                take_a_seat, take_all, look_around, ask, ask_and_drop};

static void *member_run(void *argument) {
        struct member *m = argument;

        for (size_t i = 0; i < ROUNDS; i++) {
                size_t which = ((size_t) m->number + i) % ELEMENTS(doings);
                int e = doings[which](m->all);

                if (e != 0)
                        crowd_failed(m->all, (int) which, e);
        }
        return NULL;
}

static atomic_bool over;

static void *loop_run(void *argument) {
        struct crowd *all = argument;
        struct pollfd p = {coord_client_get_fd(all->c), 0, 0};

        while (!atomic_load(&over)) {
                int e;

                p.events = (short) coord_client_get_events(all->c);
                (void) poll(&p, 1, 100);
                e = coord_client_process(all->c);
                if (e < 0)
                        crowd_failed(all, -2, e);
        }
        while (coord_client_process(all->c) > 0)
                ;
        return NULL;
}

START_TEST(fifty_threads_do_everything_on_one_client) {
        struct crowd all = {.c = api_client()};
        pthread_t threads[THREADS], loop;
        struct member members[THREADS];

        atomic_store(&over, false);
        assert_result(coord_semaphore_configure(all.c, "seats", SEATS), 0);
        assert_result(coord_lock_open(all.c, "fast", &all.fast), 0);
        ck_assert_int_eq(pthread_create(&loop, NULL, loop_run, &all), 0);
        for (int i = 0; i < THREADS; i++) {
                members[i] = (struct member){&all, i};
                ck_assert_int_eq(pthread_create(&threads[i], NULL, member_run, &members[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        atomic_store(&over, true);
        ck_assert_int_eq(pthread_join(loop, NULL), 0);
        ck_assert_msg(all.failed == 0, "%d failed, the last in doing %d: %d (%s)", all.failed,
                        all.doing, all.error, coord_error_name(all.error));
        ck_assert_uint_eq(all.by_name, 2 * THREADS * ROUNDS / ELEMENTS(doings));
        ck_assert_uint_eq(all.by_handle, THREADS * ROUNDS / ELEMENTS(doings));
        ck_assert_uint_eq(all.by_all, THREADS * ROUNDS / ELEMENTS(doings));
        coord_lock_unref(all.fast);
        coord_client_unref(all.c);
        ck_assert(api_free("name") && api_free("fast") && api_free("shared") && api_free("all"));
}
END_TEST

static void *own_client(void *argument) {
        coord_client *c = NULL;
        coord_hold *h = NULL;

        for (int i = 0; i < ROUNDS; i++) {
                if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) < 0)
                        return argument;
                if (coord_lock_acquire(c, "a", 0, ENDLESS, &h) < 0)
                        return argument;
                ++*(unsigned *) argument;
                c = coord_client_unref(c);
                h = coord_hold_unref(h);
        }
        return NULL;
}

START_TEST(clients_come_and_go_in_many_threads) {
        pthread_t threads[8];
        unsigned count = 0;

        for (size_t i = 0; i < ELEMENTS(threads); i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, own_client, &count), 0);
        for (size_t i = 0; i < ELEMENTS(threads); i++) {
                void *failed;

                ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
                ck_assert_ptr_null(failed);
        }
        ck_assert_uint_eq(count, ROUNDS * ELEMENTS(threads));
}
END_TEST

static void *wait_for_it(void *argument) {
        coord_hold *h = NULL;
        int e = coord_lock_acquire(argument, "a", 0, ENDLESS, &h);

        coord_hold_unref(h);
        return e == -ECANCELED ? NULL : argument;
}

START_TEST(cancel_reaches_fifty_waiting_threads) {
        struct actor *holder = api_process();
        coord_client *c = api_client();
        pthread_t threads[THREADS];

        api_take(holder, "a");
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_for_it, c), 0);
        api_until_waiters(COORD_KIND_LOCK, "a", THREADS);
        assert_result(coord_client_cancel(c), 0);
        for (int i = 0; i < THREADS; i++) {
                void *failed;

                ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
                ck_assert_ptr_null(failed);
        }
        ck_assert_uint_eq(api_waiters(COORD_KIND_LOCK, "a"), 0);
        coord_client_unref(c);
}
END_TEST

int main(void) {
        Suite *s = suite_create("threads");

        api_fact(s, fifty_threads_do_everything_on_one_client);
        api_fact(s, clients_come_and_go_in_many_threads);
        api_fact(s, cancel_reaches_fifty_waiting_threads);
        return api_run(s);
}
