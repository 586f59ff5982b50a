/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L6: from kill(SIGKILL) of the holder to the return of the one waiter, which is known to be
 * asleep. Each round has a holder of its own, small or with 1 GiB of touched memory; the waiter
 * lives on. The killer sleeps at once, so that the dying process and the waiter have both
 * processors. It must never measure a holder that was still running when the signal came.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "door.h"

#define BIG_BYTES (UINT64_C(1) << 30)
#define QUICK_BYTES (UINT64_C(16) << 20)
#define SETTLE_NSEC (50 * NSEC_PER_USEC)
#define WARM_UP 2 /* rounds of each door that do not count */

enum {
        OURS,
        ROBUST,
        OFD,
        STRICT,
        PIDFD,
        TWIN,
        N_DOORS
};

static const DoorOps *const all_doors[N_DOORS] = {[OURS] = &door_ours,
                [ROBUST] = &door_robust,
                [OFD] = &door_ofd,
                [STRICT] = &door_ours_strict,
                [PIDFD] = &door_pidfd,
                [TWIN] = &door_pidfd_twin};

typedef struct Stage {
        _Atomic uint32_t turn, begun, done;
        _Atomic uint32_t door; /* N_DOORS sends the waiter home */
        _Atomic uint64_t returned_nsec;
} Stage;

typedef struct Death {
        Stage *stage;
        DoorShared *shared;
        Door doors[N_DOORS];
        int waiter_fd;
        uint32_t round;
} Death;

static void waiter_run(Death *death) {
        Stage *s = death->stage;

        for (size_t i = 0; i < N_DOORS; i++)
                death->doors[i].ops->attach(&death->doors[i]);
        for (uint32_t round = 1;; round++) {
                Door *d;

                word_await(&s->turn, round);
                if (atomic_load(&s->door) == N_DOORS)
                        _exit(EXIT_SUCCESS);
                d = &death->doors[atomic_load(&s->door)];
                word_set(&s->begun, round);
                if (!d->ops->wait(d))
                        die("%s: the death of the holder went unnoticed", d->ops->name);
                atomic_store(&s->returned_nsec, measure_now_nsec());
                d->ops->give(d);
                word_set(&s->done, round);
        }
}

static void memory_touch(uint64_t size) {
        char *p;

        if (size == 0)
                return;
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                die("mmap of %llu bytes: %m", (unsigned long long) size);
        /* Huge pages would make the size cheap to give back, and hide what is measured. */
        (void) madvise(p, size, MADV_NOHUGEPAGE);
        for (uint64_t i = 0; i < size; i += 4096)
                ((volatile char *) p)[i] = 1;
}

static void holder_run(Death *death, Door *d, uint64_t size) {
        memory_touch(size);
        d->ops->attach(d);
        d->ops->take(d);
        word_set(&death->stage->turn, death->round);
        for (;;)
                pause();
}

static double death_round(Death *death, uint32_t door, uint64_t size) {
        Stage *s = death->stage;
        uint64_t start_nsec;
        pid_t holder;
        int fd;

        death->round++;
        atomic_store(&s->door, door);
        holder = measure_fork();
        if (holder == 0) {
                atomic_store(&death->shared->holder, getpid());
                holder_run(death, &death->doors[door], size);
        }
        word_await(&s->begun, death->round);
        fd = measure_task_open(holder);
        measure_task_await_sleep(fd);
        measure_task_await_sleep(death->waiter_fd);
        measure_spin_nsec(SETTLE_NSEC);
        start_nsec = measure_now_nsec();
        if (kill(holder, SIGKILL) < 0)
                die("kill: %m");
        word_await(&s->done, death->round);
        measure_reap(holder);
        (void) close(fd);
        if (atomic_load(&s->returned_nsec) < start_nsec)
                die("%s: the waiter did not wait", death->doors[door].ops->name);
        return (double) (atomic_load(&s->returned_nsec) - start_nsec);
}

/* Medians of n rounds of each door, taking turns. */
static void death_compete(Death *death, size_t n, uint64_t size, double medians[]) {
        double *samples[N_DOORS];

        for (size_t i = 0; i < N_DOORS; i++)
                if (!(samples[i] = calloc(n, sizeof(double))))
                        die("out of memory");
        for (size_t round = 0; round < n + WARM_UP; round++) {
                unsigned order[N_DOORS];

                measure_shuffle(order, N_DOORS);
                for (size_t i = 0; i < N_DOORS; i++) {
                        double nsec = death_round(death, order[i], size);

                        if (round >= WARM_UP)
                                samples[order[i]][round - WARM_UP] = nsec;
                }
        }
        for (size_t i = 0; i < N_DOORS; i++) {
                medians[i] = measure_percentile(samples[i], n, 50);
                free(samples[i]);
        }
}

