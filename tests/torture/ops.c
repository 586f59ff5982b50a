/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a worker's thread does: one acquisition after the other, each drawn at random, and never one
 * while it holds another, so that nothing here can deadlock by itself. What the library may answer is
 * checked; who is inside is left to the monitor.
 */
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

const struct subject subjects[SUBJECTS] = {
                {"torture.hot", "lock:torture.hot", COORD_KIND_LOCK, 0},
                {"torture.warm", "lock:torture.warm", COORD_KIND_LOCK, 0},
                {"torture.mixed", "lock:torture.mixed", COORD_KIND_LOCK, 0},
                {"torture.pool", "sem:torture.pool", COORD_KIND_SEMAPHORE, 3},
                {"torture.pair", "sem:torture.pair", COORD_KIND_SEMAPHORE, 2},
                {"torture.cold", "lock:torture.cold", COORD_KIND_LOCK, 0},
};

#define ENDLESS COORD_TIMEOUT_INFINITE

/**
 * random_timeout() - in microseconds: none, a short one, without end
 */
uint64_t random_timeout(struct actor *a) {
        uint64_t dice = random_next(&a->random);

        switch (dice % 10) {
        case 0 ... 1:
                return 0;
        case 2 ... 4:
                return 20 + (dice >> 8) % 20000;
        default:
                return ENDLESS;
        }
}

/**
 * plan_permits() - how many permits of its semaphore the plan takes
 */
void plan_permits(struct actor *a, struct plan *p) {
        const struct subject *s = &subjects[p->stay.subject];

        p->stay.permits = 1;
        if (s->capacity == 0)
                return;
        p->stay.permits = 1 + (uint32_t) random_below(&a->random, s->capacity);
        p->request.permits = p->stay.permits;
        p->request.capacity = s->capacity;
}

/**
 * plan_make() - a request for a subject, exclusive and without frills, but for some priorities
 */
void plan_make(struct actor *a, struct plan *p, unsigned subject) {
        struct coord_request r = COORD_REQUEST_INIT;

        *p = (struct plan){.request = r, .stay = {.subject = subject, .client = a->client}};
        p->request.kind = subjects[subject].kind;
        p->request.name = subjects[subject].name;
        p->request.timeout_usec = random_timeout(a);
        if (random_below(&a->random, 10) == 0)
                p->request.priority = (int) random_below(&a->random, 3) - 1;
        p->stay.priority = p->request.priority;
        plan_permits(a, p);
        if (random_below(&a->random, 16) == 0) {
                p->request.flags |= COORD_STRICT;
                p->stay.flags |= STAY_STRICT;
        }
}

/**
 * answer_expected() - may the library answer a request like that?
 */
bool answer_expected(const struct plan *p, int r) {
        if (r == 0)
                return true;
        if (r == -EAGAIN)
                return p->request.timeout_usec == 0;
        if (r == -ETIMEDOUT)
                return p->request.timeout_usec != 0 && p->request.timeout_usec != ENDLESS;
        return false;
}

/**
 * answer_count() - count an answer that was expected
 */
void answer_count(int r) {
        if (r == -EAGAIN)
                count(COUNT_BUSY);
        else if (r == -ETIMEDOUT)
                count(COUNT_TIMEOUTS);
        else if (r == -ECANCELED)
                count(COUNT_CANCELLED);
        else if (r == -EDEADLK)
                count(COUNT_DEADLOCKS);
}

static void spin(uint64_t ns) {
        uint64_t until = now_ns() + ns;

        while (now_ns() < until)
                atomic_signal_fence(memory_order_seq_cst);
}

/**
 * hold_spend() - do something with a hold: nothing, a little, or long enough that others queue
 */
void hold_spend(struct actor *a, coord_hold *hold, const struct stay *stay) {
        uint64_t dice = random_next(&a->random);
        bool armed = atomic_load(&shared->armed);

        inject_step(STEP_HOLDING);
        switch (dice % 16) {
        case 0 ... 7:
                break;
        case 8 ... 10:
                spin((dice >> 8) % 20000);
                break;
        case 11 ... 12:
                (void) sched_yield();
                break;
        case 13:
                (void) nanosleep(&(struct timespec){0, (long) ((dice >> 8) % 400000)}, NULL);
                break;
        default: {
                bool before = monitor_certain(stay);
                int r = coord_hold_check(hold);

                if (r != 1 && before && monitor_certain(stay))
                        complain("%s: a hold that stands is said to be lost (%d)",
                                        subjects[stay->subject].name, r);
        }
        }
        if (armed && (dice >> 40) % 4096 == 0)
                inject_vanish(dice >> 52);
}

