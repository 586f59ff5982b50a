/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the torture share: the options, and one area of memory that the parent maps
 * before it forks and every worker writes to. The area survives any worker. Nothing of the library's
 * own state is kept in it, so that it can bear witness against the library.
 *
 * A worker's life is an incarnation; its number is given once. died[] is written before the kill that
 * ends it, so whatever it held was certain only until then.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <coord/client.h>

#include "segment/step.h"

#define WORKERS_MAX 32u
#define THREADS_MAX 4u
#define SUBJECTS 6u
#define BREAKS_MAX 4096u
#define INCARNATIONS_MAX (1u << 18)
#define CHURN_NAMES 20000u
#define RECORDS_MAX (1u << 21)

/* Steps of our own, beside the library's. */
enum {
        STEP_HOLDING = COORD_STEP_MAX, /* a hold stands */
        STEP_IDLE,                     /* nothing is held or asked for */
        STEPS,
};

struct subject {
        const char *name;
        const char *want; /* as coord_acquire_all() takes it */
        int kind;
        uint32_t capacity;
};

extern const struct subject subjects[SUBJECTS];

struct options {
        unsigned procs, threads;
        uint64_t rounds, seconds, seed, min_kills;
        unsigned rate;  /* kills at a step beyond the planned ones, in a million */
        bool no_breaks; /* leave out coord_break() */
        bool pairs;     /* sweep: let the waiter die too */
        bool verbose;
        uint64_t patience; /* nanoseconds until somebody counts as stranded */
};

enum {
        RECORD_GRANTED = 1,
        RECORD_LEFT = 2,
};

enum {
        STAY_SHARED = 1u << 0,
        STAY_STRICT = 1u << 1,
        STAY_SAME_TOKEN = 1u << 2,
        STAY_LEASE = 1u << 3,
        STAY_QUEUED = 1u << 4,
        STAY_CONVERTED = 1u << 6,
        STAY_BLIND = 1u << 5, /* a break went on when it was asked for */
};

/* One grant, in the log. */
struct record {
        _Atomic uint32_t state;
        uint32_t incarnation;
        uint8_t subject, permits, thread;
        int8_t priority;
        uint32_t flags;
        uint64_t asked, linked, granted, lease_end;
        _Atomic uint64_t left;
        uint64_t epoch, counter;
        uint64_t breaks; /* how many had begun when it was asked for */
};

/* A flag on the door: who is inside a subject. word: incarnation << 16 | shared << 8 | permits. */
struct mark {
        _Atomic uint64_t word;
        _Atomic uint64_t lease_end; /* UINT64_MAX: as long as its process lives */
        _Atomic uint64_t breaks;
        _Atomic uint32_t flags;
};

/* What a thread of a worker does, for the watchdog and for people. */
struct thread_state {
        _Atomic uint64_t since, timeout;
        _Atomic uint32_t subjects; /* a bit each */
        _Atomic uint32_t step;     /* the last one + 1 */
        _Atomic(const char *) doing;
};

struct seat {
        _Atomic uint32_t incarnation; /* 0: empty */
        _Atomic pid_t pid;
        _Atomic uint64_t resumed;
        _Atomic uint32_t library_step; /* the last one of a thread that is not ours + 1 */
        struct thread_state threads[THREADS_MAX];
};

enum {
        COUNT_GRANTS,
        COUNT_ROUNDS,
        COUNT_TIMEOUTS,
        COUNT_BUSY,
        COUNT_CANCELLED,
        COUNT_DEADLOCKS,
        COUNT_ABANDONED,
        COUNT_LOST,
        COUNT_BREAKS,
        COUNT_CONVERTED,
        COUNT_ASYNC,
        COUNT_LISTED,
        COUNTS,
};

/* The last steps of everybody, for whoever has to find out what went wrong. */
#define TRACE_LENGTH 4096u

struct trace {
        _Atomic uint64_t at;
        _Atomic uint32_t incarnation;
        _Atomic uint16_t step;
        _Atomic uint16_t thread; /* THREADS_MAX: one of the library's */
};

