/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering several permits beside somebody more urgent: neither may keep what the other waits for.
 */
#include "unit.h"

/* Capacity 5, one permit held. p wants all 5; n, more urgent, wants 2 and enters before p's first step. */
START_TEST(urgent_newcomer_and_who_gathers_do_not_wait_for_each_other) {
        Segment *s = unit_segment();
        Slot *a = unit_semaphore(s, "a", 5);
        Ask holder, p, n;
        int got_n = 0, got_p = 0;

        ask_init(&holder, s, a);
        ask_init(&p, s, a);
        ask_init(&n, s, a);
        p.wait.permits = 5;
        n.wait.permits = 2;
        n.wait.priority = -20;
        assert_result(ask_try(&holder), 1);
        assert_result(ask_start(&p), 0);
        assert_result(ask_start(&n), 0);
        for (int i = 0; i < 10 && !got_n; i++) {
                assert_result(ask_step(&p), 0);
                got_n = ask_step(&n);
        }
        ck_assert_int_eq(got_n, 1);
        assert_result(ask_release(&n), 0);
        assert_result(ask_release(&holder), 0);
        for (int i = 0; i < 10 && !got_p; i++)
                got_p = ask_step(&p);
        ck_assert_int_eq(got_p, 1);
        assert_result(ask_release(&p), 0);
}
END_TEST

int main(void) {
        Suite *s = suite_create("gather");

        unit_fact(s, urgent_newcomer_and_who_gathers_do_not_wait_for_each_other);
        return unit_run(s);
}
