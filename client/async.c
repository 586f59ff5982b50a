/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asynchronous requests: each a state machine (the segment's wait_step()) that a worker drives. The
 * outcome goes to a list; the callback runs in coord_client_process(), on the caller's thread.
 */
#include "service.h"

#include <string.h>

/* ---- slots ---- */

/* What is asked for keeps no client alive, only the caller's slot and its holds do: a client that is
 * dropped takes its waits with it. So the hold to be is without its reference until it is handed out. */
static int slot_hold_new(coord_slot *slot, Segment *s) {
        slot->hold = hold_new(slot->client, s, slot->q.kind, slot->name, strlen(slot->name));
        if (!slot->hold)
                return -ENOMEM;
        (void) atomic_fetch_sub(&slot->client->references, 1);
        return 0;
}

coord_hold *slot_hold_take(coord_slot *slot) {
        coord_hold *h = TAKE_PTR(slot->hold);

        if (h) {
                coord_client_ref(slot->client);
                hold_adopt(h);
        }
        return h;
}

void slot_release(coord_slot *slot) {
        if (atomic_fetch_sub(&slot->references, 1) != 1)
                return;
        free(slot->hold);
        free(slot);
}

void slot_done(Service *v, coord_slot *slot, int result) {
        slot->result = result;
        slot->worker = NULL;
        slot->next = NULL;
        lite_lock(&v->lock);
        *v->done_end = slot;
        v->done_end = &slot->next;
        lite_unlock(&v->lock);
        event_raise(v);
}

static void slot_forget_records(coord_slot *slot) {
        Segment *s = slot->wait.s;

        if (slot->wait.record != 0)
                record_free(s, slot->wait.record);
        if (slot->hold && slot->hold->info != 0) {
                record_free(s, slot->hold->info);
                slot->hold->info = 0;
        }
}

/* Not to be granted any more; or granted, and nobody will be told. */
static void slot_void(coord_slot *slot) {
        if (slot->party_entered)
                party_leave(&slot->party);
        slot->party_entered = false;
        free(TAKE_PTR(slot->hold));
}

static void slot_give_back(coord_slot *slot) {
        if (slot->hold)
                (void) hold_release(slot->wait.s, &slot->hold->grant);
        slot_forget_records(slot);
        slot_void(slot);
}

void slot_abandon(coord_slot *slot) {
        wait_abandon(&slot->wait);
        slot_forget_records(slot);
        slot_void(slot);
}

/* Under the worker's lock: 0 still waiting, else it is over. */
int slot_step(coord_slot *slot) {
        int r = wait_step(&slot->wait);

        if (r == 0 && atomic_load(&slot->client->cancel) != 0)
                r = -ECANCELED;
        if (r == 0 && slot->deadline <= clock_usec(CLOCK_MONOTONIC))
                r = -ETIMEDOUT;
        if (r < 0)
                slot_abandon(slot);
        return r;
}

void slots_drop(coord_slot *slot, bool waiting) {
        while (slot) {
                coord_slot *next = slot->next;

                if (waiting)
                        slot_abandon(slot);
                else
                        slot_give_back(slot);
                slot_release(slot);
                slot = next;
        }
}

/* ---- asking ---- */

/* Who asked for it counts as waiting, though it runs. */
static int slot_check_circle(coord_slot *slot) {
        party_enter(&slot->party, &slot->wait);
        slot->party_entered = true;
        if (!party_is_deadlocked(&slot->party, true))
                return 0;
        wait_abandon(&slot->wait);
        return -EDEADLK;
}

static int slot_begin(coord_client *c, Segment *s, coord_slot *slot) {
        Key key;
        int r;

        for (;;) {
                slot->wait = (Wait){0};
                r = request_lookup(c, s, &slot->q, &key, &slot->wait.slot, &slot->wait.gen);
                if (r >= 0)
                        r = request_prepare(c, s, &slot->q, &slot->wait, slot->hold);
                if (r < 0)
                        return r;
                r = wait_start(&slot->wait, slot->q.timeout_usec == 0, slot->deadline);
                if (r == 0 && slot->q.flags & COORD_DEADLOCK)
                        r = slot_check_circle(slot);
                if (r >= 0)
                        return r;
                slot_forget_records(slot);
                if (r == -EDEADLK)
                        return r;
                if (r != -ESTALE)
                        return r == -EAGAIN || r == -ETIMEDOUT ? r
                                                               : request_fail(c, s, &slot->q, r);
        }
}

static coord_slot *slot_new(
                coord_client *c, const Request *q, coord_acquired_t cb, void *userdata) {
        coord_slot *slot = calloc(1, sizeof(*slot));

        if (!slot)
                return NULL;
        slot->client = c;
        slot->references = 1;
        slot->cb = cb;
        slot->userdata = userdata;
        slot->q = *q;
        slot->deadline = deadline_of(q->timeout_usec);
        strcpy(slot->name, q->name);
        slot->q.name = slot->name;
        if (q->owner) {
                (void) strncpy(slot->owner, q->owner, sizeof(slot->owner) - 1);
                slot->q.owner = slot->owner;
        }
        if (q->description) {
                (void) strncpy(slot->description, q->description, sizeof(slot->description) - 1);
                slot->q.description = slot->description;
        }
        return slot;
}

static void slot_drive(Service *v, Worker *w, coord_slot *slot) {
        lite_lock(&w->lock);
        slot->worker = w;
        slot->next = w->slots;
        w->slots = slot;
        (void) atomic_fetch_add(&w->n, 1);
        lite_unlock(&w->lock);
        worker_nudge(w);
        (void) v;
}

PUBLIC int coord_acquire_async(coord_client *c,
                coord_slot **ret_slot,
                const struct coord_request *request,
                coord_acquired_t cb,
                void *userdata) {
        coord_slot *slot;
        Worker *w = NULL;
        Segment *s;
        Request q;
        int r;

        if (!cb)
                return client_fail(-EINVAL, "no callback");
        r = request_from(request, &q);
        if (r >= 0 && q.owner && strlen(q.owner) >= sizeof(slot->owner))
                r = client_fail(-EINVAL, "an owner that long is none");
        if (r >= 0)
                r = client_ready(c, &s);
        if (r < 0)
                return r;
        r = service_start(c);
        if (r == -EOPNOTSUPP)
                return client_fail(r, "a thread-owned client can't wait asynchronously");
        slot = r < 0 ? NULL : slot_new(c, &q, cb, userdata);
        if (!slot)
                return client_fail(r < 0 ? r : -ENOMEM, "can't wait asynchronously: %s",
                                strerror(r < 0 ? -r : ENOMEM));
        w = worker_with_room(c->service);
        r = slot_hold_new(slot, s) < 0 || !w ? client_fail(-ENOMEM, "out of memory or threads")
                                             : slot_begin(c, s, slot);
        if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT && r != -EDEADLK) {
                slot_void(slot);
                slot_release(slot);
                return r;
        }
        if (r < 0)
                slot_void(slot);
        if (ret_slot) {
                (void) atomic_fetch_add(&slot->references, 1);
                (void) coord_client_ref(c);
                *ret_slot = slot;
        }
        if (r != 0)
                slot_done(c->service, slot, r == 1 ? 0 : r);
        else
                slot_drive(c->service, w, slot);
        return 0;
}

