/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L3, first half: from the holder's release to the return of the one waiter, which is known to be
 * asleep. Two processes, the doors take turns in random order. It must never count a handoff to a
 * waiter that was still on its way into the queue.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "door.h"

#define WARM_UP 20
#define SETTLE_NSEC (50 * NSEC_PER_USEC) /* the waiter's processor finds its idle state */

enum {
        OURS,
        ROBUST,
        N_DOORS
};

typedef struct Stage {
        _Atomic uint32_t turn, begun, done, door;
        _Atomic uint64_t returned_nsec;
} Stage;

static void waiter_run(Stage *s, Door *doors, uint32_t rounds) {
        for (size_t i = 0; i < N_DOORS; i++)
                doors[i].ops->attach(&doors[i]);
        for (uint32_t round = 1; round <= rounds; round++) {
                Door *d;

                word_await(&s->turn, round);
                d = &doors[atomic_load(&s->door)];
                word_set(&s->begun, round);
                (void) d->ops->wait(d);
                atomic_store(&s->returned_nsec, measure_now_nsec());
                d->ops->give(d);
                word_set(&s->done, round);
        }
        _exit(EXIT_SUCCESS);
}

static double handoff_time(Stage *s, Door doors[], uint32_t door, int waiter_fd) {
        uint32_t round = atomic_load(&s->turn) + 1;
        uint64_t start_nsec;
        Door *d = &doors[door];

        d->ops->take(d);
        atomic_store(&s->door, door);
        word_set(&s->turn, round);
        word_await(&s->begun, round);
        measure_task_await_sleep(waiter_fd);
        measure_spin_nsec(SETTLE_NSEC);
        start_nsec = measure_now_nsec();
        d->ops->give(d);
        word_await(&s->done, round);
        if (atomic_load(&s->returned_nsec) < start_nsec)
                die("%s: the waiter did not wait", d->ops->name);
        return (double) (atomic_load(&s->returned_nsec) - start_nsec);
}

static void handoff_report(Bench *b, const char *how, double *samples[], size_t n, double bar) {
        Row row = {.id = "L3", .unit = UNIT_NSEC, .kind = bar > 0 ? BAR_RATIO : BAR_NONE, .n = n};

        snprintf(row.what, sizeof(row.what), "handoff to a sleeper, %s", how);
        snprintf(row.rival, sizeof(row.rival), "%s", door_robust.name);
        row.ours = measure_percentile(samples[OURS], n, 50);
        row.theirs = measure_percentile(samples[ROBUST], n, 50);
        row.bar = bar;
        report_add(b->report, &row);
}

/* One waiter for all rounds of one placement. */
static void handoff_compete(Bench *b,
                Placement placement,
                double *samples[],
                uint32_t count,
                DoorShared *shared) {
        Stage *s = measure_shared_new(sizeof(*s));
        Door doors[N_DOORS];
        pid_t waiter;
        int fd;

        door_init(&doors[OURS], &door_ours, b, shared);
        door_init(&doors[ROBUST], &door_robust, b, shared);
        waiter = measure_fork();
        measure_place(placement, waiter == 0);
        if (waiter == 0)
                waiter_run(s, doors, (count + WARM_UP) * N_DOORS);
        fd = measure_task_open(waiter);
        for (size_t i = 0; i < N_DOORS; i++)
                doors[i].ops->attach(&doors[i]);
        for (uint32_t i = 0; i < count + WARM_UP; i++) {
                unsigned order[N_DOORS];

                measure_shuffle(order, N_DOORS);
                for (size_t k = 0; k < N_DOORS; k++) {
                        double nsec = handoff_time(s, doors, order[k], fd);

                        if (i >= WARM_UP)
                                samples[order[k]][i - WARM_UP] = nsec;
                }
        }
        measure_reap(waiter);
        (void) close(fd);
        for (size_t i = 0; i < N_DOORS; i++)
                doors[i].ops->detach(&doors[i]);
        measure_place(PLACED_FREELY, false);
}

/** handoff_measure() - L3, a handoff to one sleeping waiter */
void handoff_measure(Bench *b) {
        static const struct {
                const char *how;
                double bar;
        } placements[N_PLACEMENTS] = {[PLACED_FREELY] = {"placed freely", 1.15},
                        [PLACED_APART] = {"2 processors", 1.15},
                        [PLACED_TOGETHER] = {"1 processor"}};
        const uint32_t count = b->quick ? 20 : 1500;
        DoorShared *shared = door_shared_new();
        double *samples[N_DOORS];

        for (size_t i = 0; i < N_DOORS; i++)
                if (!(samples[i] = calloc(count, sizeof(double))))
                        die("out of memory");
        for (Placement p = 0; p < N_PLACEMENTS; p++) {
                if (!measure_place_is_possible(p))
                        continue;
                handoff_compete(b, p, samples, count, shared);
                handoff_report(b, placements[p].how, samples, count, placements[p].bar);
        }
        for (size_t i = 0; i < N_DOORS; i++)
                free(samples[i]);
}
