/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asynchronous waits: callbacks once each, from coord_client_process() alone, driven by poll(2). It
 * must never know the library's insides.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        MANY = 300
};

struct wait {
        coord_slot *slot;
        coord_hold *hold;
        int calls;
        int result;
        unsigned order; /* as which of all it was called */
        unsigned *last; /* counts the calls of all */
        bool drop_in_callback;
};

static void on_acquired(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        struct wait *w = userdata;

        w->calls++;
        w->result = result;
        w->hold = hold;
        if (w->last)
                w->order = ++*w->last;
        if (w->drop_in_callback) {
                ck_assert_ptr_eq(slot, w->slot);
                w->slot = coord_slot_unref(w->slot);
        }
}

static void wait_for(coord_client *c, const char *name, uint64_t timeout, struct wait *w) {
        struct coord_request r = COORD_REQUEST_INIT;

        r.name = name;
        r.timeout_usec = timeout;
        assert_result(coord_acquire_async(c, &w->slot, &r, on_acquired, w), 0);
        ck_assert_ptr_nonnull(w->slot);
        ck_assert_int_eq(w->calls, 0);
}

static void wait_end(struct wait *w) {
        w->slot = coord_slot_unref(w->slot);
        w->hold = coord_hold_unref(w->hold);
}

static int until_timeout(coord_client *c) {
        uint64_t usec = 0, now = api_now();

        assert_result(coord_client_get_timeout(c, &usec), 0);
        if (usec == UINT64_MAX || usec > now + 60 * SEC)
                return 60000;
        return usec <= now ? 0 : (int) ((usec - now + 999) / 1000);
}

/* Turn the loop by hand until so many of all were called. */
static void turn_until(coord_client *c, const unsigned *calls, unsigned n) {
        uint64_t end = api_now() + 80 * SEC;
        int fd = coord_client_get_fd(c);

        ck_assert_int_ge(fd, 0);
        while (*calls < n) {
                struct pollfd p = {fd, (short) coord_client_get_events(c), 0};

                ck_assert_int_ge(poll(&p, 1, until_timeout(c)), 0);
                ck_assert_int_ge(coord_client_process(c), 0);
                ck_assert_msg(api_now() < end, "%u of %u", *calls, n);
        }
}

static void settle(coord_client *c) {
        while (coord_client_process(c) > 0)
                ;
}

/* ---- outcomes ----------------------------------------------------------------------------- */

START_TEST(free_lock_is_granted_by_process_and_not_before) {
        unsigned calls = 0;
        struct wait w = {.last = &calls};
        coord_client *c = api_client();

        wait_for(c, "a", ENDLESS, &w);
        ck_assert_uint_eq(calls, 0);
        turn_until(c, &calls, 1);
        ck_assert_int_eq(w.result, 0);
        ck_assert_ptr_nonnull(w.hold);
        assert_result(coord_hold_check(w.hold), 1);
        ck_assert(!api_free("a"));
        settle(c);
        ck_assert_int_eq(w.calls, 1);
        wait_end(&w);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(taken_lock_is_granted_after_its_release) {
        struct actor *holder = api_process();
        unsigned calls = 0;
        struct wait w = {.last = &calls};
        coord_client *c = api_client();

        api_take(holder, "a");
        wait_for(c, "a", ENDLESS, &w);
        api_until_waiters(LOCK, "a", 1);
        settle(c);
        ck_assert_int_eq(w.calls, 0);
        api_drop(holder);
        turn_until(c, &calls, 1);
        ck_assert_int_eq(w.result, 0);
        wait_end(&w);
        coord_client_unref(c);
}
END_TEST

START_TEST(killed_holder_is_reported_to_the_callback) {
        struct actor *holder = api_process();
        unsigned calls = 0;
        struct wait w = {.last = &calls};
        coord_client *c = api_client();

        api_take(holder, "a");
        wait_for(c, "a", ENDLESS, &w);
        api_kill(holder);
        turn_until(c, &calls, 1);
        ck_assert_int_eq(w.result, 0);
        assert_result(coord_hold_was_abandoned(w.hold), 1);
        wait_end(&w);
        coord_client_unref(c);
}
END_TEST

START_TEST(timeouts_are_told_to_the_callback) {
        struct actor *holder = api_process();
        unsigned calls = 0;
        struct wait once = {.last = &calls}, later = {.last = &calls};
        coord_client *c = api_client();
        uint64_t began = api_now();

        api_take(holder, "a");
        wait_for(c, "a", 0, &once);
        turn_until(c, &calls, 1);
        ck_assert_int_eq(once.result, -EAGAIN);
        ck_assert_ptr_null(once.hold);
        wait_for(c, "a", 30 * MSEC, &later);
        turn_until(c, &calls, 2);
        ck_assert_int_eq(later.result, -ETIMEDOUT);
        ck_assert_uint_ge(api_now() - began, 30 * MSEC);
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 0);
        wait_end(&once);
        wait_end(&later);
        coord_client_unref(c);
}
END_TEST

