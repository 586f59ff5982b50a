/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking: readers and writers, permits, what is past the queue and what is not, delays and limits.
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

static void semaphore_init(uint32_t capacity, uint32_t first, uint32_t second, uint32_t third) {
        s = unit_segment();
        slot = unit_semaphore(s, "a", capacity);
        ask_init(&a, s, slot);
        ask_init(&b, s, slot);
        ask_init(&c, s, slot);
        a.wait.permits = first;
        b.wait.permits = second;
        c.wait.permits = third;
}

/* ---- readers and writers ---- */

START_TEST(readers_share_and_a_writer_does_not) {
        lock_init();
        a.wait.shared = b.wait.shared = true;
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), 1);
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&a), 0);
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&b), 0);
        assert_result(ask_try(&c), 1);
        assert_result(ask_try(&a), -EAGAIN);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(reader_does_not_pass_a_writer_that_waits) {
        lock_init();
        a.wait.shared = c.wait.shared = true;
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        assert_result(ask_try(&c), -EAGAIN);
        ask_queue(&c);
        assert_result(ask_release(&a), 0);
        assert_granted(&b);
        ck_assert(!ask_is_awake(&c));
        assert_result(ask_release(&b), 0);
        assert_granted(&c);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(as_many_readers_as_there_are_words) {
        static Ask readers[SEG_PERMITS_MAX + 2 * EXTENT_ENTRIES];
        size_t n = 0;
        int r = 1;

        lock_init();
        for (; r == 1; n += r == 1) {
                ck_assert_uint_lt(n, ELEMENTSOF(readers));
                ask_init(&readers[n], s, slot);
                readers[n].wait.shared = true;
                r = ask_try(&readers[n]);
        }
        assert_result(r, -EAGAIN);
        ck_assert_uint_ge(n, SEG_PERMITS_MAX);
        b.wait.shared = true;
        ask_queue(&b);
        assert_result(ask_try(&a), -EAGAIN);
        assert_result(ask_release(&readers[n / 2]), 0);
        assert_granted(&b);
        assert_result(ask_release(&b), 0);
        for (size_t i = 0; i < n; i++)
                if (i != n / 2)
                        assert_result(ask_release(&readers[i]), 0);
        assert_result(ask_try(&a), 1);
        assert_result(ask_release(&a), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(reader_becomes_the_writer_when_the_others_are_gone) {
        Grant own;

        lock_init();
        a.wait.shared = b.wait.shared = true;
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), 1);
        own = a.grant;
        c.wait.own = &own;
        ask_queue(&c);
        assert_result(ask_release(&b), 0);
        assert_granted(&c);
        assert_result(hold_release(s, &own), 0);
        ck_assert(hold_is_current(&c.grant));
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(second_reader_that_would_become_the_writer_is_edeadlk) {
        Grant first, second;
        Ask d;

        lock_init();
        a.wait.shared = b.wait.shared = true;
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), 1);
        first = a.grant;
        second = b.grant;
        c.wait.own = &first;
        ask_queue(&c);
        ask_init(&d, s, slot);
        d.wait.own = &second;
        assert_result(ask_start(&d), -EDEADLK);
        assert_result(ask_release(&b), 0);
        assert_granted(&c);
}
END_TEST

/* ---- permits ---- */

