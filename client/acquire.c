/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Acquiring one lock or semaphore: the request in all its spellings, the fast path, the wait.
 */
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

uint64_t deadline_of(uint64_t timeout_usec) {
        return timeout_usec == COORD_TIMEOUT_INFINITE
                               ? USEC_INFINITE
                               : usec_add(clock_usec(CLOCK_MONOTONIC), timeout_usec);
}

/* ---- the wait ---- */

int request_prepare(coord_client *c, Segment *s, const Request *q, Wait *w, coord_hold *h) {
        Owner o = {.kind = RECORD_PROCESS};
        int r = q->owner ? owner_parse(q->owner, &o) : 0;

        if (r < 0)
                return r;
        w->s = s;
        w->grant = &h->grant;
        w->permits = q->permits;
        w->priority = q->priority;
        w->shared = q->flags & COORD_SHARED;
        w->strict = q->flags & COORD_STRICT;
        w->reserve = q->reserve;
        w->info = atomic_load_explicit(&s->info, memory_order_relaxed);
        if (UNLIKELY(c->watched_config) && q->kind == COORD_KIND_LOCK)
                config_lock(c->config, q->name, &w->delay_usec, &w->max_hold_usec);
        h->strict = w->strict;
        if (LIKELY(o.kind == RECORD_PROCESS && !q->description))
                return 0;
        r = record_new_owner(
                        s, &o, q->description, o.kind == RECORD_PROCESS ? &h->info : &w->record);
        if (r == -ESRCH)
                return client_fail(r, "there is no process for owner %s", q->owner);
        if (r < 0)
                return request_fail(c, s, q, r);
        if (h->info != 0)
                w->info = h->info;
        return 0;
}

/* 1 granted, or why not. The party is for the time of the sleep. */
static int wait_loop(coord_client *c, Wait *w, const Request *q, Party *party, uint64_t deadline) {
        const WordSleep cancel = {&c->cancel, 0, true};
        bool entered = false;
        int r;

        for (;;) {
                r = wait_step(w);
                if (r != 0)
                        break;
                if (atomic_load(&c->cancel) != 0) {
                        r = -ECANCELED;
                        break;
                }
                if (!entered) {
                        party_enter(party, w);
                        entered = true;
                }
                if (party_is_deadlocked(party, q->flags & COORD_DEADLOCK)) {
                        r = -EDEADLK;
                        break;
                }
                r = wait_sleep(w, &cancel, deadline);
                if (r < 0)
                        break;
        }
        if (entered)
                party_leave(party);
        return r;
}

int wait_run(coord_client *c, Wait *w, const Request *q, Party *party) {
        bool try_only = q->timeout_usec == 0;
        uint64_t deadline;
        int r;

        if (UNLIKELY(atomic_load_explicit(&c->cancel, memory_order_relaxed) != 0))
                return -ECANCELED;
        deadline = try_only ? 0 : deadline_of(q->timeout_usec);
        r = wait_start(w, try_only, deadline);
        if (r != 0)
                return r == 1 ? 0 : r;
        r = wait_loop(c, w, q, party, deadline);
        if (r != 1)
                wait_abandon(w);
        return r == 1 ? 0 : r;
}

static void records_drop(Segment *s, Wait *w, coord_hold *h) {
        if (w->record != 0)
                record_free(s, w->record);
        if (h->info != 0)
                record_free(s, h->info);
        h->info = 0;
}

