/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L5: coordctl run against flock(1): what a command costs, and how long the lock lies idle between
 * the commands of 8 contenders. Those all wait before the first of them is let in. It must never
 * take a command's own time into the gap: the command notes by itself when it began and ended.
 */
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "door.h"
#include "stamp.h"

#define RUN_NAME "bench/run"
#define CONTENDERS STAMPS_MAX
#define GAPS (CONTENDERS - 1)
#define WARM_UP 10

enum {
        OURS,
        FLOCK,
        N_SIDES
};

typedef struct Run {
        const Bench *bench;
        coord_client *client;
        coord_hold *hold;
        int lock_fd;
        ino_t lock_inode;
        StampFile *stamps;
        char lock_path[PATH_MAX + 16], stamp_path[PATH_MAX + 16], stamp_command[PATH_MAX + 16];
} Run;

/* Start "coordctl run NAME COMMAND [ARG]" or "flock FILE COMMAND [ARG]". */
static pid_t run_spawn(Run *run, unsigned side, const char *command, const char *arg) {
        const char *ours[] = {run->bench->coordctl, "--user", "run", RUN_NAME, command, arg, NULL};
        const char *theirs[] = {"flock", run->lock_path, command, arg, NULL};
        const char **argv = side == OURS ? ours : theirs;
        pid_t pid;
        int r;

        r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *) argv, environ);
        if (r != 0)
                die("%s: %s", argv[0], strerror(r));
        return pid;
}

static void run_reap(pid_t pid, unsigned side) {
        int status;

        if (waitpid(pid, &status, 0) != pid)
                die("waitpid: %m");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                die("%s failed with status 0x%x", side == OURS ? "coordctl run" : "flock", status);
}

static void
run_report(Bench *b, const char *what, double *samples[], size_t n, double percent, double bar) {
        Row row = {.id = "L5", .unit = UNIT_NSEC, .kind = BAR_RATIO, .bar = bar, .n = n};

        snprintf(row.what, sizeof(row.what), "%s", what);
        snprintf(row.rival, sizeof(row.rival), "flock(1)");
        row.ours = measure_percentile(samples[OURS], n, percent);
        row.theirs = measure_percentile(samples[FLOCK], n, percent);
        report_add(b->report, &row);
}

static void run_measure_true(Bench *b, Run *run) {
        size_t n = b->quick ? 5 : 600;
        unsigned order[N_SIDES];
        double *samples[N_SIDES];

        for (unsigned side = 0; side < N_SIDES; side++)
                if (!(samples[side] = calloc(n, sizeof(double))))
                        die("out of memory");
        for (size_t i = 0; i < n + WARM_UP; i++) {
                measure_shuffle(order, N_SIDES);
                for (size_t k = 0; k < N_SIDES; k++) {
                        uint64_t start_nsec = measure_now_nsec();

                        run_reap(run_spawn(run, order[k], "true", NULL), order[k]);
                        if (i >= WARM_UP)
                                samples[order[k]][i - WARM_UP] =
                                                (double) (measure_now_nsec() - start_nsec);
                }
        }
        run_report(b, "coordctl run x true", samples, n, 50, 1.2);
        for (unsigned side = 0; side < N_SIDES; side++)
                free(samples[side]);
}

static size_t ours_count_waiters(Run *run) {
        struct coord_entry *entries;
        size_t n, waiters = 0;
        int r;

        r = coord_list(run->client, COORD_KIND_LOCK, &entries, &n);
        if (r < 0)
                die("coord_list: %s: %s", strerror(-r), coord_strerror(run->client));
        for (size_t i = 0; i < n; i++)
                if (strcmp(entries[i].name, RUN_NAME) == 0)
                        waiters = entries[i].n_waiters;
        coord_entries_free(entries, n);
        return waiters;
}

static size_t flock_count_waiters(Run *run) {
        char line[256], inode[32];
        size_t waiters = 0;
        FILE *f;

        snprintf(inode, sizeof(inode), ":%llu ", (unsigned long long) run->lock_inode);
        f = fopen("/proc/locks", "re");
        if (!f)
                die("/proc/locks: %m");
        while (fgets(line, sizeof(line), f))
                waiters += strstr(line, "-> FLOCK") && strstr(line, inode);
        fclose(f);
        return waiters;
}

