/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parent: keeps the seats filled, kills and stops from outside, continues who was stopped once
 * others have moved on (or nobody moves any more), raises the number of deaths that each step owes,
 * and watches for somebody whose turn never comes. It is no client of the library.
 */
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "history.h"

#define TICK_NS 2000000
#define STILL_NS UINT64_C(20000000)  /* nobody was granted anything for so long */
#define STOP_NS UINT64_C(1000000000) /* nobody is stopped for longer */
#define SPARE_NS UINT64_C(50000000)  /* who waits for longer is not struck from outside */

struct chair {
        pid_t pid; /* 0: empty */
        uint32_t incarnation;
        bool stopped;
        uint64_t stopped_at, grants_at_resume;
};

static struct chair chairs[WORKERS_MAX];
static uint32_t incarnations;
static uint64_t conductor_random, started_at, last_grants, last_moved;
static uint64_t outside_kills, outside_stops, all_stops;

static void worker_spawn(unsigned i) {
        struct seat *seat = &shared->seats[i];
        uint32_t incarnation = ++incarnations;
        pid_t pid;

        memset(seat, 0, sizeof(*seat));
        atomic_store(&seat->incarnation, incarnation);
        pid = fork();
        if (pid == 0) {
                shared->pids[incarnation] = getpid();
                worker_run(i, incarnation);
        }
        if (pid < 0) {
                complain("fork: %s", strerror(errno));
                return;
        }
        shared->pids[incarnation] = pid;
        atomic_store(&seat->pid, pid);
        chairs[i] = (struct chair){.pid = pid, .incarnation = incarnation};
}

static void condemn(const struct chair *c) {
        uint64_t none = 0;

        atomic_compare_exchange_strong(&shared->died[c->incarnation], &none, now_ns());
}

static void worker_ended(unsigned i, int code, int status) {
        struct chair *c = &chairs[i];
        bool condemned = atomic_load(&shared->died[c->incarnation]) != 0;

        if (!condemned && !(code == CLD_EXITED && status == 0))
                complain("incarnation %u in seat %u %s %d", c->incarnation, i,
                                code == CLD_EXITED ? "exited with" : "was killed by signal",
                                status);
        condemn(c);
        atomic_store(&shared->gone[c->incarnation], 1);
        monitor_break_end(c->incarnation);
        (void) waitpid(c->pid, NULL, 0);
        c->pid = 0;
        atomic_store(&shared->seats[i].incarnation, 0);
}

static void worker_stopped(struct chair *c) {
        c->stopped = true;
        c->stopped_at = now_ns();
        c->grants_at_resume = atomic_load(&shared->counts[COUNT_GRANTS]) +
                              random_below(&conductor_random, 200);
        all_stops++;
}

static void worker_continue(unsigned i) {
        struct chair *c = &chairs[i];

        c->stopped = false;
        atomic_store(&shared->seats[i].resumed, now_ns());
        (void) kill(c->pid, SIGCONT);
}