/* At length: everything but the uncontended lock. */
static int acquire_slow(coord_client *c,
                Segment *s,
                Slot *slot,
                uint32_t gen,
                const Request *q,
                coord_hold *h) {
        int r;

        for (;;) {
                Wait w;
                Party party;
                Key key;

                /* Its arrays begin unset on purpose: this is on the way of every permit. */
                memset(&w, 0, offsetof(Wait, fixed));
                w.watches = NULL;
                w.n_watches = 0;
                party.circle[0] = '\0';
                w.slot = slot;
                w.gen = gen;
                r = request_prepare(c, s, q, &w, h);
                if (r < 0)
                        return r;
                r = wait_run(c, &w, q, &party);
                if (r >= 0)
                        return 0;
                records_drop(s, &w, h);
                if (r == -EDEADLK)
                        return request_fail_circle(q, &party);
                if (r != -ESTALE)
                        return request_fail(c, s, q, r);
                r = request_lookup(c, s, q, &key, &slot, &gen);
                if (r < 0)
                        return r;
        }
}

/* Nobody fights: a handful of instructions. */
static bool acquire_fast(coord_client *c,
                Segment *s,
                Slot *slot,
                uint32_t gen,
                const Request *q,
                coord_hold *h) {
        uint32_t flags = q->flags & COORD_STRICT ? ENTRY_STRICT : 0;
        uint64_t now = clock_usec(CLOCK_MONOTONIC_COARSE);
        bool got;

        if (UNLIKELY(q->description || q->owner || q->reserve || q->permits != 1 ||
                            s->thread_owned))
                return false;
        h->grant.entry = NULL;
        h->grant.shared = q->flags & COORD_SHARED;
        if (q->kind == COORD_KIND_LOCK && !h->grant.shared)
                got = lock_fast(s, slot, gen, flags, now, &h->grant);
        else
                got = one_fast(s, slot, gen,
                                q->kind == COORD_KIND_LOCK ? SEG_PERMITS_MAX : q->capacity, flags,
                                now, &h->grant);
        if (LIKELY(got)) {
                if (UNLIKELY(atomic_load_explicit(&slot->flags, memory_order_relaxed) &
                                    SLOT_WATCHED))
                        bell_ring(s, slot);
                h->strict = flags;
                return true;
        }
        if (h->grant.entry)
                hold_put_back(s, &h->grant, false);
        (void) c;
        return false;
}

/* ---- names that this thread used last, past the hash ---- */

#define RECENT_NAME 48u

typedef struct Recent {
        uint64_t attachment; /* Segment.serial */
        Slot *slot;
        uint32_t gen, len;
        int kind;
        uint32_t capacity; /* that the request declared and the slot has */
        char name[RECENT_NAME];
} Recent;

static _Thread_local Recent recent[8] __attribute__((tls_model("initial-exec")));

static inline Recent *recent_of(const Request *q) {
        return &recent[((uint8_t) q->name[0] ^ (q->name[0] ? (uint8_t) q->name[1] * 3 : 0) ^
                                       q->kind) &
                        7];
}

static inline bool recent_is(const Recent *e, const Segment *s, const Request *q) {
        return e->attachment == s->serial && e->kind == q->kind && e->capacity == q->capacity &&
               strcmp(e->name, q->name) == 0 &&
               atomic_load_explicit(&e->slot->gen, memory_order_relaxed) == e->gen &&
               atomic_load_explicit(&e->slot->capacity, memory_order_relaxed) == e->capacity;
}

static void recent_set(Recent *e,
                const Segment *s,
                const Request *q,
                const Key *key,
                Slot *slot,
                uint32_t gen) {
        if (key->len >= RECENT_NAME || atomic_load(&slot->capacity) != q->capacity)
                return;
        e->attachment = s->serial;
        e->slot = slot;
        e->gen = gen;
        e->len = key->len;
        e->kind = q->kind;
        e->capacity = q->capacity;
        memcpy(e->name, key->words, key->len);
        e->name[key->len] = '\0';
}

/* A name's slot: from what this thread used last, or the table. ret->name is a padded copy. */
typedef struct Target {
        Slot *slot;
        uint32_t gen, len;
        const char *name;
        Key key;
} Target;

