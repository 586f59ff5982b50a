/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L3, second half: three processes that hold for 20 us and come again at once. In the phases that
 * measure waits nothing else is done. In the phases that measure order each process looks, before
 * it begins, which of the others are asleep in their acquire, and, once granted, whether one of
 * those is still without its grant: that one slept, in the queue or on its way into it, before the
 * later arrival even began, and has been overtaken. Both looks are exact: no margin and no clock
 * decides, and who is preempted on its way into the queue, not asleep, is never counted. It must
 * never read a clock to judge order.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "door.h"

#define MEMBERS 3
#define HOLD_NSEC (20 * NSEC_PER_USEC)
#define WAITS_MAX 100000 /* of one member in one phase; 20 us holds give a quarter of it */
#define SLICES 6         /* phases of each kind and door */

enum {
        OURS,
        ROBUST,
        N_DOORS
};

typedef struct Member {
        pid_t pid;
        _Atomic uint32_t finished;       /* last phase it has left */
        _Atomic uint64_t begun, granted; /* its acquisitions, counted */
        uint64_t n_watched, n_overtaken;
        uint32_t n_waits;
        uint32_t waits_nsec[WAITS_MAX];
} Member;

typedef struct Crowd {
        _Atomic uint32_t phase, stop;
        uint32_t door;
        bool order;
        uint32_t inside; /* guarded by the door that is measured */
        Member members[MEMBERS];
} Crowd;

typedef struct Self {
        Crowd *crowd;
        Member *me;
        int fds[MEMBERS];
        uint64_t asleep[MEMBERS]; /* the acquisition in which each other one was seen asleep */
} Self;

typedef struct Outcome {
        double p999[SLICES], longest, rounds;
        uint64_t n_watched, n_overtaken;
} Outcome;

static void self_look(Self *self) {
        for (size_t i = 0; i < MEMBERS; i++) {
                Member *m = &self->crowd->members[i];
                uint64_t n = atomic_load(&m->begun);

                self->asleep[i] = 0;
                if (m == self->me || n == atomic_load(&m->granted))
                        continue;
                if (measure_task_sleeps(self->fds[i]) && atomic_load(&m->granted) < n)
                        self->asleep[i] = n;
        }
}

static void self_judge(Self *self) {
        for (size_t i = 0; i < MEMBERS; i++) {
                if (self->asleep[i] == 0)
                        continue;
                self->me->n_watched++;
                if (atomic_load(&self->crowd->members[i].granted) < self->asleep[i])
                        self->me->n_overtaken++;
        }
}

static void self_round(Self *self, Door *d) {
        Crowd *c = self->crowd;
        Member *me = self->me;
        uint64_t start_nsec, nsec;

        if (c->order)
                self_look(self);
        atomic_fetch_add(&me->begun, 1);
        start_nsec = measure_now_nsec();
        d->ops->take(d);
        nsec = measure_now_nsec();
        if (c->inside++ != 0)
                die("%s: two holders at once", d->ops->name);
        atomic_store(&me->granted, atomic_load(&me->begun));
        if (c->order)
                self_judge(self);
        else if (me->n_waits < WAITS_MAX)
                me->waits_nsec[me->n_waits++] = (uint32_t) (nsec - start_nsec);
        while (measure_now_nsec() - nsec < HOLD_NSEC)
                ;
        c->inside--;
        d->ops->give(d);
}

static void member_run(Crowd *c, size_t index, Door *doors) {
        Self self = {.crowd = c, .me = &c->members[index]};

        for (size_t i = 0; i < N_DOORS; i++) {
                doors[i].ops->attach(&doors[i]);
                doors[i].ops->take(&doors[i]);
                doors[i].ops->give(&doors[i]);
        }
        for (uint32_t phase = 1;; phase++) {
                word_await(&c->phase, phase);
                if (phase == 1)
                        for (size_t i = 0; i < MEMBERS; i++)
                                self.fds[i] = measure_task_open(c->members[i].pid);
                if (c->door == N_DOORS)
                        _exit(EXIT_SUCCESS);
                while (atomic_load_explicit(&c->stop, memory_order_relaxed) != phase)
                        self_round(&self, &doors[c->door]);
                word_set(&self.me->finished, phase);
        }
}

