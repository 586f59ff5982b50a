/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queues: order, priority, places handed over, the dead and those who gave up, and nothing left over.
 */
#include <sys/mman.h>

#include "unit.h"

enum {
        WAITERS = 8,
        PROCESSES = 4,
        ROUNDS = 2500
};

static Segment *s;
static Slot *slot;
static Ask holder, asks[WAITERS];

static void hold_and_queue(int n) {
        s = unit_segment();
        slot = unit_lock(s, "a");
        ask_init(&holder, s, slot);
        assert_result(ask_try(&holder), 1);
        for (int i = 0; i < n; i++) {
                ask_init(&asks[i], s, slot);
                ask_queue(&asks[i]);
        }
}

/* Until everybody would sleep. */
static int next_granted(int n) {
        for (bool moved = true; moved;) {
                moved = false;
                for (int i = 0; i < n; i++) {
                        if (asks[i].wait.cell == 0 || !ask_is_awake(&asks[i]))
                                continue;
                        moved = true;
                        if (ask_step(&asks[i]) == 1)
                                return i;
                }
        }
        return -1;
}

START_TEST(waiters_go_on_in_the_order_they_came) {
        hold_and_queue(WAITERS);
        ck_assert_int_eq(next_granted(WAITERS), -1);
        assert_result(ask_release(&holder), 0);
        for (int i = 0; i < WAITERS; i++) {
                ck_assert_int_eq(next_granted(WAITERS), i);
                ck_assert_int_eq(next_granted(WAITERS), -1);
                assert_result(ask_release(&asks[i]), 0);
        }
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(each_waiter_sleeps_on_its_predecessor_alone) {
        hold_and_queue(4);
        for (int i = 1; i < 4; i++) {
                ck_assert_uint_eq(asks[i].wait.n_words, 1);
                ck_assert_ptr_eq(asks[i].wait.words[0].word, &s->cells[asks[i - 1].wait.cell].own);
        }
        ck_assert_ptr_eq(asks[0].wait.words[0].word, &slot->gate.word);
        for (int i = 0; i < 4; i++)
                ask_abandon(&asks[i]);
}
END_TEST

START_TEST(release_wakes_the_next_one_alone) {
        hold_and_queue(3);
        assert_result(ask_release(&holder), 0);
        ck_assert(ask_is_awake(&asks[0]));
        ck_assert(!ask_is_awake(&asks[1]));
        ck_assert(!ask_is_awake(&asks[2]));
        for (int i = 0; i < 3; i++)
                ask_abandon(&asks[i]);
}
END_TEST

START_TEST(urgent_waiter_is_put_before_and_awaits_the_handed_place) {
        hold_and_queue(2);
        ask_init(&asks[2], s, slot);
        asks[2].wait.priority = -20;
        assert_result(ask_start(&asks[2]), 0);
        assert_result(ask_step(&asks[2]), 0);
        ck_assert_uint_eq(asks[2].wait.ack_cell, asks[0].wait.cell);
        ck_assert(ask_is_awake(&asks[0])); /* poked */
        assert_result(ask_release(&holder), 0);
        assert_result(ask_step(&asks[2]), 0); /* the other one sleeps there still */
        assert_result(ask_step(&asks[0]), 0);
        ck_assert(ask_is_awake(&asks[2]));
        assert_granted(&asks[2]);
        assert_result(ask_release(&asks[2]), 0);
        ck_assert_int_eq(next_granted(3), 0);
        ask_abandon(&asks[1]);
}
END_TEST

START_TEST(place_of_a_waiter_that_gave_up_needs_no_handing_over) {
        hold_and_queue(2);
        ask_init(&asks[2], s, slot);
        asks[2].wait.priority = -20;
        assert_result(ask_start(&asks[2]), 0);
        assert_result(ask_step(&asks[2]), 0);
        ask_abandon(&asks[0]);
        ck_assert(ask_is_awake(&asks[2]));
        assert_result(ask_release(&holder), 0);
        assert_granted(&asks[2]);
        assert_result(ask_release(&asks[2]), 0);
        ck_assert_int_eq(next_granted(2), 1);
        assert_result(ask_release(&asks[1]), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(patient_waiter_comes_after_those_of_the_same_moment) {
        hold_and_queue(0);
        for (int i = 0; i < 3; i++) {
                ask_init(&asks[i], s, slot);
                asks[i].wait.priority = 20 - 20 * i;
                assert_result(ask_start(&asks[i]), 0);
                (void) next_granted(i + 1);
                assert_result(ask_step(&asks[i]), 0);
        }
        assert_result(ask_release(&holder), 0);
        for (int i = 2; i >= 0; i--) {
                ck_assert_int_eq(next_granted(3), i);
                assert_result(ask_release(&asks[i]), 0);
        }
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(waiters_that_gave_up_are_skipped) {
        hold_and_queue(6);
        ask_abandon(&asks[0]);
        ask_abandon(&asks[2]);
        ask_abandon(&asks[3]);
        assert_result(ask_release(&holder), 0);
        ck_assert_int_eq(next_granted(6), 1);
        assert_result(ask_release(&asks[1]), 0);
        ck_assert_int_eq(next_granted(6), 4);
        assert_result(ask_release(&asks[4]), 0);
        ck_assert_int_eq(next_granted(6), 5);
        assert_result(ask_release(&asks[5]), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(dead_tail_is_trimmed_by_who_comes_next) {
        hold_and_queue(3);
        ask_abandon(&asks[1]);
        ask_abandon(&asks[2]);
        ck_assert_uint_gt(unit_cells_used(s), 0);
        ask_init(&asks[3], s, slot);
        ask_queue(&asks[3]);
        ck_assert_uint_eq(unit_cells_used(s), 2);
        ask_abandon(&asks[0]);
        ask_abandon(&asks[3]);
        assert_result(ask_release(&holder), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(cells_that_run_out_are_enospc_and_nothing_is_stuck) {
        Ask many[20];
        size_t n = 0;
        int r = 0;

        s = unit_attach((Geometry){8, 12, 8, 8});
        slot = unit_lock(s, "a");
        ask_init(&holder, s, slot);
        assert_result(ask_try(&holder), 1);
        for (; r == 0; n++) {
                ck_assert_uint_lt(n, ELEMENTSOF(many));
                ask_init(&many[n], s, slot);
                r = ask_start(&many[n]);
        }
        assert_result(r, -ENOSPC);
        ck_assert_uint_eq(--n, 11);
        for (size_t i = 0; i < n; i++)
                ask_abandon(&many[i]);
        assert_result(ask_release(&holder), 0);
        assert_slot_is_idle(s, slot);
        assert_result(ask_try(&holder), 1);
}
END_TEST

START_TEST(cell_of_the_past_is_not_released_again) {
        uint32_t cell, gen;

        hold_and_queue(1);
        cell = asks[0].wait.cell;
        gen = asks[0].wait.cell_gen;
        ask_abandon(&asks[0]);
        ask_init(&asks[1], s, slot);
        for (atomic_store(&s->header->cell_hint, cell); asks[1].wait.cell == 0;)
                ask_queue(&asks[1]);
        ck_assert_uint_eq(asks[1].wait.cell, cell);
        cell_release(s, cell, gen);
        ck_assert(cell_is_live(&s->cells[cell]));
        ask_abandon(&asks[1]);
}
END_TEST

static void wait_and_die(Peer *me, void *data) {
        Ask a;

        (void) data;
        s = unit_segment();
        ask_init(&a, s, unit_lock(s, "a"));
        ask_queue(&a);
        peer_say(me, 1);
        (void) peer_hear(me);
}

START_TEST(killed_waiters_are_skipped) {
        Peer peers[3];

        hold_and_queue(1);
        for (int i = 0; i < 3; i++) {
                peer_start(&peers[i], wait_and_die, NULL);
                (void) peer_hear(&peers[i]);
        }
        ask_init(&asks[1], s, slot);
        ask_queue(&asks[1]);
        for (int i = 0; i < 3; i++)
                peer_kill(&peers[i]);
        assert_result(ask_release(&holder), 0);
        ck_assert_int_eq(next_granted(2), 0);
        assert_result(ask_release(&asks[0]), 0);
        ck_assert_int_eq(next_granted(2), 1);
        assert_result(ask_release(&asks[1]), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

typedef struct Shared {
        uint64_t inside, count;
} Shared;

static void contend(Peer *me, void *data) {
        Shared *shared = data;
        Ask a;

        s = unit_segment();
        slot = unit_lock(s, "a");
        (void) peer_hear(me);
        for (int i = 0; i < ROUNDS; i++) {
                ask_init(&a, s, slot);
                a.wait.priority = i % 16 == 0 ? -1 : 0;
                if (ask_acquire(&a) != 1 || shared->inside++ != 0)
                        _exit(1);
                shared->count++;
                shared->inside--;
                if (ask_release(&a) != 0)
                        _exit(2);
        }
}

START_TEST(ten_thousand_contended_rounds_leave_nothing_behind) {
        Shared *shared =
                        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        Peer peers[PROCESSES];

        ck_assert_ptr_ne(shared, MAP_FAILED);
        for (int i = 0; i < PROCESSES; i++)
                peer_start(&peers[i], contend, shared);
        for (int i = 0; i < PROCESSES; i++)
                peer_say(&peers[i], 1);
        for (int i = 0; i < PROCESSES; i++)
                peer_end(&peers[i]);
        ck_assert_uint_eq(shared->count, (uint64_t) PROCESSES * ROUNDS);
        s = unit_segment();
        slot = unit_lock(s, "a");
        assert_slot_is_idle(s, slot);
        ck_assert_uint_eq(unit_cells_used(s), 0);
        ck_assert_uint_eq(atomic_load(&slot->counter), (uint64_t) PROCESSES * ROUNDS);
}
END_TEST

static Suite *queue_suite(void) {
        Suite *suite = suite_create("queue");

        unit_fact(suite, waiters_go_on_in_the_order_they_came);
        unit_fact(suite, each_waiter_sleeps_on_its_predecessor_alone);
        unit_fact(suite, release_wakes_the_next_one_alone);
        unit_fact(suite, urgent_waiter_is_put_before_and_awaits_the_handed_place);
        unit_fact(suite, place_of_a_waiter_that_gave_up_needs_no_handing_over);
        unit_fact(suite, patient_waiter_comes_after_those_of_the_same_moment);
        unit_fact(suite, waiters_that_gave_up_are_skipped);
        unit_fact(suite, dead_tail_is_trimmed_by_who_comes_next);
        unit_fact(suite, cells_that_run_out_are_enospc_and_nothing_is_stuck);
        unit_fact(suite, cell_of_the_past_is_not_released_again);
        unit_fact(suite, killed_waiters_are_skipped);
        unit_fact(suite, ten_thousand_contended_rounds_leave_nothing_behind);
        return suite;
}

int main(void) {
        return unit_run(queue_suite());
}
