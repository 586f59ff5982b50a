/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals while a command waits for the library: they end the wait. It knows nothing of what is
 * waited for, nor of a child; from where one exists, ctl-supervise.c takes over.
 *
 * What was ignored when coordctl was started (nohup, a shell's background job) stays ignored.
 */
#include "ctl.h"

#include <stdatomic.h>

static const int caught_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

static struct {
        coord_client *client;
        struct sigaction before[ELEMENTSOF(caught_signals)];
        atomic_int signo;
        bool active;
} wait_signals;

static void on_signal(int signo) {
        int saved = errno, none = 0;

        (void) atomic_compare_exchange_strong(&wait_signals.signo, &none, signo);
        (void) coord_client_cancel(wait_signals.client);
        errno = saved;
}

/**
 * wait_signals_catch() - from here on the first signal cancels every wait of @c
 *
 * @c must live until wait_signals_restore().
 */
void wait_signals_catch(coord_client *c) {
        struct sigaction catch = {.sa_handler = on_signal};
        size_t i;

        wait_signals.client = c;
        wait_signals.active = true;
        (void) sigemptyset(&catch.sa_mask);
        for (i = 0; i < ELEMENTSOF(caught_signals); i++) {
                struct sigaction *before = &wait_signals.before[i];

                (void) sigaction(caught_signals[i], &catch, before);
                if (before->sa_handler == SIG_IGN)
                        (void) sigaction(caught_signals[i], before, NULL);
        }
}

/**
 * wait_signals_restore() - signals do again what they did before wait_signals_catch()
 *
 * It writes to no memory, for the sake of a child that shares ours.
 */
void wait_signals_restore(void) {
        size_t i;

        if (!wait_signals.active)
                return;
        for (i = 0; i < ELEMENTSOF(caught_signals); i++)
                (void) sigaction(caught_signals[i], &wait_signals.before[i], NULL);
}

/** wait_signals_caught() - the first signal that came, or 0. */
int wait_signals_caught(void) {
        return atomic_load(&wait_signals.signo);
}

/** wait_signals_pending() - a signal that is blocked and would have been caught, or 0. */
int wait_signals_pending(void) {
        sigset_t pending;
        size_t i;

        if (sigpending(&pending) < 0)
                return 0;
        for (i = 0; i < ELEMENTSOF(caught_signals); i++)
                if (sigismember(&pending, caught_signals[i]) > 0 &&
                                wait_signals.before[i].sa_handler != SIG_IGN)
                        return caught_signals[i];
        return 0;
}
