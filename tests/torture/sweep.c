/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine of the sweep. A scene is performed with the actor dying at its first step, at its
 * second, and so on until it comes through alive; then all again with the actor stopped instead,
 * while the others must not depend on it: the holder's release returns, a probe's timeout works, and
 * once it is continued everything ends as usual. After each performance everything must be free.
 */
#include "sweep.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEASE_OVER_NS UINT64_C(100000000)
#define STEPS_LIMIT 2000u /* a scene with more steps than this never ends */

struct stage *stage;

static const struct scenario *scene;
static uint32_t failed_before; /* when the scene began */
static unsigned own_role = ROLES;

static void sweep_step(unsigned step) {
        bool stop;

        if (own_role >= ROLES || step >= COORD_STEP_MAX)
                return;
        atomic_store(&stage->step[own_role], step + 1);
        if (own_role == ROLE_ACTOR)
                atomic_fetch_add(&shared->hits[step], 1);
        if (atomic_fetch_add(&stage->steps[own_role], 1) + 1 != stage->fatal[own_role])
                return;
        stop = stage->stop && own_role == ROLE_ACTOR;
        atomic_store(&stage->struck[own_role], step + 1);
        atomic_fetch_add(stop ? &shared->stops[step] : &shared->kills[step], 1);
        (void) kill(getpid(), stop ? SIGSTOP : SIGKILL);
}

static void role_start(unsigned role) {
        pid_t pid;

        (void) fflush(NULL);
        pid = fork();
        if (pid == 0) {
                own_role = role;
                coord_step_hook = sweep_step;
                _exit(role_play(scene, role));
        }
        stage->pids[role] = pid;
}

static pid_t probe_start(uint64_t timeout_usec, int kind) {
        pid_t pid;

        (void) fflush(NULL);
        pid = fork();
        if (pid == 0) {
                own_role = ROLE_PROBE;
                coord_step_hook = sweep_step;
                _exit(role_probe(scene, timeout_usec, kind));
        }
        return pid;
}

static bool scene_failed(void) {
        return atomic_load(&shared->failed) > failed_before;
}

static bool asleep(unsigned role) {
        uint32_t step = atomic_load(&stage->step[role]);

        return step == COORD_STEP_PRED_SLEEP + 1 || step == COORD_STEP_HEAD_SLEEP + 1;
}