typedef struct Comparison {
        const char *what;
        int ours, theirs;
        double bar; /* 0: for information */
} Comparison;

static void death_report(Bench *b, const Comparison *c, const double medians[], Row row) {
        snprintf(row.id, sizeof(row.id), "L6");
        snprintf(row.what, sizeof(row.what), "%s", c->what);
        snprintf(row.rival, sizeof(row.rival), "%s", all_doors[c->theirs]->name);
        row.unit = UNIT_NSEC;
        row.ours = medians[c->ours];
        row.theirs = medians[c->theirs];
        row.kind = c->bar > 0 ? BAR_RATIO : BAR_NONE;
        row.bar = c->bar;
        report_add(b->report, &row);
}

static bool memory_suffices(uint64_t size) {
        unsigned long long kib = 0;
        char line[128];
        FILE *f;

        f = fopen("/proc/meminfo", "re");
        if (!f)
                return false;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
                        break;
        fclose(f);
        return kib > size / 1024 + size / 4096;
}

/* One waiter for all rounds of one placement and size; medians of each door. */
static void death_stage(Bench *b, Placement placement, uint64_t size, size_t n, double medians[]) {
        Death death = {.stage = measure_shared_new(sizeof(Stage)), .shared = door_shared_new()};
        pid_t waiter;

        for (size_t i = 0; i < N_DOORS; i++)
                door_init(&death.doors[i], all_doors[i], b, death.shared);
        waiter = measure_fork();
        measure_place(placement, waiter == 0);
        if (waiter == 0)
                waiter_run(&death);
        death.waiter_fd = measure_task_open(waiter);
        death_compete(&death, n, size, medians);
        atomic_store(&death.stage->door, N_DOORS);
        word_set(&death.stage->turn, death.round + 1);
        measure_reap(waiter);
        (void) close(death.waiter_fd);
        measure_place(PLACED_FREELY, false);
}

/*
 * Without placement these times say first of all whether the waiter happened to be woken on the
 * processor on which the holder is still dying: two runs of one and the same lock then differ by
 * more than the bars allow. So the bars are for the waiter that has a processor of its own.
 */
static void death_measure_small(Bench *b) {
        static const Comparison apart[] = {{"SIGKILL of the holder", OURS, ROBUST, 1.2},
                        {"SIGKILL of the holder", OURS, OFD, 0},
                        {"SIGKILL of a strict holder", STRICT, TWIN, 1.1},
                        {"SIGKILL of a strict holder", STRICT, PIDFD, 0}};
        static const Comparison freely[] = {
                        {"SIGKILL of the holder, placed freely", OURS, ROBUST, 0},
                        {"SIGKILL of a strict one, placed freely", STRICT, TWIN, 0}};
        size_t n = b->quick ? 5 : 300;
        Row row = {.n = n};
        double m[N_DOORS];

        if (measure_place_is_possible(PLACED_APART)) {
                death_stage(b, PLACED_APART, 0, n, m);
                for (size_t i = 0; i < ELEMENTS(apart); i++)
                        death_report(b, &apart[i], m, row);
        }
        death_stage(b, PLACED_FREELY, 0, n, m);
        for (size_t i = 0; i < ELEMENTS(freely); i++)
                death_report(b, &freely[i], m, row);
}

static void death_measure_big(Bench *b) {
        static const Comparison big[] = {{"SIGKILL of a big holder", OURS, OFD, 1 / 50.},
                        {"SIGKILL of a big holder", OURS, ROBUST, 0},
                        {"SIGKILL of a big strict holder", STRICT, TWIN, 1.1},
                        {"SIGKILL of a big strict holder", STRICT, PIDFD, 0}};
        Placement p = measure_place_is_possible(PLACED_APART) ? PLACED_APART : PLACED_FREELY;
        uint64_t size = b->quick ? QUICK_BYTES : BIG_BYTES;
        double m[N_DOORS] = {0};
        Row row = {.n = b->quick ? 2 : 11};

        if (memory_suffices(size))
                death_stage(b, p, size, row.n, m);
        else
                snprintf(row.skipped, sizeof(row.skipped), "too little memory is available");
        for (size_t i = 0; i < ELEMENTS(big); i++)
                death_report(b, &big[i], m, row);
}

/** death_measure() - L6, what needs no daemon */
void death_measure(Bench *b) {
        death_measure_small(b);
        death_measure_big(b);
}
