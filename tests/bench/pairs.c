/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1 and L2: what an uncontended acquire and release cost, by one thread that nobody disturbs. Each
 * contestant is a loop of its own around direct calls, so that no common overhead flatters a ratio;
 * the loops take turns in short batches. It must never have a second process near its locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include "door.h"

#define CAPACITY 4
#define WARM_UP 8 /* batches of each contestant that do not count */

typedef struct Pairs {
        coord_client *client, *thread_client;
        coord_lock *lock, *shared_lock, *thread_lock;
        struct {
                pthread_mutex_t robust;
                sem_t sem;
        } * shared;
        int flock_fd, ofd_fd, semid;
} Pairs;

typedef struct Contestant {
        const char *what;
        void (*batch)(Pairs *p, unsigned n);
        double *samples;
        double nsec; /* median of a pair, once measured */
} Contestant;

static void ours_check(Pairs *p, int r) {
        if (r < 0)
                die("%s: %s", strerror(-r), coord_strerror(p->client));
}

static void batch_handle(Pairs *p, unsigned n) {
        coord_hold *h;

        while (n--) {
                ours_check(p, coord_lock_lock(p->lock, 0, COORD_TIMEOUT_INFINITE, &h));
                ours_check(p, coord_hold_release(h));
                coord_hold_unref(h);
        }
}

static void batch_handle_unref(Pairs *p, unsigned n) {
        coord_hold *h;

        while (n--) {
                ours_check(p, coord_lock_lock(p->lock, 0, COORD_TIMEOUT_INFINITE, &h));
                coord_hold_unref(h);
        }
}

static void batch_handle_shared(Pairs *p, unsigned n) {
        coord_hold *h;

        while (n--) {
                ours_check(p, coord_lock_lock(p->shared_lock, COORD_SHARED, COORD_TIMEOUT_INFINITE,
                                              &h));
                ours_check(p, coord_hold_release(h));
                coord_hold_unref(h);
        }
}

static void batch_handle_thread(Pairs *p, unsigned n) {
        coord_hold *h;

        while (n--) {
                ours_check(p, coord_lock_lock(p->thread_lock, 0, COORD_TIMEOUT_INFINITE, &h));
                ours_check(p, coord_hold_release(h));
                coord_hold_unref(h);
        }
}

static void batch_name(Pairs *p, unsigned n) {
        coord_hold *h;

        while (n--) {
                ours_check(p, coord_lock_acquire(p->client, "bench/by-name", 0,
                                              COORD_TIMEOUT_INFINITE, &h));
                ours_check(p, coord_hold_release(h));
                coord_hold_unref(h);
        }
}

static void batch_semaphore(Pairs *p, unsigned n) {
        coord_hold *h;

        while (n--) {
                ours_check(p, coord_semaphore_acquire(p->client, "bench/permits", CAPACITY, 1, 0,
                                              COORD_TIMEOUT_INFINITE, &h));
                ours_check(p, coord_hold_release(h));
                coord_hold_unref(h);
        }
}

static void batch_robust(Pairs *p, unsigned n) {
        while (n--)
                if (pthread_mutex_lock(&p->shared->robust) != 0 ||
                                pthread_mutex_unlock(&p->shared->robust) != 0)
                        die("the robust mutex failed");
}

static void batch_flock(Pairs *p, unsigned n) {
        while (n--)
                if (flock(p->flock_fd, LOCK_EX) < 0 || flock(p->flock_fd, LOCK_UN) < 0)
                        die("flock: %m");
}

static void batch_ofd(Pairs *p, unsigned n) {
        while (n--) {
                door_ofd_lock(p->ofd_fd, F_WRLCK);
                door_ofd_lock(p->ofd_fd, F_UNLCK);
        }
}

static void batch_sem(Pairs *p, unsigned n) {
        while (n--)
                if (sem_wait(&p->shared->sem) < 0 || sem_post(&p->shared->sem) < 0)
                        die("sem_wait, sem_post: %m");
}

static void batch_sysv(Pairs *p, unsigned n) {
        struct sembuf down = {.sem_op = -1, .sem_flg = SEM_UNDO};
        struct sembuf up = {.sem_op = 1, .sem_flg = SEM_UNDO};

        while (n--)
                if (semop(p->semid, &down, 1) < 0 || semop(p->semid, &up, 1) < 0)
                        die("semop: %m");
}

static void pairs_init(Pairs *p, const Bench *b) {
        memset(p, 0, sizeof(*p));
        p->client = door_client_new();
        ours_check(p, coord_lock_open(p->client, "bench/handle", &p->lock));
        ours_check(p, coord_lock_open(p->client, "bench/shared", &p->shared_lock));
        p->shared = measure_shared_new(sizeof(*p->shared));
        door_robust_init(&p->shared->robust);
        if (sem_init(&p->shared->sem, 1, CAPACITY) < 0)
                die("sem_init: %m");
        p->flock_fd = door_file_open(b->dir, "flock");
        p->ofd_fd = door_file_open(b->dir, "ofd-pairs");
        p->semid = -1;
}