/* How a process is: 'r'unning, 's'topped, 'e'nded (still to be waited for). */
static char condition(pid_t pid) {
        siginfo_t si = {0};

        if (pid <= 0)
                return 'e';
        if (waitid(P_PID, (id_t) pid, &si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0)
                return 'e';
        if (si.si_pid == 0)
                return 'r';
        return si.si_code == CLD_STOPPED ? 's' : 'e';
}

static bool out_of_patience(uint64_t since) {
        return now_ns() - since > shared->options.patience;
}

static const char *step_text(unsigned role) {
        uint32_t step = atomic_load(&stage->step[role]);

        return step > 0 ? inject_step_name(step - 1) : "-";
}

static void role_print(unsigned role, const char *name) {
        uint32_t struck = atomic_load(&stage->struck[role]);

        fprintf(stderr, "    %s: last step %s", name, step_text(role));
        if (struck > 0)
                fprintf(stderr, ", %s at its step %u",
                                stage->stop && role == ROLE_ACTOR ? "stopped" : "killed",
                                stage->fatal[role]);
        fputc('\n', stderr);
}

static void failure(const char *what) {
        fprintf(stderr, "torture: VIOLATION: scene %s: %s\n", scene->name, what);
        role_print(ROLE_HOLDER, "holder");
        role_print(ROLE_ACTOR, "actor");
        role_print(ROLE_WAITER, "waiter");
        role_print(ROLE_PROBE, "probe");
        atomic_fetch_add(&shared->failed, 1);
}

/* Until the role sleeps, holds, is stopped or has ended. */
static void settle(unsigned role) {
        uint64_t since = now_ns();

        while (condition(stage->pids[role]) == 'r' && !asleep(role) &&
                        !atomic_load(&stage->ready[role]) &&
                        condition(stage->pids[ROLE_ACTOR]) != 's') {
                if (out_of_patience(since)) {
                        failure(role == ROLE_ACTOR ? "the actor gets nowhere"
                                                   : "a bystander gets nowhere");
                        return;
                }
                (void) sched_yield();
        }
}

/* Until the process ends (or is stopped, if that will do); tells its exit status, -1 when it doesn't. */
static int finish(pid_t pid, const char *who, bool or_stopped) {
        uint64_t since = now_ns();
        int status = 0;
        char c;

        if (pid <= 0)
                return 0;
        while ((c = condition(pid)) == 'r') {
                if (out_of_patience(since)) {
                        failure(who);
                        return -1;
                }
                (void) sched_yield();
        }
        if (c == 's')
                return or_stopped ? 0 : -1;
        if (or_stopped)
                return 0;
        (void) waitpid(pid, &status, 0);
        return status;
}

static void bystander_finish(unsigned role, const char *who) {
        pid_t pid = stage->pids[role];
        int status = finish(pid, who, false);

        if (status > 0 && !atomic_load(&stage->struck[role]))
                failure(WIFSIGNALED(status) ? "a bystander was killed" : "a bystander failed");
        if (status >= 0)
                stage->pids[role] = 0;
}

static void probe(uint64_t timeout_usec, int kind) {
        static const char *const failures[] = {
                        [PROBE_BESIDE] = "a probe failed",
                        [PROBE_TAKEN] = "two hold it",
                        [PROBE_LAST] = "the last probe failed",
        };
        pid_t pid = probe_start(timeout_usec, kind);
        int status = finish(pid,
                        kind == PROBE_LAST ? "nobody gets it any more" : "a timeout does not work",
                        false);

        if (status > 0)
                failure(failures[kind]);
        if (status < 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
        }
}

static bool actor_is(char c) {
        return condition(stage->pids[ROLE_ACTOR]) == c;
}

/* A lease may run out while its owner is stopped; somebody else has it when that one goes on. */
static void await_lease(void) {
        uint64_t since = now_ns();

        if (!scene->owner || strncmp(scene->owner, "lease:", 6) != 0 || !scene->waiter)
                return;
        while (!atomic_load(&stage->ready[ROLE_WAITER]) && now_ns() - since < LEASE_OVER_NS)
                (void) sched_yield();
}

static void actor_resume(void) {
        siginfo_t si;

        bystander_finish(ROLE_HOLDER, "the holder's release hangs on a stopped process");
        probe(3000, PROBE_BESIDE);
        await_lease();
        (void) waitid(P_PID, (id_t) stage->pids[ROLE_ACTOR], &si, WSTOPPED);
        atomic_store(&stage->step[ROLE_ACTOR], 0);
        (void) kill(stage->pids[ROLE_ACTOR], SIGCONT);
}

static void actor_finish(void) {
        uint64_t since;
        int status;

        (void) finish(stage->pids[ROLE_ACTOR], "the actor does not end", true);
        if (actor_is('s'))
                actor_resume();
        since = now_ns();
        while (actor_is('r') && !asleep(ROLE_ACTOR) && !out_of_patience(since))
                (void) sched_yield();
        if (atomic_load(&stage->ready[ROLE_WAITER]) && scene->act != ACT_BREAK)
                probe(0, PROBE_TAKEN);
        atomic_store(&stage->settled, 1);
        status = finish(stage->pids[ROLE_ACTOR], "the actor does not end", false);
        if (status > 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !stage->stop))
                failure("the actor failed");
        if (status >= 0)
                stage->pids[ROLE_ACTOR] = 0;
}

static void clear_stage(void) {
        for (unsigned i = 0; i < ROLES; i++)
                if (stage->pids[i] > 0) {
                        (void) kill(stage->pids[i], SIGKILL);
                        (void) waitpid(stage->pids[i], NULL, 0);
                }
}

static void directory_fresh(void) {
        static const char *const parts[] = {"segment", "state/epoch", "state", "lock", NULL};
        char path[128];

        for (unsigned i = 0; parts[i]; i++) {
                snprintf(path, sizeof(path), "%s/%s", shared->directory, parts[i]);
                (void) remove(path);
        }
}

