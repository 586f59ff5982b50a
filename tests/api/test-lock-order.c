/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The queue of a lock: first come, first served over all parties; priorities; waiters that give
 * up, die or are stopped. Each waiter is seen in the queue before the next one comes. It must
 * never know the library's insides.
 */
#include <errno.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        WAITERS = 8
};

static void enqueue(struct actor *const *actors, size_t n) {
        for (size_t i = 0; i < n; i++) {
                api_send(actors[i], ORDER(.text = "a"));
                api_until_waiters(LOCK, "a", i + 1);
        }
}

/* Each in turn gets it, and nobody else meanwhile. */
static void served_in_order(struct actor *const *actors, size_t n) {
        for (size_t i = 0; i < n; i++) {
                ck_assert_uint_eq(api_next(actors + i, n - i), 0);
                assert_answer(api_answer(actors[i]), 0);
                for (size_t k = i + 1; k < n; k++)
                        ck_assert(api_silent(actors[k]));
                api_drop(actors[i]);
        }
}

START_TEST(processes_are_served_in_order_of_arrival) {
        struct actor *holder = api_process(), *waiters[WAITERS];

        for (size_t i = 0; i < WAITERS; i++)
                waiters[i] = api_process();
        api_take(holder, "a");
        enqueue(waiters, WAITERS);
        api_drop(holder);
        served_in_order(waiters, WAITERS);
}
END_TEST

