/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who holds what and who waits: a picture of the segment, taken without a lock. Each line was true at
 * some moment of the call; nothing in it is believed further than its bounds.
 */
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

typedef struct Builder {
        struct coord_entry *entries;
        size_t n, cap;
        uint64_t mono_now, real_now;
} Builder;

static void *grow(void *array, size_t *cap, size_t n, size_t size) {
        size_t want = *cap ? *cap * 2 : 8;
        void *p;

        if (n < *cap)
                return array;
        p = realloc(array, want * size);
        if (p)
                *cap = want;
        return p;
}

static void party_free(struct coord_party *p, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free((char *) p[i].token);
                free((char *) p[i].owner);
                free((char *) p[i].command);
                free((char *) p[i].description);
        }
        free(p);
}

PUBLIC struct coord_entry *coord_entries_free(struct coord_entry *entries, size_t n) {
        for (size_t i = 0; entries && i < n; i++) {
                free((char *) entries[i].name);
                party_free(entries[i].holders, entries[i].n_holders);
                party_free(entries[i].waiters, entries[i].n_waiters);
        }
        free(entries);
        return NULL;
}

/* ---- one party ---- */

static void owner_text(const Record *r, char *ret, size_t size) {
        uint64_t deadline = atomic_load(&r->deadline), now = clock_usec(CLOCK_BOOTTIME);
        unsigned a = (unsigned) atomic_load(&r->who[0].pid),
                 b = (unsigned) atomic_load(&r->who[1].pid);

        switch (atomic_load(&r->kind)) {
        case RECORD_PID:
                (void) snprintf(ret, size, b ? "pid:%u+%u" : "pid:%u", a, b);
                break;
        case RECORD_LEASE:
                (void) snprintf(ret, size, "lease:%.3gs",
                                deadline > now ? (double) (deadline - now) / 1e6 : 0.0);
                break;
        case RECORD_PROCESS:
                (void) snprintf(ret, size, "process");
                break;
        default:
                (void) snprintf(ret, size, "coordd");
        }
}

static int party_describe(Segment *s, uint64_t info, struct coord_party *p) {
        char owner[64] = "process", command[17] = "", description[64] = "";
        Record *r = record_of(s, info), *maker;

        p->uid = (uid_t) -1;
        if (r) {
                maker = record_of(s, atomic_load(&r->maker));
                owner_text(r, owner, sizeof(owner));
                text_load(r->command, 2, command);
                text_load(r->description, 8, description);
                p->uid = atomic_load(&r->uid);
                p->pid = (pid_t) atomic_load(&r->who[0].pid);
                if (p->pid == 0 && maker)
                        p->pid = (pid_t) atomic_load(&maker->who[0].pid);
        }
        p->owner = strdup(owner);
        p->command = strdup(command);
        p->description = strdup(description);
        return p->owner && p->command && p->description ? 0 : -ENOMEM;
}

static uint64_t real_time(const Builder *b, uint64_t since) {
        return b->real_now - (b->mono_now > since ? b->mono_now - since : 0);
}

/* ---- holders ---- */

static int
holder_add(Builder *b, Segment *s, struct coord_entry *out, size_t *cap, Entry *e, bool shared) {
        uint64_t fence = atomic_load(&e->fence), info = atomic_load(&e->info);
        char token[TOKEN_TEXT_MAX];
        struct coord_party *p;

        if (fence & FENCE_CLAIM)
                return 0;
        /* Permits of one hold stand together or close to each other. */
        for (size_t i = 0; fence != 0 && i < out->n_holders; i++) {
                token_format(out->kind, out->name, s->epoch, fence, token);
                if (out->holders[i].token && strcmp(out->holders[i].token, token) == 0) {
                        out->holders[i].permits++;
                        return 0;
                }
        }
        p = grow(out->holders, cap, out->n_holders, sizeof(*p));
        if (!p)
                return -ENOMEM;
        out->holders = p;
        p += out->n_holders++;
        *p = (struct coord_party){
                        .mode = shared ? COORD_MODE_SHARED : COORD_MODE_EXCLUSIVE,
                        .permits = 1,
                        .reserved = fence == 0,
                        .since_usec = real_time(b, atomic_load(&e->since)),
        };
        if (fence != 0) {
                token_format(out->kind, out->name, s->epoch, fence, token);
                p->token = strdup(token);
                if (!p->token)
                        return -ENOMEM;
        }
        return party_describe(s, fence != 0 || record_of(s, info) ? info : 0, p);
}

/* Owned now: a hold that stands on nothing any more is over, though nobody has noticed. */
bool entry_is_held(Segment *s, Entry *e) {
        uint32_t tid = word_tid(atomic_load(&e->word));
        Record *r;

        if (!word_is_sentinel(tid))
                return tid != 0 && word_owner_exists(tid);
        r = record_of(s, atomic_load(&e->info));
        return r && !record_judge(r);
}

static int compare_since(const void *a, const void *b) {
        const struct coord_party *x = a, *y = b;

        return x->since_usec < y->since_usec ? -1 : x->since_usec > y->since_usec;
}

