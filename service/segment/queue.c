/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The queue of a slot: a chain of robust cells, each with the index of its predecessor.
 *
 * Entering needs the queue lock; leaving, being granted and dying don't. A waiter sleeps on the word of
 * its predecessor's cell and on nobody else's: one sleeper a word, for the kernel wakes one when an owner
 * dies. (Whoever gives up a word wakes all: beside the sleeper may be the thread of a process whose keeper is
 * dead already, and it would take the wake with it.) A predecessor that has no owner any more is skipped by its successor, which then frees the cell:
 * nothing else refers to it. A dead tail is trimmed by whoever enters next.
 *
 * Who has priority is inserted further ahead, before a waiter x that may sleep on x's predecessor y
 * already. Two must not sleep on y, so the place passes from x to the newcomer by x's word: Cell.pred
 * carries a version that each insertion raises, x (poked) repeats the version in Cell.seen once it sleeps
 * elsewhere, and the newcomer waits for that or for x's death, which it watches by x's pidfd because x's
 * own word has its sleeper already. FIXED in Cell.pred says that nobody is put before this cell any more:
 * set by the head when it begins to take, and by a successor that is about to skip the cell.
 *
 * The version of a cell never falls, not even when it is freed and used again, so that a compare-exchange
 * on Cell.pred can't mistake one life of a cell for another.
 */
#include "segment/segment.h"

#include <limits.h>

/* Nobody keeps a queue lock that long but by being preempted. */
#define LOCK_SLEPT_USEC 20

static uint32_t pred_index(uint64_t pred) {
        return (uint32_t) (pred & PRED_INDEX);
}

static uint32_t pred_version(uint64_t pred) {
        return (uint32_t) (pred >> PRED_VERSION_SHIFT);
}

static uint64_t pred_make(uint32_t version, uint32_t index) {
        return (uint64_t) version << PRED_VERSION_SHIFT | index;
}

/* A cell of this slot's queue; NULL for none, and for damage. */
static Cell *cell_at(Segment *s, const Slot *slot, uint32_t i) {
        Cell *c;

        if (i == 0 || i >= s->n_cells)
                return NULL;
        c = &s->cells[i];
        return atomic_load(&c->slot) == slot_index(s, slot) + 1 ? c : NULL;
}

static void cell_free(Cell *c) {
        atomic_store(&c->slot, 0);
}

static void poke_cell(Cell *c) {
        (void) atomic_fetch_add(&c->poke, 1);
        word_wake(&c->poke, INT_MAX);
}

void gate_open(Slot *slot) {
        uint32_t v = atomic_load(&slot->gate.word);

        while (v & WORD_WAITERS &&
                        !atomic_compare_exchange_weak(&slot->gate.word, &v, v & ~WORD_WAITERS))
                ;
}

void queue_trim(Segment *s, Slot *slot) {
        for (uint32_t steps = 0; steps < s->n_cells; steps++) {
                uint32_t tail = atomic_load(&slot->tail);
                Cell *c = cell_at(s, slot, tail);

                if (tail == 0)
                        return;
                if (!c) {
                        atomic_store(&slot->tail, 0);
                        return;
                }
                if (cell_is_live(c))
                        return;
                if (atomic_load(&c->own) &
                                WORD_DIED) /* for who sleeps where it may still: start_locked() */
                        atomic_store(&slot->dying, atomic_load(&c->info));
                atomic_store(&slot->tail, pred_index(atomic_load(&c->pred)));
                STEP(TRIMMED);
                cell_free(c);
        }
        atomic_store(&slot->tail, 0);
}

/* ---- cells ---- */

static uint32_t cell_find(Segment *s, uint32_t mark) {
        uint32_t hint = atomic_load(&s->header->cell_hint);

        for (uint32_t i = 0; i < s->n_cells; i++) {
                uint32_t at = (hint + i) % s->n_cells, zero = 0;

                if (at == 0 ||
                                atomic_load_explicit(&s->cells[at].slot, memory_order_relaxed) !=
                                                0 ||
                                !atomic_compare_exchange_strong(&s->cells[at].slot, &zero, mark))
                        continue;
                atomic_store(&s->header->cell_hint, at + 1);
                return at;
        }
        return 0;
}

