/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The capacity of a semaphore: declared, repeated, contradicted, changed. It must never know the
 * library's insides.
 */
#include <errno.h>

#include "api.h"

enum {
        SEMAPHORE = COORD_KIND_SEMAPHORE,
        MAX = 1024
};

#define PERMITS(...) ORDER(.kind = SEMAPHORE, .text = "s", __VA_ARGS__)

static uint32_t free_permits(void) {
        struct glance g = api_glance(SEMAPHORE, "s");
        uint32_t n = g.entry ? g.entry->free : UINT32_MAX;

        api_glance_end(&g);
        return n;
}

START_TEST(another_capacity_is_erange) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 3, 1);

        assert_result(api_try_permits(c, "s", 4, 1), -ERANGE);
        assert_result(api_try_permits(c, "s", 2, 1), -ERANGE);
        assert_result(api_try_permits(c, "s", 3, 1), 0);
        coord_hold_unref(h);
        assert_result(api_try_permits(c, "s", 4, 1), -ERANGE);
        coord_client_unref(c);
}
END_TEST

START_TEST(undeclared_capacity_is_enoent) {
        coord_client *c = api_client();
        coord_hold *none = NULL;

        assert_result(api_try_permits(c, "s", 0, 1), -ENOENT);
        assert_result(coord_semaphore_acquire(c, "s", 0, 1, 0, ENDLESS, &none), -ENOENT);
        coord_client_unref(c);
}
END_TEST

START_TEST(declared_capacity_need_not_be_repeated) {
        coord_client *c = api_client();
        struct actor *a = api_process();

        coord_hold_unref(api_permits(c, "s", 2, 1));
        assert_result(api_try_permits(c, "s", 0, 2), 0);
        assert_answer(api_do(a, PERMITS(.permits = 2)), 0);
        assert_result(api_try_permits(c, "s", 0, 1), -EAGAIN);
        coord_client_unref(c);
}
END_TEST

START_TEST(permits_of_none_or_above_the_capacity_are_einval) {
        coord_client *c = api_client();
        coord_hold *none = NULL;

        assert_result(api_try_permits(c, "s", 3, 0), -EINVAL);
        assert_result(api_try_permits(c, "s", 3, 4), -EINVAL);
        assert_result(api_try_permits(c, "s", 3, UINT32_MAX), -EINVAL);
        assert_result(coord_semaphore_acquire(c, "s", 3, 0, 0, ENDLESS, &none), -EINVAL);
        assert_result(coord_semaphore_configure(c, "s", 3), 0);
        assert_result(api_try_permits(c, "s", 0, 4), -EINVAL);
        coord_client_unref(c);
}
END_TEST

START_TEST(capacity_above_the_limit_is_einval) {
        coord_client *c = api_client();

        assert_result(api_try_permits(c, "s", MAX + 1, 1), -EINVAL);
        assert_result(api_try_permits(c, "s", UINT32_MAX, 1), -EINVAL);
        assert_result(coord_semaphore_configure(c, "s", MAX + 1), -EINVAL);
        assert_result(coord_semaphore_configure(c, "s", 0), -EINVAL);
        coord_client_unref(c);
}
END_TEST

START_TEST(request_without_permits_stands_for_one) {
        coord_client *c = api_client();
        struct coord_request r = COORD_REQUEST_INIT;
        coord_hold *h = NULL;

        r.kind = SEMAPHORE;
        r.name = "s";
        r.capacity = 3;
        assert_result(coord_acquire_full(c, &r, &h), 0);
        ck_assert_uint_eq(free_permits(), 2);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(semaphore_with_a_capacity_is_listed_when_free) {
        coord_client *c = api_client();
        struct glance g;

        assert_result(coord_semaphore_configure(c, "s", 7), 0);
        g = api_glance(SEMAPHORE, "s");
        ck_assert_ptr_nonnull(g.entry);
        ck_assert_int_eq(g.entry->held, 0);
        ck_assert_uint_eq(g.entry->capacity, 7);
        ck_assert_uint_eq(g.entry->free, 7);
        api_glance_end(&g);
        coord_client_unref(c);
}
END_TEST

START_TEST(configure_up_lets_waiters_in) {
        struct actor *holder = api_process(), *waiter = api_process();
        coord_client *c = api_client();

        assert_answer(api_do(holder, PERMITS(.capacity = 1)), 0);
        api_send(waiter, PERMITS(.permits = 1));
        api_until_waiters(SEMAPHORE, "s", 1);
        assert_result(coord_semaphore_configure(c, "s", 3), 0);
        assert_answer(api_answer(waiter), 0);
        ck_assert_uint_eq(free_permits(), 1);
        assert_result(api_try_permits(c, "s", 3, 1), 0);
        assert_result(api_try_permits(c, "s", 1, 1), -ERANGE);
        coord_client_unref(c);
}
END_TEST

START_TEST(configure_down_lets_holders_finish) {
        coord_client *c = api_client();
        coord_hold *holds[3];

        for (size_t i = 0; i < ELEMENTS(holds); i++)
                holds[i] = api_permits(c, "s", 3, 1);
        assert_result(coord_semaphore_configure(c, "s", 1), 0);
        for (size_t i = 0; i < ELEMENTS(holds); i++) {
                assert_result(coord_hold_check(holds[i]), 1);
                assert_result(api_try_permits(c, "s", 0, 1), -EAGAIN);
                assert_result(coord_hold_release(holds[i]), 0);
                coord_hold_unref(holds[i]);
        }
        assert_result(api_try_permits(c, "s", 0, 1), 0);
        assert_result(api_try_permits(c, "s", 0, 2), -EINVAL);
        ck_assert_uint_eq(free_permits(), 1);
        coord_client_unref(c);
}
END_TEST

START_TEST(configure_to_the_same_is_nothing) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 2, 1);

        assert_result(coord_semaphore_configure(c, "s", 2), 0);
        ck_assert_uint_eq(free_permits(), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

static Suite *capacity_suite(void) {
        Suite *s = suite_create("semaphore-capacity");

        api_fact(s, another_capacity_is_erange);
        api_fact(s, undeclared_capacity_is_enoent);
        api_fact(s, declared_capacity_need_not_be_repeated);
        api_fact(s, permits_of_none_or_above_the_capacity_are_einval);
        api_fact(s, capacity_above_the_limit_is_einval);
        api_fact(s, request_without_permits_stands_for_one);
        api_fact(s, semaphore_with_a_capacity_is_listed_when_free);
        api_fact(s, configure_up_lets_waiters_in);
        api_fact(s, configure_down_lets_holders_finish);
        api_fact(s, configure_to_the_same_is_nothing);
        return s;
}

int main(void) {
        return api_run(capacity_suite());
}