static void gate_close(Run *run, unsigned side) {
        int r;

        if (side == OURS) {
                r = coord_lock_acquire(
                                run->client, RUN_NAME, 0, COORD_TIMEOUT_INFINITE, &run->hold);
                if (r < 0)
                        die("coord_lock_acquire: %s", coord_strerror(run->client));
        } else if (flock(run->lock_fd, LOCK_EX) < 0)
                die("flock: %m");
}

static void gate_open(Run *run, unsigned side) {
        if (side == OURS)
                run->hold = coord_hold_unref(run->hold);
        else if (flock(run->lock_fd, LOCK_UN) < 0)
                die("flock: %m");
}

static int stamp_compare(const void *a, const void *b) {
        const uint64_t *x = a, *y = b; /* start_nsec stands first */

        return (*x > *y) - (*x < *y);
}

/* One round of all contenders; the gaps between their commands. */
static void contenders_run(Run *run, unsigned side, double gaps[]) {
        StampFile *f = run->stamps;
        pid_t pids[CONTENDERS];

        memset(f, 0, sizeof(*f));
        gate_close(run, side);
        for (size_t i = 0; i < CONTENDERS; i++)
                pids[i] = run_spawn(run, side, run->stamp_command, run->stamp_path);
        while ((side == OURS ? ours_count_waiters(run) : flock_count_waiters(run)) < CONTENDERS)
                (void) sched_yield();
        gate_open(run, side);
        for (size_t i = 0; i < CONTENDERS; i++)
                run_reap(pids[i], side);
        if (atomic_load(&f->n) != CONTENDERS)
                die("only %u commands ran", atomic_load(&f->n));
        qsort(f->stamps, CONTENDERS, sizeof(f->stamps[0]), stamp_compare);
        for (size_t i = 0; i < GAPS; i++) {
                if (f->stamps[i + 1].start_nsec < f->stamps[i].end_nsec)
                        die("%s: two commands ran at once", side == OURS ? "coordctl" : "flock");
                gaps[i] = (double) (f->stamps[i + 1].start_nsec - f->stamps[i].end_nsec);
        }
}

static void run_measure_contenders(Bench *b, Run *run) {
        size_t rounds = b->quick ? 2 : 100;
        double *samples[N_SIDES], warm_up[GAPS];
        unsigned order[N_SIDES];

        for (unsigned side = 0; side < N_SIDES; side++) {
                if (!(samples[side] = calloc(rounds * GAPS, sizeof(double))))
                        die("out of memory");
                contenders_run(run, side, warm_up);
        }
        for (size_t i = 0; i < rounds; i++) {
                measure_shuffle(order, N_SIDES);
                for (size_t k = 0; k < N_SIDES; k++)
                        contenders_run(run, order[k], &samples[order[k]][i * GAPS]);
        }
        run_report(b, "8 contenders: gap, median", samples, rounds * GAPS, 50, 1.2);
        run_report(b, "8 contenders: gap, p95", samples, rounds * GAPS, 95, 1.5);
        for (unsigned side = 0; side < N_SIDES; side++)
                free(samples[side]);
}

static void run_init(Run *run, const Bench *b) {
        struct stat st;
        int fd;

        memset(run, 0, sizeof(*run));
        run->bench = b;
        run->client = door_client_new();
        snprintf(run->lock_path, sizeof(run->lock_path), "%s/run", b->dir);
        snprintf(run->stamp_path, sizeof(run->stamp_path), "%s/stamps", b->dir);
        snprintf(run->stamp_command, sizeof(run->stamp_command), "%s/bench-stamp", b->here);
        run->lock_fd = door_file_open(b->dir, "run");
        if (fstat(run->lock_fd, &st) < 0)
                die("%s: %m", run->lock_path);
        run->lock_inode = st.st_ino;
        fd = door_file_open(b->dir, "stamps");
        if (ftruncate(fd, sizeof(StampFile)) < 0)
                die("%s: %m", run->stamp_path);
        run->stamps = mmap(NULL, sizeof(StampFile), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (run->stamps == MAP_FAILED)
                die("%s: %m", run->stamp_path);
        (void) close(fd);
}

/** run_measure() - L5 */
void run_measure(Bench *b) {
        Run run;

        if (access(b->coordctl, X_OK) < 0) {
                report_add(b->report, &(Row){.id = "L5",
                                                      .what = "coordctl run x true",
                                                      .skipped = "there is no coordctl"});
                return;
        }
        run_init(&run, b);
        run_measure_true(b, &run);
        run_measure_contenders(b, &run);
        (void) munmap(run.stamps, sizeof(StampFile));
        (void) close(run.lock_fd);
        coord_client_unref(run.client);
}