struct shared {
        struct options options;
        char directory[64];
        _Atomic uint32_t finish; /* no new operations */
        _Atomic uint32_t armed;  /* steps may kill */
        _Atomic uint32_t failed;
        _Atomic uint64_t wanted_kills, wanted_stops; /* at each step, as of now */
        _Atomic uint64_t counts[COUNTS];
        _Atomic uint64_t hits[STEPS], kills[STEPS], stops[STEPS];
        _Atomic uint32_t breaker; /* incarnation that breaks holds just now */
        _Atomic uint64_t breaks_begun[SUBJECTS], breaks_ended[SUBJECTS];
        uint64_t break_times[SUBJECTS][BREAKS_MAX];
        struct mark marks[SUBJECTS][WORKERS_MAX][THREADS_MAX];
        struct seat seats[WORKERS_MAX];
        _Atomic uint64_t died[INCARNATIONS_MAX];
        _Atomic uint32_t gone[INCARNATIONS_MAX]; /* waited for by the parent */
        pid_t pids[INCARNATIONS_MAX];
        _Atomic uint64_t churn[CHURN_NAMES]; /* last counter; written under the lock of that name */
        _Atomic uint64_t n_traces;
        struct trace traces[TRACE_LENGTH];
        _Atomic uint64_t n_records;
        struct record records[RECORDS_MAX];
};

extern struct shared *shared;

static inline uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * UINT64_C(1000000000) + (uint64_t) ts.tv_nsec;
}

static inline uint64_t random_next(uint64_t *state) {
        uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static inline uint64_t random_below(uint64_t *state, uint64_t n) {
        return random_next(state) % n;
}

static inline void count(unsigned what) {
        atomic_fetch_add_explicit(&shared->counts[what], 1, memory_order_relaxed);
}

/* One thread of a worker. */
struct actor {
        unsigned worker, thread;
        uint32_t incarnation;
        uint64_t random;
        uint64_t linked; /* when its last wait was in the queue, 0: it was not */
        coord_client *client;
        coord_client *async; /* its descriptor is this thread's alone */
        coord_lock *handles[SUBJECTS];
        struct thread_state *state;
};

/* A grant between being asked for and being left. */
struct stay {
        unsigned subject;
        uint32_t flags, permits;
        int priority;
        uint64_t asked, lease_ns, breaks;
        coord_client *client; /* whose hold it is */
        struct record *record;
};

/* main.c */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/* inject.c */
extern _Thread_local struct actor *current_actor;
void inject_init(unsigned worker, uint32_t incarnation);
void inject_step(unsigned step);
_Noreturn void inject_vanish(uint64_t how);
bool inject_condemned(void);
const char *inject_step_name(unsigned step);

/* monitor.c */
void monitor_ask(struct actor *a, struct stay *stays, size_t n, uint64_t timeout_usec);
void monitor_answered(struct actor *a);
void monitor_enter(struct actor *a, struct stay *stay, coord_hold *hold);
void monitor_leave(struct actor *a, struct stay *stay);
void monitor_weaken(struct actor *a, struct stay *stay);
bool monitor_certain(const struct stay *stay);
bool monitor_break_begin(struct actor *a, unsigned subject);
void monitor_break_end(uint32_t incarnation);

/* ops.c: the plain operations, and what all of them are made of */
struct plan {
        struct coord_request request;
        struct stay stay;
};

void plan_make(struct actor *a, struct plan *p, unsigned subject);
void plan_permits(struct actor *a, struct plan *p);
uint64_t random_timeout(struct actor *a);
bool answer_expected(const struct plan *p, int r);
void answer_count(int r);
void hold_spend(struct actor *a, coord_hold *hold, const struct stay *stay);
void hold_finish(struct actor *a, coord_hold *hold, struct stay *stay);
void op_random(struct actor *a);

/* moves.c: the others */
void op_all(struct actor *a);
void op_convert(struct actor *a);
void op_async(struct actor *a);
void op_cancel(struct actor *a);
void op_reenter(struct actor *a);
void op_break(struct actor *a);
void op_list(struct actor *a);
void op_churn(struct actor *a);

/* worker.c */
_Noreturn void worker_run(unsigned worker, uint32_t incarnation);

/* conductor.c */
int conductor_run(void);

/* judge.c */
uint64_t judge_history(void);
void judge_after(void);

/* report.c */
void report_table(void);
void report_state(void);

/* relay.c */
const char *relay_run(void);

/* sweep.c, scenarios.c */
int sweep_run(const char *only);
int table_fill(void);

/* selftest.c */
int selftest_run(void);
