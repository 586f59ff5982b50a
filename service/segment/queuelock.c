/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Structural locks: the queue lock of a slot and the lock of the name table. Robust words of the
 * structural keeper, held for a handful of instructions. While one waits, its word is the keeper's
 * pending operation: should the process die after it was woken, the kernel wakes the next instead.
 * WAITERS stays in a word that is given back with it: were it cleared, and the giver killed before its
 * wake, the kernel would find the next owner in the word and wake nobody, and that one, seeing no
 * WAITERS, would wake nobody either (tests/model finds this). So a word that was once fought over costs
 * a system call each time; the fast paths never come here.
 * Nothing has to be repaired after a death: whoever changes a structure does it in an order in which
 * every prefix is a valid structure.
 */
#include "segment/segment.h"

#include <limits.h>

static bool word_try(Keeper *k, Word *word, uint32_t *v) {
        while (word_tid(*v) == 0)
                if (atomic_compare_exchange_strong(word, v, k->tid | (*v & WORD_WAITERS)))
                        return true;
        return false;
}

/* Robust words of the dead are marked before their ids are free, so an owner that does not exist was
 * never one: damage. Taking over is all that can be done. */
static bool owner_vanished(Word *word, uint32_t v) {
        if (!word_is_sentinel(v) && word_owner_exists(word_tid(v)))
                return false;
        return atomic_compare_exchange_strong(word, &v, WORD_DIED | (v & WORD_WAITERS));
}

/* Who waits for it sleeps this long at a time. A word that is free in a moment needs no more, and
 * should two processes die at once, one of them asleep here, the kernel may wake that one alone. */
#define SLEEP_USEC 20000

static int structure_sleep(Word *word, uint32_t v, uint64_t deadline) {
        uint64_t until = usec_add(clock_usec(CLOCK_MONOTONIC), SLEEP_USEC);

        return word_sleep(&(WordSleep){word, v, false}, 1, MIN_OF(until, deadline)) == -ETIMEDOUT &&
                                               until >= deadline
                               ? -ETIMEDOUT
                               : 0;
}

static int structure_wait(Keeper *k, Word *word, uint64_t deadline) {
        uint32_t v = atomic_load(word);

        while (!word_try(k, word, &v)) {
                if (owner_vanished(word, v)) {
                        v = atomic_load(word);
                        continue;
                }
                if (!(v & WORD_WAITERS) &&
                                !atomic_compare_exchange_strong(word, &v, v | WORD_WAITERS))
                        continue;
                STEP(QLOCK_WAIT);
                if (structure_sleep(word, v | WORD_WAITERS, deadline) == -ETIMEDOUT)
                        return -ETIMEDOUT;
                STEP(QLOCK_WOKEN);
                v = atomic_load(word);
        }
        return 0;
}

/* Threads share the structural keeper and so take turns; in a thread-owned segment each has its own. */
static int structure_keeper(Segment *s, uint64_t deadline, Keeper **ret) {
        int r;

        if (s->thread_owned) {
                *ret = keeper_of_thread(s);
                return *ret ? 0 : -EBUSY;
        }
        if (UNLIKELY(!atomic_load(&s->has_structural))) {
                r = keeper_start_structural(s);
                if (r < 0)
                        return r;
        }
        *ret = s->structural;
        return lite_lock_until(&s->structural->lock, deadline);
}

static void structure_keeper_done(Segment *s, Keeper *k, Word *word) {
        keeper_unlist(k, node_of(s, word));
        if (s->thread_owned)
                keeper_of_thread_done(k);
        else
                lite_unlock(&k->lock);
}

static void pending_set(Keeper *k, Node *n) {
        atomic_signal_fence(memory_order_seq_cst);
        *(Node *volatile *) &k->head.pending = n;
        atomic_signal_fence(memory_order_seq_cst);
}

int structure_lock(Segment *s, Word *word, uint64_t deadline) {
        Keeper *k;
        int r;

        r = structure_keeper(s, deadline, &k);
        if (r < 0)
                return r;
        keeper_list(k, node_of(s, word));
        pending_set(k, node_of(s, word));
        r = structure_wait(k, word, deadline);
        STEP(QLOCK_TAKEN);
        pending_set(k, NULL);
        if (r < 0)
                structure_keeper_done(s, k, word);
        return r;
}

bool structure_trylock(Segment *s, Word *word) {
        uint32_t v = atomic_load(word);
        Keeper *k;

        if (structure_keeper(s, 0, &k) < 0)
                return false;
        keeper_list(k, node_of(s, word));
        if (word_try(k, word, &v))
                return true;
        structure_keeper_done(s, k, word);
        return false;
}

static void word_give(Keeper *k, Word *word, Node *n) {
        uint32_t v = k->tid;

        pending_set(k, n);
        if (!atomic_compare_exchange_strong(word, &v, 0)) {
                atomic_store(word, WORD_WAITERS);
                STEP(QLOCK_FREED);
                word_wake(word, INT_MAX);
        }
        STEP(QLOCK_WAKED);
        pending_set(k, NULL);
}

void structure_unlock(Segment *s, Word *word) {
        Keeper *k = s->thread_owned ? keeper_of_thread(s) : s->structural;

        if (!k)
                return;
        word_give(k, word, node_of(s, word));
        structure_keeper_done(s, k, word);
}

/* A second word for who holds a first one. No waiting: that would be a lock order. */
bool structure_trylock_second(Segment *s, Word *word) {
        Keeper *k = s->thread_owned ? keeper_of_thread(s) : s->structural;
        uint32_t v = atomic_load(word);

        if (!k)
                return false;
        keeper_list(k, node_of(s, word));
        if (word_try(k, word, &v))
                return true;
        keeper_unlist(k, node_of(s, word));
        return false;
}

void structure_unlock_second(Segment *s, Word *word) {
        Keeper *k = s->thread_owned ? keeper_of_thread(s) : s->structural;

        if (!k)
                return;
        word_give(k, word, node_of(s, word));
        keeper_unlist(k, node_of(s, word));
}
