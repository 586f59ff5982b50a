/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker process: one client, one thread or several, operations until told to finish. It was
 * forked before any client existed and shares nothing but the witness area with the others.
 */
#include "torture.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static coord_client *worker_client(unsigned worker, unsigned threads) {
        uint64_t flags = COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON;
        coord_client *c = NULL;
        int r;

        if (threads == 1 && worker % 4 == 3)
                flags |= COORD_CLIENT_THREAD_OWNED;
        r = coord_client_new(flags, &c);
        if (r < 0)
                complain("coord_client_new: %s", strerror(-r));
        return c;
}

static void actor_loop(struct actor *a) {
        current_actor = a;
        while (!atomic_load(&shared->finish) && !atomic_load(&shared->failed)) {
                inject_step(STEP_IDLE);
                op_random(a);
        }
        for (unsigned i = 0; i < SUBJECTS; i++)
                coord_lock_unref(a->handles[i]);
        coord_client_unref(a->async);
        current_actor = NULL;
}

static void *actor_run(void *userdata) {
        actor_loop(userdata);
        return NULL;
}

static void actor_init(struct actor *a,
                unsigned worker,
                unsigned thread,
                uint32_t incarnation,
                coord_client *c) {
        *a = (struct actor){
                        .worker = worker,
                        .thread = thread,
                        .incarnation = incarnation,
                        .client = c,
                        .state = &shared->seats[worker].threads[thread],
        };
        a->random = shared->options.seed ^ ((uint64_t) incarnation << 20) ^ thread;
        (void) random_next(&a->random);
}

/**
 * worker_run() - the life of a worker
 */
void worker_run(unsigned worker, uint32_t incarnation) {
        unsigned threads = worker % 4 == 1 ? shared->options.threads : 1;
        struct actor actors[THREADS_MAX];
        pthread_t ids[THREADS_MAX];
        coord_client *c;
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        inject_init(worker, incarnation);

        c = worker_client(worker, threads);
        if (!c)
                _exit(1);
        for (unsigned i = 0; i < threads; i++)
                actor_init(&actors[i], worker, i, incarnation, c);
        for (unsigned i = 1; i < threads; i++)
                if (pthread_create(&ids[i], NULL, actor_run, &actors[i]) != 0)
                        complain("no thread");
        actor_loop(&actors[0]);
        for (unsigned i = 1; i < threads; i++)
                (void) pthread_join(ids[i], NULL);
        coord_client_unref(c);
        _exit(0);
}
