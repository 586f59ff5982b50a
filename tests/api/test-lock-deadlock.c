/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cycles of blocking waits within one process: found, once, and never where somebody could still
 * go on. It must never know the library's insides.
 */
#include <errno.h>
#include <string.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        SEMAPHORE = COORD_KIND_SEMAPHORE,
        RING = 4
};

static const char *const names[RING] = {"a", "b", "c", "d"};

static void take_as(struct actor *a, int key, const char *name) {
        struct order o = {.key = key};

        strcpy(o.text, name);
        assert_answer(api_do(a, &o), 0);
}

static void want(struct actor *a, int key, const char *name) {
        struct order o = {.key = key};

        strcpy(o.text, name);
        api_send(a, &o);
}

static void drop(struct actor *a, int key) {
        assert_answer(api_do(a, ORDER(.op = ACTOR_DROP, .key = key)), 0);
}

/* Actor i holds name i and wants name i + 1: exactly one is refused, then all go on. */
static void ring_is_broken_once(coord_client *c, size_t n) {
        struct actor *actors[RING], *left[RING];
        struct answer got;
        size_t victim;

        for (size_t i = 0; i < n; i++) {
                actors[i] = api_thread(c);
                take_as(actors[i], 0, names[i]);
        }
        for (size_t i = 0; i < n; i++)
                want(actors[i], 1, names[(i + 1) % n]);
        victim = api_next(actors, n);
        got = api_answer(actors[victim]);
        assert_answer(got, -EDEADLK);
        ck_assert_str_ne(got.said, "");
        for (size_t i = 0; i < n; i++)
                ck_assert(i == victim || api_silent(actors[i]));
        /* Its own lock is what its predecessor in the ring waits for, and so on around. */
        drop(actors[victim], 0);
        for (size_t i = 1; i < n; i++)
                left[i - 1] = actors[(victim + n - i) % n];
        for (size_t i = 0; i < n - 1; i++) {
                assert_answer(api_answer(left[i]), 0);
                drop(left[i], 1);
                drop(left[i], 0);
        }
}

START_TEST(two_threads_and_two_locks) {
        coord_client *c = api_client();

        ring_is_broken_once(c, 2);
        coord_client_unref(c);
}
END_TEST

START_TEST(ring_of_four_threads) {
        coord_client *c = api_client();

        ring_is_broken_once(c, RING);
        coord_client_unref(c);
}
END_TEST

