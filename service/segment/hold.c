/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holds: giving them a fence, ending them, and letting them stand on a record.
 *
 * Who may end a hold is decided at one place: whoever changes the entry's fence. The holder itself sets it to
 * zero. Everybody else (Break, a release by token, the judge of a record that is over) sets it to
 * CLAIM and its own thread id, and only then changes the word; should it die in between, the claim of
 * a dead thread may be taken over, by the holder too. So an old holder never frees what is another's by
 * now, though both may carry the same keeper's id.
 */
#include "segment/segment.h"

#include <limits.h>

void bell_ring(Segment *s, Slot *slot) {
        bool heard = false;

        if (!(atomic_load(&slot->flags) & SLOT_WATCHED))
                return;
        for (uint32_t i = 0; i < SEG_WATCHERS; i++)
                heard |= word_tid(atomic_load(&s->header->watchers[i].word)) != 0;
        if (!heard)
                (void) atomic_fetch_and(&slot->flags, ~SLOT_WATCHED);
        (void) atomic_fetch_add(&s->header->bell, 1);
        word_wake(&s->header->bell, INT_MAX);
}

/* ---- giving ---- */

static void entry_grant(Entry *e, uint64_t fence, uint64_t now, uint64_t info, bool strict) {
        atomic_store_explicit(&e->since, now, memory_order_relaxed);
        atomic_store_explicit(&e->flags, strict ? ENTRY_STRICT : 0, memory_order_relaxed);
        atomic_store_explicit(&e->info, info, memory_order_relaxed);
        atomic_store_explicit(&e->fence, fence, memory_order_release);
}

static uint64_t coarse_now(void) {
        return clock_usec(CLOCK_MONOTONIC_COARSE);
}

void hold_confirm(Segment *s, Grant *g, uint64_t info, bool strict) {
        uint64_t now = coarse_now();

        g->fence = atomic_fetch_add(&g->slot->counter, 1) + 1;
        for (Entry *e = g->entry; e; e = GRANT_NEXT(s, g, e))
                entry_grant(e, g->fence, now, info, strict);
        STEP(FENCE_GIVEN);
        bell_ring(s, g->slot);
}

/* The record is complete before any word points to it, and its maker may die at any step. */
static void word_to_record(Segment *s, Entry *e, uint32_t owner, uint64_t info) {
        uint32_t v = atomic_load(&e->word);

        while (word_tid(v) == owner &&
                        !atomic_compare_exchange_weak(&e->word, &v,
                                        WORD_SENTINEL | (uint32_t) info | (v & WORD_WAITERS)))
                ;
        STEP(RECORD_STANDS);
        if (v & WORD_WAITERS)
                word_wake(&e->word, INT_MAX);
        keeper_drop_entry(s, &e->word);
}

void hold_grant(Wait *w) {
        Grant *g = w->grant;
        uint64_t now = coarse_now();

        g->slot = w->slot;
        g->entry = w->first;
        g->n = w->got;
        g->gen = w->gen;
        g->owner = word_tid(atomic_load(&w->first->word));
        g->cell = 0;
        g->abandoned = atomic_load(&w->slot->flags) & SLOT_DEATH &&
                       atomic_fetch_and(&w->slot->flags, ~SLOT_DEATH) & SLOT_DEATH;
        g->shared = w->shared;
        g->fence = 0;
        if (!w->reserve)
                g->fence = atomic_fetch_add(&w->slot->counter, 1) + 1;
        for (Entry *e = w->first; e; e = GRANT_NEXT(w->s, g, e)) {
                mate_set(w->s, e, mate_of(w->s, e), false);
                entry_grant(e, g->fence, now, w->record ? w->record : w->info,
                                w->strict && !w->reserve);
        }
        STEP(FENCE_GIVEN);
        if (w->record) {
                Record *r = &w->s->records[(uint32_t) w->record % w->s->n_records];

                atomic_store(&r->fence, g->fence);
                atomic_store(&r->slot, slot_index(w->s, w->slot) + 1);
                for (Entry *e = w->first; e; e = GRANT_NEXT(w->s, g, e))
                        word_to_record(w->s, e, word_tid(atomic_load(&e->word)), w->record);
                g->owner = WORD_SENTINEL | (uint32_t) w->record;
                record_disown(w->s, w->record);
        }
        w->first = w->last = NULL;
        w->got = 0;
        bell_ring(w->s, w->slot);
}

/* ---- giving back ---- */

/* Free the word of an entry whose end is ours to make, if it still is owner's. */
static void entry_free(Segment *s, Entry *e, uint32_t owner, uint32_t died, bool wake) {
        uint32_t v = atomic_load(&e->word);
        Keeper *k;

        /* Where nobody waits there is no wake to lose. */
        if (v == owner && atomic_compare_exchange_strong(&e->word, &v, died)) {
                STEP(RELEASE_STORED);
                keeper_drop_entry(s, &e->word);
                return;
        }
        k = keeper_any(s);
        if (!k)
                return;
        keeper_pending(s, k, &e->word);
        STEP(RELEASE_PENDING);
        v = atomic_load(&e->word);
        /* WAITERS stays: only the head of the queue takes a word that has it, and wakes are not lost
         * to somebody who passes by between this and the wake. */
        while (word_tid(v) == owner &&
                        !atomic_compare_exchange_weak(&e->word, &v, (v & WORD_WAITERS) | died))
                ;
        STEP(RELEASE_STORED);
        if (v & WORD_WAITERS && wake)
                word_wake(&e->word, INT_MAX);
        STEP(RELEASE_WAKED);
        keeper_pending_done(k);
        keeper_drop_entry(s, &e->word);
}