static bool slot_unlink(coord_slot **list, coord_slot *slot) {
        for (; *list; list = &(*list)->next)
                if (*list == slot) {
                        *list = slot->next;
                        return true;
                }
        return false;
}

static bool slot_is_in(const coord_slot *list, const coord_slot *slot) {
        for (; list; list = list->next)
                if (list == slot)
                        return true;
        return false;
}

/* The worker itself leaves the queue: were we to do it, it would still sleep on the predecessor's word,
 * beside the successor who goes to sleep there, and a wake that is meant for one would go to the other. */
static bool slot_leave_to_worker(Service *v, coord_slot *slot) {
        for (Worker *w = v->workers; w; w = w->next) {
                bool driven;

                lite_lock(&w->lock);
                driven = slot_is_in(w->slots, slot);
                if (driven)
                        slot->dropped = true;
                lite_unlock(&w->lock);
                if (driven) {
                        worker_nudge(w);
                        return true;
                }
        }
        return false;
}

/* Out of the list of what is done: true if its outcome was not told yet. */
static bool slot_take_back(Service *v, coord_slot *slot) {
        bool mine;

        lite_lock(&v->lock);
        mine = slot_unlink(&v->done, slot);
        if (mine)
                for (v->done_end = &v->done; *v->done_end;)
                        v->done_end = &(*v->done_end)->next;
        lite_unlock(&v->lock);
        return mine;
}

PUBLIC coord_slot *coord_slot_unref(coord_slot *slot) {
        coord_client *c;

        if (!slot)
                return NULL;
        c = slot->client;
        if (!client_is_forked(c) && !slot_leave_to_worker(c->service, slot) &&
                        slot_take_back(c->service, slot)) {
                slot_give_back(slot);
                slot_release(slot);
        }
        slot_release(slot);
        coord_client_unref(c);
        return NULL;
}