static void crowd_phase(Crowd *c, uint32_t door, bool order, uint64_t length_nsec) {
        struct timespec length = {.tv_sec = (time_t) (length_nsec / NSEC_PER_SEC),
                        .tv_nsec = (long) (length_nsec % NSEC_PER_SEC)};
        uint32_t phase = atomic_load(&c->phase) + 1;

        c->door = door;
        c->order = order;
        for (size_t i = 0; i < MEMBERS; i++) {
                c->members[i].n_waits = 0;
                c->members[i].n_watched = c->members[i].n_overtaken = 0;
        }
        word_set(&c->phase, phase);
        (void) clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
        atomic_store(&c->stop, phase);
        for (size_t i = 0; i < MEMBERS; i++)
                word_await(&c->members[i].finished, phase);
}

static void crowd_collect_waits(Crowd *c, Outcome *o, size_t slice) {
        double *all = calloc((size_t) MEMBERS * WAITS_MAX, sizeof(double));
        size_t n = 0;

        if (!all)
                die("out of memory");
        for (size_t i = 0; i < MEMBERS; i++)
                for (size_t k = 0; k < c->members[i].n_waits; k++)
                        all[n++] = c->members[i].waits_nsec[k];
        o->rounds += (double) n;
        o->p999[slice] = measure_percentile(all, n, 99.9);
        if (all[n - 1] > o->longest)
                o->longest = all[n - 1];
        free(all);
}

static void crowd_report(Bench *b, Outcome outcomes[], uint64_t length_nsec) {
        Outcome *ours = &outcomes[OURS], *theirs = &outcomes[ROBUST];
        double per_second = (double) NSEC_PER_SEC / ((double) length_nsec * SLICES);
        Row row = {.id = "L3", .n = SLICES, .kind = BAR_RATIO, .bar = 1 / 5.};

        snprintf(row.rival, sizeof(row.rival), "%s", door_robust.name);
        snprintf(row.what, sizeof(row.what), "3 processes, 20 us hold: p99.9 wait");
        row.ours = measure_percentile(ours->p999, SLICES, 50);
        row.theirs = measure_percentile(theirs->p999, SLICES, 50);
        report_add(b->report, &row);
        row.kind = BAR_NONE;
        snprintf(row.what, sizeof(row.what), "3 processes: longest wait");
        row.ours = ours->longest;
        row.theirs = theirs->longest;
        report_add(b->report, &row);
        row.unit = UNIT_COUNT;
        snprintf(row.what, sizeof(row.what), "3 processes: rounds a second");
        row.ours = ours->rounds * per_second;
        row.theirs = theirs->rounds * per_second;
        report_add(b->report, &row);
        snprintf(row.what, sizeof(row.what), "sleepers overtaken, of %llu",
                        (unsigned long long) ours->n_watched);
        row.kind = BAR_COUNT;
        row.bar = 0;
        row.n = ours->n_watched;
        row.ours = (double) ours->n_overtaken;
        row.theirs = (double) theirs->n_overtaken;
        report_add(b->report, &row);
}

static void crowd_run_phases(Crowd *c, Outcome outcomes[], uint64_t length_nsec) {
        for (size_t slice = 0; slice < SLICES; slice++)
                for (uint32_t door = 0; door < N_DOORS; door++) {
                        crowd_phase(c, door, false, length_nsec);
                        crowd_collect_waits(c, &outcomes[door], slice);
                        crowd_phase(c, door, true, length_nsec);
                        for (size_t i = 0; i < MEMBERS; i++) {
                                outcomes[door].n_watched += c->members[i].n_watched;
                                outcomes[door].n_overtaken += c->members[i].n_overtaken;
                        }
                }
}

/** crowd_measure() - L3, order and longest waits among three */
void crowd_measure(Bench *b) {
        uint64_t length_nsec = (b->quick ? 20 : 400) * NSEC_PER_MSEC;
        Crowd *c = measure_shared_new(sizeof(*c));
        DoorShared *shared = door_shared_new();
        Outcome outcomes[N_DOORS] = {0};
        Door doors[N_DOORS];

        door_init(&doors[OURS], &door_ours, b, shared);
        door_init(&doors[ROBUST], &door_robust, b, shared);
        for (size_t i = 0; i < MEMBERS; i++) {
                pid_t pid = measure_fork();

                if (pid == 0)
                        member_run(c, i, doors);
                c->members[i].pid = pid;
        }
        crowd_run_phases(c, outcomes, length_nsec);
        c->door = N_DOORS;
        word_set(&c->phase, atomic_load(&c->phase) + 1);
        for (size_t i = 0; i < MEMBERS; i++)
                measure_reap(c->members[i].pid);
        crowd_report(b, outcomes, length_nsec);
}