static int target_find(coord_client *c, Segment *s, const Request *q, Target *ret) {
        Recent *e = recent_of(q);
        int r;

        if (LIKELY(recent_is(e, s, q))) {
                ret->slot = e->slot;
                ret->gen = e->gen;
                ret->len = e->len;
                ret->name = e->name;
                return 0;
        }
        r = request_lookup(c, s, q, &ret->key, &ret->slot, &ret->gen);
        if (r < 0)
                return r;
        ret->len = ret->key.len;
        ret->name = (const char *) ret->key.words;
        recent_set(e, s, q, &ret->key, ret->slot, ret->gen);
        return 0;
}

static int acquire(
                coord_client *c, Segment *s, const Target *t, const Request *q, coord_hold **ret) {
        coord_hold *h;
        int r;

        if (UNLIKELY(atomic_load_explicit(&c->cancel, memory_order_relaxed) != 0))
                return request_fail(c, s, q, -ECANCELED);
        if (q->kind == COORD_KIND_LOCK && LIKELY(!q->owner || strcmp(q->owner, "process") == 0)) {
                r = hold_again(c, s, t->slot, q->flags & COORD_SHARED, ret);
                if (UNLIKELY(r != 0))
                        return r < 0 ? r : 0;
        }
        h = hold_new(c, s, q->kind, t->name, t->len);
        if (UNLIKELY(!h))
                return client_fail(-ENOMEM, "out of memory");
        if (UNLIKELY(!acquire_fast(c, s, t->slot, t->gen, q, h))) {
                r = acquire_slow(c, s, t->slot, t->gen, q, h);
                if (r < 0) {
                        atomic_store(&h->count, 0);
                        hold_discard(h);
                        return r;
                }
        }
        hold_adopt(h);
        *ret = h;
        return 0;
}

int request_acquire(coord_client *c, const Request *q, coord_hold **ret) {
        Segment *s;
        Target t;
        int r;

        if (UNLIKELY(!ret))
                return client_fail(-EINVAL, "no place for the result");
        r = client_ready(c, &s);
        if (LIKELY(r >= 0))
                r = target_find(c, s, q, &t);
        return UNLIKELY(r < 0) ? r : acquire(c, s, &t, q, ret);
}

/* ---- public ---- */

PUBLIC int coord_lock_acquire(coord_client *c,
                const char *name,
                uint64_t flags,
                uint64_t timeout_usec,
                coord_hold **ret) {
        const Request q = {
                        .kind = COORD_KIND_LOCK,
                        .name = name,
                        .flags = flags,
                        .timeout_usec = timeout_usec,
                        .permits = 1,
        };

        if (UNLIKELY(flags & ~REQUEST_FLAGS))
                return client_fail(-EINVAL, "unknown flags");
        if (UNLIKELY(!name))
                return client_fail_name(name);
        return request_acquire(c, &q, ret);
}

PUBLIC int coord_lock_try(coord_client *c, const char *name, uint64_t flags, coord_hold **ret) {
        return coord_lock_acquire(c, name, flags, 0, ret);
}

PUBLIC int coord_semaphore_acquire(coord_client *c,
                const char *name,
                uint32_t capacity,
                uint32_t permits,
                uint64_t flags,
                uint64_t timeout_usec,
                coord_hold **ret) {
        const Request q = {
                        .kind = COORD_KIND_SEMAPHORE,
                        .name = name,
                        .flags = flags,
                        .timeout_usec = timeout_usec,
                        .permits = permits,
                        .capacity = capacity,
        };
        int r = 0;

        if (UNLIKELY(!name || flags != 0 || permits == 0 || capacity == 0 || permits > capacity ||
                            capacity > SEG_PERMITS_MAX))
                r = request_check(&q);
        return r < 0 ? r : request_acquire(c, &q, ret);
}

PUBLIC int coord_semaphore_try(coord_client *c,
                const char *name,
                uint32_t capacity,
                uint32_t permits,
                uint64_t flags,
                coord_hold **ret) {
        return coord_semaphore_acquire(c, name, capacity, permits, flags, 0, ret);
}

