/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of the segment, as every participant sees them. Indices, never pointers; each is
 * checked against the sizes in the header before use. Index 0 of cells, extents and records stands
 * for "none". Nothing here knows who maps the file or why.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint32_t Word;
typedef _Atomic uint64_t Word64;

#define SEG_MAGIC "COORDSEG"
#define SEG_LAYOUT 1u
#define SEG_PAGE 4096u

/* A robust word: who owns it, and two bits that the kernel knows. */
#define WORD_WAITERS 0x80000000u
#define WORD_DIED 0x40000000u
#define WORD_TID 0x3fffffffu
/* Owners above the largest thread id are sentinels: the hold stands on a record, not on a thread. */
#define WORD_SENTINEL 0x20000000u
#define WORD_RECORD 0x1fffffffu

#define SEG_NAME_MAX 255u
#define SEG_PERMITS_MAX 1024u

/* A fence with this bit set: somebody (the thread id in the low bits) is ending the hold by force. */
#define FENCE_CLAIM (UINT64_C(1) << 63)

enum {
        ENTRY_STRICT = 1u << 0, /* the next owner waits for the whole process to be gone */
        ENTRY_MOVING = 1u << 1, /* about to stand on the record in info instead of on a thread */
};

/* One thing that can be owned: a lock's gate, a reader's place, a permit. */
typedef struct Entry {
        Word word;
        Word flags;
        Word64 fence; /* counter of the hold; 0 while reserved or free */
        Word64 since; /* CLOCK_MONOTONIC, microseconds */
        Word64 info;  /* record that tells about the owner: index, generation << 32 */
} Entry;

enum {
        KIND_LOCK = 1,
        KIND_SEMAPHORE = 2,
};

enum {
        SLOT_WATCHED = 1u << 0, /* ring the header's bell at each grant and end */
        SLOT_PINNED = 1u << 1,  /* declared on purpose: not reclaimed */
        SLOT_OVER = 1u << 2,    /* capacity was lowered below what may be held */
        SLOT_DEATH = 1u << 3,   /* a hold ended without a release: the next holder is to be told */
};

typedef struct Slot {
        /* hot line */
        Entry gate;
        Word qlock; /* owned by a structural keeper, for entering the queue */
        Word tail;  /* last cell of the queue */
        Word gen;   /* rises when the slot is reclaimed */
        Word capacity;
        Word64 counter; /* of the last grant */
        Word flags;
        Word extent; /* first of the reader or permit words */
        /* second line */
        Word kind; /* 0: free slot */
        Word next; /* in its hash chain, index + 1 */
        Word64 hash;
        Word extents;  /* how many */
        Word upgrader; /* cell that waits to make a shared hold exclusive */
        Word name_len;
        uint32_t pad0;
        Word64 free_at; /* lock delay: nobody is granted before (CLOCK_BOOTTIME, microseconds) */
        Word64 dying;   /* record of the last waiter that was trimmed after its keeper's death */
        uint32_t pad[4];
        Word64 name[32]; /* padded with zeroes */
} Slot;

#define EXTENT_ENTRIES 15u

typedef struct Extent {
        Word slot;   /* index + 1 of the slot it belongs to, 0: free */
        Word next;   /* index of the next extent */
        Word number; /* its place in the slot's row */
        uint32_t pad[5];
        Entry entries[EXTENT_ENTRIES];
} Extent;

enum {
        CELL_SHARED = 1u << 0,
        CELL_UPGRADE = 1u << 1,
        CELL_ASKED = 1u << 3,   /* somebody waits for Cell.seen to change */
        CELL_GRANTED = 1u << 2, /* its owner holds the lock and keeps the cell until the release */
};

/* A cell's predecessor: index, a bit that nails it, and a version that tells insertions apart. */
#define PRED_INDEX UINT64_C(0x00ffffff)
#define PRED_FIXED UINT64_C(0x01000000)
#define PRED_VERSION_SHIFT 32

/* In Cell.since of a dead cell: the keeper of whoever is about to unlink and free it. */
#define CELL_SKIPPER (UINT64_C(1) << 63)

typedef struct Cell {
        Word own;  /* robust: the waiter's keeper */
        Word slot; /* index + 1, 0: free */
        Word64 pred;
        Word seen; /* version of pred that the waiter has acted upon */
        Word poke; /* rises when the waiter shall look again */
        Word flags;
        Word permits;
        Word64 arrival; /* CLOCK_MONOTONIC microseconds, priority counted in */
        Word64 info;
        Word64 since;
        Word gen;
        Word priority; /* as given, + 20 */
} Cell;

enum {
        RECORD_FREE = 0,
        RECORD_PROCESS = 1, /* who a keeper's process is; with a description for one hold */
        RECORD_PID = 2,     /* the hold stands while either of two processes lives */
        RECORD_LEASE = 3,
        /* kept for the daemon: */
        RECORD_FD = 4,
        RECORD_CONNECTION = 5,
        RECORD_UNIT = 6,
};

/* A process that can't be mistaken for another. */
typedef struct Ident {
        Word64 pid;
        Word64 start; /* in clock ticks after boot; 0: unknown */
        Word64 inode; /* of its pidfd where that is unique; 0: unknown */
} Ident;

typedef struct Record {
        Word own; /* robust, of the keeper that writes it or whose process it describes */
        Word kind;
        Word gen;
        Word slot; /* index + 1 of the slot its hold belongs to */
        Word64 fence;
        Word64 deadline; /* of a lease: CLOCK_BOOTTIME microseconds; 0: judged over */
        Ident who[2];
        Word uid;
        Word bell;    /* rises when a hold of this process was taken from it */
        Word64 maker; /* record of the process that asked for the hold, as Entry.info */
        Word64 command[2];
        Word64 description[8];
        Word64 invocation[2];
        Word64 bus_id;
        Word64 connection[7];
} Record;

#define SEG_WATCHERS 8u

typedef struct Header {
        char magic[8];
        uint32_t layout;
        uint32_t n_buckets, n_slots, n_cells, n_extents, n_records;
        uint64_t size;
        uint64_t off_buckets, off_slots, off_cells, off_extents, off_records;
        uint64_t pid_ns, time_ns;
        uint8_t boot_id[16];
        uint64_t epoch;
        uint64_t hash_key[2];
        uint64_t check; /* over all above */
        Word64 floor;   /* no counter starts below it */
        Word table_lock __attribute__((aligned(64)));
        Word cell_hint __attribute__((aligned(64)));
        Word extent_hint;
        Word record_hint;
        Word slot_hint;
        Word n_names;
        Word daemon __attribute__((aligned(64)));
        Word bell __attribute__((aligned(64)));
        struct {
                Word word; /* robust: a watcher */
                uint32_t pad[15];
        } watchers[SEG_WATCHERS] __attribute__((aligned(64)));
} Header;

_Static_assert(sizeof(Entry) == 32, "entry");
_Static_assert(sizeof(Slot) == 384, "slot");
_Static_assert(sizeof(Extent) == 512, "extent");
_Static_assert(sizeof(Cell) == 64, "cell");
_Static_assert(sizeof(Record) == 256, "record");
_Static_assert(sizeof(Header) <= SEG_PAGE, "header");
