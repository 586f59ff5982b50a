/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The segment against a naive twin. Parties on two attachments start, step, abandon, release, try and
 * break in random order, in one thread and without sleeping; the twin is a few arrays that say who
 * holds and in which order the others wait. After every step what the segment said is what the twin
 * says; whenever nobody has a reason left to look again, nobody who could go on waits.
 */
#include <stdio.h>

#include "unit.h"

enum {
        PARTIES = 7,
        STEPS = 6000,
        IDLE = 0,
        QUEUED,
        HOLDING
};

typedef struct Party {
        Ask ask;
        int state;
        uint32_t permits;
        bool shared;
        uint64_t arrival;
        bool looked; /* at least once since it queued */
        bool fixed;  /* it began to gather as the head: nobody comes before it any more */
} Party;

static Segment *segments[2];
static Slot *slots[2];
static Party parties[PARTIES];
static int queue[PARTIES], n_queue;
static uint32_t capacity; /* 0: a lock */
static uint64_t last_fence;
static bool gate_death;        /* the next grant has to be told of it */
static uint32_t reader_deaths; /* so many may be told of at most */
static uint64_t random_state;

static uint32_t draw(uint32_t n) {
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (uint32_t) (random_state >> 33) % n;
}

/* ---- the twin ---- */

static bool twin_is_free(const Party *p) {
        uint32_t used = 0;

        for (int i = 0; i < PARTIES; i++) {
                if (parties[i].state != HOLDING)
                        continue;
                if (capacity == 0 && !(p->shared && parties[i].shared))
                        return false;
                used += parties[i].permits;
        }
        return capacity == 0 || used + p->permits <= capacity;
}

static void twin_enter(int who) {
        int at = n_queue++;

        while (at > 0 && !parties[queue[at - 1]].fixed &&
                        parties[queue[at - 1]].arrival > parties[who].arrival) {
                queue[at] = queue[at - 1];
                at--;
        }
        queue[at] = who;
        parties[who].state = QUEUED;
        parties[who].looked = parties[who].fixed = false;
}

static void twin_leave(int who) {
        int at = 0;

        while (queue[at] != who)
                at++;
        n_queue--;
        for (; at < n_queue; at++)
                queue[at] = queue[at + 1];
}

/* ---- one step ---- */

static void told(const Party *p) {
        bool abandoned = p->ask.grant.abandoned;

        if (gate_death)
                ck_assert(abandoned);
        else if (abandoned)
                ck_assert_uint_gt(reader_deaths--, 0);
        gate_death = false;
}

static void granted(Party *p) {
        ck_assert(twin_is_free(p));
        ck_assert_uint_eq(p->ask.grant.n, p->permits);
        ck_assert_uint_gt(p->ask.grant.fence, last_fence);
        last_fence = p->ask.grant.fence;
        if (capacity == 0)
                told(p);
        p->state = HOLDING;
}

static void do_step(int who) {
        Party *p = &parties[who];
        int r = ask_step(&p->ask);

        ck_assert_int_ge(r, 0);
        p->looked = true;
        p->fixed = r == 0 && p->ask.wait.got > 0 && queue[0] == who;
        if (r == 0)
                return;
        ck_assert_int_eq(queue[0], who);
        twin_leave(who);
        granted(p);
}

static void do_start(int who, bool try_only) {
        Party *p = &parties[who];
        uint64_t before, after;
        bool expected;
        int priority = (int) draw(4) == 0 ? (int) draw(41) - 20 : 0, r;

        ask_init(&p->ask, segments[who % 2], slots[who % 2]);
        p->shared = capacity == 0 && draw(2) == 0;
        p->permits = capacity == 0 ? 1 : 1 + draw(draw(3) == 0 ? capacity : MIN_OF(capacity, 2));
        p->ask.wait.shared = p->shared;
        p->ask.wait.permits = p->permits;
        p->ask.wait.priority = priority;
        expected = n_queue == 0 && twin_is_free(p);
        before = clock_usec(CLOCK_MONOTONIC);
        r = try_only ? ask_try(&p->ask) : ask_start(&p->ask);
        after = clock_usec(CLOCK_MONOTONIC);
        assert_result(r, expected ? 1 : try_only ? -EAGAIN : 0);
        if (r == 1)
                granted(p);
        if (r != 0)
                return;
        p->arrival = atomic_load(&p->ask.wait.s->cells[p->ask.wait.cell].arrival);
        ck_assert_int_ge((int64_t) p->arrival, (int64_t) before + priority * 100000);
        ck_assert_int_le((int64_t) p->arrival, (int64_t) after + priority * 100000);
        twin_enter(who);
        do_step(who); /* as everybody does before the first sleep */
}

