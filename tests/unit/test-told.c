/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Being told of a death: by whoever is granted next, not by who tried in between.
 */
#include "unit.h"
/* A reader dies, another lives. A writer's try fails, and takes the news with it. */
static void play(bool waits) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");
        Ask dead, alive, tries, writer;

        ask_init(&dead, s, a);
        ask_init(&alive, s, a);
        ask_init(&tries, s, a);
        ask_init(&writer, s, a);
        dead.wait.shared = alive.wait.shared = true;
        assert_result(ask_try(&dead), 1);
        assert_result(ask_try(&alive), 1);
        assert_result(hold_end(s, a, dead.grant.fence, true, false), 0);
        if (waits) {
                ask_queue(&tries);
                ask_abandon(&tries);
        } else
                assert_result(ask_try(&tries), -EAGAIN);
        assert_result(ask_release(&alive), 0);
        assert_result(ask_try(&writer), 1);
        ck_assert(writer.grant.abandoned);
}
START_TEST(failed_try_does_not_swallow_a_readers_death) {
        play(false);
}
END_TEST
START_TEST(abandoned_wait_does_not_swallow_a_readers_death) {
        play(true);
}
END_TEST
int main(void) {
        Suite *s = suite_create("told");
        unit_fact(s, failed_try_does_not_swallow_a_readers_death);
        unit_fact(s, abandoned_wait_does_not_swallow_a_readers_death);
        return unit_run(s);
}