START_TEST(permits_are_taken_while_there_are_any) {
        semaphore_init(5, 3, 2, 1);
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), 1);
        ck_assert_uint_eq(a.grant.n, 3);
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&b), 0);
        assert_result(ask_try(&c), 1);
        assert_result(ask_release(&a), 0);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(all_of_many_permits_are_taken_at_once) {
        semaphore_init(SEG_PERMITS_MAX, SEG_PERMITS_MAX, 1, 1);
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), -EAGAIN);
        assert_result(ask_release(&a), 0);
        assert_result(ask_try(&b), 1);
        assert_result(ask_release(&b), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(more_permits_than_there_can_be_are_einval) {
        semaphore_init(5, 6, 1, 1);
        assert_result(ask_try(&a), -EINVAL);
        assert_result(ask_start(&a), -EINVAL);
        assert_result(ask_try(&b), 1);
        assert_result(ask_release(&b), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(small_request_does_not_pass_a_large_one) {
        semaphore_init(5, 3, 4, 1);
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        ck_assert_uint_eq(b.wait.got, 2);
        assert_result(ask_try(&c), -EAGAIN);
        ask_queue(&c);
        assert_result(ask_release(&a), 0);
        assert_granted(&b);
        assert_granted(&c);
}
END_TEST

START_TEST(gathered_permits_come_back_when_the_head_gives_up) {
        semaphore_init(5, 3, 5, 2);
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        ask_queue(&c);
        ask_abandon(&b);
        assert_granted(&c);
        assert_result(ask_release(&a), 0);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(lowered_capacity_counts_what_is_held_beyond_it) {
        semaphore_init(6, 4, 2, 1);
        assert_result(ask_try(&a), 1);
        assert_result(ask_try(&b), 1);
        unit_resize(s, slot, 2);
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&a), 0);
        assert_result(ask_try(&c), -EAGAIN);
        assert_result(ask_release(&b), 0);
        assert_result(ask_try(&c), 1);
        assert_result(ask_release(&c), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

START_TEST(raised_capacity_lets_the_head_go_on) {
        semaphore_init(2, 2, 2, 1);
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        unit_resize(s, slot, 4);
        assert_granted(&b);
}
END_TEST

/* ---- waiting ---- */

START_TEST(sleep_ends_with_its_deadline) {
        lock_init();
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        assert_result(wait_sleep(&b.wait, NULL, 1), -ETIMEDOUT);
        assert_result(wait_sleep(&b.wait, NULL, clock_usec(CLOCK_MONOTONIC) + 1000), -ETIMEDOUT);
        ask_abandon(&b);
}
END_TEST

START_TEST(sleep_ends_with_an_extra_word) {
        Word extra = 1;

        lock_init();
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        assert_result(wait_sleep(&b.wait, &(WordSleep){&extra, 0, true}, USEC_INFINITE), 0);
        ask_abandon(&b);
}
END_TEST

START_TEST(head_sleeps_on_every_missing_permit_and_its_poke) {
        WordSleep words[WORD_SLEEP_MAX];
        uint64_t until;

        semaphore_init(20, 12, 20, 1);
        assert_result(ask_try(&a), 1);
        ask_queue(&b);
        ck_assert_uint_eq(wait_words(&b.wait, words, ELEMENTSOF(words), &until), 13);
        ck_assert_uint_eq(until, USEC_INFINITE);
        ck_assert_ptr_eq(words[0].word, &s->cells[b.wait.cell].poke);
        ck_assert_uint_eq(wait_words(&b.wait, words, 4, &until), 4);
        ck_assert_uint_ne(until, USEC_INFINITE); /* it looks again for the rest */
        ask_abandon(&b);
}
END_TEST

START_TEST(lock_delay_keeps_the_next_one_back_after_a_death) {
        lock_init();
        assert_result(ask_try(&a), 1);
        b.wait.delay_usec = 3600 * USEC_PER_SEC;
        ask_queue(&b);
        assert_result(hold_end(s, slot, a.grant.fence, true, false), 0);
        assert_result(ask_step(&b), 0);
        ck_assert_uint_eq(b.wait.look_at, atomic_load(&slot->free_at));
        ck_assert_uint_gt(b.wait.look_at, clock_usec(CLOCK_BOOTTIME));
        atomic_store(&slot->free_at, 1); /* the hour is over */
        assert_result(ask_step(&b), 1);
        ck_assert(b.grant.abandoned);
        ck_assert_uint_eq(atomic_load(&slot->free_at), 0);
}
END_TEST

START_TEST(hold_beyond_its_limit_is_ended_by_who_waits) {
        lock_init();
        assert_result(ask_try(&a), 1);
        b.wait.max_hold_usec = 3600 * USEC_PER_SEC;
        ask_queue(&b);
        ck_assert_uint_ne(b.wait.look_at, USEC_INFINITE);
        atomic_store(&slot->gate.since, 1);
        b.wait.max_hold_usec = 1;
        assert_result(ask_step(&b), 1);
        ck_assert(b.grant.abandoned);
        assert_result(ask_release(&a), -ESTALE);
        assert_result(ask_release(&b), 0);
        assert_slot_is_idle(s, slot);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("take");

        unit_fact(suite, readers_share_and_a_writer_does_not);
        unit_fact(suite, reader_does_not_pass_a_writer_that_waits);
        unit_fact(suite, as_many_readers_as_there_are_words);
        unit_fact(suite, reader_becomes_the_writer_when_the_others_are_gone);
        unit_fact(suite, second_reader_that_would_become_the_writer_is_edeadlk);
        unit_fact(suite, permits_are_taken_while_there_are_any);
        unit_fact(suite, all_of_many_permits_are_taken_at_once);
        unit_fact(suite, more_permits_than_there_can_be_are_einval);
        unit_fact(suite, small_request_does_not_pass_a_large_one);
        unit_fact(suite, gathered_permits_come_back_when_the_head_gives_up);
        unit_fact(suite, lowered_capacity_counts_what_is_held_beyond_it);
        unit_fact(suite, raised_capacity_lets_the_head_go_on);
        unit_fact(suite, sleep_ends_with_its_deadline);
        unit_fact(suite, sleep_ends_with_an_extra_word);
        unit_fact(suite, head_sleeps_on_every_missing_permit_and_its_poke);
        unit_fact(suite, lock_delay_keeps_the_next_one_back_after_a_death);
        unit_fact(suite, hold_beyond_its_limit_is_ended_by_who_waits);
        return unit_run(suite);
}
