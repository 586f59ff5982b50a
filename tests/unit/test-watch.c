/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watcher: a cell is poked when what a record stands on may be gone.
 */
#include "unit.h"

static void await_poke(Word *poke, uint32_t old) {
        while (atomic_load(poke) == old)
                (void) word_sleep(&(WordSleep){poke, old, false}, 1, USEC_INFINITE);
}

static uint64_t owner_new(Segment *s, Owner o) {
        uint64_t info;

        assert_result(record_new_owner(s, &o, NULL, &info), 0);
        return info;
}

static uint64_t lease_new(Segment *s, uint64_t usec) {
        return owner_new(s, (Owner){.kind = RECORD_LEASE, .lease_usec = usec});
}

START_TEST(death_of_the_process_pokes) {
        Segment *s = unit_segment();
        Word *poke = &s->cells[5].poke;
        uint64_t info;
        Watch *w;
        Peer p;

        peer_idle(&p);
        info = owner_new(s, (Owner){.kind = RECORD_PID, .pids = {(uint32_t) p.pid, 0}});
        w = watch_new(s, info, poke);
        ck_assert_ptr_nonnull(w);
        ck_assert(watch_is_of(w, info));
        ck_assert(!watch_is_of(w, info + 1));
        ck_assert_uint_eq(atomic_load(poke), 0);
        peer_kill(&p);
        await_poke(poke, 0);
        assert_result(record_judge(record_of(s, info)), 1);
        ck_assert_ptr_null(watch_free(w));
}
END_TEST

START_TEST(death_of_either_of_two_pokes) {
        Segment *s = unit_segment();
        Word *poke = &s->cells[5].poke;
        uint64_t info;
        Peer a, b;
        Watch *w;

        peer_idle(&a);
        peer_idle(&b);
        info = owner_new(s,
                        (Owner){.kind = RECORD_PID, .pids = {(uint32_t) a.pid, (uint32_t) b.pid}});
        w = watch_new(s, info, poke);
        peer_kill(&b);
        await_poke(poke, 0);
        assert_result(record_judge(record_of(s, info)), 0);
        peer_kill(&a);
        await_poke(poke, 1);
        assert_result(record_judge(record_of(s, info)), 1);
        watch_free(w);
}
END_TEST

START_TEST(end_of_the_lease_pokes) {
        Segment *s = unit_segment();
        Word *poke = &s->cells[5].poke;
        uint64_t info = lease_new(s, 2000);
        Watch *w = watch_new(s, info, poke);

        await_poke(poke, 0);
        assert_result(record_judge(record_of(s, info)), 1);
        watch_free(w);
}
END_TEST

START_TEST(lease_that_is_over_already_pokes_at_once) {
        Segment *s = unit_segment();
        Word *poke = &s->cells[5].poke;
        Watch *w = watch_new(s, lease_new(s, 0), poke);

        await_poke(poke, 0);
        watch_free(w);
}
END_TEST

START_TEST(lease_made_shorter_is_noticed_after_a_refresh) {
        Segment *s = unit_segment();
        Word *poke = &s->cells[5].poke;
        uint64_t info = lease_new(s, 3600 * USEC_PER_SEC);
        Watch *w = watch_new(s, info, poke);

        assert_result(record_renew(s, record_of(s, info), 1000), 0);
        watch_refresh(w);
        await_poke(poke, 0);
        assert_result(record_judge(record_of(s, info)), 1);
        watch_free(w);
}
END_TEST

START_TEST(each_watch_pokes_its_own_cell) {
        Segment *s = unit_segment();
        Watch *first = watch_new(s, lease_new(s, 3600 * USEC_PER_SEC), &s->cells[1].poke);
        Watch *second = watch_new(s, lease_new(s, 1000), &s->cells[2].poke);

        await_poke(&s->cells[2].poke, 0);
        ck_assert_uint_eq(atomic_load(&s->cells[1].poke), 0);
        watch_free(first);
        watch_free(second);
}
END_TEST

START_TEST(record_of_the_past_is_not_watched) {
        Segment *s = unit_segment();
        uint64_t info = lease_new(s, 1000);

        record_free(s, info);
        ck_assert_ptr_null(watch_new(s, info, &s->cells[1].poke));
        ck_assert_ptr_null(watch_new(s, 0, &s->cells[1].poke));
        ck_assert_ptr_null(watch_free(NULL));
}
END_TEST

START_TEST(waiter_behind_a_lease_goes_on_when_it_ends) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");
        Ask holder, waiter;

        ask_init(&holder, s, a);
        holder.wait.record = lease_new(s, 3000);
        assert_result(ask_try(&holder), 1);
        ask_init(&waiter, s, a);
        assert_result(ask_acquire(&waiter), 1);
        ck_assert(waiter.grant.abandoned);
        assert_result(ask_release(&holder), -ESTALE);
        assert_result(ask_release(&waiter), 0);
}
END_TEST

START_TEST(waiter_behind_a_process_goes_on_when_it_dies) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");
        Ask holder, waiter;
        Peer p;

        peer_idle(&p);
        ask_init(&holder, s, a);
        holder.wait.record =
                        owner_new(s, (Owner){.kind = RECORD_PID, .pids = {(uint32_t) p.pid, 0}});
        assert_result(ask_try(&holder), 1);
        ask_init(&waiter, s, a);
        ask_queue(&waiter);
        ck_assert(!ask_is_awake(&waiter));
        peer_kill(&p);
        while (!ask_is_awake(&waiter))
                (void) wait_sleep(&waiter.wait, NULL, USEC_INFINITE);
        assert_granted(&waiter);
        ck_assert(waiter.grant.abandoned);
        assert_result(ask_release(&waiter), 0);
        ck_assert_uint_eq(unit_records_used(s), 1);
}
END_TEST

int main(void) {
        Suite *s = suite_create("watch");

        unit_fact(s, death_of_the_process_pokes);
        unit_fact(s, death_of_either_of_two_pokes);
        unit_fact(s, end_of_the_lease_pokes);
        unit_fact(s, lease_that_is_over_already_pokes_at_once);
        unit_fact(s, lease_made_shorter_is_noticed_after_a_refresh);
        unit_fact(s, each_watch_pokes_its_own_cell);
        unit_fact(s, record_of_the_past_is_not_watched);
        unit_fact(s, waiter_behind_a_lease_goes_on_when_it_ends);
        unit_fact(s, waiter_behind_a_process_goes_on_when_it_dies);
        return unit_run(s);
}