/**
 * hold_finish() - release a hold, in one way or another, and drop it
 */
void hold_finish(struct actor *a, coord_hold *hold, struct stay *stay) {
        uint64_t dice = random_next(&a->random);
        bool certain;
        int r;

        monitor_leave(a, stay);
        monitor_ask(a, &(struct stay){.subject = stay->subject}, 1, 0);
        if (dice % 4 == 0)
                r = coord_release(stay->client, coord_hold_token(hold));
        else
                r = coord_hold_release(hold);
        certain = monitor_certain(stay);
        monitor_answered(a);

        if (r == -ESTALE && !certain)
                count(COUNT_LOST);
        else if (r < 0)
                complain("%s: release: %s", subjects[stay->subject].name, strerror(-r));
        coord_hold_unref(hold);
        count(COUNT_ROUNDS);
}

static void op_plain(struct actor *a, struct plan *p) {
        coord_hold *hold = NULL;
        coord_lock **handle = &a->handles[p->stay.subject];
        bool by_handle = subjects[p->stay.subject].kind == COORD_KIND_LOCK &&
                         p->request.priority == 0 && !p->request.owner &&
                         random_below(&a->random, 2) == 0;
        int r = 0;

        monitor_ask(a, &p->stay, 1, p->request.timeout_usec);
        if (by_handle && !*handle)
                r = coord_lock_open(a->client, p->request.name, handle);
        if (r == 0 && by_handle)
                r = coord_lock_lock(*handle, p->request.flags, p->request.timeout_usec, &hold);
        else if (r == 0)
                r = coord_acquire_full(a->client, &p->request, &hold);
        monitor_answered(a);

        if (!answer_expected(p, r))
                complain("%s: acquire: %s", p->request.name, strerror(-r));
        answer_count(r);
        if (r < 0)
                return;

        monitor_enter(a, &p->stay, hold);
        hold_spend(a, hold, &p->stay);
        hold_finish(a, hold, &p->stay);
}

static void op_exclusive(struct actor *a) {
        struct plan p;
        static const unsigned char locks[] = {0, 0, 1, 2, 5};

        plan_make(a, &p, locks[random_below(&a->random, sizeof(locks))]);
        op_plain(a, &p);
}

static void op_shared(struct actor *a) {
        struct plan p;

        plan_make(a, &p, 1 + (unsigned) random_below(&a->random, 2));
        p.request.flags |= COORD_SHARED;
        p.stay.flags |= STAY_SHARED;
        op_plain(a, &p);
}

static void op_permits(struct actor *a) {
        struct plan p;

        plan_make(a, &p, 3 + (unsigned) random_below(&a->random, 2));
        op_plain(a, &p);
}

/* Holds that stand on evidence. */
static void op_owner(struct actor *a) {
        unsigned subject = (unsigned) random_below(&a->random, SUBJECTS);
        uint64_t milliseconds = 20 + random_below(&a->random, 200);
        char owner[32];
        struct plan p;

        plan_make(a, &p, subject);
        if (random_below(&a->random, 2) == 0) {
                snprintf(owner, sizeof(owner), "pid:%d", shared->pids[a->incarnation]);
                p.stay.flags |= STAY_STRICT;
        } else {
                snprintf(owner, sizeof(owner), "lease:%" PRIu64 "ms", milliseconds);
                p.stay.flags |= STAY_LEASE;
                p.stay.lease_ns = milliseconds * 1000000;
        }
        p.request.owner = owner;
        if (subjects[subject].capacity == 0 && random_below(&a->random, 3) == 0) {
                p.request.mode = COORD_MODE_SHARED;
                p.stay.flags |= STAY_SHARED;
        }
        op_plain(a, &p);
}

static const struct {
        unsigned weight;
        const char *name;
        void (*run)(struct actor *a);
} operations[] = {
                {33, "exclusive", op_exclusive},
                {15, "shared", op_shared},
                {20, "permits", op_permits},
                {7, "owner", op_owner},
                {8, "all", op_all},
                {5, "convert", op_convert},
                {3, "async", op_async},
                {1, "cancel", op_cancel},
                {3, "reenter", op_reenter},
                {1, "break", op_break},
                {1, "list", op_list},
                {3, "churn", op_churn},
};

/**
 * op_random() - do one operation from beginning to end
 */
void op_random(struct actor *a) {
        uint64_t dice = random_below(&a->random, 100);

        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
                if (dice < operations[i].weight) {
                        atomic_store(&a->state->doing, operations[i].name);
                        operations[i].run(a);
                        return;
                }
                dice -= operations[i].weight;
        }
}
