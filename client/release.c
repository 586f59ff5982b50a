/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holds by their token: ending, checking, renewing and giving away what may be another process's. Who
 * may: of `process` only that process; of the others the same user; root all.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

typedef struct Found {
        Segment *segment;
        Slot *slot;
        Entry *entry;
        uint64_t fence;
        char name[SEG_NAME_MAX + 1];
} Found;

static bool is_ours(const Found *f) {
        return keeper_by_tid(f->segment, word_tid(atomic_load(&f->entry->word))) != NULL;
}

/* -EPERM with a reason, or 0. */
static int may_end(const Found *f) {
        uint32_t v = word_tid(atomic_load(&f->entry->word));
        Record *r = record_of(f->segment, atomic_load(&f->entry->info));
        uint32_t uid = r ? atomic_load(&r->uid) : (uint32_t) -1;

        if (is_ours(f))
                return 0;
        if (!word_is_sentinel(v))
                return client_fail(-EPERM,
                                "'%s' is held by process %u itself; only that one may give it back "
                                "(an administrator may break it)",
                                f->name, r ? (unsigned) atomic_load(&r->who[0].pid) : v);
        if (geteuid() != 0 && uid != geteuid())
                return client_fail(-EPERM, "'%s' is held for user %u", f->name, uid);
        return 0;
}

static Slot *slot_by_name(Segment *s, int kind, const char *name) {
        uint32_t gen;
        Key key;

        return key_init(s, &key, (uint32_t) kind, name) < 0 ? NULL : table_find(s, &key, &gen);
}

/* 0, or -ESTALE: no such hold stands. */
static int find_token(coord_client *c, const Token *t, Found *ret) {
        int r = client_ready(c, &ret->segment);

        if (r < 0)
                return r;
        if (!segment_name_is_valid(t->name))
                return client_fail_name(t->name);
        if (t->kind == TOKEN_QUEUE)
                return client_fail(-EUNATCH, "queues need a running coordd");
        strcpy(ret->name, t->name);
        ret->fence = t->counter;
        ret->slot = slot_by_name(ret->segment, t->kind, t->name);
        ret->entry = ret->slot && t->epoch == ret->segment->epoch && t->counter != 0 &&
                                                     !(t->counter & FENCE_CLAIM)
                                     ? hold_find(ret->segment, ret->slot, t->counter)
                                     : NULL;
        if (!ret->entry)
                return client_fail(-ESTALE, "'%s' is not held by that token (any more)", t->name);
        return 0;
}

/* Every hold of the slot that this user may count as its own. */
static unsigned count_own(Segment *s, Slot *slot, Found *ret) {
        uint64_t last = 0;
        unsigned n = 0;
        EntryWalk walk;

        SLOT_EACH_ENTRY (e, s, slot, walk) {
                uint64_t fence = atomic_load(&e->fence);
                Record *r = record_of(s, atomic_load(&e->info));

                if (word_tid(atomic_load(&e->word)) == 0 || fence == 0 || fence & FENCE_CLAIM ||
                                fence == last || !r || atomic_load(&r->uid) != geteuid())
                        continue;
                last = fence;
                ret->slot = slot;
                ret->entry = e;
                ret->fence = fence;
                n++;
        }
        return n;
}

static int find_name(coord_client *c, const char *name, Found *ret) {
        unsigned n = 0;
        int r = client_ready(c, &ret->segment);

        if (r < 0)
                return r;
        strcpy(ret->name, name);
        for (int kind = KIND_LOCK; kind <= KIND_SEMAPHORE; kind++) {
                Slot *slot = slot_by_name(ret->segment, kind, name);

                if (slot)
                        n += count_own(ret->segment, slot, ret);
        }
        if (n == 0)
                return client_fail(-ESTALE, "this user does not hold '%s'", name);
        if (n > 1)
                return client_fail(-EINVAL,
                                "this user holds '%s' %u times; say which by its token (coordctl "
                                "show %s)",
                                name, n, name);
        return 0;
}

static int find_any(coord_client *c, const char *token_or_name, Found *ret) {
        Token t;

        if (!token_or_name)
                return client_fail(-EINVAL, "no token or name");
        if (strchr(token_or_name, ':')) {
                if (token_parse(token_or_name, &t) < 0)
                        return client_fail(-EINVAL,
                                        "'%.300s' is no token (KIND:NAME:EPOCH.COUNTER)",
                                        token_or_name);
                return find_token(c, &t, ret);
        }
        if (!segment_name_is_valid(token_or_name))
                return client_fail_name(token_or_name);
        return find_name(c, token_or_name, ret);
}