void hold_put_back(Segment *s, Grant *g, bool died) {
        Entry *e = g->entry;
        uint32_t cell = g->cell;

        g->cell = 0;
        while (e) {
                Entry *next = GRANT_NEXT(s, g, e);

                if (died)
                        atomic_store(&e->fence, FENCE_CLAIM);
                /* With a cell of ours the next one sleeps on that, and nobody on the gate. */
                entry_free(s, e, word_tid(atomic_load(&e->word)), died ? WORD_DIED : 0, cell == 0);
                e = next;
        }
        STEP(RELEASE_GATE_DONE);
        if (cell != 0)
                cell_release(s, cell, g->cell_gen);
        bell_ring(s, g->slot);
}

/* Is the end of this hold ours to make? */
static bool fence_take(Entry *e, uint64_t fence, uint64_t value) {
        uint64_t seen = fence;

        if (atomic_compare_exchange_strong(&e->fence, &seen, value))
                return true;
        /* Somebody began to end it by force, and died over it. */
        return seen & FENCE_CLAIM && (uint32_t) seen != 0 &&
               !word_owner_exists((uint32_t) seen & WORD_TID) &&
               atomic_compare_exchange_strong(&e->fence, &seen, value);
}

int hold_release(Segment *s, Grant *g) {
        Entry *e = g->entry;
        Grant mine = *g;
        int r = 0;

        if (word_is_sentinel(g->owner))
                return hold_end(s, g->slot, g->fence, false, false);
        if (g->n == 1) {
                if (!fence_take(e, g->fence, 0))
                        return -ESTALE;
                STEP(FENCE_CLEARED);
                hold_put_back(s, g, false);
                return 0;
        }
        while (e) {
                Entry *next = mate_of(s, e);

                mine.entry = e;
                mine.n = 1;
                if (fence_take(e, g->fence, 0))
                        hold_put_back(s, &mine, false);
                else
                        r = -ESTALE;
                e = next;
        }
        return r;
}

/* ---- ending by force ---- */

Entry *hold_find(Segment *s, Slot *slot, uint64_t fence) {
        EntryWalk walk;

        if (atomic_load(&slot->gate.fence) == fence && word_tid(atomic_load(&slot->gate.word)) != 0)
                return &slot->gate;
        SLOT_EACH_MEMBER (e, s, slot, walk)
                if (atomic_load(&e->fence) == fence && word_tid(atomic_load(&e->word)) != 0)
                        return e;
        return NULL;
}

static void bell_of_process(Segment *s, uint64_t info) {
        Record *r = record_of(s, info), *maker;

        if (!r)
                return;
        if (atomic_load(&r->kind) == RECORD_PROCESS)
                maker = record_of(s, atomic_load(&r->maker)) ? record_of(s, atomic_load(&r->maker))
                                                             : r;
        else
                maker = record_of(s, atomic_load(&r->maker));
        if (!maker)
                return;
        (void) atomic_fetch_add(&maker->bell, 1);
        word_wake(&maker->bell, INT_MAX);
}

static bool entry_end(Segment *s, Slot *slot, Entry *e, uint64_t fence, bool abandoned) {
        uint64_t info = atomic_load(&e->info);
        uint32_t tid = word_tid(atomic_load(&e->word));
        Keeper *k = keeper_any(s);
        Record *r;

        if (!k || tid == 0 || !fence_take(e, fence, FENCE_CLAIM | k->tid))
                return false;
        STEP(CLAIMED);
        if (e == &slot->gate && !word_is_sentinel(tid))
                queue_drop_holder(s, slot, tid);
        entry_free(s, e, tid, abandoned ? WORD_DIED : 0, true);
        STEP(CLAIM_FREED);
        bell_of_process(s, info);
        r = record_of(s, info);
        if (r && word_is_sentinel(tid))
                record_free(s, info);
        return true;
}

/* Only a thread's exclusive hold may have a cell in the queue that has to go with it. */
static bool end_needs_queue(const Slot *slot, uint64_t fence) {
        uint32_t tid = word_tid(atomic_load(&slot->gate.word));

        return atomic_load(&slot->gate.fence) == fence && tid != 0 && !word_is_sentinel(tid);
}

