/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One process's attachment to the segment. Everything that a participant needs to take, wait for and
 * give back what is in it; see segment/README.md for the protocol. It knows no D-Bus, no systemd and
 * no SNMP, and it decides nothing about who may do what.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>

#include "segment/layout.h"
#include "segment/step.h"
#include "segment/word.h"
#include "util/lite.h"
#include "util/util.h"

/* Private twin of a word in the segment, at a fixed distance from it: what the kernel walks. */
typedef struct Node {
        struct Node *next; /* first: struct robust_list */
        struct Node *prev;
        Word keeper; /* index + 1 of the keeper that lists it, 0: not listed */
        Word mate;   /* next entry of the same hold: its place in the segment / 32; NODE_GATHERED */
        Word64 thread; /* whose hold it is: for the library */
} Node;

#define NODE_GATHERED 0x80000000u

_Static_assert(sizeof(Node) == sizeof(Entry), "a node lies in the shadow of its entry");

/* As the kernel reads it (struct robust_list_head). */
typedef struct KeeperHead {
        Node *first;
        long distance;
        Node *pending;
} KeeperHead;

typedef struct Segment Segment;

/* A sleeping thread that owns words for its process. */
typedef struct Keeper {
        KeeperHead head;
        Segment *segment;
        uint32_t tid;
        uint32_t index;
        Lite lock; /* of the list and of pending */
        Word listed;
        pthread_t thread;
        Word ready, quit;
} Keeper;

#define KEEPERS_MAX 64u
/* The kernel walks 2,048 entries of a list. */
#define KEEPER_ENTRIES 1900u

struct Segment {
        Header *header;
        Word *buckets;
        Slot *slots;
        Cell *cells;
        Extent *extents;
        Record *records;
        uint32_t n_buckets, n_slots, n_cells, n_extents, n_records;
        size_t size;
        uint8_t *base;      /* of shadow and segment, one reservation */
        uintptr_t distance; /* from a node to its word */

        Lite lock; /* of what follows */
        Keeper *keepers[KEEPERS_MAX];
        Word n_keepers;
        Word room;          /* first keeper with room in its list */
        Keeper *structural; /* owns queue locks and the table lock */
        Word has_structural;
        Word64 info;             /* record of this process, as Entry.info */
        Lite record_lock;        /* one thread at a time claims a record */
        struct Watcher *watcher; /* thread that sleeps on pidfds and timers */

        uint64_t serial; /* no two attachments of a process have the same */
        bool thread_owned;
        int fd, dir_fd;
        char *path;
        uint64_t epoch;
};

typedef struct Geometry {
        uint32_t slots, cells, extents, records;
} Geometry;

typedef struct Place {
        const char *runtime_dir;
        const char *state_dir;
        bool system;
        bool shared_parent; /* runtime_dir lies where anybody may make one */
        const char *group;  /* of the system scope */
        Geometry geometry;  /* zero: default; counts only for whoever creates */
} Place;

/* What a request wants and, later, what was granted. */
typedef struct Grant {
        Slot *slot;
        Entry *entry; /* first; further ones by GRANT_NEXT() */
        uint64_t fence;
        uint32_t n;     /* entries */
        uint32_t owner; /* thread id in the words, or sentinel */
        uint32_t cell;  /* kept until the release, 0: none */
        uint32_t cell_gen;
        uint32_t gen;
        bool abandoned;
        bool shared;
} Grant;

/* ---- attach.c ---- */

#define SEGMENT_MESSAGE_MAX 512

/* Attach to the segment of a place, creating it if need be. Fills message (of SEGMENT_MESSAGE_MAX bytes)
 * on failure: -EACCES, -ENOSPC, -EUNATCH (foreign, damaged or deleted), or another errno. */
int segment_attach(const Place *place, bool thread_owned, Segment **ret, char *message);
Segment *segment_detach(Segment *s);
/* The segment's file is gone or another one. */
bool segment_deleted(Segment *s);

/* ---- create.c ---- */

/* A new segment file below dir_fd, complete before it is visible. -EEXIST if there is one. */
int segment_create(int dir_fd, const Place *place, uint64_t old_epoch, char *message);
/* Is this a segment that this process may use? message says why not. */
int segment_verify(const Header *h, size_t size, char *message);
/* Every index of header within size. */
uint64_t header_check(const Header *h);

/* ---- keeper.c ---- */

static inline Node *node_of(const Segment *s, const void *word) {
        return (Node *) ((uintptr_t) word - s->distance);
}

