/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holds as objects: tokens, taking again, releasing, converting, renewing, giving away.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

_Thread_local uint64_t thread_number;

uint64_t thread_serial_new(void) {
        static _Atomic uint64_t last;

        thread_number = atomic_fetch_add(&last, 1) + 1;
        return thread_number;
}

/* A client keeps one hold object that nobody uses, and that one keeps a reference of the client. */
coord_hold *hold_new(coord_client *c, Segment *s, int kind, const char *name, size_t len) {
        coord_hold *h = atomic_load_explicit(&c->spare, memory_order_relaxed);

        if (LIKELY(h != NULL))
                h = atomic_exchange_explicit(&c->spare, NULL, memory_order_acquire);
        if (UNLIKELY(!h)) {
                h = malloc(sizeof(*h));
                if (!h)
                        return NULL;
                (void) atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
        }
        h->info = 0;
        h->strict = h->listed = h->alarmed = false;
        atomic_store_explicit(&h->token, NULL, memory_order_relaxed);
        atomic_store_explicit(&h->references, 1, memory_order_relaxed);
        atomic_store_explicit(&h->count, 1, memory_order_relaxed);
        h->client = c;
        h->segment = s;
        h->kind = kind;
        h->name_len = (uint32_t) len;
        /* Most names are short, and a copy of fixed size is two moves. */
        memcpy(h->name, name, 16);
        if (UNLIKELY(len >= 16))
                memcpy(h->name + 16, name + 16, len - 16);
        h->name[len] = '\0';
        return h;
}

static void tokens_free(coord_hold *h) {
        TokenText *t = atomic_exchange(&h->token, NULL);

        while (t) {
                TokenText *next = t->next;

                free(t);
                t = next;
        }
}

coord_hold *hold_discard(coord_hold *h) {
        coord_client *c = h->client;

        if (UNLIKELY(atomic_load_explicit(&h->token, memory_order_relaxed) != NULL))
                tokens_free(h);
        h = atomic_exchange_explicit(&c->spare, h, memory_order_acq_rel);
        if (UNLIKELY(h != NULL)) {
                free(h);
                coord_client_unref(c);
        } else if (UNLIKELY(atomic_load(&c->references) == 1))
                client_drop_spare(c);
        return NULL;
}

static bool is_recorded(const coord_hold *h) {
        return word_is_sentinel(h->grant.owner);
}

void hold_adopt(coord_hold *h) {
        Segment *s = h->segment;
        SlotLocal *local = local_of(s, h->grant.slot);
        uint64_t me = thread_serial();

        h->thread = me;
        for (Entry *e = h->grant.entry; e; e = GRANT_NEXT(s, &h->grant, e))
                atomic_store_explicit(&node_of(s, e)->thread, is_recorded(h) ? 0 : me,
                                memory_order_relaxed);
        if (is_recorded(h) || h->kind != COORD_KIND_LOCK)
                return;
        if (!h->grant.shared) {
                atomic_store_explicit(&local->hold, h, memory_order_relaxed);
                atomic_store_explicit(&local->thread, me, memory_order_release);
                return;
        }
        lite_lock(&h->client->lock);
        h->prev = NULL;
        h->next = h->client->shared;
        if (h->next)
                h->next->prev = h;
        h->client->shared = h;
        h->listed = true;
        lite_unlock(&h->client->lock);
}

void hold_forget(coord_hold *h) {
        SlotLocal *local = local_of(h->segment, h->grant.slot);

        for (Entry *e = h->grant.entry; e; e = GRANT_NEXT(h->segment, &h->grant, e))
                atomic_store_explicit(&node_of(h->segment, e)->thread, 0, memory_order_relaxed);
        if (h->kind != COORD_KIND_LOCK)
                return;
        if (!h->grant.shared &&
                        atomic_load_explicit(&local->hold, memory_order_relaxed) == (void *) h) {
                atomic_store_explicit(&local->thread, 0, memory_order_relaxed);
                atomic_store_explicit(&local->hold, NULL, memory_order_relaxed);
        }
        if (!h->listed)
                return;
        lite_lock(&h->client->lock);
        if (h->listed) {
                if (h->prev)
                        h->prev->next = h->next;
                else
                        h->client->shared = h->next;
                if (h->next)
                        h->next->prev = h->prev;
                h->next = h->prev = NULL;
                h->listed = false;
        }
        lite_unlock(&h->client->lock);
}

