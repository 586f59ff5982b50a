/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of words: growing, walking, running out, going back to the pool.
 */
#include "unit.h"

static int reserve(Segment *s, Slot *slot, uint32_t n) {
        int r;

        assert_result(structure_lock(s, &slot->qlock, USEC_INFINITE), 0);
        r = extent_reserve(s, slot, n);
        structure_unlock(s, &slot->qlock);
        return r;
}

static uint32_t walk(Segment *s, Slot *slot, uint32_t n) {
        uint32_t steps = 0;
        EntryWalk w;

        for (Entry *e = entry_first(s, slot, n, &w); e; e = entry_next(s, &w))
                steps++;
        return steps;
}

START_TEST(fresh_slot_has_no_words) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");

        ck_assert_uint_eq(slot_entries(s, a), 0);
        ck_assert_uint_eq(walk(s, a, SEG_PERMITS_MAX), 0);
}
END_TEST

START_TEST(reserve_gives_at_least_what_was_asked_up_to_the_maximum) {
        static const uint32_t wants[] = {1, 15, 16, 30, 31, 500, SEG_PERMITS_MAX};
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");

        for (size_t i = 0; i < ELEMENTSOF(wants); i++) {
                assert_result(reserve(s, a, wants[i]), 0);
                ck_assert_uint_ge(slot_entries(s, a), wants[i]);
                ck_assert_uint_lt(slot_entries(s, a), wants[i] + EXTENT_ENTRIES);
                ck_assert_uint_eq(walk(s, a, wants[i]), wants[i]);
        }
        assert_result(reserve(s, a, 1), 0);
        ck_assert_uint_ge(slot_entries(s, a), SEG_PERMITS_MAX);
}
END_TEST

START_TEST(walk_keeps_its_order_while_the_row_grows) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a"), *b = unit_lock(s, "b");
        Entry *seen[90];
        EntryWalk w;
        size_t n = 0;

        assert_result(reserve(s, a, 30), 0);
        for (Entry *e = entry_first(s, a, 30, &w); e; e = entry_next(s, &w))
                seen[n++] = e;
        assert_result(reserve(s, b, 30), 0);
        assert_result(reserve(s, a, 90), 0);
        n = 0;
        for (Entry *e = entry_first(s, a, 90, &w); e; e = entry_next(s, &w), n++) {
                if (n < 30)
                        ck_assert_ptr_eq(e, seen[n]);
                seen[n] = e;
                for (size_t i = 0; i < n; i++)
                        ck_assert_ptr_ne(e, seen[i]);
        }
        ck_assert_uint_eq(n, 90);
        for (Entry *e = entry_first(s, b, 30, &w); e; e = entry_next(s, &w))
                for (size_t i = 0; i < n; i++)
                        ck_assert_ptr_ne(e, seen[i]);
}
END_TEST

START_TEST(each_piece_knows_its_slot_and_its_place) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");
        uint32_t at;

        assert_result(reserve(s, a, 100), 0);
        at = atomic_load(&a->extent);
        for (uint32_t i = 0; i < 7; i++) {
                ck_assert_uint_ne(at, 0);
                ck_assert_uint_eq(atomic_load(&s->extents[at].number), i);
                ck_assert_uint_eq(atomic_load(&s->extents[at].slot), slot_index(s, a) + 1);
                at = atomic_load(&s->extents[at].next);
        }
        ck_assert_uint_eq(at, 0);
}
END_TEST

START_TEST(empty_pool_is_enospc_and_what_was_had_stays) {
        Segment *s = unit_attach((Geometry){8, 16, 5, 16}); /* four pieces: 0 stands for none */
        Slot *a = unit_lock(s, "a"), *b = unit_lock(s, "b");

        assert_result(reserve(s, a, 30), 0);
        assert_result(reserve(s, b, 45), -ENOSPC);
        ck_assert_uint_eq(slot_entries(s, a), 30);
        ck_assert_uint_eq(walk(s, b, SEG_PERMITS_MAX), slot_entries(s, b));
        assert_result(reserve(s, a, 30), 0);
        assert_result(reserve(s, b, 30), 0);
        assert_result(reserve(s, b, 31), -ENOSPC);
        ck_assert_uint_eq(unit_extents_used(s), 4);
}
END_TEST

START_TEST(freed_pieces_go_to_the_next_one) {
        Segment *s = unit_attach((Geometry){8, 16, 5, 16});
        Slot *a = unit_lock(s, "a"), *b = unit_lock(s, "b");

        for (int i = 0; i < 20; i++) {
                assert_result(reserve(s, a, 60), 0);
                assert_result(reserve(s, b, 1), -ENOSPC);
                extent_free_all(s, a);
                ck_assert_uint_eq(unit_extents_used(s), 0);
                assert_result(reserve(s, b, 60), 0);
                extent_free_all(s, b);
        }
}
END_TEST

START_TEST(reclaim_of_a_slot_frees_its_pieces) {
        Segment *s = unit_attach((Geometry){1, 16, 5, 16});

        for (int i = 0; i < 20; i++) {
                (void) unit_semaphore(s, i % 2 ? "a" : "b", 60);
                ck_assert_uint_eq(unit_extents_used(s), 4);
        }
        (void) unit_lock(s, "c");
        ck_assert_uint_eq(unit_extents_used(s), 0);
}
END_TEST

START_TEST(damaged_row_ends_the_walk) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");
        uint32_t first;

        assert_result(reserve(s, a, 60), 0);
        first = atomic_load(&a->extent);
        atomic_store(&s->extents[first].next, UINT32_MAX);
        ck_assert_uint_eq(walk(s, a, 60), 15);
        atomic_store(&s->extents[first].next, first);
        ck_assert_uint_eq(walk(s, a, 60), 60); /* a circle, but as long as the row */
        atomic_store(&a->extents, UINT32_MAX);
        ck_assert_uint_le(walk(s, a, UINT32_MAX), SEG_PERMITS_MAX + EXTENT_ENTRIES);
}
END_TEST

int main(void) {
        Suite *s = suite_create("extent");

        unit_fact(s, fresh_slot_has_no_words);
        unit_fact(s, reserve_gives_at_least_what_was_asked_up_to_the_maximum);
        unit_fact(s, walk_keeps_its_order_while_the_row_grows);
        unit_fact(s, each_piece_knows_its_slot_and_its_place);
        unit_fact(s, empty_pool_is_enospc_and_what_was_had_stays);
        unit_fact(s, freed_pieces_go_to_the_next_one);
        unit_fact(s, reclaim_of_a_slot_frees_its_pieces);
        unit_fact(s, damaged_row_ends_the_walk);
        return unit_run(s);
}