static inline Entry *mate_of(const Segment *s, const Entry *e) {
        uint32_t i = atomic_load_explicit(&node_of(s, e)->mate, memory_order_relaxed) &
                     ~NODE_GATHERED;

        return i != 0 ? (Entry *) ((uint8_t *) s->header + (size_t) i * sizeof(Entry)) : NULL;
}

static inline void mate_set(const Segment *s, const Entry *e, const Entry *mate, bool gathered) {
        size_t at = mate ? (size_t) ((const uint8_t *) mate - (const uint8_t *) s->header) : 0;

        atomic_store_explicit(&node_of(s, e)->mate,
                        (gathered ? NODE_GATHERED : 0) | (uint32_t) (at / sizeof(Entry)),
                        memory_order_relaxed);
}

/* The next entry of a hold of several. */
#define GRANT_NEXT(s, g, e) ((g)->n > 1 ? mate_of(s, e) : NULL)

/* Private memory of this process beside a slot, zeroed at first. */
typedef struct SlotLocal {
        _Atomic(Entry *) hint; /* last reader or permit word that was ours, */
        Word hint_gen;         /* in that life of the slot, */
        Word hint_index;       /* and its place in the row */
        Word64 thread;         /* for the library: who holds it exclusively, */
        _Atomic(void *) hold;  /* and with what */
} SlotLocal;

static inline SlotLocal *local_of(const Segment *s, const Slot *slot) {
        return (SlotLocal *) ((uint8_t *) node_of(s, slot) + 64);
}

/* The keeper that lists word from now on (listing it if no one does); NULL: none could be started. */
Keeper *keeper_for(Segment *s, const Word *word);
/* Free a word of ours (a cell, a record) and wake one sleeper; it leaves the list. Returns what it was. */
uint32_t keeper_give_up(Segment *s, Word *word);
/* Off the list: it did not become ours. */
void keeper_disclaim(Segment *s, const Word *word);
void keeper_drop_entry(Segment *s, const Word *word);
/* Start what a first acquire needs. 0 or negative errno. */
int keeper_start(Segment *s);
int keeper_start_structural(Segment *s);
void keeper_stop_all(Segment *s);
void keeper_list(Keeper *k, Node *n);
void keeper_unlist(Keeper *k, Node *n);

/* One to hold a pending operation on a word that is not ours; there is one once keeper_start() was called. */
Keeper *keeper_any(Segment *s);
/* Of the calling thread, in a thread-owned segment; NULL while it holds a robust pthread mutex. */
Keeper *keeper_of_thread(Segment *s);
void keeper_of_thread_done(Keeper *k);

/* Between these the kernel wakes a sleeper of word, should we die after giving it up. */
static inline void keeper_pending(Segment *s, Keeper *k, const void *word) {
        lite_lock(&k->lock);
        *(Node *volatile *) &k->head.pending = node_of(s, word);
        atomic_signal_fence(memory_order_seq_cst);
}

static inline void keeper_pending_done(Keeper *k) {
        atomic_signal_fence(memory_order_seq_cst);
        *(Node *volatile *) &k->head.pending = NULL;
        lite_unlock(&k->lock);
}

/* The keeper whose thread id is in a word of this process; NULL if it is another's. */
Keeper *keeper_by_tid(Segment *s, uint32_t tid);

/* ---- queuelock.c ---- */

/* Robust locks for short sections: 0, -ETIMEDOUT, or an errno of starting the keeper. */
int structure_lock(Segment *s, Word *word, uint64_t deadline);
bool structure_trylock(Segment *s, Word *word);
void structure_unlock(Segment *s, Word *word);
bool structure_trylock_second(Segment *s, Word *word);
void structure_unlock_second(Segment *s, Word *word);

/* ---- table.c ---- */

typedef struct Key {
        uint64_t hash;
        uint32_t kind;
        uint32_t len;
        uint64_t words[32];
} Key;

bool segment_name_is_valid(const char *name);
/* -EINVAL for an invalid name. */
int key_init(Segment *s, Key *key, uint32_t kind, const char *name);
/* The slot of a name without taking part in anything; NULL if there is none. */
Slot *table_find(Segment *s, const Key *key, uint32_t *ret_gen);
/* The same, making one if need be: 0, -ENOSPC, -ETIMEDOUT. */
int table_get(Segment *s, const Key *key, uint64_t deadline, Slot **ret, uint32_t *ret_gen);
void slot_name(const Slot *slot, char ret[SEG_NAME_MAX + 1]);
static inline uint32_t slot_index(const Segment *s, const Slot *slot) {
        return (uint32_t) (slot - s->slots);
}

/* ---- extent.c ---- */

/* Make sure that the slot has words for n readers or permits. -ENOSPC. */
int extent_reserve(Segment *s, Slot *slot, uint32_t n);
void extent_free_all(Segment *s, Slot *slot);