static int hold_nest(coord_hold *h, coord_hold **ret) {
        if (atomic_load(&h->count) >= NESTING_MAX)
                return client_fail(-EOVERFLOW,
                                "'%s' was acquired %u times by this thread, which is the limit",
                                h->name, NESTING_MAX);
        (void) atomic_fetch_add(&h->count, 1);
        (void) atomic_fetch_add(&h->references, 1);
        *ret = h;
        return 1;
}

int hold_again(coord_client *c, Segment *s, Slot *slot, bool shared, coord_hold **ret) {
        SlotLocal *local = local_of(s, slot);
        uint64_t me = thread_serial();
        coord_hold *h;
        int r = 0;

        if (!shared) {
                if (LIKELY(atomic_load_explicit(&local->thread, memory_order_acquire) != me))
                        return 0;
                h = atomic_load_explicit(&local->hold, memory_order_relaxed);
                return h && h->client == c && hold_stands(h) ? hold_nest(h, ret) : 0;
        }
        lite_lock(&c->lock);
        for (h = c->shared; h && r == 0; h = h->next)
                if (h->grant.slot == slot && h->thread == me && atomic_load(&h->count) > 0 &&
                                hold_stands(h))
                        r = hold_nest(h, ret);
        lite_unlock(&c->lock);
        return r;
}

bool hold_stands(coord_hold *h) {
        if (atomic_load(&h->count) == 0 || !hold_is_current(&h->grant))
                return false;
        if (h->segment->thread_owned) /* its thread may have ended before the process */
                return word_tid(atomic_load(&h->grant.entry->word)) == h->grant.owner;
        if (is_recorded(h)) {
                Record *r = record_of(h->segment, atomic_load(&h->grant.entry->info));

                return r && !record_judge(r);
        }
        return true;
}

static int hold_usable(coord_hold *h) {
        if (!h)
                return client_fail(-EINVAL, "no hold");
        if (client_is_forked(h->client))
                return client_fail(-ECHILD, "this hold belongs to the parent process");
        return 0;
}

static int fail_lost(const coord_hold *h) {
        return client_fail(-ESTALE,
                        "the hold of '%s' is over: it was released, broken, or its lease ended",
                        h->name);
}

/* ---- looking ---- */

PUBLIC const char *coord_hold_token(coord_hold *h) {
        TokenText *t, *first;

        if (!h)
                return NULL;
        first = atomic_load_explicit(&h->token, memory_order_acquire);
        if (first && first->fence == h->grant.fence)
                return first->text;
        t = malloc(sizeof(*t));
        if (!t)
                return NULL;
        t->fence = h->grant.fence;
        t->next = first;
        token_format(h->kind, h->name, h->segment->epoch, t->fence, t->text);
        /* Two threads may ask at once; one text is as good as the other. */
        while (!atomic_compare_exchange_weak(&h->token, &t->next, t))
                ;
        return t->text;
}

PUBLIC const char *coord_hold_name(coord_hold *h) {
        return h ? h->name : NULL;
}

PUBLIC int coord_hold_fence(coord_hold *h, uint64_t *epoch, uint64_t *counter) {
        if (!h)
                return client_fail(-EINVAL, "no hold");
        if (epoch)
                *epoch = h->segment->epoch;
        if (counter)
                *counter = h->grant.fence;
        return 0;
}

PUBLIC int coord_hold_was_abandoned(coord_hold *h) {
        return h ? h->grant.abandoned : -EINVAL;
}

PUBLIC int coord_hold_check(coord_hold *h) {
        int r = hold_usable(h);

        return r < 0 ? r : hold_stands(h);
}

/* ---- ending ---- */

static void alarm_forget(coord_hold *h) {
        coord_client *c = h->client;

        if (!h->alarmed)
                return;
        lite_lock(&c->lock);
        for (coord_hold **at = &c->alarmed; *at; at = &(*at)->alarm_next)
                if (*at == h) {
                        *at = h->alarm_next;
                        break;
                }
        h->alarmed = false;
        lite_unlock(&c->lock);
}

