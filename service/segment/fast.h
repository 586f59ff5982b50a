/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an uncontended lock or permit costs: one compare-exchange to take it, two to give it back, inline
 * in whoever calls. Anything out of the ordinary is left to wait.c and hold.c.
 */
#pragma once

#include "segment/segment.h"

/* The fast path of an exclusive lock, for callers that know the slot: NULL when it is not to be had so. */
static inline bool lock_fast(
                Segment *s, Slot *slot, uint32_t gen, uint32_t flags, uint64_t now, Grant *g) {
        Node *n = node_of(s, &slot->gate);
        uint32_t k = atomic_load_explicit(&n->keeper, memory_order_acquire), v = 0, tid;
        uint64_t fence;

        if (UNLIKELY(k == 0 || k > KEEPERS_MAX))
                return false;
        tid = s->keepers[k - 1]->tid;
        if (!atomic_compare_exchange_strong_explicit(
                            &slot->gate.word, &v, tid, memory_order_seq_cst, memory_order_relaxed))
                return false;
        STEP(FAST_TAKEN);
        g->slot = slot;
        g->entry = &slot->gate;
        g->n = 1;
        g->owner = tid;
        g->cell = 0;
        g->gen = gen;
        g->shared = false;
        g->abandoned = false;
        if (UNLIKELY(atomic_load_explicit(&slot->gen, memory_order_relaxed) != gen ||
                            atomic_load_explicit(&slot->extent, memory_order_seq_cst) != 0 ||
                            atomic_load_explicit(&slot->flags, memory_order_relaxed) & SLOT_DEATH))
                return false; /* the caller sees g->entry and looks closer */
        atomic_store_explicit(&slot->gate.since, now, memory_order_relaxed);
        atomic_store_explicit(&slot->gate.flags, flags, memory_order_relaxed);
        atomic_store_explicit(&slot->gate.info,
                        atomic_load_explicit(&s->info, memory_order_relaxed), memory_order_relaxed);
        fence = atomic_load_explicit(&slot->counter, memory_order_relaxed) + 1;
        atomic_store_explicit(&slot->counter, fence, memory_order_relaxed);
        atomic_store_explicit(&slot->gate.fence, fence, memory_order_release);
        g->fence = fence;
        STEP(FAST_GRANTED);
        return true;
}

/* The same for one permit, or a reader's place: the word that was ours last, below index limit. */
static inline bool one_fast(Segment *s,
                Slot *slot,
                uint32_t gen,
                uint32_t limit,
                uint32_t flags,
                uint64_t now,
                Grant *g) {
        SlotLocal *local = local_of(s, slot);
        Entry *e = atomic_load_explicit(&local->hint, memory_order_acquire);
        uint32_t k, v = 0, tid;

        if (UNLIKELY(!e || atomic_load_explicit(&local->hint_gen, memory_order_relaxed) != gen ||
                            atomic_load_explicit(&local->hint_index, memory_order_relaxed) >=
                                            limit ||
                            atomic_load_explicit(&slot->gate.word, memory_order_relaxed) != 0 ||
                            atomic_load_explicit(&slot->flags, memory_order_relaxed) &
                                            ~SLOT_PINNED))
                return false;
        k = atomic_load_explicit(&node_of(s, e)->keeper, memory_order_acquire);
        if (UNLIKELY(k == 0 || k > KEEPERS_MAX))
                return false;
        tid = s->keepers[k - 1]->tid;
        if (!atomic_compare_exchange_strong_explicit(
                            &e->word, &v, tid, memory_order_seq_cst, memory_order_relaxed))
                return false;
        STEP(FAST_TAKEN);
        atomic_store_explicit(&node_of(s, e)->mate, 0, memory_order_relaxed);
        g->slot = slot;
        g->entry = e;
        g->n = 1;
        g->owner = tid;
        g->cell = 0;
        g->gen = gen;
        g->abandoned = false;
        if (UNLIKELY(atomic_load_explicit(&slot->gen, memory_order_relaxed) != gen ||
                            atomic_load_explicit(&slot->gate.word, memory_order_seq_cst) != 0))
                return false; /* the caller sees g->entry and gives it back */
        atomic_store_explicit(&e->since, now, memory_order_relaxed);
        atomic_store_explicit(&e->flags, flags, memory_order_relaxed);
        atomic_store_explicit(&e->info, atomic_load_explicit(&s->info, memory_order_relaxed),
                        memory_order_relaxed);
        g->fence = atomic_fetch_add_explicit(&slot->counter, 1, memory_order_relaxed) + 1;
        atomic_store_explicit(&e->fence, g->fence, memory_order_release);
        STEP(FAST_GRANTED);
        return true;
}

/* Its twin: 0 released; 1 the fence is cleared, hold_put_back() does the rest; 2 nothing done yet. */
static inline int lock_fast_release(const Grant *g) {
        uint64_t fence = g->fence;
        uint32_t v = g->owner;

        if (UNLIKELY(g->cell != 0 || g->n != 1 || word_is_sentinel(v) ||
                            atomic_load_explicit(&g->slot->flags, memory_order_relaxed) &
                                            SLOT_WATCHED))
                return 2;
        if (!atomic_compare_exchange_strong_explicit(&g->entry->fence, &fence, 0,
                            memory_order_acq_rel, memory_order_relaxed))
                return 2;
        STEP(FENCE_CLEARED);
        return atomic_compare_exchange_strong_explicit(
                               &g->entry->word, &v, 0, memory_order_release, memory_order_relaxed)
                               ? 0
                               : 1;
}