START_TEST(ring_over_two_clients) {
        coord_client *c = api_client(), *other = api_client();
        struct actor *one = api_thread(c), *two = api_thread(other);
        struct actor *both[] = {one, two};
        size_t victim;

        take_as(one, 0, "a");
        take_as(two, 0, "b");
        want(one, 1, "b");
        want(two, 1, "a");
        victim = api_next(both, 2);
        assert_answer(api_answer(both[victim]), -EDEADLK);
        drop(both[victim], 0);
        assert_answer(api_answer(both[!victim]), 0);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(victim_keeps_what_it_holds) {
        coord_client *c = api_client();
        struct actor *both[] = {api_thread(c), api_thread(c)};
        size_t victim;

        take_as(both[0], 0, "a");
        take_as(both[1], 0, "b");
        want(both[0], 1, "b");
        want(both[1], 1, "a");
        victim = api_next(both, 2);
        assert_answer(api_answer(both[victim]), -EDEADLK);
        assert_answer(api_do(both[victim], ORDER(.op = ACTOR_CHECK)), 1);
        ck_assert(api_silent(both[!victim]));
        drop(both[victim], 0);
        assert_answer(api_answer(both[!victim]), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(thread_that_waits_for_itself) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *h = api_lock(c, "a"), *none = NULL;

        assert_result(coord_lock_acquire(other, "a", 0, ENDLESS, &none), -EDEADLK);
        assert_result(coord_lock_acquire(c, "a", COORD_SHARED, ENDLESS, &none), -EDEADLK);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(two_upgraders_in_one_process) {
        coord_client *c = api_client();
        struct actor *one = api_thread(c), *two = api_thread(c);

        assert_answer(api_do(one, ORDER(.mode = 1, .text = "a")), 0);
        assert_answer(api_do(two, ORDER(.mode = 1, .text = "a")), 0);
        api_send(one, ORDER(.op = ACTOR_CONVERT));
        api_until_waiters(LOCK, "a", 1);
        assert_answer(api_do(two, ORDER(.op = ACTOR_CONVERT)), -EDEADLK);
        api_drop(two);
        assert_answer(api_answer(one), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(lock_and_semaphore_in_one_cycle) {
        coord_client *c = api_client();
        struct actor *both[] = {api_thread(c), api_thread(c)};
        size_t victim;

        take_as(both[0], 0, "a");
        assert_answer(api_do(both[1], ORDER(.kind = SEMAPHORE, .capacity = 1, .text = "s")), 0);
        api_send(both[0], ORDER(.kind = SEMAPHORE, .key = 1, .text = "s"));
        want(both[1], 1, "a");
        victim = api_next(both, 2);
        assert_answer(api_answer(both[victim]), -EDEADLK);
        drop(both[victim], 0);
        assert_answer(api_answer(both[!victim]), 0);
        coord_client_unref(c);
}
END_TEST

/* ---- no false alarm ----------------------------------------------------------------------- */

START_TEST(no_alarm_while_a_third_thread_can_give_back_a_permit) {
        coord_client *c = api_client();
        struct actor *one = api_thread(c), *two = api_thread(c), *third = api_thread(c);

        assert_answer(api_do(one, ORDER(.kind = SEMAPHORE, .capacity = 2, .text = "s")), 0);
        assert_answer(api_do(third, ORDER(.kind = SEMAPHORE, .capacity = 2, .text = "s")), 0);
        take_as(two, 0, "a");
        want(one, 1, "a");
        api_until_waiters(LOCK, "a", 1);
        api_send(two, ORDER(.kind = SEMAPHORE, .key = 1, .text = "s"));
        api_until_waiters(SEMAPHORE, "s", 1);
        ck_assert(api_silent(one));
        ck_assert(api_silent(two));
        drop(third, 0);
        assert_answer(api_answer(two), 0);
        drop(two, 0);
        assert_answer(api_answer(one), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(no_alarm_for_a_chain) {
        coord_client *c = api_client();
        struct actor *actors[RING];

        for (size_t i = 0; i < RING; i++) {
                actors[i] = api_thread(c);
                take_as(actors[i], 0, names[i]);
        }
        for (size_t i = 0; i + 1 < RING; i++) {
                want(actors[i], 1, names[i + 1]);
                api_until_waiters(LOCK, names[i + 1], 1);
        }
        for (size_t i = 0; i < RING; i++)
                ck_assert(i + 1 == RING || api_silent(actors[i]));
        drop(actors[RING - 1], 0);
        for (size_t i = RING - 1; i-- > 0;) {
                assert_answer(api_answer(actors[i]), 0);
                drop(actors[i], 1);
                drop(actors[i], 0);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(no_alarm_when_another_process_holds_one_link) {
        coord_client *c = api_client();
        struct actor *one = api_thread(c), *two = api_thread(c), *outside = api_process();

        take_as(one, 0, "a");
        take_as(outside, 0, "b");
        want(one, 1, "b");
        api_until_waiters(LOCK, "b", 1);
        want(two, 0, "a");
        api_until_waiters(LOCK, "a", 1);
        ck_assert(api_silent(one));
        ck_assert(api_silent(two));
        drop(outside, 0);
        assert_answer(api_answer(one), 0);
        drop(one, 1);
        drop(one, 0);
        assert_answer(api_answer(two), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(a_try_never_closes_a_cycle) {
        coord_client *c = api_client();
        struct actor *one = api_thread(c), *two = api_thread(c);

        take_as(one, 0, "a");
        take_as(two, 0, "b");
        want(one, 1, "b");
        api_until_waiters(LOCK, "b", 1);
        assert_answer(api_do(two, ORDER(.key = 1, .patience = PATIENCE_NONE, .text = "a")),
                        -EAGAIN);
        ck_assert(api_silent(one));
        drop(two, 0);
        assert_answer(api_answer(one), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(what_another_thread_released_closes_no_cycle) {
        coord_client *c = api_client();
        struct actor *one = api_thread(c), *two = api_thread(c);
        struct order give = {.op = ACTOR_RELEASE_TOKEN};

        strcpy(give.text, api_take(one, "a").token);
        assert_answer(api_do(two, &give), 0);
        take_as(two, 0, "b");
        want(one, 1, "b");
        api_until_waiters(LOCK, "b", 1);
        take_as(two, 1, "a");
        drop(two, 0);
        assert_answer(api_answer(one), 0);
        coord_client_unref(c);
}
END_TEST

static Suite *deadlock_suite(void) {
        Suite *s = suite_create("lock-deadlock");

        api_fact(s, two_threads_and_two_locks);
        api_fact(s, ring_of_four_threads);
        api_fact(s, ring_over_two_clients);
        api_fact(s, victim_keeps_what_it_holds);
        api_fact(s, thread_that_waits_for_itself);
        api_fact(s, two_upgraders_in_one_process);
        api_fact(s, lock_and_semaphore_in_one_cycle);
        api_fact(s, no_alarm_while_a_third_thread_can_give_back_a_permit);
        api_fact(s, no_alarm_for_a_chain);
        api_fact(s, no_alarm_when_another_process_holds_one_link);
        api_fact(s, a_try_never_closes_a_cycle);
        api_fact(s, what_another_thread_released_closes_no_cycle);
        return s;
}

int main(void) {
        return api_run(deadlock_suite());
}
