/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names and slots, with so few slots that they are used again and again.
 */
#include <stdio.h>
#include <string.h>

#include "unit.h"

enum {
        NAMES = 100
};

static const Geometry tiny = {8, 64, 32, 64};

static Slot *find(Segment *s, uint32_t kind, const char *name) {
        uint32_t gen;
        Key key;

        assert_result(key_init(s, &key, kind, name), 0);
        return table_find(s, &key, &gen);
}

static int get(Segment *s, const char *name) {
        uint32_t gen;
        Slot *slot;
        Key key;

        assert_result(key_init(s, &key, KIND_LOCK, name), 0);
        return table_get(s, &key, USEC_INFINITE, &slot, &gen);
}

/* Uses so many other names that every slot that may be reclaimed is. */
static void churn(Segment *s) {
        char name[16];

        for (int i = 0; i < NAMES; i++) {
                (void) snprintf(name, sizeof(name), "churn%d", i);
                assert_result(get(s, name), 0);
        }
}

/* ---- names ---- */

START_TEST(names_are_valid_or_not_by_length_and_bytes) {
        static const char *const valid[] = {"a", "0", ".", "_", "/", "@", "%", "+", "a-b",
                        "A/b.c_d@e%f+g-h", "..", "//", "a-"};
        static const char *const invalid[] = {"", "-", "-a", " ", "a b", "a:b", "a\n", "a\t",
                        "\xc3\xa4", "a*", "a?", "a,b", "a=b", "a\\b", "\"", "'", "a\x7f", "\x01"};
        char longest[SEG_NAME_MAX + 2];

        for (size_t i = 0; i < ELEMENTSOF(valid); i++)
                ck_assert_msg(segment_name_is_valid(valid[i]), "%s", valid[i]);
        for (size_t i = 0; i < ELEMENTSOF(invalid); i++)
                ck_assert_msg(!segment_name_is_valid(invalid[i]), "%s", invalid[i]);
        ck_assert(!segment_name_is_valid(NULL));
        memset(longest, 'x', sizeof(longest));
        longest[SEG_NAME_MAX + 1] = '\0';
        ck_assert(!segment_name_is_valid(longest));
        longest[SEG_NAME_MAX] = '\0';
        ck_assert(segment_name_is_valid(longest));
}
END_TEST

START_TEST(every_byte_is_judged) {
        const char *good = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/@%+-";

        for (int c = 1; c < 256; c++) {
                char name[] = {'a', (char) c, '\0'};

                ck_assert_int_eq(segment_name_is_valid(name), strchr(good, c) != NULL);
        }
}
END_TEST

START_TEST(invalid_name_makes_no_key) {
        Segment *s = unit_attach(tiny);
        Key key;

        assert_result(key_init(s, &key, KIND_LOCK, "a b"), -EINVAL);
        assert_result(key_init(s, &key, KIND_LOCK, ""), -EINVAL);
}
END_TEST

START_TEST(name_is_read_back_as_written) {
        Segment *s = unit_attach(tiny);
        char name[SEG_NAME_MAX + 1], got[SEG_NAME_MAX + 1];

        for (size_t len = 1; len <= SEG_NAME_MAX; len += 127) {
                memset(name, 'y', len);
                name[len] = '\0';
                slot_name(unit_lock(s, name), got);
                ck_assert_str_eq(got, name);
        }
}
END_TEST

/* ---- slots ---- */

START_TEST(same_name_is_the_same_slot_and_another_name_is_not) {
        Segment *s = unit_attach(tiny);
        Slot *a = unit_lock(s, "a");

        ck_assert_ptr_eq(a, unit_lock(s, "a"));
        ck_assert_ptr_eq(a, find(s, KIND_LOCK, "a"));
        ck_assert_ptr_ne(a, unit_lock(s, "b"));
        ck_assert_ptr_ne(a, unit_lock(s, "aa"));
        ck_assert_uint_eq(atomic_load(&s->header->n_names), 3);
}
END_TEST

START_TEST(lock_and_semaphore_of_one_name_are_two) {
        Segment *s = unit_attach(tiny);

        ck_assert_ptr_ne(unit_lock(s, "a"), unit_semaphore(s, "a", 1));
        ck_assert_ptr_ne(find(s, KIND_LOCK, "a"), find(s, KIND_SEMAPHORE, "a"));
}
END_TEST

