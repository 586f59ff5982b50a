/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a request: the fast path, the queue, a step each time something changed, the end. It
 * never calls back and never blocks but in wait_sleep(), so that a thread, a poll loop with thousands of
 * requests, or a daemon can drive it.
 */
#include "segment/segment.h"

#include <limits.h>
#include <string.h>

/* How soon to look again where nothing can be slept on, for want of descriptors or memory. */
#define AGAIN_USEC 10000
/* A try takes the queue lock too; whoever keeps it that long is stopped. */
#define TRY_USEC 1000000

void wait_block(Wait *w, Word *word, uint32_t value) {
        if (!w->words) {
                w->words = w->fixed;
                w->cap_words = ELEMENTSOF(w->fixed);
        }
        if (w->n_words == w->cap_words) {
                size_t cap = w->cap_words * 2;
                WordSleep *words = malloc(cap * sizeof(*words));

                if (!words) {
                        wait_until(w, clock_usec(CLOCK_BOOTTIME) + AGAIN_USEC);
                        return;
                }
                memcpy(words, w->words, w->n_words * sizeof(*words));
                if (w->words != w->fixed)
                        free(w->words);
                w->words = words;
                w->cap_words = cap;
        }
        w->words[w->n_words++] = (WordSleep){word, value, false};
}

void wait_watch(Wait *w, uint64_t info) {
        Watch **watches, *watch;

        if (w->cell == 0)
                return; /* a try */
        for (size_t i = 0; i < w->n_watches; i++)
                if (watch_is_of(w->watches[i], info)) {
                        watch_refresh(w->watches[i]);
                        return;
                }
        if (!record_of(w->s, info))
                return;
        watch = watch_new(w->s, info, &w->s->cells[w->cell].poke);
        watches = watch ? realloc(w->watches, (w->n_watches + 1) * sizeof(*watches)) : NULL;
        if (!watches) {
                watch_free(watch);
                wait_until(w, clock_usec(CLOCK_BOOTTIME) + AGAIN_USEC);
                return;
        }
        w->watches = watches;
        w->watches[w->n_watches++] = watch;
        /* It may have happened before the watch was set. */
        wait_until(w, 0);
}

void wait_done(Wait *w) {
        for (size_t i = 0; i < w->n_watches; i++)
                watch_free(w->watches[i]);
        free(w->watches);
        w->watches = NULL;
        w->n_watches = 0;
        if (w->words != w->fixed)
                free(w->words);
        w->words = NULL;
        w->n_words = w->cap_words = 0;
}

void wait_abandon(Wait *w) {
        take_give_back(w);
        queue_leave(w, false);
        wait_done(w);
        bell_ring(w->s, w->slot);
}

/* ---- beginning ---- */

/* As queue_skip() does: a thread of a waiter that died may be asleep where we are about to be. */
static void watch_dying(Wait *w) {
        uint64_t info = atomic_load(&w->slot->dying);
        Record *r = info != 0 ? record_of(w->s, info) : NULL;

        if (r && !record_judge(r))
                wait_watch(w, info);
        else if (info != 0)
                atomic_store(&w->slot->dying, 0);
}

static int start_locked(Wait *w, bool try_only) {
        Slot *slot = w->slot;
        int r;

        queue_trim(w->s, slot);
        if (w->own && queue_upgrader_waits(w->s, slot))
                return -EDEADLK;
        if (atomic_load(&slot->tail) == 0 || w->own) {
                (void) atomic_fetch_or(&slot->gate.word, WORD_WAITERS);
                r = take_attempt(w);
                if (r == 1)
                        hold_grant(w);
                if (r != 0 || try_only) {
                        if (r != 1)
                                take_give_back(w);
                        if (atomic_load(&slot->tail) == 0)
                                gate_open(slot);
                        return r == 0 ? -EAGAIN : r;
                }
        } else if (try_only)
                return -EAGAIN;
        /* Somebody more urgent may be put before us, and must not wait for what we keep. */
        take_give_back(w);
        r = queue_enter(w);
        if (r < 0) {
                if (atomic_load(&slot->tail) == 0)
                        gate_open(slot);
                return r;
        }
        (void) atomic_fetch_or(&slot->gate.word, WORD_WAITERS);
        STEP(GATE_CLOSED);
        watch_dying(w);
        return 0;
}

