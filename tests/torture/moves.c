/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rarer operations: several names at once, conversion, asynchronous and cancelled waits, the same
 * again by the same thread, breaking, listing, and names that come and go. As in ops.c, an operation
 * ends with nothing held.
 */
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define ENDLESS COORD_TIMEOUT_INFINITE
#define CLIENT_FLAGS (COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON)

/* Two subjects, and what to say of them. */
static void all_plan(struct actor *a, struct plan plans[2], char wants[2][64]) {
        unsigned first = (unsigned) random_below(&a->random, SUBJECTS);
        unsigned other = (first + 1 + (unsigned) random_below(&a->random, SUBJECTS - 1)) % SUBJECTS;
        const unsigned chosen[2] = {first, other};

        for (unsigned i = 0; i < 2; i++) {
                const struct subject *s = &subjects[chosen[i]];
                struct plan *p = &plans[i];

                plan_make(a, p, chosen[i]);
                p->stay.flags = 0;
                p->stay.priority = 0;
                if (s->capacity > 0)
                        snprintf(wants[i], sizeof(wants[i]), "%s:%u:%u", s->want, p->stay.permits,
                                        s->capacity);
                else if (random_below(&a->random, 3) == 0) {
                        snprintf(wants[i], sizeof(wants[i]), "%s:shared", s->want);
                        p->stay.flags |= STAY_SHARED;
                } else
                        snprintf(wants[i], sizeof(wants[i]), "%s", s->want);
        }
        plans[1].request.timeout_usec = plans[0].request.timeout_usec;
}

/**
 * op_all() - two names, all or none
 */
void op_all(struct actor *a) {
        struct plan plans[2];
        char wants[2][64];
        const char *list[] = {wants[0], wants[1], NULL};
        struct stay stays[2];
        coord_hold **holds = NULL;
        int r;

        all_plan(a, plans, wants);
        stays[0] = plans[0].stay;
        stays[1] = plans[1].stay;
        monitor_ask(a, stays, 2, plans[0].request.timeout_usec);
        r = coord_acquire_all(a->client, list, 0, plans[0].request.timeout_usec, &holds);
        monitor_answered(a);
        if (!answer_expected(&plans[0], r))
                complain("%s, %s: acquire_all: %s", wants[0], wants[1], strerror(-r));
        answer_count(r);
        if (r < 0)
                return;

        a->linked = 0; /* it may have been in several queues */
        for (unsigned i = 0; i < 2; i++)
                monitor_enter(a, &stays[i], holds[i]);
        hold_spend(a, holds[0], &stays[0]);
        for (unsigned i = 0; i < 2; i++) {
                hold_finish(a, holds[i], &stays[i]);
                holds[i] = NULL;
        }
        coord_holds_free(holds);
}

/* After a conversion: the old stay is over, the new one begins. */
static void convert_enter(struct actor *a,
                struct plan *p,
                coord_hold *hold,
                const struct record *old,
                bool shared_now) {
        uint64_t epoch = 0, counter = 0;

        (void) coord_hold_fence(hold, &epoch, &counter);
        p->stay.flags &= ~(uint32_t) (STAY_SHARED | STAY_SAME_TOKEN);
        p->stay.flags |= STAY_CONVERTED;
        if (shared_now)
                p->stay.flags |= STAY_SHARED;
        if (old && old->epoch == epoch && old->counter == counter)
                p->stay.flags |= STAY_SAME_TOKEN;
        a->linked = 0;
        monitor_enter(a, &p->stay, hold);
        count(COUNT_CONVERTED);
}

static void convert_up(struct actor *a, struct plan *p, coord_hold *hold) {
        struct stay old = p->stay;
        int r;

        p->request.timeout_usec = random_timeout(a);
        monitor_ask(a, &p->stay, 1, p->request.timeout_usec);
        p->stay.breaks = old.breaks;
        r = coord_hold_convert(hold, 0, p->request.timeout_usec);
        monitor_answered(a);
        answer_count(r);
        if (r == 0) {
                monitor_leave(a, &old);
                convert_enter(a, p, hold, old.record, false);
        } else if (r != -EDEADLK && !answer_expected(p, r) &&
                        !(r == -ESTALE && !monitor_certain(&old)))
                complain("%s: upgrade: %s", p->request.name, strerror(-r));
        if (r < 0)
                p->stay = old;
}

static void convert_down(struct actor *a, struct plan *p, coord_hold *hold) {
        struct stay old = p->stay;
        int r;

        monitor_weaken(a, &old);
        monitor_ask(a, &p->stay, 1, 0);
        p->stay.breaks = old.breaks;
        r = coord_hold_convert(hold, COORD_SHARED, ENDLESS);
        monitor_answered(a);
        if (r == 0)
                convert_enter(a, p, hold, old.record, true);
        else if (!(r == -ESTALE && !monitor_certain(&old)))
                complain("%s: downgrade: %s", p->request.name, strerror(-r));
        else
                p->stay = old;
}