/* Marks what the chain reaches; false if it changed under the walk. */
static bool queue_mark(Segment *s, Slot *slot, uint8_t *reached) {
        uint32_t at = atomic_load(&slot->tail);

        while (at != 0) {
                Cell *c = cell_at(s, slot, at);

                if (!c || reached[at])
                        return false;
                reached[at] = 1;
                at = pred_index(atomic_load(&c->pred));
        }
        return true;
}

/* May a dead cell that no chain reaches be freed by us? Not if its skipper is about to. */
static bool cell_is_lost(const Cell *c, uint32_t mark) {
        uint64_t since = atomic_load(&c->since);

        return atomic_load(&c->slot) == mark && !cell_is_live(c) &&
               !(since & CELL_SKIPPER && word_owner_exists((uint32_t) since & WORD_TID));
}

/* Cells of a slot that no chain reaches: their makers died at a bad moment. */
static uint32_t queue_collect(Segment *s, Slot *slot) {
        uint32_t mark = slot_index(s, slot) + 1, freed = 0;
        uint8_t *reached = calloc(1, s->n_cells);

        if (reached && queue_mark(s, slot, reached))
                for (uint32_t i = 1; i < s->n_cells; i++)
                        if (!reached[i] && cell_is_lost(&s->cells[i], mark)) {
                                cell_free(&s->cells[i]);
                                freed++;
                        }
        free(reached);
        return freed;
}

static uint32_t cells_collect(Segment *s, Slot *mine) {
        uint32_t freed = 0;

        for (uint32_t i = 0; i < s->n_slots; i++) {
                Slot *slot = &s->slots[i];

                if (atomic_load(&slot->kind) == 0 ||
                                (slot != mine && !structure_trylock_second(s, &slot->qlock)))
                        continue;
                queue_trim(s, slot);
                freed += queue_collect(s, slot);
                if (slot != mine)
                        structure_unlock_second(s, &slot->qlock);
        }
        return freed;
}

static int cell_new(Wait *w, uint64_t arrival) {
        Segment *s = w->s;
        uint32_t mark = slot_index(s, w->slot) + 1, at = cell_find(s, mark), version;
        Keeper *k;
        Cell *c;

        if (at == 0 && cells_collect(s, w->slot) > 0)
                at = cell_find(s, mark);
        if (at == 0)
                return -ENOSPC;
        STEP(CELL_CLAIMED);
        c = &s->cells[at];
        w->cell_gen = atomic_fetch_add(&c->gen, 1) + 1;
        version = pred_version(atomic_load(&c->pred)) + 1;
        atomic_store(&c->pred, pred_make(version, 0));
        atomic_store(&c->seen, version);
        atomic_store(&c->flags, (w->shared ? CELL_SHARED : 0) | (w->own ? CELL_UPGRADE : 0));
        atomic_store(&c->permits, w->permits);
        atomic_store(&c->priority, (uint32_t) (w->priority + 20));
        atomic_store(&c->arrival, arrival);
        atomic_store(&c->info, w->info);
        atomic_store(&c->since, clock_usec(CLOCK_MONOTONIC));
        k = keeper_for(s, &c->own);
        if (!k) {
                cell_free(c);
                return -EBUSY;
        }
        STEP(CELL_LISTED);
        atomic_store(&c->own, k->tid);
        STEP(CELL_OWNED);
        w->cell = at;
        return 0;
}

void cell_release(Segment *s, uint32_t cell, uint32_t gen) {
        Cell *c = &s->cells[cell];

        if (atomic_load(&c->gen) != gen || !cell_is_live(c))
                return;
        /* Whoever waits for us to make room: we have. It is asleep on seen, if it asked; and one that asks
         * from now on sees a dead owner. */
        if (UNLIKELY(atomic_load(&c->flags) & CELL_ASKED)) {
                atomic_store(&c->seen, pred_version(atomic_load(&c->pred)) + (1u << 30));
                word_wake(&c->seen, INT_MAX);
        }
        (void) keeper_give_up(s, &c->own);
        if (UNLIKELY(atomic_load(&c->flags) & CELL_ASKED && atomic_load(&c->gen) == gen)) {
                (void) atomic_fetch_add(&c->seen, 1u << 30);
                word_wake(&c->seen, INT_MAX);
        }
}

/* ---- entering ---- */

typedef struct Position {
        uint32_t before, after; /* cells that the newcomer comes between; 0: none */
        uint64_t after_pred;    /* Cell.pred of after when we looked */
} Position;