/* Performs the scene; stage->struck tells afterwards who was. */
static void perform(uint32_t fatal, uint32_t waiter_fatal, bool stop) {
        uint32_t performance = stage->performance + 1;

        memset(stage, 0, sizeof(*stage));
        stage->performance = performance;
        stage->fatal[ROLE_ACTOR] = fatal;
        stage->fatal[ROLE_WAITER] = waiter_fatal;
        stage->stop = stop;
        if (scene->fresh)
                directory_fresh();

        if (scene->holder) {
                role_start(ROLE_HOLDER);
                settle(ROLE_HOLDER);
        }
        if (scene->waiter && scene->waiter_first) {
                role_start(ROLE_WAITER);
                settle(ROLE_WAITER);
        }
        role_start(ROLE_ACTOR);
        settle(ROLE_ACTOR);
        if (actor_is('s'))
                probe(3000, PROBE_BESIDE);
        if (scene->waiter && !scene->waiter_first) {
                role_start(ROLE_WAITER);
                settle(ROLE_WAITER);
        }
        atomic_store(&stage->cue, 1);
        actor_finish();
        bystander_finish(ROLE_HOLDER, "the holder does not end");
        bystander_finish(ROLE_WAITER, "the waiter is stranded");
        if (!scene_failed())
                probe(shared->options.patience / 1000, PROBE_LAST);
        if (scene_failed())
                report_state();
        clear_stage();
}

static int fill_in_child(void) {
        int status = 0;
        pid_t pid;

        (void) fflush(NULL);
        pid = fork();
        if (pid == 0) {
                coord_step_hook = NULL;
                _exit(table_fill());
        }
        return pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0;
}

/* The waiter dies too, at each of its steps. */
static void sweep_waiter(uint32_t fatal, bool stop) {
        for (uint32_t second = 1; !scene_failed() && second < STEPS_LIMIT; second++) {
                perform(fatal, second, stop);
                if (!atomic_load(&stage->struck[ROLE_WAITER]))
                        break;
        }
}

/* Return: at how many steps the actor was struck. */
static uint32_t sweep_actor(bool stop) {
        for (uint32_t fatal = 1;; fatal++) {
                perform(fatal, 0, stop);
                if (scene_failed() || !atomic_load(&stage->struck[ROLE_ACTOR]))
                        return fatal - 1;
                if (shared->options.pairs && scene->waiter)
                        sweep_waiter(fatal, stop);
                if (fatal > STEPS_LIMIT)
                        failure("it has no end");
        }
}

static void sweep_scene(const struct scenario *s) {
        uint32_t killed, stopped;

        scene = s;
        failed_before = atomic_load(&shared->failed);
        if (s->new_name && fill_in_child() != 0)
                failure("the table can't be filled");
        killed = sweep_actor(false);
        stopped = scene_failed() ? 0 : sweep_actor(true);
        if (shared->options.verbose)
                printf("%-22s killed at %u steps, stopped at %u\n", s->name, killed, stopped);
        (void) fflush(stdout);
}

/**
 * sweep_run() - perform all scenes, or the one that is named
 *
 * Return: 0 when all went well, else 1.
 */
int sweep_run(const char *only) {
        uint64_t began = now_ns(), kills = 0, stops = 0;
        unsigned scenes = 0, steps = 0;

        stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                        0);
        if (stage == MAP_FAILED)
                return 1;
        for (size_t i = 0; i < n_scenarios; i++)
                if (only[0] == 0 || strcmp(only, scenarios[i].name) == 0) {
                        sweep_scene(&scenarios[i]);
                        scenes++;
                }
        if (only[0] == 0 || strcmp(only, "relay") == 0) {
                const char *what = relay_run();

                if (what) {
                        fprintf(stderr, "torture: VIOLATION: scene relay: %s\n", what);
                        atomic_fetch_add(&shared->failed, 1);
                }
                scenes++;
        }
        for (unsigned i = 0; i < STEPS; i++) {
                kills += atomic_load(&shared->kills[i]);
                stops += atomic_load(&shared->stops[i]);
                steps += atomic_load(&shared->kills[i]) > 0;
        }
        if (shared->options.verbose)
                report_table();
        printf("torture: sweep: %u scenes, %llu kills and %llu stops survived at %u steps, %s "
               "(%.1f s)\n",
                        scenes, (unsigned long long) kills, (unsigned long long) stops, steps,
                        atomic_load(&shared->failed) ? "FAILED" : "0 violations",
                        (double) (now_ns() - began) / 1e9);
        return scenes == 0 || atomic_load(&shared->failed) > 0;
}
