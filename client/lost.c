/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling that a hold was lost: broken, or its lease over. The callback runs in coord_client_process() if the
 * caller has a loop (it asked for the descriptor), else on a thread of its own, the teller, so that one
 * that blocks holds up nobody's wait.
 */
#include "service.h"

#include <sys/prctl.h>

/* ---- lost holds ---- */

static uint64_t lease_end(coord_hold *h) {
        Record *r = word_is_sentinel(h->grant.owner)
                                    ? record_of(h->segment, atomic_load(&h->grant.entry->info))
                                    : NULL;
        uint64_t deadline =
                        r && atomic_load(&r->kind) == RECORD_LEASE ? atomic_load(&r->deadline) : 0;
        uint64_t now = clock_usec(CLOCK_BOOTTIME);

        if (deadline == 0)
                return USEC_INFINITE;
        return clock_usec(CLOCK_MONOTONIC) + (deadline > now ? deadline - now : 0);
}

/* A lost hold whose callback is due, one reference more; else NULL and when to look again. */
static coord_hold *alarm_next(coord_client *c, uint64_t *ret_until) {
        coord_hold *found = NULL;

        *ret_until = USEC_INFINITE;
        lite_lock(&c->lock);
        for (coord_hold *h = c->alarmed; h && !found; h = h->alarm_next) {
                if (atomic_load(&h->lost_told) || atomic_load(&h->count) == 0)
                        continue;
                if (hold_stands(h))
                        *ret_until = MIN_OF(*ret_until, lease_end(h));
                else if (atomic_load(&h->count) != 0) {
                        atomic_store(&h->lost_told, true);
                        found = coord_hold_ref(h);
                }
        }
        lite_unlock(&c->lock);
        return found;
}

bool alarm_is_due(coord_client *c, uint64_t *ret_until) {
        bool due = false;

        *ret_until = USEC_INFINITE;
        lite_lock(&c->lock);
        for (coord_hold *h = c->alarmed; h; h = h->alarm_next) {
                if (atomic_load(&h->lost_told) || atomic_load(&h->count) == 0)
                        continue;
                if (hold_stands(h))
                        *ret_until = MIN_OF(*ret_until, lease_end(h));
                else
                        due = true;
        }
        lite_unlock(&c->lock);
        return due;
}

int alarms_run(coord_client *c) {
        uint64_t until;
        coord_hold *h;
        int n = 0;

        if (!client_ref_alive(c)) /* it is being freed, and waits for us */
                return 0;
        while ((h = alarm_next(c, &until))) {
                void (*cb)(coord_hold *, void *) = h->lost;

                if (cb)
                        cb(h, h->lost_userdata);
                coord_hold_unref(h);
                n++;
        }
        coord_client_unref(c);
        return n;
}

static void *teller_main(void *arg) {
        Service *v = arg;

        (void) prctl(PR_SET_NAME, "coord-lost");
        for (;;) {
                uint32_t seen = atomic_load(&v->tell);

                if (atomic_load(&v->teller_stop) != 0)
                        return NULL;
                (void) alarms_run(v->client);
                if (v->orphan) {
                        free(v);
                        return NULL;
                }
                (void) word_sleep(&(WordSleep){&v->tell, seen, true}, 1, USEC_INFINITE);
        }
}

static int teller_start(Service *v) {
        int r = thread_start(&v->teller, teller_main, v);

        v->has_teller = r >= 0;
        return r;
}

void alarms_tell(Service *v) {
        if (atomic_load(&v->has_loop)) {
                event_raise(v);
                return;
        }
        if (!v->has_teller && teller_start(v) < 0)
                return; /* no thread to be had: the next round tries again */
        (void) atomic_fetch_add(&v->tell, 1);
        word_wake_private(&v->tell, 1);
}

/* Frees the service, or leaves that to the teller if it is the one who calls. */
void teller_stop(Service *v) {
        if (v->has_teller && pthread_equal(v->teller, pthread_self())) {
                (void) pthread_detach(v->teller);
                v->orphan = true;
                return;
        }
        if (v->has_teller) {
                atomic_store(&v->teller_stop, 1);
                (void) atomic_fetch_add(&v->tell, 1);
                word_wake_private(&v->tell, 1);
                (void) pthread_join(v->teller, NULL);
        }
        free(v);
}