static int fail_over(const Found *f) {
        return client_fail(-ESTALE, "the hold of '%s' is over", f->name);
}

PUBLIC int coord_release(coord_client *c, const char *token_or_name) {
        Found f = {0};
        int r = find_any(c, token_or_name, &f);

        if (r >= 0)
                r = may_end(&f);
        if (r < 0)
                return r;
        r = hold_end(f.segment, f.slot, f.fence, false, false);
        return r < 0 ? fail_over(&f) : 0;
}

PUBLIC int coord_check(coord_client *c, const char *token) {
        Found f = {0};
        Record *record;
        uint32_t v;
        Token t;
        int r;

        if (token_parse(token, &t) < 0)
                return client_fail(-EINVAL, "'%.300s' is no token (KIND:NAME:EPOCH.COUNTER)",
                                token ? token : "");
        r = find_token(c, &t, &f);
        if (r < 0)
                return r == -ESTALE ? 0 : r;
        v = word_tid(atomic_load(&f.entry->word));
        if (!word_is_sentinel(v))
                return v != 0 && word_owner_exists(v);
        record = record_of(f.segment, atomic_load(&f.entry->info));
        return record && !record_judge(record);
}

PUBLIC int coord_renew(coord_client *c, const char *token, uint64_t lease_usec) {
        Found f = {0};
        Record *record;
        int r = find_any(c, token, &f);

        if (r >= 0)
                r = may_end(&f);
        if (r < 0)
                return r;
        record = word_is_sentinel(word_tid(atomic_load(&f.entry->word)))
                                 ? record_of(f.segment, atomic_load(&f.entry->info))
                                 : NULL;
        r = record ? record_renew(f.segment, record, lease_usec) : -EINVAL;
        if (r == -EINVAL)
                return client_fail(r, "'%s' is not held on a lease", f.name);
        if (r < 0 || atomic_load(&f.entry->fence) != f.fence)
                return fail_over(&f);
        return 0;
}

PUBLIC int coord_transfer(coord_client *c, const char *token, const char *owner) {
        Found f = {0};
        uint64_t info;
        Owner o;
        int r;

        r = owner_parse(owner, &o);
        if (r < 0)
                return r;
        if (o.kind == RECORD_PROCESS)
                return client_fail(-EINVAL, "a hold can't be given to a process but as pid:N");
        r = find_any(c, token, &f);
        if (r >= 0)
                r = may_end(&f);
        if (r < 0)
                return r;
        if (is_ours(&f))
                return client_fail(-EINVAL,
                                "'%s' is this process's own: transfer it by its hold object",
                                f.name);
        r = record_new_owner(f.segment, &o, NULL, &info);
        if (r < 0)
                return client_fail(r, "can't give '%s' to %s: %s", f.name, owner, strerror(-r));
        r = hold_move(f.segment, f.slot, f.fence, info);
        return r < 0 ? fail_over(&f) : 0;
}

PUBLIC int coord_break(coord_client *c, const char *name) {
        int kind = KIND_LOCK, r;
        unsigned ended = 0;
        EntryWalk walk;
        Segment *s;
        Slot *slot;

        if (name && strncmp(name, "sem:", 4) == 0) {
                kind = KIND_SEMAPHORE;
                name += 4;
        } else if (name && strncmp(name, "lock:", 5) == 0)
                name += 5;
        if (!segment_name_is_valid(name))
                return client_fail_name(name);
        r = client_ready(c, &s);
        if (r < 0)
                return r;
        if (geteuid() != 0 && !(c->flags & COORD_CLIENT_USER))
                return client_fail(-EPERM, "only an administrator may break '%s'", name);
        slot = slot_by_name(s, kind, name);
        if (!slot)
                return client_fail(-ESTALE, "nobody holds '%s'", name);
        SLOT_EACH_ENTRY (e, s, slot, walk) {
                uint64_t fence = atomic_load(&e->fence);

                if (word_tid(atomic_load(&e->word)) != 0 && fence != 0)
                        ended += hold_end(s, slot, fence, true, false) >= 0;
        }
        return ended > 0 ? 0 : client_fail(-ESTALE, "nobody holds '%s'", name);
}