int wait_start(Wait *w, bool try_only, uint64_t deadline) {
        int r;

        w->look_at = USEC_INFINITE;
        if (!w->record && take_fast(w)) {
                hold_grant(w);
                return 1;
        }
        w->began = clock_usec(CLOCK_MONOTONIC);
        if (try_only)
                deadline = usec_add(w->began, TRY_USEC);
        else /* nobody shall pass by the fast path while we sleep for the queue lock */
                (void) atomic_fetch_or(&w->slot->gate.word, WORD_WAITERS);
        r = structure_lock(w->s, &w->slot->qlock, deadline);
        if (r < 0)
                return try_only && r == -ETIMEDOUT ? -EAGAIN : r;
        w->locked = true;
        r = atomic_load(&w->slot->gen) == w->gen ? start_locked(w, try_only) : -ESTALE;
        w->locked = false;
        structure_unlock(w->s, &w->slot->qlock);
        if (r != 0)
                wait_done(w);
        else
                bell_ring(w->s, w->slot);
        return r;
}

/* ---- a step ---- */

/* The waiter that we were put before still sleeps where we shall. */
static bool place_is_free(Wait *w) {
        Cell *c = &w->s->cells[w->ack_cell];
        uint32_t seen = atomic_load(&c->seen);

        if (w->ack_cell == 0)
                return true;
        if (atomic_load(&c->gen) != w->ack_gen || !cell_is_live(c) ||
                        (int32_t) (seen - w->ack_version) >= 0) {
                w->ack_cell = 0;
                return true;
        }
        wait_watch(w, atomic_load(&c->info));
        wait_block(w, &c->seen, seen);
        return false;
}

/* A holder that keeps its cell may hold longer than it should, too. */
static void check_holder(Wait *w, Cell *before) {
        Entry *gate = &w->slot->gate;
        uint64_t fence = atomic_load(&gate->fence), due;

        if (w->max_hold_usec == 0 || !(atomic_load(&before->flags) & CELL_GRANTED) || fence == 0)
                return;
        due = usec_add(atomic_load(&gate->since), w->max_hold_usec);
        if (due <= clock_usec(CLOCK_MONOTONIC)) {
                (void) hold_end(w->s, w->slot, fence, true, false);
                wait_until(w, 0);
        } else
                wait_until(w, clock_usec(CLOCK_BOOTTIME) + due - clock_usec(CLOCK_MONOTONIC));
}

int wait_step(Wait *w) {
        Cell *c = &w->s->cells[w->cell], *before;
        uint32_t own;
        bool keep;
        int r;

        w->poke = atomic_load(&c->poke);
        w->n_words = 0;
        w->look_at = USEC_INFINITE;
        if (atomic_load(&c->gen) != w->cell_gen || !cell_is_live(c))
                return -EUCLEAN; /* damage: our place is gone */
        if (queue_predecessor(w, &before, &own) == 1) {
                if (!place_is_free(w))
                        return 0;
                wait_block(w, &before->own, own);
                check_holder(w, before);
                STEP(PRED_SLEEP);
                return 0;
        }
        if (!place_is_free(w))
                return 0;
        r = take_attempt(w);
        if (r != 1) {
                STEP(HEAD_SLEEP);
                return r;
        }
        keep = w->first == &w->slot->gate && !w->record;
        hold_grant(w);
        queue_leave(w, keep);
        w->grant->cell = w->cell;
        w->grant->cell_gen = w->cell_gen;
        w->cell = 0;
        wait_done(w);
        return 1;
}

/* ---- sleeping ---- */