/* false: the chain changed while we looked. */
static bool queue_position(Wait *w, uint64_t arrival, Position *ret) {
        Segment *s = w->s;
        Position p = {.before = atomic_load(&w->slot->tail)};

        for (uint32_t steps = 0; steps < s->n_cells && p.before != 0; steps++) {
                Cell *c = cell_at(s, w->slot, p.before);
                uint64_t pred;

                if (!c)
                        return false;
                pred = atomic_load(&c->pred);
                if (p.after != 0 && atomic_load(&s->cells[p.after].pred) != p.after_pred)
                        return false;
                if (pred & PRED_FIXED || atomic_load(&c->arrival) <= arrival)
                        break;
                p.after = p.before;
                p.after_pred = pred;
                p.before = pred_index(pred);
        }
        *ret = p;
        return true;
}

static bool queue_insert(Wait *w, const Position *p) {
        Segment *s = w->s;
        Cell *c = &s->cells[w->cell], *after;
        uint32_t version = pred_version(atomic_load(&c->pred));

        atomic_store(&c->pred, pred_make(version, p->before));
        if (p->after == 0) {
                atomic_store(&w->slot->tail, w->cell);
                STEP(CELL_LINKED);
                return true;
        }
        after = &s->cells[p->after];
        (void) atomic_fetch_or(&after->flags, CELL_ASKED);
        w->ack_gen = atomic_load(&after->gen);
        w->ack_version = pred_version(p->after_pred) + 1;
        if (!atomic_compare_exchange_strong(&after->pred, &(uint64_t){p->after_pred},
                            pred_make(w->ack_version, w->cell)))
                return false;
        STEP(INSERTED);
        w->ack_cell = p->after;
        poke_cell(after);
        return true;
}

int queue_enter(Wait *w) {
        uint64_t now = clock_usec(CLOCK_MONOTONIC), arrival;
        Position p;
        int r;

        /* The queue lock is not fair. Who had to sleep for it stands where it would have without. */
        if (w->began != 0 && now - w->began > LOCK_SLEPT_USEC)
                now = w->began;
        arrival = w->own ? 0 : (uint64_t) ((int64_t) now + (int64_t) w->priority * 100000);
        r = cell_new(w, arrival);
        if (r < 0)
                return r;
        for (uint32_t tries = 0; tries < 1000; tries++) {
                if (!queue_position(w, arrival, &p)) {
                        queue_trim(w->s, w->slot);
                        continue;
                }
                if (queue_insert(w, &p)) {
                        if (w->own)
                                atomic_store(&w->slot->upgrader, w->cell);
                        return 0;
                }
        }
        /* The chain is damaged beyond use. */
        cell_release(w->s, w->cell, w->cell_gen);
        cell_free(&w->s->cells[w->cell]);
        w->cell = 0;
        return -EUCLEAN;
}

bool queue_upgrader_waits(Segment *s, Slot *slot) {
        Cell *c = cell_at(s, slot, atomic_load(&slot->upgrader));

        return c && cell_is_live(c) &&
               (atomic_load(&c->flags) & (CELL_UPGRADE | CELL_GRANTED)) == CELL_UPGRADE;
}

void queue_poke_head(Segment *s, Slot *slot) {
        uint32_t at = atomic_load(&slot->tail);

        for (uint32_t steps = 0; steps < s->n_cells; steps++) {
                Cell *c = cell_at(s, slot, at);

                if (!c)
                        return;
                at = pred_index(atomic_load(&c->pred));
                /* Not only the last one: those before it may be dead. */
                if (at == 0 || !cell_at(s, slot, at) || !cell_is_live(&s->cells[at]))
                        poke_cell(c);
        }
}

/* Free the cell that an exclusive holder keeps, for the hold is ended by force. */
void queue_drop_holder(Segment *s, Slot *slot, uint32_t tid) {
        uint32_t at = atomic_load(&slot->tail);

        for (uint32_t steps = 0; steps < s->n_cells; steps++) {
                Cell *c = cell_at(s, slot, at);
                uint32_t v;

                if (!c)
                        return;
                v = atomic_load(&c->own);
                if (atomic_load(&c->flags) & CELL_GRANTED && word_tid(v) == tid) {
                        Keeper *k = keeper_any(s);

                        keeper_pending(s, k, &c->own);
                        if (atomic_exchange(&c->own, 0) & WORD_WAITERS)
                                word_wake(&c->own, INT_MAX);
                        keeper_pending_done(k);
                        return;
                }
                at = pred_index(atomic_load(&c->pred));
        }
}