/**
 * op_convert() - shared to exclusive, or the other way
 */
void op_convert(struct actor *a) {
        bool up = random_below(&a->random, 2) == 0;
        coord_hold *hold = NULL;
        struct plan p;
        int r;

        plan_make(a, &p, 1 + (unsigned) random_below(&a->random, 2));
        p.request.flags = up ? COORD_SHARED : 0;
        p.stay.flags = up ? STAY_SHARED : 0;
        monitor_ask(a, &p.stay, 1, p.request.timeout_usec);
        r = coord_acquire_full(a->client, &p.request, &hold);
        monitor_answered(a);
        if (!answer_expected(&p, r))
                complain("%s: acquire to convert: %s", p.request.name, strerror(-r));
        answer_count(r);
        if (r < 0)
                return;

        monitor_enter(a, &p.stay, hold);
        hold_spend(a, hold, &p.stay);
        if (up)
                convert_up(a, &p, hold);
        else
                convert_down(a, &p, hold);
        hold_spend(a, hold, &p.stay);
        hold_finish(a, hold, &p.stay);
}

struct outcome {
        int result; /* 1: none yet */
        coord_hold *hold;
};

static void async_done(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        struct outcome *o = userdata;

        if (o->result != 1)
                complain("an asynchronous request was answered twice");
        o->result = result;
        o->hold = hold;
}

static void async_turn(coord_client *c, uint64_t until) {
        struct pollfd p = {.fd = coord_client_get_fd(c)};
        uint64_t due = UINT64_MAX, now = now_ns();
        int r;

        p.events = (short) coord_client_get_events(c);
        (void) coord_client_get_timeout(c, &due);
        if (due < UINT64_MAX / 1000 && due * 1000 < until)
                until = due * 1000;
        if (until > now) {
                uint64_t milliseconds = (until - now) / 1000000 + 1;

                (void) poll(&p, 1, milliseconds > 1000 ? 1000 : (int) milliseconds);
        }
        r = coord_client_process(c);
        if (r < 0)
                complain("coord_client_process: %s", strerror(-r));
}

/**
 * op_async() - ask and look at the descriptor; sometimes think better of it
 */
void op_async(struct actor *a) {
        struct outcome o = {.result = 1};
        coord_slot *slot = NULL;
        uint64_t patience = UINT64_MAX;
        struct plan p;
        int r = 0;

        plan_make(a, &p, (unsigned) random_below(&a->random, SUBJECTS));
        if (random_below(&a->random, 4) == 0)
                patience = now_ns() + random_below(&a->random, 2000000);
        if (!a->async)
                r = coord_client_new(CLIENT_FLAGS, &a->async);
        monitor_ask(a, &p.stay, 1, p.request.timeout_usec);
        if (r == 0)
                r = coord_acquire_async(a->async, &slot, &p.request, async_done, &o);
        if (r < 0)
                complain("%s: acquire_async: %s", p.request.name, strerror(-r));
        while (r == 0 && o.result == 1 && now_ns() < patience)
                async_turn(a->async, patience);
        coord_slot_unref(slot);
        monitor_answered(a);
        if (o.result == 1)
                return;

        if (!answer_expected(&p, o.result))
                complain("%s: asynchronously: %s", p.request.name, strerror(-o.result));
        answer_count(o.result);
        if (o.result < 0)
                return;
        count(COUNT_ASYNC);
        p.stay.client = a->async;
        monitor_enter(a, &p.stay, o.hold);
        hold_spend(a, o.hold, &p.stay);
        hold_finish(a, o.hold, &p.stay);
}

struct waiter {
        coord_client *client;
        const struct coord_request *request;
        struct outcome outcome;
};

static void *waiter_run(void *userdata) {
        struct waiter *w = userdata;

        w->outcome.result = coord_acquire_full(w->client, w->request, &w->outcome.hold);
        return NULL;
}

/**
 * op_cancel() - another thread waits without end, and is told to stop
 */
