/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Acquiring one lock or semaphore: the request in all its spellings, the fast path, the wait.
 */
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define REQUEST_FLAGS ((uint64_t) (COORD_SHARED | COORD_STRICT | COORD_DEADLOCK))

uint64_t deadline_of(uint64_t timeout_usec) {
        return timeout_usec == COORD_TIMEOUT_INFINITE
                ? USEC_INFINITE
                : usec_add(clock_usec(CLOCK_MONOTONIC), timeout_usec);
}

/* ---- what is asked for ---- */

static int owner_needs_coordd(const char *text) {
        return client_fail(-EUNATCH,
                "owner '%s' needs a running coordd, and none answers; pid:N and lease:DURATION work without",
                text);
}

int owner_parse(const char *text, Owner *ret) {
        Owner o = { 0 };
        uint64_t a, b = 0;
        const char *plus;

        if (!text || strcmp(text, "process") == 0) {
                o.kind = RECORD_PROCESS;
        } else if (strncmp(text, "pid:", 4) == 0) {
                plus = strchr(text, '+');
                if (number_parse(text + 4, plus ? (size_t) (plus - text - 4) : strlen(text + 4), INT_MAX, &a) < 0 ||
                        a == 0 ||
                        (plus && (number_parse(plus + 1, strlen(plus + 1), INT_MAX, &b) < 0 || b == 0)))
                        return client_fail(-EINVAL, "'%s' is no owner: pid:N or pid:N+M", text);
                o = (Owner) { .kind = RECORD_PID, .pids = { (uint32_t) a, (uint32_t) b } };
        } else if (strncmp(text, "lease:", 6) == 0) {
                o.kind = RECORD_LEASE;
                if (duration_parse(text + 6, &o.lease_usec) < 0 || o.lease_usec == 0)
                        return client_fail(-EINVAL,
                                "'%s' is no owner: lease:30s, lease:500ms, lease:5min",
                                text);
        } else if (strcmp(text, "connection") == 0 || strcmp(text, "fd") == 0 ||
                strcmp(text, "unit") == 0 || strncmp(text, "unit:", 5) == 0)
                return owner_needs_coordd(text);
        else
                return client_fail(-EINVAL,
                        "'%.64s' is no owner: process, pid:N, pid:N+M or lease:DURATION",
                        text);
        *ret = o;
        return 0;
}

int request_check(const Request *q) {
        if (q->flags & ~REQUEST_FLAGS)
                return client_fail(-EINVAL, "unknown flags");
        if (!segment_name_is_valid(q->name))
                return client_fail_name(q->name);
        if (q->kind == COORD_KIND_LOCK)
                return 0;
        if (q->flags & COORD_SHARED)
                return client_fail(-EINVAL, "permits of '%s' have no shared mode", q->name);
        if (q->permits == 0)
                return client_fail(-EINVAL, "zero permits of '%s'", q->name);
        if (q->capacity > SEG_PERMITS_MAX)
                return client_fail(-EINVAL,
                        "a capacity of %u for '%s': at most %u",
                        q->capacity,
                        q->name,
                        SEG_PERMITS_MAX);
        if (q->permits > SEG_PERMITS_MAX || (q->capacity != 0 && q->permits > q->capacity))
                return client_fail(-EINVAL,
                        "%u permits of '%s', which has %u",
                        q->permits,
                        q->name,
                        q->capacity ? q->capacity : SEG_PERMITS_MAX);
        return 0;
}

int request_from(const struct coord_request *in, Request *ret) {
        struct coord_request q = COORD_REQUEST_INIT;

        if (!in || in->size < offsetof(struct coord_request, timeout_usec) ||
                in->size > sizeof(struct coord_request))
                return client_fail(-EINVAL, "coord_request.size is wrong");
        memcpy(&q, in, in->size);
        if (q.kind != COORD_KIND_LOCK && q.kind != COORD_KIND_SEMAPHORE)
                return client_fail(-EINVAL, "coord_request.kind is neither lock nor semaphore");
        if (q.mode != COORD_MODE_EXCLUSIVE && q.mode != COORD_MODE_SHARED)
                return client_fail(-EINVAL, "coord_request.mode is neither exclusive nor shared");
        if (q.priority < -20 || q.priority > 19)
                return client_fail(-EINVAL, "priority %d: -20 to 19", q.priority);
        *ret = (Request) {
                .kind = q.kind,
                .name = q.name,
                .flags = q.flags | (q.mode == COORD_MODE_SHARED ? COORD_SHARED : 0),
                .timeout_usec = q.timeout_usec,
                .permits = q.permits ? q.permits : 1,
                .capacity = q.capacity,
                .priority = q.priority,
                .owner = q.owner,
                .description = q.description,
        };
        return request_check(ret);
}

/* ---- why it failed ---- */