PUBLIC int coord_semaphore_configure(coord_client *c, const char *name, uint32_t capacity) {
        Segment *s;
        Slot *slot;
        uint32_t gen;
        Key key;
        int r;

        if (!segment_name_is_valid(name))
                return client_fail_name(name);
        if (capacity == 0 || capacity > SEG_PERMITS_MAX)
                return client_fail(-EINVAL, "a capacity of %u for '%s': 1 to %u", capacity, name,
                                SEG_PERMITS_MAX);
        r = client_ready(c, &s);
        if (r < 0)
                return r;
        (void) key_init(s, &key, KIND_SEMAPHORE, name);
        do {
                r = slot_get(s, &key, LOOKUP_USEC, &slot, &gen);
                if (r >= 0)
                        r = semaphore_declare(s, slot, gen, capacity, true, LOOKUP_USEC);
        } while (r == -ESTALE);
        if (r == -ETIMEDOUT)
                return client_fail(r, "'%s' is kept busy by a stopped process", name);
        if (r == -ENOSPC)
                return client_fail(r, "no room for %u permits in %s", capacity, s->path);
        return r;
}

PUBLIC int coord_acquire_full(
                coord_client *c, const struct coord_request *request, coord_hold **ret) {
        Request q;
        int r = request_from(request, &q);

        return r < 0 ? r : request_acquire(c, &q, ret);
}

/* ---- the fast handle ---- */

struct coord_lock {
        _Atomic uint32_t references;
        coord_client *client;
        Segment *segment;
        Slot *slot;
        uint32_t gen, len;
        char name[SEG_NAME_MAX + 1];
};

PUBLIC int coord_lock_open(coord_client *c, const char *name, coord_lock **ret) {
        const Request q = {.kind = COORD_KIND_LOCK, .name = name, .timeout_usec = LOOKUP_USEC};
        coord_lock *l;
        Segment *s;
        Key key;
        int r;

        if (!ret)
                return client_fail(-EINVAL, "no place for the result");
        if (!segment_name_is_valid(name))
                return client_fail_name(name);
        r = client_ready(c, &s);
        if (r < 0)
                return r;
        l = calloc(1, sizeof(*l));
        if (!l)
                return client_fail(-ENOMEM, "out of memory");
        r = request_lookup(c, s, &q, &key, &l->slot, &l->gen);
        if (r < 0) {
                free(l);
                return r;
        }
        l->references = 1;
        l->client = coord_client_ref(c);
        l->segment = s;
        strcpy(l->name, name);
        l->len = key.len;
        *ret = l;
        return 0;
}

PUBLIC int coord_lock_lock(coord_lock *l, uint64_t flags, uint64_t timeout_usec, coord_hold **ret) {
        Request q = {
                        .kind = COORD_KIND_LOCK,
                        .flags = flags,
                        .timeout_usec = timeout_usec,
                        .permits = 1,
        };
        Target t;
        int r;

        if (UNLIKELY(!l || !ret || flags & ~REQUEST_FLAGS))
                return client_fail(-EINVAL, "no lock, no place for the result, or unknown flags");
        if (UNLIKELY(client_is_forked(l->client)))
                return client_fail(-ECHILD, "this lock belongs to the parent process");
        q.name = t.name = l->name;
        t.len = l->len;
        t.slot = l->slot;
        t.gen = l->gen;
        if (UNLIKELY(atomic_load_explicit(&t.slot->gen, memory_order_relaxed) != t.gen)) {
                r = target_find(l->client, l->segment, &q,
                                &t); /* the name lives elsewhere by now */
                if (r < 0)
                        return r;
        }
        return acquire(l->client, l->segment, &t, &q, ret);
}

PUBLIC coord_lock *coord_lock_unref(coord_lock *l) {
        if (l && atomic_fetch_sub(&l->references, 1) == 1) {
                coord_client_unref(l->client);
                free(l);
        }
        return NULL;
}