typedef struct EntryWalk {
        uint32_t extent, index, left;
} EntryWalk;

/* Walks the words of a slot: for (Entry *e = entry_first(s, slot, n, &w); e; e = entry_next(s, &w)). */
Entry *entry_first(Segment *s, const Slot *slot, uint32_t n, EntryWalk *w);
Entry *entry_next(Segment *s, EntryWalk *w);
/* The same, from a slot's gate through every word it has. */
static inline Entry *entry_after(Segment *s, Slot *slot, Entry *e, EntryWalk *w) {
        return e == &slot->gate ? entry_first(s, slot, SEG_PERMITS_MAX, w) : entry_next(s, w);
}
#define SLOT_EACH_ENTRY(e, s, slot, walk)                                                          \
        for (Entry *e = &(slot)->gate; e; e = entry_after(s, slot, e, &(walk)))
#define SLOT_EACH_MEMBER(e, s, slot, walk)                                                         \
        for (Entry *e = entry_first(s, slot, SEG_PERMITS_MAX, &(walk)); e;                         \
                        e = entry_next(s, &(walk)))

static inline uint32_t slot_entries(const Segment *s, const Slot *slot) {
        uint32_t n = atomic_load(&slot->extents);

        return MIN_OF(n, MIN_OF(s->n_extents, SEG_PERMITS_MAX / EXTENT_ENTRIES + 1)) *
               EXTENT_ENTRIES;
}

/* ---- record.c ---- */

typedef struct Owner {
        uint32_t kind; /* RECORD_PROCESS, RECORD_PID, RECORD_LEASE */
        uint32_t pids[2];
        uint64_t lease_usec;
} Owner;

static inline Record *record_of(Segment *s, uint64_t info) {
        uint32_t i = (uint32_t) info;
        Record *r;

        if (i == 0 || i >= s->n_records)
                return NULL;
        r = &s->records[i];
        return atomic_load(&r->gen) == (uint32_t) (info >> 32) ? r : NULL;
}

int record_new(Segment *s, uint32_t kind, const char *description, uint64_t *ret_info);
/* A record for a hold that shall stand on it: -ESRCH if a process is gone already. */
int record_new_owner(Segment *s, const Owner *owner, const char *description, uint64_t *ret_info);
int record_new_process(Segment *s, uint64_t *ret_info);
void record_free(Segment *s, uint64_t info);
/* The record is complete and a word points to it: its maker may die now. */
void record_disown(Segment *s, uint64_t info);
/* A pidfd of that very process: -ESRCH if it is gone. */
int ident_open(const Ident *ident);
int pidfd_open_checked(uint32_t pid);
/* 1 what the hold stands on is gone, 0 it stands. A lease that is over is marked so. */
int record_judge(Record *r);
int ident_read(uint32_t pid, Ident *ret);
/* 1 that very process is gone entirely, 0 it is there. */
int ident_gone(const Ident *ident);
/* 0, -EINVAL (no lease), -ESTALE (over). Who waits is told if it ends sooner now. */
int record_renew(Segment *s, Record *r, uint64_t lease_usec);
void text_store(Word64 *words, size_t n, const char *text);
void text_load(const Word64 *words, size_t n, char *ret);

/* ---- watch.c ---- */

typedef struct Watch Watch;

/* Poke cell when what the record stands on may be gone. NULL without descriptors or memory: then the
 * caller looks again by itself. */
Watch *watch_new(Segment *s, uint64_t info, Word *poke);
Watch *watch_free(Watch *w);
bool watch_is_of(const Watch *w, uint64_t info);
/* The end of the lease may be another by now. */
void watch_refresh(Watch *w);
void watcher_stop(Segment *s);

/* ---- wait.c: the life of a request ---- */

/* One request. The caller fills the first part, the rest is the wait's own and begins as zero. */
typedef struct Wait {
        Segment *s;
        Slot *slot;
        Grant *grant;    /* where the outcome goes */
        Grant *own;      /* our shared hold that shall become exclusive, else NULL */
        uint64_t info;   /* record that tells whose hold it is */
        uint64_t record; /* record that the hold shall stand on, 0: on this process */
        uint64_t delay_usec, max_hold_usec;
        uint32_t gen;
        uint32_t permits; /* of a semaphore */
        int priority;
        bool shared, strict;
        bool reserve; /* gathered for a request of several: no fence yet */

        uint64_t began; /* CLOCK_MONOTONIC */
        bool locked;    /* the queue lock is ours at the moment */
        uint32_t cell, cell_gen;
        uint32_t got; /* entries gathered, from first by mate_of() */
        Entry *first, *last;
        uint32_t ack_cell, ack_gen, ack_version; /* that cell's owner shall make room first */
        uint32_t poke;                           /* of our cell, before we looked */
        uint64_t look_at;                        /* look again then (CLOCK_BOOTTIME) */
        WordSleep *words;
        size_t n_words, cap_words;
        WordSleep fixed[8];
        Watch **watches;
        size_t n_watches;
} Wait;