static void holder_text(Segment *s, Slot *slot, char *ret, size_t size) {
        char command[17] = "?";
        EntryWalk walk;
        Record *r = NULL;

        ret[0] = '\0';
        for (Entry *e = &slot->gate; e && !r;
                e = e == &slot->gate ? entry_first(s, slot, SEG_PERMITS_MAX, &walk) : entry_next(s, &walk))
                if (word_tid(atomic_load(&e->word)) != 0)
                        r = record_of(s, atomic_load(&e->info));
        if (!r)
                return;
        text_load(r->command, 2, command);
        (void) snprintf(ret,
                size,
                "; held by %s (pid %u)",
                command,
                (unsigned) atomic_load(&r->who[0].pid));
}

static int fail_not_granted(Segment *s, const Request *q, int r) {
        char holder[80] = "";
        Slot *slot;
        Key key;
        uint32_t gen;

        if (key_init(s, &key, (uint32_t) q->kind, q->name) >= 0) {
                slot = table_find(s, &key, &gen);
                if (slot)
                        holder_text(s, slot, holder, sizeof(holder));
        }
        return client_fail(r,
                "%s '%s' %s%s",
                q->kind == COORD_KIND_LOCK ? "lock" : "semaphore",
                q->name,
                r == -EAGAIN           ? "is taken"
                        : r == -EDEADLK ? "would never be granted: those who hold it wait for this caller"
                                        : "was not granted in time",
                holder);
}

int request_fail(coord_client *c, Segment *s, const Request *q, int r) {
        (void) c;
        switch (r) {
        case -EAGAIN:
        case -ETIMEDOUT:
        case -EDEADLK:
                return fail_not_granted(s, q, r);
        case -ECANCELED:
                return client_fail(r, "waiting for '%s' was cancelled", q->name);
        case -ENOSPC:
                return client_fail(r,
                        "no room for '%s' in %s: too many names, waiters or holds at once",
                        q->name,
                        s->path);
        case -EINVAL:
                return client_fail(r,
                        "%u permits of '%s', which has fewer",
                        q->permits,
                        q->name);
        case -EUCLEAN:
                return client_fail(
                        r, "%s is damaged: end its users, remove it and try again", s->path);
        default:
                return client_fail(r, "can't acquire '%s': %s", q->name, strerror(-r));
        }
}

/* ---- the slot ---- */

static int capacity_agree(coord_client *c, Segment *s, const Request *q, Slot *slot) {
        uint32_t declared = atomic_load(&slot->capacity), want = q->capacity;

        if (declared == 0) {
                uint32_t said = config_capacity(c->config, q->name);

                if (said != 0 && want != 0 && said != want)
                        declared = said;
                else if (said != 0)
                        want = said;
        }
        if (declared != 0 && want != 0 && want != declared)
                return client_fail(-ERANGE,
                        "semaphore '%s' has %u permits, not %u; an administrator may change it "
                        "(coordctl semaphore set)",
                        q->name,
                        declared,
                        want);
        if (declared != 0)
                return q->permits > declared ? -EINVAL : 0;
        if (want == 0)
                return client_fail(-ENOENT,
                        "semaphore '%s' has no capacity yet; declare one (coordctl semaphore set %s N)",
                        q->name,
                        q->name);
        return q->permits > want ? -EINVAL : semaphore_declare(s, slot, want, false);
}

int semaphore_declare(Segment *s, Slot *slot, uint32_t capacity, bool change) {
        uint32_t old;
        int r;

        r = structure_lock(s, &slot->qlock, USEC_INFINITE);
        if (r < 0)
                return r;
        r = extent_reserve(s, slot, capacity);
        old = atomic_load(&slot->capacity);
        if (r >= 0 && old != 0 && old != capacity && !change)
                r = -ERANGE;
        if (r >= 0) {
                if (capacity < old)
                        (void) atomic_fetch_or(&slot->flags, SLOT_OVER);
                atomic_store(&slot->capacity, capacity);
                if (change) {
                        (void) atomic_fetch_or(&slot->flags, SLOT_PINNED);
                        queue_poke_head(s, slot);
                }
        }
        structure_unlock(s, &slot->qlock);
        return r;
}

static int slot_get(Segment *s, const Key *key, Slot **ret, uint32_t *ret_gen) {
        int r = table_get(s, key, usec_add(clock_usec(CLOCK_MONOTONIC), 10 * USEC_PER_SEC), ret, ret_gen);

        return r == -ENOSPC ? client_fail(r, "%s is full: too many names are in use at once", s->path)
                : r < 0     ? client_fail(r, "can't use %s: %s", s->path, strerror(-r))
                            : 0;
}

int request_lookup(coord_client *c, Segment *s, const Request *q, Key *key, Slot **ret, uint32_t *ret_gen) {
        Slot *slot;
        int r;

        if (UNLIKELY(key_init(s, key, (uint32_t) q->kind, q->name) < 0))
                return client_fail_name(q->name);
        r = slot_get(s, key, &slot, ret_gen);
        if (r < 0)
                return r;
        if (q->kind == COORD_KIND_SEMAPHORE &&
                UNLIKELY(atomic_load_explicit(&slot->capacity, memory_order_relaxed) != q->capacity ||
                        q->permits > q->capacity)) {
                r = capacity_agree(c, s, q, slot);
                if (r == -EINVAL)
                        return request_fail(c, s, q, r);
                if (r < 0)
                        return r;
        }
        *ret = slot;
        return 0;
}

