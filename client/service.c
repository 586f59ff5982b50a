/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads that sleep on futexes for callers that can't. A worker drives up to WAITS_PER_WORKER requests and
 * sleeps on all their words at once. The first one also sleeps on this process's bell, which rings when a
 * hold is taken from it, and until the next end of a lease.
 */
#include "service.h"

#include <limits.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

void event_raise(Service *v) {
        uint64_t one = 1;

        (void) !write(v->event_fd, &one, sizeof(one));
}

void worker_nudge(Worker *w) {
        (void) atomic_fetch_add(&w->control, 1);
        word_wake_private(&w->control, INT_MAX);
}

/* ---- workers ---- */

static void worker_steps(Worker *w) {
        for (coord_slot **at = &w->slots; *at;) {
                coord_slot *slot = *at;
                int r = slot->dropped ? -ECANCELED : slot_step(slot);

                if (r == 0) {
                        at = &slot->next;
                        continue;
                }
                *at = slot->next;
                (void) atomic_fetch_sub(&w->n, 1);
                if (slot->dropped) {
                        slot_abandon(slot);
                        slot_release(slot);
                } else
                        slot_done(w->service, slot, r == 1 ? 0 : r);
        }
}

static size_t worker_words(Worker *w, WordSleep *sleeps, uint64_t *ret_until) {
        size_t n = 0;

        *ret_until = USEC_INFINITE;
        for (coord_slot *slot = w->slots; slot; slot = slot->next) {
                uint64_t until;

                n += wait_words(&slot->wait, sleeps + n, WORDS_PER_WAIT, &until);
                *ret_until = MIN_OF(*ret_until, MIN_OF(until, slot->deadline));
        }
        return n;
}

static void worker_round(Worker *w) {
        WordSleep sleeps[WORD_SLEEP_MAX];
        Service *v = w->service;
        Record *me = record_of(v->segment, atomic_load(&v->segment->info));
        uint32_t bell = me ? atomic_load(&me->bell) : 0, control = atomic_load(&w->control);
        uint64_t until, alarm = USEC_INFINITE;
        size_t n;

        /* After control was read: a stop that comes from now on changes it. */
        if (atomic_load(&w->stop) != 0)
                return;
        lite_lock(&w->lock);
        worker_steps(w);
        n = worker_words(w, sleeps, &until);
        lite_unlock(&w->lock);
        if (w->first) {
                if (alarm_is_due(v->client, &alarm))
                        alarms_tell(v);
                if (me)
                        sleeps[n++] = (WordSleep){&me->bell, bell, false};
        }
        sleeps[n++] = (WordSleep){&w->control, control, true};
        (void) word_sleep(sleeps, n, MIN_OF(until, alarm));
}

static void *worker_main(void *arg) {
        Worker *w = arg;

        (void) prctl(PR_SET_NAME, "coord-wait");
        while (atomic_load(&w->stop) == 0)
                worker_round(w);
        return NULL;
}

int thread_start(pthread_t *ret, void *(*run)(void *), void *arg) {
        sigset_t all, old;
        int r;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(ret, NULL, run, arg);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return -r;
}

/* Under the service's lock. */
static Worker *worker_new(Service *v) {
        Worker *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        w->service = v;
        w->first = !v->workers;
        if (thread_start(&w->thread, worker_main, w) < 0) {
                free(w);
                return NULL;
        }
        if (v->workers) {
                w->next = v->workers->next;
                v->workers->next = w;
        } else
                v->workers = w;
        return w;
}

Worker *worker_with_room(Service *v) {
        Worker *w;

        lite_lock(&v->lock);
        for (w = v->workers; w; w = w->next)
                if (atomic_load(&w->n) < WAITS_PER_WORKER)
                        break;
        if (!w)
                w = worker_new(v);
        lite_unlock(&v->lock);
        return w;
}

/* ---- the service ---- */

int service_start(coord_client *c) {
        Segment *s;
        Service *v;
        int r;

        r = client_ready(c, &s);
        if (r < 0)
                return r;
        if (s->thread_owned)
                return -EOPNOTSUPP;
        lite_lock(&c->lock);
        v = c->service;
        if (v)
                goto out;
        v = calloc(1, sizeof(*v));
        r = v ? 0 : -ENOMEM;
        if (v) {
                v->client = c;
                v->segment = s;
                v->done_end = &v->done;
                v->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (v->event_fd < 0)
                        r = -errno;
                else if (!worker_new(v))
                        r = -EAGAIN;
        }
        if (r < 0) {
                if (v)
                        safe_close(v->event_fd);
                free(v);
        } else
                c->service = v;
out:
        lite_unlock(&c->lock);
        return r;
}

void service_nudge(coord_client *c) {
        Service *v = c->service;

        if (!v)
                return;
        for (Worker *w = v->workers; w; w = w->next)
                worker_nudge(w);
}

/* The client's last reference went. */
void service_stop(coord_client *c) {
        Service *v = c->service;

        if (!v)
                return;
        detach_event(v);
        while (v->workers) {
                Worker *w = v->workers;

                v->workers = w->next;
                atomic_store(&w->stop, 1);
                worker_nudge(w);
                (void) pthread_join(w->thread, NULL);
                slots_drop(w->slots, true);
                free(w);
        }
        slots_drop(v->done, false);
        safe_close(v->event_fd);
        c->service = NULL;
        teller_stop(v);
}