static int holders_collect(Builder *b, Segment *s, Slot *slot, struct coord_entry *out) {
        uint32_t taken = 0;
        size_t cap = 0;
        EntryWalk walk;
        int r = 0;

        SLOT_EACH_ENTRY (e, s, slot, walk) {
                if (r < 0 || !entry_is_held(s, e))
                        continue;
                taken++;
                r = holder_add(b, s, out, &cap, e,
                                e != &slot->gate && out->kind == COORD_KIND_LOCK);
        }
        for (size_t i = 0; i < out->n_holders; i++) {
                out->held |= !out->holders[i].reserved;
                out->reserved |= out->holders[i].reserved;
                out->mode = out->holders[i].mode;
        }
        out->free = out->capacity > taken ? out->capacity - taken : 0;
        if (out->n_holders > 1)
                qsort(out->holders, out->n_holders, sizeof(*out->holders), compare_since);
        return r;
}

/* ---- waiters ---- */

static int waiter_add(Builder *b, Segment *s, struct coord_entry *out, size_t *cap, Cell *c) {
        uint32_t flags = atomic_load(&c->flags);
        struct coord_party *p = grow(out->waiters, cap, out->n_waiters, sizeof(*p));

        if (!p)
                return -ENOMEM;
        out->waiters = p;
        p += out->n_waiters++;
        *p = (struct coord_party){
                        .mode = flags & CELL_SHARED ? COORD_MODE_SHARED : COORD_MODE_EXCLUSIVE,
                        .permits = atomic_load(&c->permits),
                        .priority = (int) atomic_load(&c->priority) - 20,
                        .since_usec = real_time(b, atomic_load(&c->since)),
        };
        return party_describe(s, atomic_load(&c->info), p);
}

static int waiters_collect(Builder *b, Segment *s, Slot *slot, struct coord_entry *out) {
        uint32_t at = atomic_load(&slot->tail), mark = slot_index(s, slot) + 1;
        size_t cap = 0;
        int r = 0;

        for (uint32_t steps = 0; at != 0 && at < s->n_cells && steps < s->n_cells && r >= 0;
                        steps++) {
                Cell *c = &s->cells[at];

                if (atomic_load(&c->slot) != mark)
                        break;
                if (cell_is_live(c) && !(atomic_load(&c->flags) & CELL_GRANTED))
                        r = waiter_add(b, s, out, &cap, c);
                at = (uint32_t) (atomic_load(&c->pred) & PRED_INDEX);
        }
        /* Collected from the tail: turn them round. */
        for (size_t i = 0; i < out->n_waiters / 2; i++) {
                struct coord_party p = out->waiters[i];

                out->waiters[i] = out->waiters[out->n_waiters - 1 - i];
                out->waiters[out->n_waiters - 1 - i] = p;
        }
        return r;
}

/* ---- all ---- */

static int slot_collect(Builder *b, Segment *s, Slot *slot, uint32_t kind) {
        char name[SEG_NAME_MAX + 1];
        struct coord_entry *out;
        int r;

        out = grow(b->entries, &b->cap, b->n, sizeof(*out));
        if (!out)
                return -ENOMEM;
        b->entries = out;
        out += b->n;
        *out = (struct coord_entry){.kind = (int) kind};
        if (kind == KIND_SEMAPHORE)
                out->capacity = MIN_OF(atomic_load(&slot->capacity), SEG_PERMITS_MAX);
        slot_name(slot, name);
        out->name = strdup(name);
        if (!out->name)
                return -ENOMEM;
        b->n++;
        r = holders_collect(b, s, slot, out);
        if (r >= 0)
                r = waiters_collect(b, s, slot, out);
        if (r >= 0 && out->n_holders == 0 && out->n_waiters == 0 && out->capacity == 0) {
                free((char *) out->name);
                b->n--;
        }
        return r;
}

static int compare_entries(const void *a, const void *b) {
        const struct coord_entry *x = a, *y = b;

        return x->kind != y->kind ? x->kind - y->kind : strcmp(x->name, y->name);
}

PUBLIC int coord_list(coord_client *c, int kind, struct coord_entry **ret, size_t *ret_n) {
        Builder b = {.mono_now = clock_usec(CLOCK_MONOTONIC),
                        .real_now = clock_usec(CLOCK_REALTIME)};
        Segment *s;
        int r;

        if (!ret || !ret_n || kind < COORD_KIND_ANY || kind > COORD_KIND_QUEUE)
                return client_fail(-EINVAL, "no place for the result, or no such kind");
        r = client_use(c, &s);
        for (uint32_t i = 0; r >= 0 && i < s->n_slots; i++) {
                uint32_t k = atomic_load_explicit(&s->slots[i].kind, memory_order_acquire);

                if ((k == KIND_LOCK || k == KIND_SEMAPHORE) &&
                                (kind == COORD_KIND_ANY || (uint32_t) kind == k))
                        r = slot_collect(&b, s, &s->slots[i], k);
        }
        if (r < 0) {
                coord_entries_free(b.entries, b.n);
                return r == -ENOMEM ? client_fail(r, "out of memory") : r;
        }
        if (b.n > 1)
                qsort(b.entries, b.n, sizeof(*b.entries), compare_entries);
        if (!b.entries)
                b.entries = calloc(1, sizeof(*b.entries));
        *ret = b.entries;
        *ret_n = b.n;
        return 0;
}