/* ---- the wait ---- */

int request_prepare(coord_client *c, Segment *s, const Request *q, Wait *w, coord_hold *h) {
        Owner o = { .kind = RECORD_PROCESS };
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
        r = record_new_owner(s, &o, q->description, o.kind == RECORD_PROCESS ? &h->info : &w->record);
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
        const WordSleep cancel = { &c->cancel, 0, true };
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
static int acquire_slow(coord_client *c, Segment *s, Slot *slot, uint32_t gen, const Request *q, coord_hold *h) {
        int r;

        for (;;) {
                Wait w;
                Party party;
                Key key;

                /* Its arrays begin unset on purpose: this is on the way of every permit. */
                memset(&w, 0, offsetof(Wait, fixed));
                w.watches = NULL;
                w.n_watches = 0;
                w.slot = slot;
                w.gen = gen;
                r = request_prepare(c, s, q, &w, h);
                if (r < 0)
                        return r;
                r = wait_run(c, &w, q, &party);
                if (r >= 0)
                        return 0;
                records_drop(s, &w, h);
                if (r != -ESTALE)
                        return request_fail(c, s, q, r);
                r = request_lookup(c, s, q, &key, &slot, &gen);
                if (r < 0)
                        return r;
        }
}

/* Nobody fights: a handful of instructions. */
static bool acquire_fast(coord_client *c, Segment *s, Slot *slot, uint32_t gen, const Request *q, coord_hold *h) {
        uint32_t flags = q->flags & COORD_STRICT ? ENTRY_STRICT : 0;
        uint64_t now = clock_usec(CLOCK_MONOTONIC_COARSE);
        bool got;

        if (UNLIKELY(q->description || q->owner || q->reserve || q->permits != 1 || s->thread_owned))
                return false;
        h->grant.entry = NULL;
        h->grant.shared = q->flags & COORD_SHARED;
        if (q->kind == COORD_KIND_LOCK && !h->grant.shared)
                got = lock_fast(s, slot, gen, flags, now, &h->grant);
        else
                got = one_fast(s,
                        slot,
                        gen,
                        q->kind == COORD_KIND_LOCK ? SEG_PERMITS_MAX : q->capacity,
                        flags,
                        now,
                        &h->grant);
        if (LIKELY(got)) {
                if (UNLIKELY(atomic_load_explicit(&slot->flags, memory_order_relaxed) & SLOT_WATCHED))
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
        return &recent[((uint8_t) q->name[0] ^ (q->name[0] ? (uint8_t) q->name[1] * 3 : 0) ^ q->kind) & 7];
}

static inline bool recent_is(const Recent *e, const Segment *s, const Request *q) {
        return e->attachment == s->serial && e->kind == q->kind && e->capacity == q->capacity &&
                strcmp(e->name, q->name) == 0 &&
                atomic_load_explicit(&e->slot->gen, memory_order_relaxed) == e->gen &&
                atomic_load_explicit(&e->slot->capacity, memory_order_relaxed) == e->capacity;
}

static void recent_set(Recent *e, const Segment *s, const Request *q, const Key *key, Slot *slot, uint32_t gen) {
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

static int acquire(coord_client *c, Segment *s, const Target *t, const Request *q, coord_hold **ret) {
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

PUBLIC int coord_lock_acquire(
        coord_client *c, const char *name, uint64_t flags, uint64_t timeout_usec, coord_hold **ret) {
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

PUBLIC int coord_semaphore_acquire(coord_client *c, const char *name, uint32_t capacity,
        uint32_t permits, uint64_t flags, uint64_t timeout_usec, coord_hold **ret) {
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

PUBLIC int coord_semaphore_try(coord_client *c, const char *name, uint32_t capacity,
        uint32_t permits, uint64_t flags, coord_hold **ret) {
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
                return client_fail(
                        -EINVAL, "a capacity of %u for '%s': 1 to %u", capacity, name, SEG_PERMITS_MAX);
        r = client_ready(c, &s);
        if (r < 0)
                return r;
        (void) key_init(s, &key, KIND_SEMAPHORE, name);
        r = slot_get(s, &key, &slot, &gen);
        if (r >= 0)
                r = semaphore_declare(s, slot, capacity, true);
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
        const Request q = { .kind = COORD_KIND_LOCK, .name = name };
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

PUBLIC int coord_lock_lock(
        coord_lock *l, uint64_t flags, uint64_t timeout_usec, coord_hold **ret) {
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
                r = target_find(l->client, l->segment, &q, &t); /* the name lives elsewhere by now */
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