static int hold_end_own(coord_hold *h) {
        Segment *s = h->segment;
        int r;

        if (UNLIKELY(h->alarmed))
                alarm_forget(h);
        hold_forget(h);
        r = s->thread_owned ? 2 : lock_fast_release(&h->grant);
        if (UNLIKELY(r == 1))
                hold_put_back(s, &h->grant, false);
        else if (UNLIKELY(r == 2)) {
                r = hold_release(s, &h->grant);
                if (r < 0)
                        return fail_lost(h);
        }
        if (UNLIKELY(h->info != 0))
                record_free(s, h->info);
        return 0;
}

PUBLIC int coord_hold_release(coord_hold *h) {
        uint32_t count;

        if (UNLIKELY(!h || client_is_forked(h->client)))
                return hold_usable(h);
        count = atomic_load_explicit(&h->count, memory_order_relaxed);
        if (LIKELY(count == 1)) {
                /* Should two threads come here at once, the fence decides. */
                atomic_store_explicit(&h->count, 0, memory_order_relaxed);
                return hold_end_own(h);
        }
        do {
                if (UNLIKELY(count == 0))
                        return client_fail(-ESTALE, "'%s' was released already", h->name);
        } while (!atomic_compare_exchange_weak(&h->count, &count, count - 1));
        return count > 1 ? hold_stands(h) ? 0 : fail_lost(h) : hold_end_own(h);
}

PUBLIC coord_hold *coord_hold_ref(coord_hold *h) {
        if (h)
                (void) atomic_fetch_add(&h->references, 1);
        return h;
}

PUBLIC coord_hold *coord_hold_unref(coord_hold *h) {
        if (!h)
                return NULL;
        if (UNLIKELY(atomic_load_explicit(&h->references, memory_order_acquire) != 1) &&
                        atomic_fetch_sub(&h->references, 1) != 1)
                return NULL;
        if (atomic_load_explicit(&h->count, memory_order_relaxed) != 0 &&
                        !client_is_forked(h->client)) {
                atomic_store_explicit(&h->count, 0, memory_order_relaxed);
                (void) hold_end_own(h);
        }
        return hold_discard(h);
}

PUBLIC int coord_hold_detach(coord_hold *h) {
        int r = hold_usable(h);

        if (r < 0)
                return r;
        if (!is_recorded(h))
                return client_fail(-EINVAL,
                                "'%s' is held by this process itself; transfer it to pid: or "
                                "lease: first",
                                h->name);
        alarm_forget(h);
        atomic_store(&h->count, 0);
        coord_hold_unref(h);
        return 0;
}

PUBLIC coord_hold **coord_holds_free(coord_hold **holds) {
        for (size_t i = 0; holds && holds[i]; i++)
                coord_hold_unref(holds[i]);
        free(holds);
        return NULL;
}

/* ---- changing ---- */

static int hold_upgrade(coord_hold *h, uint64_t timeout_usec) {
        coord_client *c = h->client;
        Request q = {
                        .kind = COORD_KIND_LOCK,
                        .name = h->name,
                        .timeout_usec = timeout_usec,
                        .permits = 1,
                        .flags = h->strict ? COORD_STRICT : 0,
        };
        Grant old = h->grant, grant = {0};
        Party party = {0};
        Wait w = {0};
        int r;

        r = request_prepare(c, h->segment, &q, &w, h);
        if (r < 0)
                return r;
        w.slot = old.slot;
        w.gen = old.gen;
        w.own = &old;
        w.grant = &grant;
        if (h->info != 0)
                w.info = h->info;
        r = wait_run(c, &w, &q, &party);
        if (r == -EDEADLK)
                return request_fail_circle(&q, &party);
        if (r < 0)
                return request_fail(c, h->segment, &q, r);
        hold_forget(h);
        (void) hold_release(h->segment, &old);
        h->grant = grant;
        hold_adopt(h);
        return 0;
}

static int hold_share(coord_hold *h) {
        Grant grant = h->grant;
        int r;

        hold_forget(h);
        r = hold_downgrade(h->segment, &grant);
        if (r >= 0)
                h->grant = grant;
        hold_adopt(h);
        return r == -ESTALE ? fail_lost(h)
               : r < 0      ? client_fail(r, "no room for shared holds of '%s'", h->name)
                            : 0;
}