START_TEST(looking_makes_no_slot) {
        Segment *s = unit_attach(tiny);

        ck_assert_ptr_null(find(s, KIND_LOCK, "a"));
        ck_assert_uint_eq(atomic_load(&s->header->n_names), 0);
}
END_TEST

START_TEST(names_in_one_bucket_are_told_apart) {
        Segment *s = unit_attach((Geometry){1000, 8, 8, 8});
        Slot *slots[900];
        char name[16], got[SEG_NAME_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(slots); i++) {
                (void) snprintf(name, sizeof(name), "n%zu", i);
                slots[i] = unit_lock(s, name);
        }
        for (size_t i = 0; i < ELEMENTSOF(slots); i++) {
                (void) snprintf(name, sizeof(name), "n%zu", i);
                ck_assert_ptr_eq(slots[i], find(s, KIND_LOCK, name));
                slot_name(slots[i], got);
                ck_assert_str_eq(got, name);
        }
}
END_TEST

START_TEST(chain_that_is_a_circle_is_left) {
        Segment *s = unit_attach(tiny);
        Slot *a = unit_lock(s, "a");

        for (uint32_t i = 0; i < s->n_buckets; i++)
                atomic_store(&s->buckets[i], slot_index(s, a) + 1);
        atomic_store(&a->next, slot_index(s, a) + 1);
        ck_assert_ptr_null(find(s, KIND_LOCK, "b"));
        atomic_store(&a->next, UINT32_MAX);
        ck_assert_ptr_null(find(s, KIND_LOCK, "b"));
}
END_TEST

/* ---- reclaiming ---- */

START_TEST(unused_names_make_room_for_new_ones) {
        Segment *s = unit_attach(tiny);

        churn(s);
        ck_assert_uint_eq(atomic_load(&s->header->n_names), 8);
        ck_assert_ptr_nonnull(find(s, KIND_LOCK, "churn99"));
        ck_assert_ptr_null(find(s, KIND_LOCK, "churn0"));
}
END_TEST

START_TEST(counter_of_a_name_never_falls_though_its_slot_was_another_names) {
        uint64_t last[NAMES] = {0};
        Segment *s = unit_attach(tiny);
        char name[16];
        Ask a;

        for (unsigned i = 0; i < 30 * NAMES; i++) {
                unsigned at = i * 7919 % NAMES;

                (void) snprintf(name, sizeof(name), "n%u", at);
                ask_init(&a, s, unit_lock(s, name));
                assert_result(ask_try(&a), 1);
                ck_assert_uint_gt(a.grant.fence, last[at]);
                last[at] = a.grant.fence;
                assert_result(ask_release(&a), 0);
        }
}
END_TEST

START_TEST(held_name_keeps_its_slot) {
        Segment *s = unit_attach(tiny);
        Ask lock, reader, permit;

        ask_init(&lock, s, unit_lock(s, "lock"));
        ask_init(&reader, s, unit_lock(s, "shared"));
        ask_init(&permit, s, unit_semaphore(s, "sem", 20));
        reader.wait.shared = true;
        assert_result(ask_try(&lock), 1);
        assert_result(ask_try(&reader), 1);
        assert_result(ask_try(&permit), 1);
        churn(s);
        ck_assert_ptr_eq(find(s, KIND_LOCK, "lock"), lock.wait.slot);
        ck_assert_ptr_eq(find(s, KIND_LOCK, "shared"), reader.wait.slot);
        ck_assert_ptr_eq(find(s, KIND_SEMAPHORE, "sem"), permit.wait.slot);
        assert_result(ask_release(&lock), 0);
        assert_result(ask_release(&reader), 0);
        assert_result(ask_release(&permit), 0);
        churn(s);
        ck_assert_ptr_null(find(s, KIND_LOCK, "lock"));
        ck_assert_ptr_null(find(s, KIND_LOCK, "shared"));
        ck_assert_ptr_null(find(s, KIND_SEMAPHORE, "sem"));
        ck_assert_uint_eq(unit_extents_used(s), 0);
}
END_TEST

START_TEST(name_that_is_waited_for_keeps_its_slot) {
        Segment *s = unit_attach(tiny);
        Ask holder, waiter;

        ask_init(&holder, s, unit_lock(s, "a"));
        ask_init(&waiter, s, holder.wait.slot);
        assert_result(ask_try(&holder), 1);
        ask_queue(&waiter);
        assert_result(ask_release(&holder), 0);
        churn(s); /* free by now, but somebody is next */
        ck_assert_ptr_eq(find(s, KIND_LOCK, "a"), holder.wait.slot);
        assert_granted(&waiter);
        assert_result(ask_release(&waiter), 0);
        churn(s);
        ck_assert_ptr_null(find(s, KIND_LOCK, "a"));
}
END_TEST

