/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking: what the head of a queue does, and the fast path past an empty one.
 *
 * While anybody queues, the gate carries WAITERS, and then only the head may take what is free (the
 * holder of the queue lock counts as the head of an empty queue). So the head meets nobody but readers
 * that came by the fast path and look at the gate once more after they claimed their word: they see
 * WAITERS and undo it. Who makes its shared hold exclusive may take the gate too, being a reader that no
 * writer can pass; it looks at the readers again afterwards.
 */
#include "segment/segment.h"

#include <limits.h>

static void put_word_back(Segment *s, Entry *e) {
        uint32_t v = atomic_load(&e->word);
        Keeper *k = keeper_any(s);

        if (!k)
                return;
        keeper_pending(s, k, &e->word);
        while (!atomic_compare_exchange_weak(&e->word, &v, v & WORD_WAITERS))
                ;
        if (v & WORD_WAITERS)
                word_wake(&e->word, INT_MAX);
        STEP(PERMIT_BACK);
        keeper_pending_done(k);
        keeper_drop_entry(s, &e->word);
}

static void gate_put_back(Segment *s, Slot *slot) {
        Grant g = {.slot = slot, .entry = &slot->gate, .n = 1};

        hold_put_back(s, &g, false);
}

/* The record that a hold of the past stood on, or that described it. */
static void old_record_free(Segment *s, Entry *e) {
        uint64_t info = atomic_load(&e->info);
        Record *r = record_of(s, info);

        if (r && atomic_load(&r->kind) != RECORD_PROCESS && word_tid(atomic_load(&r->own)) == 0)
                record_free(s, info);
}

/* About to clear the mark of a death: the next holder is told of it, be it us or another. */
static void take_note(Wait *w, Entry *e, uint32_t v) {
        if (v & WORD_DIED && atomic_load(&e->fence) != 0)
                (void) atomic_fetch_or(&w->slot->flags, SLOT_DEATH);
        old_record_free(w->s, e);
}

static void took_one(Wait *w, Entry *e) {
        mate_set(w->s, e, NULL, false);
        w->first = w->last = e;
        w->got = 1;
}

/* No keeper for a word. In a thread-owned segment another thread of ours may be about to try it. */
static int no_keeper(Wait *w) {
        if (!w->s->thread_owned || !keeper_any(w->s))
                return -EBUSY;
        wait_until(w, 0);
        return 0;
}

/* ---- is an entry to be had? ---- */

/* Of a strict hold the whole process must be gone; but not if the hold was ended before, by force. */
static bool owner_is_gone(Wait *w, Entry *e) {
        uint64_t info = atomic_load(&e->info);
        Record *r;

        if (!(atomic_load(&e->flags) & ENTRY_STRICT) || atomic_load(&e->fence) & FENCE_CLAIM)
                return true;
        r = record_of(w->s, info);
        if (!r || record_judge(r))
                return true;
        wait_watch(w, info);
        return false;
}

/* Its owner died. May it be taken already? */
static bool death_is_settled(Wait *w, Entry *e) {
        uint64_t free_at = 0, now;

        if (atomic_load(&e->fence) == 0)
                return true; /* never granted */
        if (!owner_is_gone(w, e))
                return false;
        if (w->delay_usec == 0)
                return true;
        now = clock_usec(CLOCK_BOOTTIME);
        if (atomic_compare_exchange_strong(
                            &w->slot->free_at, &free_at, usec_add(now, w->delay_usec)))
                free_at = usec_add(now, w->delay_usec);
        if (free_at <= now)
                return true;
        wait_until(w, free_at);
        return false;
}

/* How soon to look again after somebody who was about to end a hold. */
#define CLAIM_USEC 20000

/* A hold that stands on a record: 1 if it does not any more. */
static bool sentinel_is_over(Wait *w, Entry *e, uint32_t v) {
        uint64_t info = atomic_load(&e->info), fence = atomic_load(&e->fence);
        Record *r = (uint32_t) info == word_record(v) ? record_of(w->s, info) : NULL;

        if (!r || record_judge(r) ||
                        (fence & FENCE_CLAIM && !word_owner_exists((uint32_t) fence & WORD_TID))) {
                if (hold_reap(w->s, e, v))
                        return true;
                /* Its wake comes unless it dies on the way, and then its claim is ours. */
                wait_until(w, clock_usec(CLOCK_BOOTTIME) + CLAIM_USEC);
                return false;
        }
        wait_watch(w, info);
        return false;
}