static void do_abandon(int who) {
        twin_leave(who);
        ask_abandon(&parties[who].ask);
        parties[who].state = IDLE;
}

static void do_release(int who) {
        Party *p = &parties[who];

        ck_assert_int_eq(hold_is_current(&p->ask.grant), 1);
        assert_result(ask_release(&p->ask), 0);
        assert_result(ask_release(&p->ask), -ESTALE);
        p->state = IDLE;
}

/* From the other attachment; then the holder learns that it came too late. */
static void do_break(int who) {
        Party *p = &parties[who];
        bool abandoned = draw(2) == 0;

        assert_result(hold_end(segments[(who + 1) % 2], slots[(who + 1) % 2], p->ask.grant.fence,
                                      abandoned, false),
                        0);
        ck_assert_int_eq(hold_is_current(&p->ask.grant), 0);
        assert_result(ask_release(&p->ask), -ESTALE);
        if (p->shared)
                reader_deaths += abandoned;
        else
                gate_death |= abandoned;
        p->state = IDLE;
}

static void do_anything(void) {
        int who = (int) draw(PARTIES);
        uint32_t what = draw(10);

        switch (parties[who].state) {
        case IDLE:
                do_start(who, what < 2);
                break;
        case QUEUED:
                if (what == 0)
                        do_abandon(who);
                else
                        do_step(who);
                break;
        default:
                if (what == 0)
                        do_break(who);
                else if (what < 7)
                        do_release(who);
                break;
        }
}

/* ---- at rest ---- */

/* Everybody who would wake looks again, until all would sleep on. */
static void settle(void) {
        bool moved = true;

        for (int round = 0; moved; round++) {
                ck_assert_int_lt(round, 20 * PARTIES);
                moved = false;
                for (int i = 0; i < PARTIES; i++)
                        if (parties[i].state == QUEUED &&
                                        (!parties[i].looked || ask_is_awake(&parties[i].ask))) {
                                do_step(i);
                                moved = true;
                        }
        }
        if (n_queue > 0)
                ck_assert(!twin_is_free(&parties[queue[0]]));
}

static void end_all(void) {
        for (int i = 0; i < PARTIES; i++) {
                if (parties[i].state == QUEUED)
                        do_abandon(i);
                else if (parties[i].state == HOLDING)
                        do_release(i);
        }
        assert_slot_is_idle(segments[0], slots[0]);
        assert_slot_is_idle(segments[1], slots[1]);
}

static void play(uint32_t permits, uint64_t seed) {
        random_state = seed;
        capacity = permits;
        for (int i = 0; i < 2; i++) {
                segments[i] = unit_segment();
                slots[i] = permits ? unit_semaphore(segments[i], "a", permits)
                                   : unit_lock(segments[i], "a");
        }
        for (int i = 0; i < STEPS; i++) {
                do_anything();
                if (draw(4) == 0)
                        settle();
        }
        settle();
        end_all();
        ck_assert_uint_eq(unit_cells_used(segments[0]), 0);
}

START_TEST(lock_is_its_twin) {
        play(0, 1);
}
END_TEST

START_TEST(lock_is_its_twin_with_another_seed) {
        play(0, 20260101);
}
END_TEST

START_TEST(semaphore_of_one_is_its_twin) {
        play(1, 2);
}
END_TEST

START_TEST(semaphore_of_five_is_its_twin) {
        play(5, 3);
}
END_TEST

START_TEST(semaphore_of_forty_is_its_twin) {
        play(40, 4);
}
END_TEST

int main(void) {
        Suite *s = suite_create("model");

        unit_fact(s, lock_is_its_twin);
        unit_fact(s, lock_is_its_twin_with_another_seed);
        unit_fact(s, semaphore_of_one_is_its_twin);
        unit_fact(s, semaphore_of_five_is_its_twin);
        unit_fact(s, semaphore_of_forty_is_its_twin);
        return unit_run(s);
}