int hold_end(Segment *s, Slot *slot, uint64_t fence, bool abandoned, bool locked) {
        bool lock = !locked && end_needs_queue(slot, fence), ended;
        EntryWalk walk;
        int r;

        if (lock) {
                r = structure_lock(s, &slot->qlock, USEC_INFINITE);
                if (r < 0)
                        return r;
        }
        ended = entry_end(s, slot, &slot->gate, fence, abandoned);
        SLOT_EACH_MEMBER (e, s, slot, walk)
                if (word_tid(atomic_load(&e->word)) != 0)
                        ended |= entry_end(s, slot, e, fence, abandoned);
        if (lock)
                structure_unlock(s, &slot->qlock);
        if (ended)
                bell_ring(s, slot);
        return ended ? 0 : -ESTALE;
}

bool hold_reap(Segment *s, Entry *e, uint32_t v) {
        uint64_t fence = atomic_load(&e->fence), info = atomic_load(&e->info);
        Keeper *k = keeper_any(s);

        /* A claim of somebody alive stands: he is about to free the word. */
        if (!k || (fence & FENCE_CLAIM && (uint32_t) fence != k->tid && (uint32_t) fence != 0 &&
                                  word_owner_exists((uint32_t) fence & WORD_TID)))
                return false;
        if (!fence_take(e, fence, FENCE_CLAIM | k->tid))
                return false;
        STEP(CLAIMED);
        (void) atomic_compare_exchange_strong(&e->word, &v, WORD_DIED | (v & WORD_WAITERS));
        bell_of_process(s, info);
        return true;
}

/* ---- changing what a hold is ---- */

/* The head may sleep on our word and would not learn that it stands on a record from now on, should we die
 * right after: so it is told before, by a poke, and finds MOVING. */
/* Where nobody queues there is nobody to tell. Only for a hold of one word. */
static bool move_alone(Segment *s, Entry *e, uint64_t info) {
        uint32_t v = atomic_load(&e->word) & ~WORD_WAITERS;

        atomic_store(&e->info, info);
        (void) atomic_fetch_or(&e->flags, ENTRY_MOVING);
        STEP(RECORD_MOVING);
        if (!atomic_compare_exchange_strong(&e->word, &v, WORD_SENTINEL | (uint32_t) info))
                return false;
        STEP(RECORD_STANDS);
        keeper_drop_entry(s, &e->word);
        return true;
}

static uint32_t move_each(Segment *s, Slot *slot, uint64_t fence, uint64_t info, bool locked) {
        uint32_t moved = 0;
        EntryWalk walk;

        SLOT_EACH_ENTRY (e, s, slot, walk) {
                uint32_t owner = word_tid(atomic_load(&e->word));

                /* In this order: an owner of before the look at the fence is the hold's own. */
                if (owner == 0 || atomic_load(&e->fence) != fence)
                        continue;
                atomic_store(&e->info, info);
                (void) atomic_fetch_or(&e->flags, ENTRY_MOVING);
                STEP(RECORD_MOVING);
                if (locked)
                        queue_poke_head(s, slot);
                word_to_record(s, e, owner, info);
                moved++;
        }
        return moved;
}

int hold_move(Segment *s, Slot *slot, uint64_t fence, uint64_t info) {
        Record *r = &s->records[(uint32_t) info % s->n_records];
        uint32_t moved = 0;
        bool locked;

        atomic_store(&r->fence, fence);
        atomic_store(&r->slot, slot_index(s, slot) + 1);
        STEP(RECORD_WRITTEN);
        if (atomic_load(&slot->gate.fence) == fence && move_alone(s, &slot->gate, info))
                moved = 1;
        else {
                /* A stopped process may keep the queue lock; then the word's change must do. */
                locked = structure_lock(s, &slot->qlock,
                                         usec_add(clock_usec(CLOCK_MONOTONIC), USEC_PER_SEC)) >= 0;
                moved = move_each(s, slot, fence, info, locked);
                if (locked)
                        structure_unlock(s, &slot->qlock);
        }
        record_disown(s, info);
        if (moved == 0)
                record_free(s, info);
        return moved > 0 ? 0 : -ESTALE;
}

static Entry *free_reader(Segment *s, Slot *slot) {
        EntryWalk walk;

        SLOT_EACH_MEMBER (e, s, slot, walk) {
                Keeper *k = keeper_for(s, &e->word);
                uint32_t v = atomic_load(&e->word);

                if (k && word_tid(v) == 0 && atomic_compare_exchange_strong(&e->word, &v, k->tid))
                        return e;
                keeper_drop_entry(s, &e->word);
        }
        return NULL;
}

int hold_downgrade(Segment *s, Grant *g) {
        uint32_t flags = atomic_load(&g->entry->flags);
        uint64_t info = atomic_load(&g->entry->info);
        Grant old = *g;
        Entry *e;
        int r;

        if (!hold_is_current(g))
                return -ESTALE;
        r = extent_reserve(s, g->slot, 1);
        if (r < 0)
                return r;
        e = free_reader(s, g->slot);
        if (!e)
                return -ENOSPC;
        g->entry = e;
        g->owner = word_tid(atomic_load(&e->word));
        g->cell = 0;
        g->shared = true;
        hold_confirm(s, g, info, flags & ENTRY_STRICT);
        r = hold_release(s, &old);
        if (r < 0)
                (void) hold_release(s, g);
        return r;
}