static uint64_t boot_to_monotonic(uint64_t when) {
        uint64_t now;

        if (when == USEC_INFINITE || when == 0)
                return when;
        now = clock_usec(CLOCK_BOOTTIME);
        return clock_usec(CLOCK_MONOTONIC) + (when > now ? when - now : 0);
}

/* More words than one call takes: threads of our own sleep on the rest. */
typedef struct Sleeper {
        WordSleep sleeps[WORD_SLEEP_MAX];
        size_t n;
        Word *done;
        pthread_t thread;
} Sleeper;

#define CHUNK (WORD_SLEEP_MAX - 8)

static void *sleeper_main(void *arg) {
        Sleeper *me = arg;

        (void) word_sleep(me->sleeps, me->n, USEC_INFINITE);
        (void) atomic_fetch_add(me->done, 1);
        word_wake_private(me->done, INT_MAX);
        return NULL;
}

static int sleep_many(Wait *w, const WordSleep *extra, uint64_t deadline) {
        size_t n = (w->n_words + CHUNK - 1) / CHUNK, started = 0;
        Sleeper *sleepers = calloc(n, sizeof(*sleepers));
        WordSleep mine[3];
        Word stop = 0, done = 0;
        size_t n_mine = 2;
        int r;

        if (!sleepers)
                return word_sleep(w->words, CHUNK,
                                MIN_OF(deadline, clock_usec(CLOCK_MONOTONIC) + AGAIN_USEC));
        for (; started < n; started++) {
                Sleeper *me = &sleepers[started];

                me->n = MIN_OF(w->n_words - started * CHUNK, CHUNK);
                memcpy(me->sleeps, w->words + started * CHUNK, me->n * sizeof(WordSleep));
                me->sleeps[me->n++] = (WordSleep){&stop, 0, true};
                me->done = &done;
                if (pthread_create(&me->thread, NULL, sleeper_main, me) != 0)
                        break;
        }
        if (started < n)
                deadline = MIN_OF(deadline, clock_usec(CLOCK_MONOTONIC) + AGAIN_USEC);
        mine[0] = (WordSleep){&w->s->cells[w->cell].poke, w->poke, false};
        mine[1] = (WordSleep){&done, 0, true};
        if (extra)
                mine[n_mine++] = *extra;
        r = word_sleep(mine, n_mine, deadline);
        atomic_store(&stop, 1);
        word_wake_private(&stop, INT_MAX);
        for (size_t i = 0; i < started; i++)
                (void) pthread_join(sleepers[i].thread, NULL);
        free(sleepers);
        return r;
}

size_t wait_words(Wait *w, WordSleep *ret, size_t max, uint64_t *ret_until) {
        size_t n = 0;

        *ret_until = boot_to_monotonic(w->look_at);
        if (w->n_words + 1 > max) {
                *ret_until = MIN_OF(*ret_until, clock_usec(CLOCK_MONOTONIC) + AGAIN_USEC);
                w->n_words = max - 1;
        }
        ret[n++] = (WordSleep){&w->s->cells[w->cell].poke, w->poke, false};
        for (size_t i = 0; i < w->n_words; i++)
                ret[n++] = w->words[i];
        return n;
}

int wait_sleep(Wait *w, const WordSleep *extra, uint64_t deadline) {
        uint64_t until = boot_to_monotonic(w->look_at);
        WordSleep sleeps[CHUNK + 8];
        size_t n;
        int r;

        if (w->look_at == 0)
                return deadline <= clock_usec(CLOCK_MONOTONIC) ? -ETIMEDOUT : 0;
        if (w->n_words > CHUNK)
                r = sleep_many(w, extra, MIN_OF(until, deadline));
        else {
                n = wait_words(w, sleeps, ELEMENTSOF(sleeps), &until);
                if (extra)
                        sleeps[n++] = *extra;
                r = word_sleep(sleeps, n, MIN_OF(until, deadline));
        }
        STEP(HEAD_WOKEN);
        return r == -ETIMEDOUT && until < deadline ? 0 : r;
}
