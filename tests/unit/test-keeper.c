/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keepers: their lists, how many there are, and that what they own ends with the process.
 */
#include <stdio.h>
#include <sys/syscall.h>

#include "unit.h"

enum {
        NODES = 9,
        MANY = 3000
};

static const Geometry wide = {3200, 64, 16, 64};

static void assert_list(Keeper *k, Node *const *want, size_t n) {
        Node *head = (Node *) &k->head, *at = k->head.first, *before = head;

        for (size_t i = 0; i < n; i++) {
                ck_assert_ptr_eq(at, want[i]);
                ck_assert_ptr_eq(at->prev, before);
                before = at;
                at = at->next;
        }
        ck_assert_ptr_eq(at, head);
        ck_assert_uint_eq(atomic_load(&k->listed), n);
}

START_TEST(list_stays_whole_whatever_leaves_it) {
        static Node nodes[NODES];

        for (size_t gone = 0; gone < NODES; gone++) {
                Node *want[NODES];
                Keeper k = {0};
                size_t n = 0;

                k.head.first = (Node *) &k.head;
                assert_list(&k, want, 0);
                for (size_t i = 0; i < NODES; i++)
                        keeper_list(&k, &nodes[i]);
                keeper_unlist(&k, &nodes[gone]);
                ck_assert_ptr_null(nodes[gone].next);
                for (size_t i = NODES; i > 0; i--)
                        if (i - 1 != gone)
                                want[n++] = &nodes[i - 1];
                assert_list(&k, want, n);
                while (n > 0) {
                        keeper_unlist(&k, want[n / 2]);
                        for (size_t i = n / 2; i + 1 < n; i++)
                                want[i] = want[i + 1];
                        assert_list(&k, want, --n);
                }
        }
}
END_TEST

START_TEST(keeper_is_a_thread_that_is_found_by_its_id) {
        Segment *s = unit_segment();
        Slot *a = unit_lock(s, "a");
        Keeper *k = keeper_for(s, &a->gate.word);

        ck_assert_ptr_nonnull(k);
        ck_assert_uint_ne(k->tid, (uint32_t) syscall(SYS_gettid));
        ck_assert(word_owner_exists(k->tid));
        ck_assert_ptr_eq(keeper_by_tid(s, k->tid), k);
        ck_assert_ptr_eq(keeper_for(s, &a->gate.word), k);
        ck_assert_ptr_null(keeper_by_tid(s, WORD_TID));
}
END_TEST

START_TEST(cell_leaves_the_list_when_it_is_given_up) {
        Segment *s = unit_segment();
        Word *word = &s->cells[3].own;
        Keeper *k = keeper_for(s, word);
        uint32_t listed = atomic_load(&k->listed);

        atomic_store(word, k->tid | WORD_WAITERS);
        ck_assert_uint_eq(keeper_give_up(s, word), k->tid | WORD_WAITERS);
        ck_assert_uint_eq(atomic_load(word), 0);
        ck_assert_uint_eq(atomic_load(&k->listed), listed - 1);
        ck_assert_uint_eq(atomic_load(&node_of(s, word)->keeper), 0);
        ck_assert_ptr_null(k->head.pending);
}
END_TEST

static Segment *take_many(void) {
        Segment *s = unit_attach(wide);
        char name[16];
        Ask a;

        for (int i = 0; i < MANY; i++) {
                (void) snprintf(name, sizeof(name), "n%d", i);
                ask_init(&a, s, unit_lock(s, name));
                assert_result(ask_try(&a), 1);
        }
        return s;
}

START_TEST(more_words_than_the_kernel_walks_have_further_keepers) {
        Segment *s = take_many();

        ck_assert_uint_eq(atomic_load(&s->n_keepers), 2);
        for (uint32_t i = 0; i < 2; i++)
                ck_assert_uint_le(atomic_load(&s->keepers[i]->listed), KEEPER_ENTRIES);
        ck_assert_uint_ne(s->keepers[0]->tid, s->keepers[1]->tid);
}
END_TEST

static void die_with_many(Peer *me, void *data) {
        (void) take_many();
        (void) data;
        peer_say(me, 1);
        (void) peer_hear(me);
}

START_TEST(every_one_of_many_words_ends_with_the_process) {
        Segment *s;
        char name[16];
        Peer p;
        Ask a;

        peer_start(&p, die_with_many, NULL);
        (void) peer_hear(&p);
        s = unit_attach(wide);
        ask_init(&a, s, unit_lock(s, "n0"));
        assert_result(ask_try(&a), -EAGAIN);
        peer_kill(&p);
        for (int i = 0; i < MANY; i++) {
                (void) snprintf(name, sizeof(name), "n%d", i);
                ask_init(&a, s, unit_lock(s, name));
                assert_result(ask_try(&a), 1);
                ck_assert(a.grant.abandoned);
        }
}
END_TEST

START_TEST(room_in_an_earlier_keeper_is_used_again) {
        Segment *s = unit_attach((Geometry){8, 2500, 8, 8});

        for (uint32_t i = 1; i < 2400; i++)
                atomic_store(&s->cells[i].own, keeper_for(s, &s->cells[i].own)->tid);
        ck_assert_uint_eq(atomic_load(&s->n_keepers), 2);
        for (uint32_t i = 1; i < 2400; i++)
                (void) keeper_give_up(s, &s->cells[i].own);
        ck_assert_ptr_eq(keeper_for(s, &s->cells[2450].own), s->keepers[0]);
}
END_TEST

START_TEST(thread_owned_segment_gives_the_threads_list_back) {
        Segment *s = unit_attach_threaded();
        void *before, *during, *after;
        size_t len;
        Ask a;

        record_disown(s, atomic_load(&s->info));
        ck_assert_int_eq(syscall(SYS_get_robust_list, 0, &before, &len), 0);
        ask_init(&a, s, unit_lock(s, "a"));
        assert_result(ask_try(&a), 1);
        ck_assert_uint_eq(a.grant.owner, (uint32_t) syscall(SYS_gettid));
        ck_assert_int_eq(syscall(SYS_get_robust_list, 0, &during, &len), 0);
        ck_assert_ptr_ne(before, during);
        assert_result(ask_release(&a), 0);
        ck_assert_int_eq(syscall(SYS_get_robust_list, 0, &after, &len), 0);
        ck_assert_ptr_eq(before, after);
}
END_TEST

int main(void) {
        Suite *s = suite_create("keeper");

        unit_fact(s, list_stays_whole_whatever_leaves_it);
        unit_fact(s, keeper_is_a_thread_that_is_found_by_its_id);
        unit_fact(s, cell_leaves_the_list_when_it_is_given_up);
        unit_fact(s, more_words_than_the_kernel_walks_have_further_keepers);
        unit_fact(s, every_one_of_many_words_ends_with_the_process);
        unit_fact(s, room_in_an_earlier_keeper_is_used_again);
        unit_fact(s, thread_owned_segment_gives_the_threads_list_back);
        return unit_run(s);
}
