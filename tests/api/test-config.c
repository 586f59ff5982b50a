/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the configuration says of a name binds the library too: capacities, lock delays, longest
 * holds. It must never know the library's insides.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"

static void configure(const char *text) {
        FILE *f = fopen(getenv("COORD_CONFIG"), "we");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
}

START_TEST(configured_capacity_need_not_be_declared) {
        coord_client *c;

        configure("[Semaphore devices]\nCapacity=3\n");
        c = api_client();
        assert_result(api_try_permits(c, "devices", 0, 3), 0);
        assert_result(api_try_permits(c, "devices", 3, 1), 0);
        assert_result(api_try_permits(c, "others", 0, 1), -ENOENT);
        coord_client_unref(c);
}
END_TEST

START_TEST(configured_capacity_is_not_contradicted) {
        coord_client *c;

        configure("[Semaphore devices]\nCapacity=3\n");
        c = api_client();
        assert_result(api_try_permits(c, "devices", 4, 1), -ERANGE);
        assert_result(api_try_permits(c, "devices", 0, 4), -EINVAL);
        coord_client_unref(c);
}
END_TEST

START_TEST(lock_delay_keeps_an_abandoned_lock_back) {
        struct actor *holder, *next;
        uint64_t killed;

        configure("[Lock slow*]\nLockDelay=200ms\n");
        holder = api_process();
        next = api_process();
        api_take(holder, "slow-one");
        killed = api_now();
        api_kill(holder);
        ck_assert_int_eq(api_take(next, "slow-one").abandoned, 1);
        ck_assert_uint_ge(api_now() - killed, 200 * MSEC);
}
END_TEST

START_TEST(lock_delay_does_not_touch_a_released_lock) {
        struct actor *holder, *next;

        configure("[Lock slow*]\nLockDelay=1h\n");
        holder = api_process();
        next = api_process();
        api_take(holder, "slow-one");
        api_drop(holder);
        api_take(next, "slow-one");
}
END_TEST

START_TEST(hold_ends_at_its_longest) {
        struct actor *holder, *next;

        configure("[Lock brief]\nMaxHold=100ms\n");
        holder = api_process();
        next = api_process();
        api_take(holder, "brief");
        ck_assert_int_eq(api_take(next, "brief").abandoned, 1);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_CHECK)), 0);
}
END_TEST

START_TEST(wrong_lines_do_not_stop_anybody) {
        coord_client *c;

        configure("what is this\n[Semaphore s]\nCapacity=many\nColour=red\n[Lock a]\nMaxHold=-1\n");
        c = api_client();
        assert_result(api_try(c, "a"), 0);
        assert_result(api_try_permits(c, "s", 2, 1), 0);
        coord_client_unref(c);
}
END_TEST

static Suite *config_suite(void) {
        Suite *s = suite_create("config");

        api_fact(s, configured_capacity_need_not_be_declared);
        api_fact(s, configured_capacity_is_not_contradicted);
        api_fact(s, lock_delay_keeps_an_abandoned_lock_back);
        api_fact(s, lock_delay_does_not_touch_a_released_lock);
        api_fact(s, hold_ends_at_its_longest);
        api_fact(s, wrong_lines_do_not_stop_anybody);
        return s;
}

int main(void) {
        return api_run(config_suite());
}
