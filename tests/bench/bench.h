/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the lock benchmark share: the rows of the report, the clock, the statistics and
 * the words by which its processes meet. It must never know how the library works inside: ours is
 * measured through <coord/client.h> alone, as its users would.
 */
#ifndef BENCH_H
#define BENCH_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))
#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC UINT64_C(1000000000)
#define ROWS_MAX 64

typedef enum BarKind {
        BAR_NONE,  /* for information */
        BAR_RATIO, /* ours / rival must not be above it */
        BAR_COUNT  /* ours must not be above it */
} BarKind;

typedef enum Unit {
        UNIT_NSEC,
        UNIT_COUNT
} Unit;

/* Where the two sides of a wake-up run: as the scheduler likes, on two processors, on one. */
typedef enum Placement {
        PLACED_FREELY,
        PLACED_APART,
        PLACED_TOGETHER,
        N_PLACEMENTS
} Placement;

/* One line of the report. Where skipped says why, nothing was measured. */
typedef struct Row {
        char id[8];
        char what[64];
        char rival[32];
        char skipped[64];
        Unit unit;
        double ours, theirs;
        BarKind kind;
        double bar;
        size_t n;
} Row;

/* Stands in shared memory: each group of rows is measured in a process of its own. */
typedef struct Report {
        size_t n_rows;
        Row rows[ROWS_MAX];
} Report;

typedef struct Bench {
        bool quick, json;
        char dir[PATH_MAX];  /* runtime directory and lock files of this run */
        char here[PATH_MAX]; /* where this executable lies */
        char coordctl[PATH_MAX];
        Report *report;
} Bench;

/* report.c */
void report_add(Report *report, const Row *row);
void report_print_table(const Report *report);
void report_print_json(const Report *report);

/* measure.c */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t measure_now_nsec(void);
void measure_spin_nsec(uint64_t nsec);
void measure_shuffle(unsigned order[], unsigned n);
double measure_percentile(double *samples, size_t n, double percent);
void *measure_shared_new(size_t size);
pid_t measure_fork(void);
void measure_reap(pid_t pid);
bool measure_place_is_possible(Placement p);
void measure_place(Placement p, bool waiter);
int measure_task_open(pid_t pid);
bool measure_task_sleeps(int fd);
void measure_task_await_sleep(int fd);
void word_set(_Atomic uint32_t *word, uint32_t value);
void word_await(_Atomic uint32_t *word, uint32_t value);

/* One group of rows each. Whatever goes wrong ends the process by die(). */
void pairs_measure_locks(Bench *b);
void pairs_measure_semaphores(Bench *b);
void handoff_measure(Bench *b);
void crowd_measure(Bench *b);
void run_measure(Bench *b);
void death_measure(Bench *b);

#endif
