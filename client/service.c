/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asynchronous waits and lost holds: threads of the library that sleep on futexes for callers that can't.
 *
 * A worker drives up to WAITS_PER_WORKER requests, each a state machine (segment's wait_step()), and sleeps
 * on all their words at once. Outcomes go to a list, and an eventfd becomes readable; callbacks run in
 * coord_client_process(), on the caller's thread. The first worker also sleeps on this process's bell,
 * which rings when a hold is taken from it, and on the ends of leases. Lost callbacks run in
 * coord_client_process() too if the caller has a loop (it asked for the descriptor), else on a thread of
 * their own, so that one that blocks holds up nobody's wait.
 */
#include <dlfcn.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "internal.h"

#define WAITS_PER_WORKER 32u
#define WORDS_PER_WAIT 3u

typedef struct Worker Worker;

struct coord_slot {
        _Atomic uint32_t references; /* the caller's and the service's */
        coord_client *client;
        Worker *worker; /* NULL: not driven (any more) */
        coord_slot *next;
        coord_acquired_t cb;
        void *userdata;
        Request q;
        Wait wait;
        coord_hold *hold;
        uint64_t deadline;
        int result;
        Party party;
        bool party_entered;
        char name[SEG_NAME_MAX + 1];
        char owner[64], description[64];
};

struct Worker {
        Worker *next;
        Service *service;
        pthread_t thread;
        Lite lock; /* of slots and their waits */
        Word control;
        coord_slot *slots;
        uint32_t n;
        bool first;
        Word stop;
};

struct Service {
        coord_client *client;
        Segment *segment;
        Lite lock; /* of workers and of the two lists of what is done */
        Worker *workers;
        coord_slot *done, **done_end;
        int event_fd;
        _Atomic bool has_loop;
        void *event_source;
        pthread_t teller;
        bool has_teller;
        bool orphan; /* the teller itself dropped the last reference, in a callback */
        Word teller_stop;
        Word tell;
};

static void event_raise(Service *v) {
        uint64_t one = 1;

        (void) !write(v->event_fd, &one, sizeof(one));
}

static void worker_nudge(Worker *w) {
        (void) atomic_fetch_add(&w->control, 1);
        word_wake_private(&w->control, INT_MAX);
}

bool service_has_loop(coord_client *c) {
        return c->service && atomic_load(&c->service->has_loop);
}

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

static coord_hold *slot_hold_take(coord_slot *slot) {
        coord_hold *h = TAKE_PTR(slot->hold);

        if (h) {
                coord_client_ref(slot->client);
                hold_adopt(h);
        }
        return h;
}

static void slot_release(coord_slot *slot) {
        if (atomic_fetch_sub(&slot->references, 1) != 1)
                return;
        free(slot->hold);
        free(slot);
}

static void slot_done(Service *v, coord_slot *slot, int result) {
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

/* Under the worker's lock: 0 still waiting, else it is over. */
static int slot_step(coord_slot *slot) {
        int r = wait_step(&slot->wait);

        if (r == 0 && atomic_load(&slot->client->cancel) != 0)
                r = -ECANCELED;
        if (r == 0 && slot->deadline <= clock_usec(CLOCK_MONOTONIC))
                r = -ETIMEDOUT;
        if (r < 0) {
                wait_abandon(&slot->wait);
                slot_forget_records(slot);
                slot_void(slot);
        }
        return r;
}

/* ---- lost holds ---- */

static uint64_t lease_end(coord_hold *h) {
        Record *r = word_is_sentinel(h->grant.owner)
                ? record_of(h->segment, atomic_load(&h->grant.entry->info))
                : NULL;
        uint64_t deadline = r && atomic_load(&r->kind) == RECORD_LEASE ? atomic_load(&r->deadline) : 0;
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

static bool alarm_is_due(coord_client *c, uint64_t *ret_until) {
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

static int alarms_run(coord_client *c) {
        uint64_t until;
        coord_hold *h;
        int n = 0;

        (void) coord_client_ref(c); /* the callback may drop it */
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
                (void) word_sleep(&(WordSleep) { &v->tell, seen, true }, 1, USEC_INFINITE);
        }
}

static void alarms_tell(Service *v) {
        if (atomic_load(&v->has_loop)) {
                event_raise(v);
                return;
        }
        (void) atomic_fetch_add(&v->tell, 1);
        word_wake_private(&v->tell, 1);
}

/* ---- workers ---- */

static void worker_steps(Worker *w) {
        for (coord_slot **at = &w->slots; *at;) {
                coord_slot *slot = *at;
                int r = slot_step(slot);

                if (r == 0) {
                        at = &slot->next;
                        continue;
                }
                *at = slot->next;
                w->n--;
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

        lite_lock(&w->lock);
        worker_steps(w);
        n = worker_words(w, sleeps, &until);
        lite_unlock(&w->lock);
        if (w->first) {
                if (alarm_is_due(v->client, &alarm))
                        alarms_tell(v);
                if (me)
                        sleeps[n++] = (WordSleep) { &me->bell, bell, false };
        }
        sleeps[n++] = (WordSleep) { &w->control, control, true };
        (void) word_sleep(sleeps, n, MIN_OF(until, alarm));
}

static void *worker_main(void *arg) {
        Worker *w = arg;

        (void) prctl(PR_SET_NAME, "coord-wait");
        while (atomic_load(&w->stop) == 0)
                worker_round(w);
        return NULL;
}

static int thread_start(pthread_t *ret, void *(*run)(void *), void *arg) {
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

static Worker *worker_with_room(Service *v) {
        Worker *w;

        lite_lock(&v->lock);
        for (w = v->workers; w; w = w->next)
                if (w->n < WAITS_PER_WORKER)
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
                else if (thread_start(&v->teller, teller_main, v) >= 0)
                        v->has_teller = true;
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

static void detach_event(Service *v);

static void slots_drop(coord_slot *slot, bool waiting) {
        while (slot) {
                coord_slot *next = slot->next;

                if (waiting) {
                        wait_abandon(&slot->wait);
                        slot_forget_records(slot);
                        slot_void(slot);
                } else
                        slot_give_back(slot);
                slot_release(slot);
                slot = next;
        }
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
                slot->wait = (Wait) { 0 };
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
                        return r == -EAGAIN || r == -ETIMEDOUT ? r : request_fail(c, s, &slot->q, r);
        }
}

static coord_slot *slot_new(coord_client *c, const Request *q, coord_acquired_t cb, void *userdata) {
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
        w->n++;
        lite_unlock(&w->lock);
        worker_nudge(w);
        (void) v;
}

PUBLIC int coord_acquire_async(coord_client *c, coord_slot **ret_slot,
        const struct coord_request *request, coord_acquired_t cb, void *userdata) {
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
                return client_fail(r < 0 ? r : -ENOMEM, "can't wait asynchronously: %s", strerror(r < 0 ? -r : ENOMEM));
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

/* Takes the slot from whoever has it: true if its outcome was not told yet. */
static bool slot_take_back(Service *v, coord_slot *slot) {
        bool mine = false;

        for (Worker *w = v->workers; w && !mine; w = w->next) {
                lite_lock(&w->lock);
                mine = slot_unlink(&w->slots, slot);
                if (mine) {
                        w->n--;
                        wait_abandon(&slot->wait);
                        slot_forget_records(slot);
                        slot_void(slot);
                }
                lite_unlock(&w->lock);
                if (mine)
                        worker_nudge(w);
        }
        if (mine)
                return true;
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
        if (!client_is_forked(c) && slot_take_back(c->service, slot)) {
                slot_give_back(slot);
                slot_release(slot);
        }
        slot_release(slot);
        coord_client_unref(c);
        return NULL;
}

/* ---- the caller's loop ---- */

static Service *service_of(coord_client *c, int *ret_error) {
        *ret_error = c ? 0 : client_fail(-EINVAL, "no client");
        if (*ret_error >= 0)
                *ret_error = client_is_forked(c) ? client_fail(-ECHILD, "this client belongs to the parent process")
                                                 : service_start(c);
        return *ret_error < 0 ? NULL : c->service;
}

PUBLIC int coord_client_get_fd(coord_client *c) {
        int r;
        Service *v = service_of(c, &r);

        if (!v)
                return r;
        atomic_store(&v->has_loop, true);
        return v->event_fd;
}

PUBLIC int coord_client_get_events(coord_client *c) {
        return c ? POLLIN : client_fail(-EINVAL, "no client");
}

PUBLIC int coord_client_get_timeout(coord_client *c, uint64_t *ret_usec) {
        int r;
        Service *v = service_of(c, &r);

        if (!v || !ret_usec)
                return r < 0 ? r : client_fail(-EINVAL, "no place for the result");
        lite_lock(&v->lock);
        *ret_usec = v->done ? 0 : UINT64_MAX;
        lite_unlock(&v->lock);
        return 0;
}

static coord_slot *done_pop(Service *v) {
        coord_slot *slot;

        lite_lock(&v->lock);
        slot = v->done;
        if (slot) {
                v->done = slot->next;
                if (!v->done)
                        v->done_end = &v->done;
                slot->next = NULL;
        }
        lite_unlock(&v->lock);
        return slot;
}

PUBLIC int coord_client_process(coord_client *c) {
        coord_slot *slot;
        uint64_t count;
        int r, did = 0;
        Service *v = service_of(c, &r);

        if (!v)
                return r;
        (void) coord_client_ref(c); /* a callback may drop the client */
        (void) !read(v->event_fd, &count, sizeof(count));
        while ((slot = done_pop(v))) {
                coord_hold *h = slot_hold_take(slot);

                if (slot->party_entered)
                        party_leave(&slot->party);
                slot->party_entered = false;
                if (slot->result < 0 && slot->wait.s)
                        (void) request_fail(c, slot->wait.s, &slot->q, slot->result);
                slot->cb(slot, slot->result, h, slot->userdata);
                slot_release(slot);
                did = 1;
        }
        if (atomic_load(&v->has_loop) && alarms_run(c) > 0)
                did = 1;
        coord_client_unref(c);
        return did;
}

/* ---- sd-event, if the program has it ---- */

typedef int (*AddIo)(struct sd_event *, void **, int, uint32_t, int (*)(void *, int, uint32_t, void *), void *);
typedef int (*SetPriority)(void *, int64_t);
typedef void *(*Unref)(void *);

static void *event_symbol(const char *name) {
        void *p = dlsym(RTLD_DEFAULT, name), *library;

        if (p)
                return p;
        library = dlopen("libsystemd.so.0", RTLD_LAZY | RTLD_NOLOAD);
        return library ? dlsym(library, name) : NULL;
}

static void detach_event(Service *v) {
        Unref unref = v->event_source ? (Unref) event_symbol("sd_event_source_disable_unref") : NULL;

        if (unref)
                (void) unref(v->event_source);
        v->event_source = NULL;
}

static int on_event(void *source, int fd, uint32_t revents, void *userdata) {
        (void) source;
        (void) fd;
        (void) revents;
        (void) coord_client_process(userdata);
        return 0;
}

PUBLIC int coord_client_attach_event(coord_client *c, struct sd_event *event, int64_t priority) {
        AddIo add_io = (AddIo) event_symbol("sd_event_add_io");
        SetPriority set_priority = (SetPriority) event_symbol("sd_event_source_set_priority");
        int r;
        Service *v = service_of(c, &r);

        if (!v)
                return r;
        detach_event(v);
        if (!event)
                return 0;
        if (!add_io || !set_priority)
                return client_fail(-EOPNOTSUPP, "this program has no libsystemd");
        r = add_io(event, &v->event_source, v->event_fd, POLLIN, on_event, c);
        if (r >= 0)
                r = set_priority(v->event_source, priority);
        if (r < 0)
                return client_fail(r, "can't attach to the event loop: %s", strerror(-r));
        atomic_store(&v->has_loop, true);
        return 0;
}