/* Try at once and, unless try_only, enter the queue: 1 granted, 0 queued, -EAGAIN, -ESTALE (the slot is
 * another name's by now), -EDEADLK, -ETIMEDOUT or an errno. */
int wait_start(Wait *w, bool try_only, uint64_t deadline);
/* Look what can be done: 1 granted, 0 sleep, negative: over. */
int wait_step(Wait *w);
/* Sleep until it is worth another step, or until extra (may be NULL) is woken; 0 or -ETIMEDOUT. */
int wait_sleep(Wait *w, const WordSleep *extra, uint64_t deadline);
/* What wait_sleep() would sleep on; *ret_until is when to look again at the latest (CLOCK_MONOTONIC). */
size_t wait_words(Wait *w, WordSleep *ret, size_t max, uint64_t *ret_until);
/* Give up what was gathered and leave the queue. */
void wait_abandon(Wait *w);
/* Free what the wait needed; the grant stands. */
void wait_done(Wait *w);
void wait_block(Wait *w, Word *word, uint32_t value);
void wait_watch(Wait *w, uint64_t info);
/* Look again at that time (CLOCK_BOOTTIME microseconds; 0: at once), woken or not. */
static inline void wait_until(Wait *w, uint64_t when) {
        w->look_at = MIN_OF(w->look_at, when);
}

/* ---- queue.c ---- */

/* All of these under the queue lock, but queue_leave(), cell_release() and queue_skip(). */
int queue_enter(Wait *w);
void queue_trim(Segment *s, Slot *slot);
void queue_poke_head(Segment *s, Slot *slot);
void queue_drop_holder(Segment *s, Slot *slot, uint32_t tid);
bool queue_upgrader_waits(Segment *s, Slot *slot);
/* granted: an exclusive holder keeps its cell, and the others sleep on it. */
void queue_leave(Wait *w, bool keep);
void cell_release(Segment *s, uint32_t cell, uint32_t gen);
/* The predecessor that is alive: 1 and *ret, or 0 when there is none. */
int queue_predecessor(Wait *w, Cell **ret, uint32_t *ret_own);
bool queue_fix(Wait *w);
void queue_unfix(Wait *w);
/* The queue is empty: let the fast path in again. */
void gate_open(Slot *slot);
static inline bool cell_is_live(const Cell *c) {
        return word_tid(atomic_load(&c->own)) != 0;
}

/* ---- take.c: what the head of a queue does ---- */

/* 1 taken (w->first), 0 blocked, negative: can't ever. */
int take_attempt(Wait *w);
void take_give_back(Wait *w);
/* Past the queue, when there is none: true if taken. */
bool take_fast(Wait *w);

/* ---- hold.c ---- */

/* Number what was taken and write down whose it is; fills w->grant. */
void hold_grant(Wait *w);
/* Give fences to a grant that was reserved. */
void hold_confirm(Segment *s, Grant *g, uint64_t info, bool strict);
/* 0, or -ESTALE when somebody ended it before. */
int hold_release(Segment *s, Grant *g);
/* The words of a hold whose fences are cleared; died: the next one is told. */
void hold_put_back(Segment *s, Grant *g, bool died);
static inline bool hold_is_current(const Grant *g) {
        return atomic_load_explicit(&g->entry->fence, memory_order_acquire) == g->fence;
}
/* Let the hold stand on another record, or on one instead of this process: 0 or -ESTALE. Its holder, if
 * it is us, has to give up g->cell afterwards: cell_release(). */
int hold_move(Segment *s, Slot *slot, uint64_t fence, uint64_t info);
/* The first word of slot that carries fence and is owned; NULL: it is over. */
Entry *hold_find(Segment *s, Slot *slot, uint64_t fence);
/* End it by force, whoever's it is: 0 or -ESTALE. The next one is told if it was abandoned. */
int hold_end(Segment *s, Slot *slot, uint64_t fence, bool abandoned, bool locked);
/* What a record keeps, judged gone: its words become those of a dead owner. false: somebody else is
 * about to end it. */
bool hold_reap(Segment *s, Entry *e, uint32_t v);
/* Exclusive to shared, without a moment in between: 0, -ESTALE, -ENOSPC. */
int hold_downgrade(Segment *s, Grant *g);
void bell_ring(Segment *s, Slot *slot);
