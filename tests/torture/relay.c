/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One scene that a single death does not show: a wake-up is given to somebody who is overtaken by a
 * newcomer and then dies. Two wait for the lock of a queue. It is freed, the first of the two is woken
 * and stopped there; a newcomer takes the lock; the first is killed; the newcomer frees the lock. The
 * second must get it then, for nobody else will come. Steps of the lock are all that is known here.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "sweep/relay"

enum {
        RUNNER_HOLDER,   /* holds the lock itself, so that the others queue */
        RUNNER_FIRST,    /* has the queue lock when the two come */
        RUNNER_WOKEN,    /* the one who dies */
        RUNNER_SECOND,   /* the one who must not be forgotten */
        RUNNER_NEWCOMER, /* takes what the dead was woken for */
        RUNNERS,
};

struct track {
        _Atomic uint32_t step[RUNNERS]; /* the last one + 1 */
        _Atomic uint32_t held;
        pid_t pids[RUNNERS];
};

static struct track *track;
static unsigned own_runner = RUNNERS;
static uint32_t halt_at; /* step + 1: stop there, once */

static void relay_step(unsigned step) {
        if (own_runner >= RUNNERS)
                return;
        atomic_store(&track->step[own_runner], step + 1);
        if (step + 1 != halt_at)
                return;
        halt_at = 0;
        (void) kill(getpid(), SIGSTOP);
}

static int run(void) {
        coord_client *c = NULL;
        coord_hold *hold = NULL;
        int r;

        r = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c);
        if (r >= 0)
                r = coord_lock_acquire(c, NAME, 0, COORD_TIMEOUT_INFINITE, &hold);
        if (r < 0)
                return 1;
        if (own_runner == RUNNER_HOLDER)
                atomic_store(&track->held, 1);
        for (;;)
                pause();
}

static void start(unsigned runner, uint32_t halt) {
        pid_t pid;

        (void) fflush(NULL);
        pid = fork();
        if (pid == 0) {
                own_runner = runner;
                halt_at = halt;
                coord_step_hook = relay_step;
                _exit(run());
        }
        track->pids[runner] = pid;
}

/* The state letter of the main thread in /proc, 0 if there is none. */
static char state_of(pid_t pid) {
        char path[64], text[256] = "", *end;
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        end = n > 0 ? strrchr(text, ')') : NULL;
        return end ? end[2] : 0;
}

/* Until the runner is in that state, having last been at one of two steps (or anywhere: 0). */
static bool await(unsigned runner, char state, uint32_t step, uint32_t other) {
        uint64_t since = now_ns();

        while (now_ns() - since < shared->options.patience) {
                uint32_t at = atomic_load(&track->step[runner]);

                if ((step == 0 || at == step + 1 || at == other + 1) &&
                                state_of(track->pids[runner]) == state)
                        return true;
                (void) sched_yield();
        }
        return false;
}

static const char *perform(void) {
        start(RUNNER_HOLDER, 0);
        while (!atomic_load(&track->held) &&
                        waitpid(track->pids[RUNNER_HOLDER], NULL, WNOHANG) == 0)
                (void) sched_yield();
        start(RUNNER_FIRST, COORD_STEP_QLOCK_TAKEN + 1);
        if (!await(RUNNER_FIRST, 'T', COORD_STEP_QLOCK_TAKEN, COORD_STEP_QLOCK_TAKEN))
                return "the first does not get the queue lock";
        start(RUNNER_WOKEN, COORD_STEP_QLOCK_WOKEN + 1);
        if (!await(RUNNER_WOKEN, 'S', COORD_STEP_QLOCK_WAIT, COORD_STEP_QLOCK_WAIT))
                return "the first of two does not wait";
        start(RUNNER_SECOND, 0);
        if (!await(RUNNER_SECOND, 'S', COORD_STEP_QLOCK_WAIT, COORD_STEP_QLOCK_WAIT))
                return "the second of two does not wait";
        (void) kill(track->pids[RUNNER_FIRST], SIGCONT);
        if (!await(RUNNER_WOKEN, 'T', COORD_STEP_QLOCK_WOKEN, COORD_STEP_QLOCK_WOKEN))
                return "nobody was woken";
        start(RUNNER_NEWCOMER, COORD_STEP_QLOCK_TAKEN + 1);
        if (!await(RUNNER_NEWCOMER, 'T', COORD_STEP_QLOCK_TAKEN, COORD_STEP_QLOCK_TAKEN))
                return "the newcomer does not get the queue lock";
        (void) kill(track->pids[RUNNER_WOKEN], SIGKILL);
        (void) waitpid(track->pids[RUNNER_WOKEN], NULL, 0);
        track->pids[RUNNER_WOKEN] = 0;
        (void) kill(track->pids[RUNNER_NEWCOMER], SIGCONT);
        if (!await(RUNNER_SECOND, 'S', COORD_STEP_PRED_SLEEP, COORD_STEP_HEAD_SLEEP))
                return "the second of two was forgotten at the queue lock";
        return NULL;
}

/**
 * relay_run() - perform the scene
 *
 * Return: NULL, or what is wrong.
 */
const char *relay_run(void) {
        const char *what;

        track = mmap(NULL, sizeof(*track), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                        0);
        if (track == MAP_FAILED)
                return "no memory";
        what = perform();
        for (unsigned i = 0; i < RUNNERS; i++)
                if (track->pids[i] > 0) {
                        (void) kill(track->pids[i], SIGKILL);
                        (void) waitpid(track->pids[i], NULL, 0);
                }
        (void) munmap(track, sizeof(*track));
        return what;
}