static bool thread_is_over(Wait *w, Entry *e, uint32_t v) {
        if (atomic_load(&e->flags) & ENTRY_MOVING)
                wait_watch(w, atomic_load(&e->info));
        if (word_owner_exists(word_tid(v)))
                return false;
        (void) atomic_compare_exchange_strong(&e->word, &v, WORD_DIED | (v & WORD_WAITERS));
        return true;
}

static bool owner_is_over(Wait *w, Entry *e, uint32_t v) {
        uint64_t fence = atomic_load(&e->fence), due;

        if (word_is_sentinel(v) ? sentinel_is_over(w, e, v) : thread_is_over(w, e, v))
                return true;
        if (w->max_hold_usec == 0 || fence == 0)
                return false;
        due = usec_add(atomic_load(&e->since), w->max_hold_usec);
        if (due <= clock_usec(CLOCK_MONOTONIC))
                return hold_end(w->s, w->slot, fence, true, w->locked) >= 0;
        wait_until(w, clock_usec(CLOCK_BOOTTIME) + due - clock_usec(CLOCK_MONOTONIC));
        return false;
}

/* 1 nobody owns it (*ret_v), 0 somebody does, or a death is not settled: noted what to sleep on. */
static int entry_examine(Wait *w, Entry *e, uint32_t *ret_v) {
        for (;;) {
                uint32_t v = atomic_load(&e->word);

                if (word_tid(v) == 0) {
                        if (v & WORD_DIED && !death_is_settled(w, e))
                                return 0;
                        *ret_v = v;
                        return 1;
                }
                if (owner_is_over(w, e, v))
                        continue;
                if (!(v & WORD_WAITERS) &&
                                !atomic_compare_exchange_strong(&e->word, &v, v | WORD_WAITERS))
                        continue;
                wait_block(w, &e->word, v | WORD_WAITERS);
                return 0;
        }
}

/* ---- exclusive ---- */

/* 1 no reader is left (but our own); 0 blocked on one. */
static int readers_gone(Wait *w) {
        Entry *own = w->own ? w->own->entry : NULL;
        EntryWalk walk;
        uint32_t v;

        SLOT_EACH_MEMBER (e, w->s, w->slot, walk) {
                if (e == own || atomic_load(&e->word) == 0)
                        continue;
                if (entry_examine(w, e, &v) == 0)
                        return 0;
                if (v & WORD_DIED)
                        take_note(w, e, v);
                (void) atomic_compare_exchange_strong(&e->word, &v, 0);
        }
        return 1;
}

/* deaths: those that nobody has settled count as well. */
static bool readers_are(Wait *w, bool deaths) {
        uint32_t mask = deaths ? WORD_TID | WORD_DIED : WORD_TID;
        Entry *own = w->own ? w->own->entry : NULL;
        EntryWalk walk;

        SLOT_EACH_MEMBER (e, w->s, w->slot, walk)
                if (e != own && (atomic_load(&e->word) & mask) != 0)
                        return true;
        return false;
}

static int take_exclusive(Wait *w) {
        Entry *gate = &w->slot->gate;
        uint32_t v;
        Keeper *k;

        for (;;) {
                w->n_words = 0;
                if (entry_examine(w, gate, &v) == 0 || readers_gone(w) == 0) {
                        queue_unfix(w);
                        return 0;
                }
                if (w->cell != 0 && !queue_fix(w)) {
                        wait_until(w, 0);
                        return 0;
                }
                k = keeper_for(w->s, &gate->word);
                if (!k)
                        return no_keeper(w);
                take_note(w, gate, v);
                if (!atomic_compare_exchange_strong(&gate->word, &v, k->tid | (v & WORD_WAITERS)))
                        continue;
                STEP(GATE_TAKEN);
                if (!readers_are(w, false))
                        break;
                gate_put_back(w->s, w->slot);
        }
        took_one(w, gate);
        return 1;
}

/* ---- shared ---- */

static int reader_claim(Wait *w, Entry *e, uint32_t v) {
        Keeper *k = keeper_for(w->s, &e->word);

        if (!k)
                return no_keeper(w);
        take_note(w, e, v);
        if (!atomic_compare_exchange_strong(&e->word, &v, k->tid)) {
                keeper_drop_entry(w->s, &e->word);
                return 0;
        }
        STEP(READER_CLAIMED);
        if (word_tid(atomic_load(&w->slot->gate.word)) != 0) {
                put_word_back(w->s, e); /* somebody makes its shared hold exclusive */
                return 0;
        }
        took_one(w, e);
        return 1;
}