/* Look without taking the corpse away: nobody else may get its pid before we have written it down. */
static void workers_look(bool respawn) {
        for (unsigned i = 0; i < shared->options.procs; i++) {
                siginfo_t si = {0};

                if (chairs[i].pid == 0 ||
                                waitid(P_PID, (id_t) chairs[i].pid, &si,
                                                WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0 ||
                                si.si_pid == 0)
                        continue;
                if (si.si_code == CLD_STOPPED) {
                        (void) waitid(P_PID, (id_t) chairs[i].pid, &si, WSTOPPED | WNOHANG);
                        worker_stopped(&chairs[i]);
                        continue;
                }
                if (si.si_code == CLD_CONTINUED)
                        continue;
                worker_ended(i, si.si_code, si.si_status);
                if (respawn && !atomic_load(&shared->failed))
                        worker_spawn(i);
        }
}

static void workers_continue(bool all) {
        uint64_t grants = atomic_load(&shared->counts[COUNT_GRANTS]), now = now_ns();

        if (grants != last_grants) {
                last_grants = grants;
                last_moved = now;
        }
        for (unsigned i = 0; i < shared->options.procs; i++) {
                struct chair *c = &chairs[i];

                if (c->pid == 0 || !c->stopped)
                        continue;
                if (all || grants >= c->grants_at_resume || now - last_moved > STILL_NS ||
                                now - c->stopped_at > STOP_NS)
                        worker_continue(i);
        }
}

/* A stop and a signal make a sleeper look again: that would be the rescue of one who was forgotten. */
static bool waits_long(const struct seat *seat) {
        uint64_t now = now_ns();

        for (unsigned t = 0; t < THREADS_MAX; t++) {
                uint64_t since = atomic_load(&seat->threads[t].since);

                if (since > 0 && now > since && now - since > SPARE_NS)
                        return true;
        }
        return false;
}

static void strike_from_outside(void) {
        uint64_t dice = random_next(&conductor_random);
        struct chair *c = &chairs[(dice >> 32) % shared->options.procs];

        if (c->pid == 0 || dice % 100 > 8 || waits_long(&shared->seats[c - chairs]))
                return;
        if (dice % 100 < 4) {
                condemn(c);
                (void) kill(c->pid, SIGKILL);
                outside_kills++;
        } else if (!c->stopped) {
                (void) kill(c->pid, SIGSTOP);
                outside_stops++;
        }
}

static uint64_t sum(_Atomic uint64_t *values) {
        uint64_t total = 0;

        for (unsigned i = 0; i < STEPS; i++)
                total += atomic_load(&values[i]);
        return total;
}

/* How far the run is, in millionths. */
static uint64_t progress(void) {
        const struct options *o = &shared->options;
        uint64_t rounds = atomic_load(&shared->counts[COUNT_ROUNDS]), by_rounds = 1000000;

        if (o->seconds > 0) {
                uint64_t p = (now_ns() - started_at) / 1000 / o->seconds;

                if (p >= 1000000)
                        return 1000000;
                if (o->rounds == UINT64_MAX)
                        return p;
        }
        if (rounds < o->rounds)
                by_rounds = rounds * 1000000 / o->rounds;
        if (by_rounds == 1000000 && sum(shared->kills) < o->min_kills)
                by_rounds = 999999;
        return by_rounds;
}

/* Deaths are due in step with the progress; then every step owes one more. */
static void raise_debts(uint64_t p) {
        uint64_t due = shared->options.min_kills * 11 / 10 * p / 1000000 + 1;

        if (sum(shared->kills) < due)
                atomic_fetch_add(&shared->wanted_kills, 1);
        if (sum(shared->stops) < due / 3)
                atomic_fetch_add(&shared->wanted_stops, 1);
}

static void watch_the_clock(void) {
        uint64_t now = now_ns();

        for (unsigned i = 0; i < shared->options.procs; i++) {
                struct seat *seat = &shared->seats[i];

                if (chairs[i].pid == 0 || chairs[i].stopped ||
                                atomic_load(&shared->died[chairs[i].incarnation]) != 0)
                        continue;
                for (unsigned t = 0; t < THREADS_MAX; t++) {
                        struct thread_state *s = &seat->threads[t];
                        struct waiting w = {
                                        .since = atomic_load(&s->since),
                                        .timeout = atomic_load(&s->timeout),
                                        .resumed = atomic_load(&seat->resumed),
                        };

                        if (history_is_stranded(&w, now, shared->options.patience))
                                complain("stranded: seat %u thread %u (process %d) %s, subjects "
                                         "0x%x, last step %s",
                                                i, t, (int) chairs[i].pid, atomic_load(&s->doing),
                                                atomic_load(&s->subjects),
                                                inject_step_name(atomic_load(&s->step) - 1));
                }
        }
}

static void wait_for_events(const sigset_t *child) {
        (void) sigtimedwait(child, NULL, &(struct timespec){0, TICK_NS});
}

static unsigned seated(void) {
        unsigned n = 0;

        for (unsigned i = 0; i < shared->options.procs; i++)
                n += chairs[i].pid != 0;
        return n;
}

static void freeze_and_show(void) {
        for (unsigned i = 0; i < shared->options.procs; i++)
                if (chairs[i].pid > 0)
                        (void) kill(chairs[i].pid, SIGSTOP);
        report_state();
        for (unsigned i = 0; i < shared->options.procs; i++)
                if (chairs[i].pid > 0) {
                        condemn(&chairs[i]);
                        (void) kill(chairs[i].pid, SIGKILL);
                }
        while (seated() > 0)
                workers_look(false);
}

static void run(const sigset_t *child) {
        uint64_t p;

        while ((p = progress()) < 1000000 && !atomic_load(&shared->failed) &&
                        atomic_load(&shared->n_records) < RECORDS_MAX &&
                        incarnations + WORKERS_MAX < INCARNATIONS_MAX) {
                wait_for_events(child);
                workers_look(true);
                workers_continue(false);
                raise_debts(p);
                strike_from_outside();
                watch_the_clock();
        }
}

/* No more deaths: everybody finishes what it began, and goes. */
static void drain(const sigset_t *child) {
        atomic_store(&shared->armed, 0);
        atomic_store(&shared->finish, 1);
        while (seated() > 0 && !atomic_load(&shared->failed)) {
                wait_for_events(child);
                workers_look(false);
                workers_continue(true);
                watch_the_clock();
        }
}

static void say_result(uint64_t violations) {
        unsigned steps = 0;

        for (unsigned i = 0; i < STEPS; i++)
                steps += atomic_load(&shared->kills[i]) > 0;
        printf("torture: %" PRIu64 " kills and %" PRIu64 " stops from outside, %" PRIu64
               " stops in all, %u processes\n",
                        outside_kills, outside_stops, all_stops, incarnations);
        printf("torture: %" PRIu64 " rounds, %" PRIu64 " kills survived at %u steps, %" PRIu64
               " violations (%.1f s)\n",
                        atomic_load(&shared->counts[COUNT_ROUNDS]), sum(shared->kills), steps,
                        violations, (double) (now_ns() - started_at) / 1e9);
}

/* So that every further name has to take the place of one that nobody uses. */
static void fill_table(void) {
        int status = 0;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                coord_step_hook = NULL;
                _exit(table_fill());
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
                complain("the table can't be filled");
}

/**
 * conductor_run() - the whole random run, and the judgement
 *
 * Return: 0 when nothing was wrong and enough deaths were died, else 1.
 */
int conductor_run(void) {
        uint64_t violations;
        sigset_t child;

        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &child, NULL);
        conductor_random = shared->options.seed;
        started_at = last_moved = now_ns();
        fill_table();
        atomic_store(&shared->armed, 1);
        for (unsigned i = 0; i < shared->options.procs; i++)
                worker_spawn(i);

        run(&child);
        drain(&child);
        if (atomic_load(&shared->failed))
                freeze_and_show();
        else
                judge_after();
        violations = atomic_load(&shared->failed) + judge_history();
        report_table();
        say_result(violations);
        if (violations == 0 && sum(shared->kills) < shared->options.min_kills) {
                fprintf(stderr, "torture: fewer kills than %" PRIu64 "\n",
                                shared->options.min_kills);
                return 1;
        }
        return violations > 0;
}