/* ---- waiting and leaving ---- */

/* From now on nobody is put before p, so its pred is final. */
static void queue_skip(Wait *w, Cell *mine, uint64_t mine_pred, uint32_t p) {
        Cell *dead = &w->s->cells[p];
        uint64_t pred, next;

        /* Its keeper died, but the thread that waited may still be asleep where we are about to be, and take
         * a wake with it into death. When the whole process is gone we look again. */
        if (atomic_load(&dead->own) & WORD_DIED)
                wait_watch(w, atomic_load(&dead->info));
        atomic_store(&dead->since, CELL_SKIPPER | word_tid(atomic_load(&mine->own)));
        pred = atomic_fetch_or(&dead->pred, PRED_FIXED);
        next = (mine_pred & ~PRED_INDEX) | pred_index(pred);

        if (atomic_compare_exchange_strong(&mine->pred, &mine_pred, next)) {
                STEP(SKIPPED);
                cell_free(dead);
        }
}

int queue_predecessor(Wait *w, Cell **ret, uint32_t *ret_own) {
        Cell *mine = &w->s->cells[w->cell], *c;

        for (uint32_t steps = 0; steps < w->s->n_cells; steps++) {
                uint64_t pred = atomic_load(&mine->pred);
                uint32_t p = pred_index(pred), v;

                if (atomic_load(&mine->seen) != pred_version(pred)) {
                        atomic_store(&mine->seen, pred_version(pred));
                        word_wake(&mine->seen, INT_MAX);
                        STEP(INSERT_ACKED);
                }
                if (p == 0)
                        return 0;
                c = cell_at(w->s, w->slot, p);
                if (!c) { /* damage */
                        (void) atomic_compare_exchange_strong(
                                        &mine->pred, &pred, pred & ~PRED_INDEX);
                        continue;
                }
                v = atomic_load(&c->own);
                if (word_tid(v) == 0) {
                        queue_skip(w, mine, pred, p);
                        continue;
                }
                if (!word_owner_exists(word_tid(v))) {
                        (void) atomic_compare_exchange_strong(&c->own, &v, WORD_DIED);
                        continue;
                }
                if (!(v & WORD_WAITERS) &&
                                !atomic_compare_exchange_strong(&c->own, &v, v | WORD_WAITERS))
                        continue;
                *ret = c;
                *ret_own = v | WORD_WAITERS;
                return 1;
        }
        return 0;
}

bool queue_fix(Wait *w) {
        Cell *c = &w->s->cells[w->cell];
        uint64_t pred = atomic_load(&c->pred);

        if (pred & PRED_FIXED)
                return true;
        if (pred_index(pred) != 0 ||
                        !atomic_compare_exchange_strong(&c->pred, &pred, pred | PRED_FIXED))
                return false; /* somebody was put before us */
        STEP(FIXED);
        return true;
}

void queue_unfix(Wait *w) {
        Cell *c = &w->s->cells[w->cell];

        if (w->cell != 0 && atomic_load(&c->pred) & PRED_FIXED)
                (void) atomic_fetch_and(&c->pred, ~PRED_FIXED);
}

/* We are the last: take our cell out, so that the fast path works again. false: somebody comes. */
static bool queue_leave_as_tail(Wait *w) {
        Segment *s = w->s;
        Slot *slot = w->slot;
        Cell *c = &s->cells[w->cell];
        bool last;

        if (atomic_load(&slot->tail) != w->cell || !structure_trylock(s, &slot->qlock))
                return false;
        last = atomic_load(&slot->tail) == w->cell;
        if (last) {
                atomic_store(&slot->tail, pred_index(atomic_load(&c->pred)));
                queue_trim(s, slot);
                STEP(QUEUE_EMPTIED);
                if (atomic_load(&slot->tail) == 0)
                        gate_open(slot);
                cell_release(s, w->cell, w->cell_gen);
                cell_free(c);
        }
        structure_unlock(s, &slot->qlock);
        return last;
}

void queue_leave(Wait *w, bool keep) {
        if (w->cell == 0)
                return;
        if (queue_leave_as_tail(w))
                w->cell = 0;
        else if (keep)
                (void) atomic_fetch_or(&w->s->cells[w->cell].flags, CELL_GRANTED);
        else {
                cell_release(w->s, w->cell, w->cell_gen);
                w->cell = 0;
        }
}