static int readers_grow(Wait *w) {
        uint32_t n = slot_entries(w->s, w->slot);
        int r;

        if (n >= SEG_PERMITS_MAX)
                return 0;
        r = extent_reserve(w->s, w->slot, n + 1);
        return r < 0 ? r : 1;
}

static int take_shared(Wait *w) {
        Entry *gate = &w->slot->gate;
        EntryWalk walk;
        uint32_t v;
        int r;

        for (;;) {
                w->n_words = 0;
                if (entry_examine(w, gate, &v) == 0)
                        return 0;
                if (v & WORD_DIED) {
                        take_note(w, gate, v);
                        if (!atomic_compare_exchange_strong(&gate->word, &v, v & ~WORD_DIED))
                                continue;
                }
                SLOT_EACH_MEMBER (e, w->s, w->slot, walk) {
                        v = atomic_load(&e->word);
                        if (word_tid(v) != 0 || entry_examine(w, e, &v) == 0)
                                continue;
                        r = reader_claim(w, e, v);
                        if (r != 0)
                                return r;
                }
                r = readers_grow(w);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
        }
        /* As many readers as there can be: any of them will do. */
        SLOT_EACH_MEMBER (e, w->s, w->slot, walk)
                if (entry_examine(w, e, &v) == 1)
                        wait_until(w, 0);
        return 0;
}

/* ---- permits ---- */

static int permit_gather(Wait *w, Entry *e, uint32_t v) {
        Keeper *k = keeper_for(w->s, &e->word);

        if (!k)
                return no_keeper(w);
        take_note(w, e, v);
        if (!atomic_compare_exchange_strong(&e->word, &v, k->tid)) {
                keeper_drop_entry(w->s, &e->word);
                return 0;
        }
        STEP(PERMIT_TAKEN);
        atomic_store(&e->fence, 0);
        atomic_store(&e->flags, 0);
        mate_set(w->s, e, NULL, true);
        if (w->last)
                mate_set(w->s, w->last, e, true);
        else
                w->first = e;
        w->last = e;
        w->got++;
        return 1;
}

/* Held beyond the capacity since it was lowered; they count until they come back. */
static uint32_t permits_over(Wait *w, uint32_t capacity) {
        uint32_t over = 0, i = 0, v;
        EntryWalk walk;

        if (!(atomic_load(&w->slot->flags) & SLOT_OVER))
                return 0;
        SLOT_EACH_MEMBER (e, w->s, w->slot, walk)
                if (i++ >= capacity && word_tid(atomic_load(&e->word)) != 0 &&
                                entry_examine(w, e, &v) == 0)
                        over++;
        if (over == 0)
                (void) atomic_fetch_and(&w->slot->flags, ~SLOT_OVER);
        return over;
}

static int take_permits(Wait *w) {
        uint32_t capacity = MIN_OF(atomic_load(&w->slot->capacity), SEG_PERMITS_MAX), taken = 0, v;
        bool missed;
        EntryWalk walk;
        int r;

        if (w->permits > capacity)
                return -EINVAL;
        do {
                missed = false;
                w->n_words = 0;
                taken = permits_over(w, capacity);
                for (Entry *e = entry_first(w->s, w->slot, capacity, &walk); e;
                                e = entry_next(w->s, &walk)) {
                        if (node_of(w->s, e)->mate & NODE_GATHERED)
                                continue;
                        if (entry_examine(w, e, &v) == 0) {
                                taken++;
                                continue;
                        }
                        if (w->got == w->permits || taken + w->got >= capacity)
                                continue;
                        r = permit_gather(w, e, v);
                        if (r < 0)
                                return r;
                        missed |= r == 0;
                        if (w->got == w->permits && !(atomic_load(&w->slot->flags) & SLOT_OVER))
                                return 1;
                }
                if (w->got == w->permits && taken + w->got <= capacity)
                        return 1;
        } while (missed);
        return 0;
}

/* ---- what others call ---- */