PUBLIC int coord_hold_convert(coord_hold *h, uint64_t flags, uint64_t timeout_usec) {
        int r = hold_usable(h);

        if (r < 0)
                return r;
        if (flags & ~(uint64_t) (COORD_SHARED | COORD_STRICT | COORD_DEADLOCK))
                return client_fail(-EINVAL, "unknown flags");
        if (h->kind != COORD_KIND_LOCK)
                return client_fail(-EINVAL, "'%s' is a semaphore; only locks have modes", h->name);
        if (!hold_stands(h))
                return fail_lost(h);
        if (h->grant.shared == !!(flags & COORD_SHARED))
                return 0;
        if (is_recorded(h))
                return client_fail(-EINVAL,
                                "'%s' stands on another owner; convert it before it is given away",
                                h->name);
        return flags & COORD_SHARED ? hold_share(h) : hold_upgrade(h, timeout_usec);
}

PUBLIC int coord_hold_renew(coord_hold *h, uint64_t lease_usec) {
        int r = hold_usable(h);
        Record *record;

        if (r < 0)
                return r;
        record = is_recorded(h) ? record_of(h->segment, atomic_load(&h->grant.entry->info)) : NULL;
        if (!hold_is_current(&h->grant) || atomic_load(&h->count) == 0)
                return fail_lost(h);
        r = record ? record_renew(h->segment, record, lease_usec) : -EINVAL;
        if (r == -EINVAL)
                return client_fail(r, "'%s' is not held on a lease", h->name);
        if (r < 0 || !hold_is_current(&h->grant))
                return fail_lost(h);
        service_nudge(h->client);
        return 0;
}

PUBLIC int coord_hold_transfer(coord_hold *h, const char *owner) {
        int r = hold_usable(h);
        Segment *s = h ? h->segment : NULL;
        uint32_t cell;
        uint64_t info;
        Owner o;

        if (r < 0)
                return r;
        r = owner_parse(owner, &o);
        if (r < 0)
                return r;
        if (o.kind == RECORD_PROCESS)
                return is_recorded(h) ? client_fail(-EINVAL,
                                                        "a hold can't be given back to a process")
                                      : 0;
        if (!hold_stands(h))
                return fail_lost(h);
        r = record_new_owner(s, &o, NULL, &info);
        if (r < 0)
                return client_fail(r, "can't give '%s' to %s: %s", h->name, owner, strerror(-r));
        if (h->info != 0)
                for (size_t i = 0; i < 8; i++)
                        atomic_store(&record_of(s, info)->description[i],
                                        atomic_load(&s->records[(uint32_t) h->info]
                                                                        .description[i]));
        cell = h->grant.cell;
        hold_forget(h);
        r = hold_move(s, h->grant.slot, h->grant.fence, info);
        if (cell != 0)
                cell_release(s, cell, h->grant.cell_gen);
        lite_lock(&h->client->lock); /* of who looks whether it was lost */
        h->grant.cell = 0;
        h->grant.owner = WORD_SENTINEL | (uint32_t) info;
        lite_unlock(&h->client->lock);
        if (h->info != 0)
                record_free(s, h->info);
        h->info = 0;
        for (Entry *e = h->grant.entry; e; e = GRANT_NEXT(s, &h->grant, e))
                atomic_store(&node_of(s, e)->thread, 0);
        return r < 0 ? fail_lost(h) : 0;
}

PUBLIC int coord_hold_set_lost_callback(
                coord_hold *h, void (*cb)(coord_hold *h, void *userdata), void *userdata) {
        int r = hold_usable(h);

        if (r < 0)
                return r;
        alarm_forget(h);
        if (!cb)
                return 0;
        r = service_start(h->client);
        if (r < 0)
                return client_fail(r, "can't start a thread: %s", strerror(-r));
        lite_lock(&h->client->lock);
        h->alarmed = true;
        h->lost = cb;
        h->lost_userdata = userdata;
        atomic_store(&h->lost_told, false);
        h->alarm_next = h->client->alarmed;
        h->client->alarmed = h;
        lite_unlock(&h->client->lock);
        service_nudge(h->client);
        return 0;
}