START_TEST(bad_requests_are_refused_at_once) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_client *c = api_client();
        coord_slot *slot = NULL;

        r.name = "-a";
        assert_result(coord_acquire_async(c, &slot, &r, on_acquired, NULL), -EINVAL);
        r.name = "a";
        r.flags = 64;
        assert_result(coord_acquire_async(c, &slot, &r, on_acquired, NULL), -EINVAL);
        r.flags = 0;
        r.size = 0;
        assert_result(coord_acquire_async(c, &slot, &r, on_acquired, NULL), -EINVAL);
        ck_assert_ptr_null(slot);
        coord_client_unref(c);
}
END_TEST

START_TEST(asynchronous_waits_of_one_thread_do_not_nest) {
        unsigned calls = 0;
        struct wait first = {.last = &calls}, second = {.last = &calls};
        coord_client *c = api_client();

        wait_for(c, "a", ENDLESS, &first);
        turn_until(c, &calls, 1);
        wait_for(c, "a", ENDLESS, &second);
        api_until_waiters(LOCK, "a", 1);
        settle(c);
        ck_assert_int_eq(second.calls, 0);
        wait_end(&first);
        turn_until(c, &calls, 2);
        ck_assert_int_eq(second.result, 0);
        wait_end(&second);
        coord_client_unref(c);
}
END_TEST

/* ---- slots -------------------------------------------------------------------------------- */