void op_cancel(struct actor *a) {
        struct waiter w = {0};
        pthread_t thread;
        struct plan p;
        int r;

        plan_make(a, &p, (unsigned) random_below(&a->random, SUBJECTS));
        p.request.timeout_usec = ENDLESS;
        w.request = &p.request;
        r = coord_client_new(CLIENT_FLAGS, &w.client);
        if (r < 0) {
                complain("coord_client_new: %s", strerror(-r));
                return;
        }
        monitor_ask(a, &p.stay, 1, ENDLESS);
        if (pthread_create(&thread, NULL, waiter_run, &w) != 0) {
                complain("no thread");
                return;
        }
        (void) nanosleep(&(struct timespec){0, (long) random_below(&a->random, 1000000)}, NULL);
        (void) coord_client_cancel(w.client);
        (void) pthread_join(thread, NULL);
        monitor_answered(a);

        r = w.outcome.result;
        if (r != -ECANCELED && r != 0)
                complain("%s: cancelled: %s", p.request.name, strerror(-r));
        answer_count(r);
        if (r == 0) {
                p.stay.client = w.client;
                monitor_enter(a, &p.stay, w.outcome.hold);
                hold_spend(a, w.outcome.hold, &p.stay);
                hold_finish(a, w.outcome.hold, &p.stay);
        }
        coord_client_unref(w.client);
}

/**
 * op_reenter() - acquire what this thread holds: the same token, counted
 */
void op_reenter(struct actor *a) {
        coord_hold *hold = NULL, *again = NULL;
        struct plan p;
        int r;

        plan_make(a, &p, (unsigned) random_below(&a->random, 3));
        monitor_ask(a, &p.stay, 1, p.request.timeout_usec);
        r = coord_acquire_full(a->client, &p.request, &hold);
        monitor_answered(a);
        if (!answer_expected(&p, r))
                complain("%s: acquire to reenter: %s", p.request.name, strerror(-r));
        answer_count(r);
        if (r < 0)
                return;

        monitor_enter(a, &p.stay, hold);
        r = coord_lock_try(a->client, p.request.name, p.request.flags, &again);
        if (r < 0) {
                if (monitor_certain(&p.stay))
                        complain("%s: the same again: %s", p.request.name, strerror(-r));
        } else if (strcmp(coord_hold_token(hold), coord_hold_token(again)) != 0 &&
                        monitor_certain(&p.stay))
                complain("%s: the same again has another token", p.request.name);
        hold_spend(a, hold, &p.stay);
        if (again) {
                r = coord_hold_release(again);
                if (r < 0 && monitor_certain(&p.stay))
                        complain("%s: first of two releases: %s", p.request.name, strerror(-r));
                coord_hold_unref(again);
                hold_spend(a, hold, &p.stay);
        }
        hold_finish(a, hold, &p.stay);
}

/**
 * op_break() - end everybody's holds of a name
 */
void op_break(struct actor *a) {
        unsigned subject = (unsigned) random_below(&a->random, SUBJECTS);
        char name[64];
        int r;

        if (shared->options.no_breaks || random_below(&a->random, 8) > 0 ||
                        !monitor_break_begin(a, subject))
                return;
        snprintf(name, sizeof(name), "%s%s", subjects[subject].capacity > 0 ? "sem:" : "",
                        subjects[subject].name);
        r = coord_break(a->client, name);
        monitor_break_end(a->incarnation);
        if (r < 0 && r != -ESTALE && r != -ENOENT)
                complain("%s: break: %s", name, strerror(-r));
        count(COUNT_BREAKS);
}

/**
 * op_list() - look at everything while it changes
 */
void op_list(struct actor *a) {
        struct coord_status status = {.size = sizeof(status)};
        struct coord_entry *entries = NULL;
        size_t n = 0;
        int r;

        r = coord_list(a->client, COORD_KIND_ANY, &entries, &n);
        if (r < 0)
                complain("coord_list: %s", strerror(-r));
        coord_entries_free(entries, n);
        r = coord_client_get_status(a->client, &status);
        if (r < 0)
                complain("coord_client_get_status: %s", strerror(-r));
        count(COUNT_LISTED);
}

/**
 * op_churn() - one of more names than there is room for; its fence must rise nevertheless
 */
void op_churn(struct actor *a) {
        uint64_t which = random_below(&a->random, CHURN_NAMES), epoch, counter = 0, last;
        coord_hold *hold = NULL;
        char name[32];
        int r;

        snprintf(name, sizeof(name), "churn/%" PRIu64, which);
        r = coord_lock_try(a->client, name, 0, &hold);
        if (r == -EAGAIN)
                return;
        if (r < 0) {
                complain("%s: try: %s", name, strerror(-r));
                return;
        }
        (void) coord_hold_fence(hold, &epoch, &counter);
        last = atomic_exchange(&shared->churn[which], counter);
        if (last >= counter)
                complain("%s: fence %" PRIu64 " after %" PRIu64, name, counter, last);
        r = coord_hold_release(hold);
        if (r < 0)
                complain("%s: release: %s", name, strerror(-r));
        coord_hold_unref(hold);
}
