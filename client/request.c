/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request asks for, in all its spellings: checked, put into words when it failed, and its slot found
 * with the capacity agreed upon.
 */
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- what is asked for ---- */

static int owner_needs_coordd(const char *text) {
        return client_fail(-EUNATCH,
                        "owner '%s' needs a running coordd, and none answers; pid:N and "
                        "lease:DURATION work without",
                        text);
}

int owner_parse(const char *text, Owner *ret) {
        Owner o = {0};
        uint64_t a, b = 0;
        const char *plus;

        if (!text || strcmp(text, "process") == 0) {
                o.kind = RECORD_PROCESS;
        } else if (strncmp(text, "pid:", 4) == 0) {
                plus = strchr(text, '+');
                if (number_parse(text + 4, plus ? (size_t) (plus - text - 4) : strlen(text + 4),
                                    INT_MAX, &a) < 0 ||
                                a == 0 ||
                                (plus && (number_parse(plus + 1, strlen(plus + 1), INT_MAX, &b) <
                                                                         0 ||
                                                         b == 0)))
                        return client_fail(-EINVAL, "'%s' is no owner: pid:N or pid:N+M", text);
                o = (Owner){.kind = RECORD_PID, .pids = {(uint32_t) a, (uint32_t) b}};
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
                return client_fail(-EINVAL, "a capacity of %u for '%s': at most %u", q->capacity,
                                q->name, SEG_PERMITS_MAX);
        if (q->permits > SEG_PERMITS_MAX || (q->capacity != 0 && q->permits > q->capacity))
                return client_fail(-EINVAL, "%u permits of '%s', which has %u", q->permits, q->name,
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
        *ret = (Request){
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
        SLOT_EACH_ENTRY (e, s, slot, walk)
                if (!r && word_tid(atomic_load(&e->word)) != 0)
                        r = record_of(s, atomic_load(&e->info));
        if (!r)
                return;
        text_load(r->command, 2, command);
        (void) snprintf(ret, size, "; held by %s (pid %u)", command,
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
        return client_fail(r, "%s '%s' %s%s", q->kind == COORD_KIND_LOCK ? "lock" : "semaphore",
                        q->name,
                        r == -EAGAIN    ? "is taken"
                        : r == -EDEADLK ? "would never be granted: those who hold it wait for this "
                                          "caller"
                                        : "was not granted in time",
                        holder);
}

int request_fail_circle(const Request *q, const Party *party) {
        return client_fail(-EDEADLK,
                        "'%s' would never be granted: %s, and each holds what the other wants",
                        q->name,
                        party->circle[0] ? party->circle
                                         : "another waits to make its shared hold exclusive");
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
                                q->name, s->path);
        case -EINVAL:
                return client_fail(r, "%u permits of '%s', which has fewer", q->permits, q->name);
        case -EUCLEAN:
                return client_fail(r, "%s is damaged: end its users, remove it and try again",
                                s->path);
        default:
                return client_fail(r, "can't acquire '%s': %s", q->name, strerror(-r));
        }
}

/* ---- the slot ---- */

static int capacity_agree(coord_client *c, Segment *s, const Request *q, Slot *slot, uint32_t gen) {
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
                                "semaphore '%s' has %u permits, not %u; an administrator may "
                                "change it "
                                "(coordctl semaphore set)",
                                q->name, declared, want);
        if (declared != 0)
                return q->permits > declared ? -EINVAL : 0;
        if (want == 0)
                return client_fail(-ENOENT,
                                "semaphore '%s' has no capacity yet; declare one (coordctl "
                                "semaphore set %s N)",
                                q->name, q->name);
        return q->permits > want ? -EINVAL
                                 : semaphore_declare(s, slot, gen, want, false, q->timeout_usec);
}

int semaphore_declare(Segment *s,
                Slot *slot,
                uint32_t gen,
                uint32_t capacity,
                bool change,
                uint64_t timeout_usec) {
        uint32_t old;
        int r;

        r = structure_lock(s, &slot->qlock, deadline_of(MAX_OF(timeout_usec, LOOKUP_TRY_USEC)));
        if (r < 0)
                return r;
        /* The slot may be another name's by now. */
        r = atomic_load(&slot->gen) == gen ? extent_reserve(s, slot, capacity) : -ESTALE;
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

int slot_get(Segment *s, const Key *key, uint64_t timeout_usec, Slot **ret, uint32_t *ret_gen) {
        Slot *slot = table_find(s, key, ret_gen);
        int r;

        if (LIKELY(slot)) {
                *ret = slot;
                return 0;
        }
        r = table_get(s, key, deadline_of(MAX_OF(timeout_usec, LOOKUP_TRY_USEC)), ret, ret_gen);
        return r == -ENOSPC ? client_fail(r, "%s is full: too many names are in use at once",
                                              s->path)
               : r == -ETIMEDOUT && timeout_usec == 0 ? -EAGAIN
               : r < 0 ? client_fail(r, "can't use %s: %s", s->path, strerror(-r))
                       : 0;
}

int request_lookup(coord_client *c,
                Segment *s,
                const Request *q,
                Key *key,
                Slot **ret,
                uint32_t *ret_gen) {
        Slot *slot;
        int r;

        if (UNLIKELY(key_init(s, key, (uint32_t) q->kind, q->name) < 0))
                return client_fail_name(q->name);
        r = slot_get(s, key, q->timeout_usec, &slot, ret_gen);
        if (r < 0)
                return r;
        if (q->kind == COORD_KIND_SEMAPHORE &&
                        UNLIKELY(atomic_load_explicit(&slot->capacity, memory_order_relaxed) !=
                                                        q->capacity ||
                                        q->permits > q->capacity)) {
                r = capacity_agree(c, s, q, slot, *ret_gen);
                if (r == -ESTALE)
                        return request_lookup(c, s, q, key, ret, ret_gen);
                if (r == -EAGAIN || r == -ETIMEDOUT || r == -ENOSPC)
                        return request_fail(c, s, q,
                                        r == -ETIMEDOUT && q->timeout_usec == 0 ? -EAGAIN : r);
                if (r == -EINVAL)
                        return request_fail(c, s, q, r);
                if (r < 0)
                        return r;
        }
        *ret = slot;
        return 0;
}