START_TEST(dropped_slot_leaves_the_queue_and_is_never_called) {
        struct actor *holder = api_process();
        unsigned calls = 0;
        struct wait dropped = {.last = &calls}, kept = {.last = &calls};
        coord_client *c = api_client();

        api_take(holder, "a");
        wait_for(c, "a", ENDLESS, &dropped);
        wait_for(c, "a", ENDLESS, &kept);
        api_until_waiters(LOCK, "a", 2);
        dropped.slot = coord_slot_unref(dropped.slot);
        ck_assert_ptr_null(dropped.slot);
        api_until_waiters(LOCK, "a", 1);
        api_drop(holder);
        turn_until(c, &calls, 1);
        settle(c);
        ck_assert_int_eq(dropped.calls, 0);
        ck_assert_int_eq(kept.calls, 1);
        wait_end(&kept);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(slot_dropped_when_granted_gives_the_lock_back) {
        struct actor *holder = api_process(), *next = api_process();
        unsigned calls = 0;
        struct wait w = {.last = &calls};
        coord_client *c = api_client();
        struct pollfd p = {coord_client_get_fd(c), POLLIN, 0};

        api_take(holder, "a");
        wait_for(c, "a", ENDLESS, &w);
        api_until_waiters(LOCK, "a", 1);
        api_drop(holder);
        p.events = (short) coord_client_get_events(c);
        ck_assert_int_eq(poll(&p, 1, 60000), 1);
        w.slot = coord_slot_unref(w.slot);
        api_take(next, "a");
        settle(c);
        ck_assert_int_eq(w.calls, 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(slot_may_be_dropped_in_its_own_callback) {
        unsigned calls = 0;
        struct wait w = {.last = &calls, .drop_in_callback = true};
        coord_client *c = api_client();

        wait_for(c, "a", ENDLESS, &w);
        turn_until(c, &calls, 1);
        ck_assert_ptr_null(w.slot);
        assert_result(coord_hold_check(w.hold), 1);
        wait_end(&w);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(slot_need_not_be_asked_for) {
        struct coord_request r = COORD_REQUEST_INIT;
        unsigned calls = 0;
        struct wait w = {.last = &calls};
        coord_client *c = api_client();

        r.name = "a";
        assert_result(coord_acquire_async(c, NULL, &r, on_acquired, &w), 0);
        turn_until(c, &calls, 1);
        ck_assert_int_eq(w.result, 0);
        wait_end(&w);
        coord_client_unref(c);
}
END_TEST

START_TEST(cancel_is_told_to_every_pending_callback_once) {
        struct actor *holder = api_process();
        struct wait waits[8];
        coord_client *c = api_client();
        unsigned calls = 0;

        api_take(holder, "a");
        for (size_t i = 0; i < ELEMENTS(waits); i++) {
                waits[i] = (struct wait){.last = &calls};
                wait_for(c, "a", ENDLESS, &waits[i]);
        }
        assert_result(coord_client_cancel(c), 0);
        turn_until(c, &calls, ELEMENTS(waits));
        settle(c);
        for (size_t i = 0; i < ELEMENTS(waits); i++) {
                ck_assert_int_eq(waits[i].calls, 1);
                ck_assert_int_eq(waits[i].result, -ECANCELED);
                wait_end(&waits[i]);
        }
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(client_dropped_with_pending_waits_leaves_the_queue) {
        struct actor *holder = api_process(), *next = api_process();
        struct coord_request r = COORD_REQUEST_INIT;
        struct wait w = {.calls = 0};
        coord_client *c = api_client();

        r.name = "a";
        api_take(holder, "a");
        assert_result(coord_acquire_async(c, NULL, &r, on_acquired, &w), 0);
        api_until_waiters(LOCK, "a", 1);
        coord_client_unref(c);
        api_until_waiters(LOCK, "a", 0);
        api_drop(holder);
        api_take(next, "a");
        ck_assert_int_eq(w.calls, 0);
}
END_TEST

/* ---- many --------------------------------------------------------------------------------- */

START_TEST(hundreds_of_waits_of_one_thread_are_each_called_once) {
        struct wait *waits = calloc(MANY, sizeof(*waits));
        coord_client *c = api_client();
        unsigned calls = 0;
        char name[32];

        ck_assert_ptr_nonnull(waits);
        for (int i = 0; i < MANY; i++) {
                waits[i].last = &calls;
                snprintf(name, sizeof(name), "many-%d", i);
                wait_for(c, name, ENDLESS, &waits[i]);
        }
        turn_until(c, &calls, MANY);
        settle(c);
        for (int i = 0; i < MANY; i++) {
                ck_assert_int_eq(waits[i].calls, 1);
                ck_assert_int_eq(waits[i].result, 0);
                wait_end(&waits[i]);
        }
        free(waits);
        coord_client_unref(c);
}
END_TEST

START_TEST(hundreds_of_waits_for_one_lock_are_served_in_order) {
        struct wait *waits = calloc(MANY, sizeof(*waits));
        struct actor *holder = api_process();
        coord_client *c = api_client();
        unsigned calls = 0;

        ck_assert_ptr_nonnull(waits);
        api_take(holder, "a");
        for (int i = 0; i < MANY; i++) {
                waits[i].last = &calls;
                wait_for(c, "a", ENDLESS, &waits[i]);
        }
        api_until_waiters(LOCK, "a", MANY);
        api_drop(holder);
        for (unsigned i = 0; i < MANY; i++) {
                turn_until(c, &calls, i + 1);
                ck_assert_uint_eq(calls, i + 1);
                ck_assert_uint_eq(waits[i].order, i + 1);
                wait_end(&waits[i]);
        }
        ck_assert(api_free("a"));
        free(waits);
        coord_client_unref(c);
}
END_TEST

/* ---- the lost callback -------------------------------------------------------------------- */

static void on_lost(coord_hold *h, void *userdata) {
        ck_assert_int_eq(coord_hold_check(h), 0);
        ++*(unsigned *) userdata;
}

START_TEST(lost_hold_is_told_by_process) {
        struct actor *breaker = api_process();
        coord_client *c = api_client();
        unsigned lost = 0;
        coord_hold *h;

        ck_assert_int_ge(coord_client_get_fd(c), 0);
        h = api_lock(c, "a");
        assert_result(coord_hold_set_lost_callback(h, on_lost, &lost), 0);
        assert_answer(api_do(breaker, ORDER(.op = ACTOR_BREAK, .text = "a")), 0);
        turn_until(c, &lost, 1);
        settle(c);
        ck_assert_uint_eq(lost, 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(lease_that_ended_is_told_by_process) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_client *c = api_client();
        coord_hold *h = NULL;
        unsigned lost = 0;

        ck_assert_int_ge(coord_client_get_fd(c), 0);
        r.name = "a";
        r.owner = "lease:300ms";
        assert_result(coord_acquire_full(c, &r, &h), 0);
        assert_result(coord_hold_set_lost_callback(h, on_lost, &lost), 0);
        turn_until(c, &lost, 1);
        settle(c);
        ck_assert_uint_eq(lost, 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

static Suite *async_suite(void) {
        Suite *s = suite_create("async");

        api_fact(s, free_lock_is_granted_by_process_and_not_before);
        api_fact(s, taken_lock_is_granted_after_its_release);
        api_fact(s, killed_holder_is_reported_to_the_callback);
        api_fact(s, timeouts_are_told_to_the_callback);
        api_fact(s, bad_requests_are_refused_at_once);
        api_fact(s, asynchronous_waits_of_one_thread_do_not_nest);
        api_fact(s, dropped_slot_leaves_the_queue_and_is_never_called);
        api_fact(s, slot_dropped_when_granted_gives_the_lock_back);
        api_fact(s, slot_may_be_dropped_in_its_own_callback);
        api_fact(s, slot_need_not_be_asked_for);
        api_fact(s, cancel_is_told_to_every_pending_callback_once);
        api_fact(s, client_dropped_with_pending_waits_leaves_the_queue);
        api_fact(s, hundreds_of_waits_of_one_thread_are_each_called_once);
        api_fact(s, hundreds_of_waits_for_one_lock_are_served_in_order);
        api_fact(s, lost_hold_is_told_by_process);
        api_fact(s, lease_that_ended_is_told_by_process);
        return s;
}

int main(void) {
        return api_run(async_suite());
}