START_TEST(pinned_name_keeps_its_slot) {
        Segment *s = unit_attach(tiny);
        Slot *a = unit_lock(s, "a");

        (void) atomic_fetch_or(&a->flags, SLOT_PINNED);
        churn(s);
        ck_assert_ptr_eq(find(s, KIND_LOCK, "a"), a);
}
END_TEST

static void die_holding(Peer *me, void *data) {
        Segment *s = unit_attach(tiny);
        Ask a;

        (void) data;
        ask_init(&a, s, unit_lock(s, "a"));
        peer_say(me, (uint64_t) ask_acquire(&a));
        (void) peer_hear(me);
}

START_TEST(death_that_nobody_was_told_of_keeps_its_slot) {
        Segment *s = unit_attach(tiny);
        Peer p;
        Ask a;

        peer_start(&p, die_holding, NULL);
        ck_assert_uint_eq(peer_hear(&p), 1);
        peer_kill(&p);
        churn(s);
        ck_assert_ptr_nonnull(find(s, KIND_LOCK, "a"));
        ask_init(&a, s, unit_lock(s, "a"));
        assert_result(ask_try(&a), 1);
        ck_assert(a.grant.abandoned);
        assert_result(ask_release(&a), 0);
}
END_TEST

START_TEST(table_of_busy_names_is_enospc_until_one_is_free) {
        Segment *s = unit_attach(tiny);
        char name[16];
        Ask asks[8];

        for (size_t i = 0; i < ELEMENTSOF(asks); i++) {
                (void) snprintf(name, sizeof(name), "n%zu", i);
                ask_init(&asks[i], s, unit_lock(s, name));
                assert_result(ask_try(&asks[i]), 1);
        }
        assert_result(get(s, "new"), -ENOSPC);
        assert_result(get(s, "n3"), 0);
        assert_result(ask_release(&asks[5]), 0);
        assert_result(get(s, "new"), 0);
        ck_assert_ptr_null(find(s, KIND_LOCK, "n5"));
}
END_TEST

START_TEST(who_comes_with_a_slot_of_the_past_is_sent_back) {
        Segment *s = unit_attach(tiny), *other = unit_attach(tiny);
        Slot *a = unit_lock(s, "a");
        Ask late, holder;
        Grant g = {0};

        ask_init(&late, s, a);
        ask_init(&holder, s, a);
        assert_result(ask_try(&holder), 1); /* so that the fast path knows the gate */
        assert_result(ask_release(&holder), 0);
        churn(other);
        ck_assert_uint_ne(atomic_load(&a->gen), late.wait.gen);
        assert_result(ask_try(&late), -ESTALE);
        assert_result(ask_start(&late), -ESTALE);
        ck_assert(!lock_fast(s, a, late.wait.gen, 0, 1, &g));
        if (g.entry)
                hold_put_back(s, &g, false);
        ck_assert_uint_eq(word_tid(atomic_load(&a->gate.word)), 0);
}
END_TEST

static Suite *table_suite(void) {
        Suite *s = suite_create("table");

        unit_fact(s, names_are_valid_or_not_by_length_and_bytes);
        unit_fact(s, every_byte_is_judged);
        unit_fact(s, invalid_name_makes_no_key);
        unit_fact(s, name_is_read_back_as_written);
        unit_fact(s, same_name_is_the_same_slot_and_another_name_is_not);
        unit_fact(s, lock_and_semaphore_of_one_name_are_two);
        unit_fact(s, looking_makes_no_slot);
        unit_fact(s, names_in_one_bucket_are_told_apart);
        unit_fact(s, chain_that_is_a_circle_is_left);
        unit_fact(s, unused_names_make_room_for_new_ones);
        unit_fact(s, counter_of_a_name_never_falls_though_its_slot_was_another_names);
        unit_fact(s, held_name_keeps_its_slot);
        unit_fact(s, name_that_is_waited_for_keeps_its_slot);
        unit_fact(s, pinned_name_keeps_its_slot);
        unit_fact(s, death_that_nobody_was_told_of_keeps_its_slot);
        unit_fact(s, table_of_busy_names_is_enospc_until_one_is_free);
        unit_fact(s, who_comes_with_a_slot_of_the_past_is_sent_back);
        return s;
}

int main(void) {
        return unit_run(table_suite());
}
