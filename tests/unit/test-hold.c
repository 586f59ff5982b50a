/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holds: who may end one, and that an old holder never frees what is another's by now.
 */
#include "unit.h"

static Segment *s;
static Slot *slot;
static Ask a, b, c;

static void lock_init(void) {
        s = unit_segment();
        slot = unit_lock(s, "a");
        ask_init(&a, s, slot);
        ask_init(&b, s, slot);
        ask_init(&c, s, slot);
}

static uint64_t lease_new(void) {
        const Owner o = {.kind = RECORD_LEASE, .lease_usec = 3600 * USEC_PER_SEC};
        uint64_t info;

        assert_result(record_new_owner(s, &o, NULL, &info), 0);
        return info;
}

START_TEST(release_ends_the_hold_once) {
        lock_init();
        assert_result(ask_try(&a), 1);
        ck_assert(hold_is_current(&a.grant));
        assert_result(ask_release(&a), 0);
        ck_assert(!hold_is_current(&a.grant));
        assert_result(ask_release(&a), -ESTALE);
}
END_TEST

START_TEST(old_holder_never_frees_the_next_ones_word) {
        lock_init();
        assert_result(ask_try(&a), 1);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), 0);
        assert_result(ask_try(&b), 1);
        ck_assert_uint_eq(a.grant.owner, b.grant.owner); /* the same keeper */
        assert_result(ask_release(&a), -ESTALE);
        ck_assert_int_eq(lock_fast_release(&a.grant), 2);
        ck_assert(hold_is_current(&b.grant));
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&b), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(end_by_force_is_told_only_when_it_was_a_death) {
        lock_init();
        assert_result(ask_try(&a), 1);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), 0);
        assert_result(ask_try(&b), 1);
        ck_assert(!b.grant.abandoned);
        assert_result(hold_end(s, slot, b.grant.fence, true, false), 0);
        assert_result(ask_try(&c), 1);
        ck_assert(c.grant.abandoned);
        assert_result(ask_release(&c), 0);
        ask_init(&a, s, slot);
        assert_result(ask_try(&a), 1);
        ck_assert(!a.grant.abandoned);
}
END_TEST

START_TEST(end_by_force_of_what_is_over_is_estale) {
        lock_init();
        assert_result(ask_try(&a), 1);
        assert_result(hold_end(s, slot, a.grant.fence + 1, false, false), -ESTALE);
        assert_result(ask_release(&a), 0);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), -ESTALE);
        ck_assert_ptr_null(hold_find(s, slot, a.grant.fence));
}
END_TEST

START_TEST(end_by_force_rings_the_holders_bell) {
        uint32_t before;
        Record *r;

        lock_init();
        r = record_of(s, atomic_load(&s->info));
        before = atomic_load(&r->bell);
        assert_result(ask_try(&a), 1);
        assert_result(ask_release(&a), 0);
        ck_assert_uint_eq(atomic_load(&r->bell), before);
        ask_init(&a, s, slot);
        assert_result(ask_try(&a), 1);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), 0);
        ck_assert_uint_ne(atomic_load(&r->bell), before);
}
END_TEST

START_TEST(end_by_force_lets_the_next_one_go_on) {
        Segment *other;

        lock_init();
        other = unit_segment();
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        ask_queue(&c);
        assert_result(hold_end(other, unit_lock(other, "a"), a.grant.fence, false, false), 0);
        assert_granted(&b);
        ck_assert_uint_ne(b.grant.cell, 0);
        assert_result(hold_end(other, unit_lock(other, "a"), b.grant.fence, true, false), 0);
        assert_granted(&c);
        ck_assert(c.grant.abandoned);
        assert_result(ask_release(&b), -ESTALE);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(end_by_force_frees_every_permit_of_the_hold_alone) {
        s = unit_segment();
        slot = unit_semaphore(s, "a", 10);
        ask_init(&a, s, slot);
        ask_init(&b, s, slot);
        ask_init(&c, s, slot);
        a.wait.permits = 4;
        b.wait.permits = 3;
        c.wait.permits = 7;
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), 1);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), 0);
        assert_result(ask_try(&c), 1);
        ck_assert(hold_is_current(&b.grant));
        assert_result(ask_release(&a), -ESTALE);
        ck_assert(hold_is_current(&c.grant));
        assert_result(ask_release(&b), 0);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(claim_of_a_dead_thread_is_taken_over) {
        Peer p;

        lock_init();
        peer_idle(&p);
        assert_result(ask_try(&a), 1);
        atomic_store(&slot->gate.fence, FENCE_CLAIM | (uint32_t) p.pid);
        assert_result(ask_release(&a), -ESTALE);
        peer_kill(&p);
        assert_result(ask_release(&a), 0);
        assert_result(ask_try(&b), 1);
}
END_TEST