static void pairs_deinit(Pairs *p) {
        (void) close(p->flock_fd);
        (void) close(p->ofd_fd);
        coord_lock_unref(p->lock);
        coord_lock_unref(p->shared_lock);
        coord_client_unref(p->client);
        coord_lock_unref(p->thread_lock);
        coord_client_unref(p->thread_client);
}

/* All contestants take turns; what is kept is the median of the batches' mean. */
static void pairs_compete(Pairs *p, const Bench *b, Contestant *all, size_t n) {
        unsigned rounds = b->quick ? 20 : 1200, per_batch = b->quick ? 100 : 1500;

        for (size_t i = 0; i < n; i++) {
                all[i].samples = calloc(rounds, sizeof(double));
                if (!all[i].samples)
                        die("out of memory");
        }
        for (unsigned round = 0; round < rounds + WARM_UP; round++)
                for (size_t i = 0; i < n; i++) {
                        uint64_t start_nsec = measure_now_nsec();

                        all[i].batch(p, per_batch);
                        if (round >= WARM_UP)
                                all[i].samples[round - WARM_UP] =
                                                (double) (measure_now_nsec() - start_nsec) /
                                                per_batch;
                }
        for (size_t i = 0; i < n; i++) {
                all[i].nsec = measure_percentile(all[i].samples, rounds, 50);
                free(all[i].samples);
        }
}

static void pairs_report(Bench *b,
                const char *id,
                const Contestant *ours,
                const Contestant *rival,
                double bar) {
        Row row = {.unit = UNIT_NSEC,
                        .ours = ours->nsec,
                        .kind = bar > 0 ? BAR_RATIO : BAR_NONE,
                        .bar = bar,
                        .n = b->quick ? 20 : 1200};

        snprintf(row.id, sizeof(row.id), "%s", id);
        snprintf(row.what, sizeof(row.what), "%s", ours->what);
        snprintf(row.rival, sizeof(row.rival), "%s", rival->what);
        row.theirs = rival->nsec;
        report_add(b->report, &row);
}

/** pairs_measure_locks() - L1 */
void pairs_measure_locks(Bench *b) {
        enum {
                HANDLE,
                ROBUST,
                NAME,
                FLOCK,
                SHARED,
                UNREF,
                OFD,
                THREAD,
                N
        };
        Contestant all[N] = {[HANDLE] = {.what = "lock, opened handle", .batch = batch_handle},
                        [ROBUST] = {.what = "robust mutex", .batch = batch_robust},
                        [NAME] = {.what = "lock, by name", .batch = batch_name},
                        [FLOCK] = {.what = "flock(2)", .batch = batch_flock},
                        [SHARED] = {.what = "shared, opened handle", .batch = batch_handle_shared},
                        [UNREF] = {.what = "handle, ended by unref", .batch = batch_handle_unref},
                        [OFD] = {.what = "OFD lock", .batch = batch_ofd},
                        [THREAD] = {.what = "handle, THREAD_OWNED client",
                                        .batch = batch_handle_thread}};
        Pairs p;

        pairs_init(&p, b);
        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON | COORD_CLIENT_THREAD_OWNED,
                            &p.thread_client) < 0 ||
                        coord_lock_open(p.thread_client, "bench/thread", &p.thread_lock) < 0)
                die("a thread-owned client: %s", coord_strerror(p.thread_client));
        pairs_compete(&p, b, all, N);
        pairs_report(b, "L1", &all[HANDLE], &all[ROBUST], 3);
        pairs_report(b, "L1", &all[NAME], &all[ROBUST], 5);
        pairs_report(b, "L1", &all[HANDLE], &all[FLOCK], 1 / 3.);
        pairs_report(b, "L1", &all[NAME], &all[FLOCK], 1 / 3.);
        pairs_report(b, "L1", &all[UNREF], &all[ROBUST], 0);
        pairs_report(b, "L1", &all[THREAD], &all[ROBUST], 0);
        pairs_report(b, "L1", &all[SHARED], &all[ROBUST], 0);
        pairs_report(b, "L1", &all[HANDLE], &all[OFD], 0);
        pairs_deinit(&p);
}

/** pairs_measure_semaphores() - L2 */
void pairs_measure_semaphores(Bench *b) {
        enum {
                OURS,
                SEM,
                SYSV,
                N
        };
        Contestant all[N] = {[OURS] = {.what = "one permit, by name", .batch = batch_semaphore},
                        [SEM] = {.what = "sem_t", .batch = batch_sem},
                        [SYSV] = {.what = "SysV SEM_UNDO", .batch = batch_sysv}};
        union {
                int val;
        } value = {.val = CAPACITY};
        Pairs p;

        pairs_init(&p, b);
        p.semid = semget(IPC_PRIVATE, 1, 0600);
        if (p.semid < 0 || semctl(p.semid, 0, SETVAL, value) < 0)
                die("SysV semaphore: %m");
        pairs_compete(&p, b, all, N);
        (void) semctl(p.semid, 0, IPC_RMID);
        pairs_report(b, "L2", &all[OURS], &all[SEM], 5);
        pairs_report(b, "L2", &all[OURS], &all[SYSV], 1 / 3.);
        pairs_deinit(&p);
}