int take_attempt(Wait *w) {
        int r;

        w->n_words = 0;
        if (atomic_load(&w->slot->kind) == KIND_SEMAPHORE) {
                if (w->cell != 0 && !queue_fix(w)) {
                        wait_until(w, 0);
                        return 0;
                }
                r = take_permits(w);
                if (r == 0 && w->got == 0)
                        queue_unfix(w);
        } else
                r = w->shared ? take_shared(w) : take_exclusive(w);
        if (r == 1)
                atomic_store_explicit(&w->slot->free_at, 0, memory_order_relaxed);
        return r;
}

void take_give_back(Wait *w) {
        Entry *e = w->first;

        while (e) {
                Entry *next = mate_of(w->s, e);

                mate_set(w->s, e, NULL, false);
                if (e == &w->slot->gate)
                        gate_put_back(w->s, w->slot);
                else
                        put_word_back(w->s, e);
                e = next;
        }
        w->first = w->last = NULL;
        w->got = 0;
}

/* ---- past the queue ---- */

static bool fast_exclusive(Wait *w) {
        Entry *gate = &w->slot->gate;
        Keeper *k = keeper_for(w->s, &gate->word);
        uint32_t zero = 0;

        if (!k)
                return false;
        STEP(FAST_LISTED);
        if (!atomic_compare_exchange_strong(&gate->word, &zero, k->tid)) {
                keeper_drop_entry(w->s, &gate->word);
                return false;
        }
        STEP(FAST_TAKEN);
        took_one(w, gate);
        if (atomic_load(&w->slot->gen) == w->gen && !readers_are(w, true))
                return true;
        take_give_back(w);
        return false;
}

/* Remember a word for one_fast(). */
static void hint_set(Wait *w, Entry *e) {
        size_t at = (size_t) ((const uint8_t *) e - (const uint8_t *) w->s->extents);
        const Extent *extent = &w->s->extents[at / sizeof(Extent)];
        SlotLocal *local = local_of(w->s, w->slot);

        if (w->s->thread_owned)
                return;
        atomic_store_explicit(&local->hint, NULL, memory_order_relaxed);
        atomic_store_explicit(&local->hint_gen, w->gen, memory_order_relaxed);
        atomic_store_explicit(&local->hint_index,
                        atomic_load(&extent->number) * EXTENT_ENTRIES +
                                        (uint32_t) (e - extent->entries),
                        memory_order_relaxed);
        atomic_store_explicit(&local->hint, e, memory_order_release);
}

/* 1 taken, 0 somebody else was faster, -1 it is not to be had this way. */
static int fast_claim(Wait *w, Entry *e) {
        Keeper *k = keeper_for(w->s, &e->word);
        uint32_t zero = 0;

        if (!k)
                return -1;
        STEP(FAST_LISTED);
        if (!atomic_compare_exchange_strong(&e->word, &zero, k->tid)) {
                keeper_drop_entry(w->s, &e->word);
                return 0;
        }
        STEP(FAST_TAKEN);
        took_one(w, e);
        if (atomic_load(&w->slot->gate.word) == 0 && atomic_load(&w->slot->gen) == w->gen) {
                hint_set(w, e);
                return 1;
        }
        take_give_back(w);
        STEP(READER_UNDONE);
        return -1;
}

/* The first free word; deaths are for the queue to settle. one_fast() tried the one that was ours last. */
static bool fast_one_of(Wait *w, uint32_t n) {
        EntryWalk walk;

        if (atomic_load(&w->slot->gate.word) != 0)
                return false;
        for (Entry *e = entry_first(w->s, w->slot, n, &walk); e; e = entry_next(w->s, &walk)) {
                uint32_t v = atomic_load(&e->word);
                int r = v == 0 ? fast_claim(w, e) : 0;

                if (r != 0)
                        return r > 0;
                if (v != 0 && word_tid(v) == 0)
                        return false; /* died, or left by a queue: for its head to take */
        }
        return false;
}

bool take_fast(Wait *w) {
        if (w->own)
                return false;
        if (atomic_load(&w->slot->kind) == KIND_SEMAPHORE) {
                if (w->permits != 1 || atomic_load(&w->slot->flags) & SLOT_OVER)
                        return false;
                return fast_one_of(w, MIN_OF(atomic_load(&w->slot->capacity), SEG_PERMITS_MAX));
        }
        return w->shared ? fast_one_of(w, SEG_PERMITS_MAX) : fast_exclusive(w);
}