START_TEST(downgrade_lets_readers_in_and_no_writer_between) {
        lock_init();
        assert_result(ask_try(&a), 1);
        b.wait.shared = true;
        ask_queue(&b);
        assert_result(hold_downgrade(s, &a.grant), 0);
        ck_assert(a.grant.shared);
        assert_granted(&b);
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&a), 0);
        assert_result(ask_release(&b), 0);
        assert_result(ask_try(&c), 1);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(downgrade_of_what_is_over_is_estale_and_leaves_no_reader) {
        lock_init();
        assert_result(ask_try(&a), 1);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), 0);
        assert_result(hold_downgrade(s, &a.grant), -ESTALE);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(hold_moved_to_a_record_outlives_its_attachment) {
        Segment *other = unit_segment();
        Slot *there = unit_lock(other, "a");
        uint64_t fence, info;
        Owner o = {.kind = RECORD_LEASE, .lease_usec = 3600 * USEC_PER_SEC};
        Ask d;

        lock_init();
        ask_init(&d, other, there);
        assert_result(ask_try(&d), 1);
        fence = d.grant.fence;
        assert_result(record_new_owner(other, &o, NULL, &info), 0);
        assert_result(hold_move(other, there, fence, info), 0);
        unit_detach(other);
        assert_result(ask_try(&a), -EAGAIN);
        ck_assert(word_is_sentinel(word_tid(atomic_load(&slot->gate.word))));
        ck_assert_ptr_eq(hold_find(s, slot, fence), &slot->gate);
        assert_result(hold_end(s, slot, fence, false, false), 0);
        assert_result(ask_try(&a), 1);
        ck_assert_ptr_null(record_of(s, info));
}
END_TEST

START_TEST(hold_that_is_over_is_not_moved_and_its_record_is_freed) {
        uint32_t used;
        uint64_t info;

        lock_init();
        used = unit_records_used(s);
        assert_result(ask_try(&a), 1);
        info = lease_new();
        assert_result(ask_release(&a), 0);
        assert_result(hold_move(s, slot, a.grant.fence, info), -ESTALE);
        ck_assert_uint_eq(unit_records_used(s), used);
}
END_TEST

START_TEST(move_tells_the_one_who_waits) {
        uint64_t info;

        lock_init();
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        ck_assert(!ask_is_awake(&b));
        info = lease_new();
        assert_result(hold_move(s, slot, a.grant.fence, info), 0);
        ck_assert(ask_is_awake(&b));
        assert_result(ask_step(&b), 0);
        ck_assert_uint_eq(b.wait.n_watches, 1);
        while (ask_is_awake(&b))
                assert_result(ask_step(&b), 0);
        assert_result(hold_end(s, slot, a.grant.fence, false, false), 0);
        assert_granted(&b);
        assert_result(ask_release(&b), 0);
}
END_TEST

static void hold_and_die(Peer *me, void *data) {
        (void) data;
        lock_init();
        peer_say(me, (uint64_t) ask_acquire(&a));
        (void) peer_hear(me);
}

START_TEST(death_of_the_holder_frees_and_is_told_once) {
        Peer p;

        lock_init();
        peer_start(&p, hold_and_die, NULL);
        ck_assert_uint_eq(peer_hear(&p), 1);
        ask_queue(&b);
        ask_queue(&c);
        peer_kill(&p);
        assert_granted(&b);
        ck_assert(b.grant.abandoned);
        assert_result(ask_release(&b), 0);
        assert_granted(&c);
        ck_assert(!c.grant.abandoned);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("hold");

        unit_fact(suite, release_ends_the_hold_once);
        unit_fact(suite, old_holder_never_frees_the_next_ones_word);
        unit_fact(suite, end_by_force_is_told_only_when_it_was_a_death);
        unit_fact(suite, end_by_force_of_what_is_over_is_estale);
        unit_fact(suite, end_by_force_rings_the_holders_bell);
        unit_fact(suite, end_by_force_lets_the_next_one_go_on);
        unit_fact(suite, end_by_force_frees_every_permit_of_the_hold_alone);
        unit_fact(suite, claim_of_a_dead_thread_is_taken_over);
        unit_fact(suite, downgrade_lets_readers_in_and_no_writer_between);
        unit_fact(suite, downgrade_of_what_is_over_is_estale_and_leaves_no_reader);
        unit_fact(suite, hold_moved_to_a_record_outlives_its_attachment);
        unit_fact(suite, hold_that_is_over_is_not_moved_and_its_record_is_freed);
        unit_fact(suite, move_tells_the_one_who_waits);
        unit_fact(suite, death_of_the_holder_frees_and_is_told_once);
        return unit_run(suite);
}