START_TEST(threads_and_processes_stand_in_one_queue) {
        coord_client *c = api_client(), *other = api_client();
        struct actor *holder = api_process();
        struct actor *waiters[] = {api_process(), api_thread(c), api_thread(other), api_process(),
                        api_thread(c), api_thread(other)};

        api_take(holder, "a");
        enqueue(waiters, ELEMENTS(waiters));
        api_drop(holder);
        served_in_order(waiters, ELEMENTS(waiters));
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(order_of_arrival_survives_the_holders_death) {
        struct actor *holder = api_process(), *waiters[WAITERS];

        for (size_t i = 0; i < WAITERS; i++)
                waiters[i] = api_process();
        api_take(holder, "a");
        enqueue(waiters, WAITERS);
        api_kill(holder);
        served_in_order(waiters, WAITERS);
}
END_TEST

START_TEST(released_lock_is_not_taken_past_the_queue) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        struct actor *waiter = api_process();

        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_stop(waiter);
        assert_result(coord_hold_release(h), 0);
        assert_result(api_try(c, "a"), -EAGAIN);
        api_continue(waiter);
        assert_answer(api_answer(waiter), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(releaser_that_comes_again_stands_behind) {
        struct actor *first = api_process(), *second = api_process();

        api_take(first, "a");
        for (int i = 0; i < 20; i++) {
                api_send(second, ORDER(.text = "a"));
                api_until_waiters(LOCK, "a", 1);
                api_drop(first);
                api_send(first, ORDER(.text = "a"));
                assert_answer(api_answer(second), 0);
                api_until_waiters(LOCK, "a", 1);
                ck_assert(api_silent(first));
                api_drop(second);
                assert_answer(api_answer(first), 0);
        }
}
END_TEST

START_TEST(waiters_are_listed_in_queue_order) {
        struct actor *holder = api_process();
        struct actor *waiters[] = {api_process(), api_process(), api_process()};
        struct glance g;

        api_take(holder, "a");
        enqueue(waiters, ELEMENTS(waiters));
        g = api_glance(LOCK, "a");
        ck_assert_uint_eq(g.entry->n_waiters, ELEMENTS(waiters));
        for (size_t i = 0; i < ELEMENTS(waiters); i++) {
                ck_assert_int_eq(g.entry->waiters[i].pid, waiters[i]->pid);
                ck_assert_ptr_null(g.entry->waiters[i].token);
        }
        api_glance_end(&g);
}
END_TEST

/* ---- leaving the queue -------------------------------------------------------------------- */

START_TEST(timed_out_waiter_has_left_the_queue) {
        struct actor *holder = api_process();
        struct actor *waiters[] = {api_process(), api_process()}, *hasty = api_process();

        api_take(holder, "a");
        enqueue(waiters, 1);
        assert_answer(api_do(hasty, ORDER(.patience = 20 * MSEC, .text = "a")), -ETIMEDOUT);
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 1);
        api_send(waiters[1], ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 2);
        api_drop(holder);
        served_in_order(waiters, ELEMENTS(waiters));
}
END_TEST

START_TEST(timed_out_waiter_in_the_middle_is_passed_over) {
        struct actor *holder = api_process(), *hasty = api_process();
        struct actor *waiters[] = {api_process(), api_process()};
        uint64_t began;

        api_take(holder, "a");
        api_send(waiters[0], ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        began = api_now();
        api_send(hasty, ORDER(.patience = 300 * MSEC, .text = "a"));
        api_send(waiters[1], ORDER(.text = "a"));
        assert_answer(api_answer(hasty), -ETIMEDOUT);
        ck_assert_uint_ge(api_now() - began, 300 * MSEC);
        api_until_waiters(LOCK, "a", 2);
        api_drop(holder);
        served_in_order(waiters, ELEMENTS(waiters));
}
END_TEST

START_TEST(timed_out_head_lets_the_next_one_move_up) {
        struct actor *holder = api_process(), *hasty = api_process(), *next = api_process();

        api_take(holder, "a");
        api_send(hasty, ORDER(.patience = 300 * MSEC, .text = "a"));
        api_send(next, ORDER(.text = "a"));
        assert_answer(api_answer(hasty), -ETIMEDOUT);
        api_until_waiters(LOCK, "a", 1);
        api_drop(holder);
        assert_answer(api_answer(next), 0);
}
END_TEST

START_TEST(free_lock_is_free_again_after_a_lone_timeout) {
        struct actor *holder = api_process(), *hasty = api_process();

        api_take(holder, "a");
        assert_answer(api_do(hasty, ORDER(.patience = 10 * MSEC, .text = "a")), -ETIMEDOUT);
        api_drop(holder);
        ck_assert(api_free("a"));
}
END_TEST

static void killed_waiter_is_passed_over(size_t victim) {
        struct actor *holder = api_process(), *left[3];
        struct actor *waiters[] = {api_process(), api_process(), api_process(), api_process()};
        size_t n = 0;

        api_take(holder, "a");
        enqueue(waiters, ELEMENTS(waiters));
        api_kill(waiters[victim]);
        for (size_t i = 0; i < ELEMENTS(waiters); i++)
                if (i != victim)
                        left[n++] = waiters[i];
        api_drop(holder);
        served_in_order(left, n);
        ck_assert(api_free("a"));
}

START_TEST(killed_head_is_passed_over) {
        killed_waiter_is_passed_over(0);
}
END_TEST

START_TEST(killed_waiter_in_the_middle_is_passed_over) {
        killed_waiter_is_passed_over(2);
}
END_TEST

START_TEST(killed_tail_is_passed_over) {
        killed_waiter_is_passed_over(3);
}
END_TEST

START_TEST(killed_waiter_is_no_longer_listed) {
        struct actor *holder = api_process();
        struct actor *waiters[] = {api_process(), api_process(), api_process()};

        api_take(holder, "a");
        enqueue(waiters, ELEMENTS(waiters));
        api_kill(waiters[1]);
        api_until_waiters(LOCK, "a", 2);
        api_drop(holder);
}
END_TEST

START_TEST(all_killed_leave_a_free_lock) {
        struct actor *holder = api_process();
        struct actor *waiters[] = {api_process(), api_process(), api_process()};

        api_take(holder, "a");
        enqueue(waiters, ELEMENTS(waiters));
        for (size_t i = 0; i < ELEMENTS(waiters); i++)
                api_kill(waiters[i]);
        api_kill(holder);
        ck_assert(api_free("a"));
}
END_TEST

START_TEST(stopped_waiter_delays_no_timeout_behind_it) {
        struct actor *holder = api_process(), *stopped = api_process(), *behind = api_process();

        api_take(holder, "a");
        api_send(stopped, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_stop(stopped);
        assert_answer(api_do(behind, ORDER(.patience = 20 * MSEC, .text = "a")), -ETIMEDOUT);
        api_drop(holder);
        assert_answer(api_do(behind, ORDER(.patience = 20 * MSEC, .text = "a")), -ETIMEDOUT);
        assert_answer(api_do(behind, ORDER(.patience = PATIENCE_NONE, .text = "a")), -EAGAIN);
        api_continue(stopped);
        assert_answer(api_answer(stopped), 0);
        api_drop(stopped);
        api_take(behind, "a");
}
END_TEST

START_TEST(stopped_head_may_be_killed_and_the_next_one_goes_on) {
        struct actor *holder = api_process(), *stopped = api_process(), *behind = api_process();

        api_take(holder, "a");
        api_send(stopped, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_send(behind, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 2);
        api_stop(stopped);
        api_drop(holder);
        ck_assert(api_silent(behind));
        api_kill(stopped);
        assert_answer(api_answer(behind), 0);
}
END_TEST

/* ---- priorities --------------------------------------------------------------------------- */

struct arrival {
        int priority;
        size_t place; /* in which it is served */
};

/* True when all arrived close enough together for the priorities to decide. */
static bool arrive(struct actor *const *actors, const struct arrival *a, size_t n) {
        uint64_t began = api_now();

        for (size_t i = 0; i < n; i++) {
                api_send(actors[i], ORDER(.priority = a[i].priority, .text = "a"));
                api_until_waiters(LOCK, "a", i + 1);
        }
        return api_now() - began < 900 * MSEC;
}

/* Priorities in steps of at least ten: a second between them. */
static bool priorities_decide(const struct arrival *a, size_t n) {
        struct actor *holder = api_process(), *actors[8], *sorted[8];
        struct glance g;
        bool close;

        for (size_t i = 0; i < n; i++) {
                actors[i] = api_process();
                sorted[a[i].place] = actors[i];
        }
        api_take(holder, "a");
        close = arrive(actors, a, n);
        if (close) {
                g = api_glance(LOCK, "a");
                for (size_t i = 0; i < n; i++)
                        ck_assert_int_eq(g.entry->waiters[i].pid, sorted[i]->pid);
                api_glance_end(&g);
                api_drop(holder);
                served_in_order(sorted, n);
        }
        for (size_t i = 0; i < n; i++)
                if (!close)
                        api_kill(actors[i]);
        api_actor_free(holder);
        return close;
}

START_TEST(sooner_priority_displaces_the_waiting_head) {
        static const struct arrival arrivals[] = {{0, 1}, {-20, 0}};

        while (!priorities_decide(arrivals, ELEMENTS(arrivals)))
                ;
}
END_TEST

START_TEST(priorities_sort_the_queue) {
        static const struct arrival arrivals[] = {{19, 4}, {9, 3}, {-1, 2}, {-20, 0}, {-10, 1}};

        while (!priorities_decide(arrivals, ELEMENTS(arrivals)))
                ;
}
END_TEST

START_TEST(same_priority_keeps_the_order_of_arrival) {
        static const struct arrival arrivals[] = {{10, 2}, {-10, 0}, {10, 3}, {-10, 1}};

        while (!priorities_decide(arrivals, ELEMENTS(arrivals)))
                ;
}
END_TEST

START_TEST(priority_is_listed) {
        struct actor *holder = api_process(), *waiter = api_process();
        struct glance g;

        api_take(holder, "a");
        api_send(waiter, ORDER(.priority = -7, .text = "a"));
        api_until_waiters(LOCK, "a", 1);
        g = api_glance(LOCK, "a");
        ck_assert_int_eq(g.entry->waiters[0].priority, -7);
        api_glance_end(&g);
}
END_TEST

START_TEST(latest_priority_is_served_when_it_is_alone) {
        struct actor *holder = api_process(), *waiter = api_process();

        api_take(holder, "a");
        api_send(waiter, ORDER(.priority = 19, .text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_drop(holder);
        assert_answer(api_answer(waiter), 0);
}
END_TEST

static Suite *order_suite(void) {
        Suite *s = suite_create("lock-order");

        api_fact(s, processes_are_served_in_order_of_arrival);
        api_fact(s, threads_and_processes_stand_in_one_queue);
        api_fact(s, order_of_arrival_survives_the_holders_death);
        api_fact(s, released_lock_is_not_taken_past_the_queue);
        api_fact(s, releaser_that_comes_again_stands_behind);
        api_fact(s, waiters_are_listed_in_queue_order);
        api_fact(s, timed_out_waiter_has_left_the_queue);
        api_fact(s, timed_out_waiter_in_the_middle_is_passed_over);
        api_fact(s, timed_out_head_lets_the_next_one_move_up);
        api_fact(s, free_lock_is_free_again_after_a_lone_timeout);
        api_fact(s, killed_head_is_passed_over);
        api_fact(s, killed_waiter_in_the_middle_is_passed_over);
        api_fact(s, killed_tail_is_passed_over);
        api_fact(s, killed_waiter_is_no_longer_listed);
        api_fact(s, all_killed_leave_a_free_lock);
        api_fact(s, stopped_waiter_delays_no_timeout_behind_it);
        api_fact(s, stopped_head_may_be_killed_and_the_next_one_goes_on);
        api_fact(s, sooner_priority_displaces_the_waiting_head);
        api_fact(s, priorities_sort_the_queue);
        api_fact(s, same_priority_keeps_the_order_of_arrival);
        api_fact(s, priority_is_listed);
        api_fact(s, latest_priority_is_served_when_it_is_alone);
        return s;
}

int main(void) {
        return api_run(order_suite());
}
