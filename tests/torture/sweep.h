/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sweep: a few processes play one scene again and again, and in each performance one of them
 * dies, or is stopped, at the next step. This is what the engine (sweep.c) and the plays
 * (scenarios.c) share. It knows nothing of the random run.
 */
#pragma once

#include "torture.h"

enum {
        ROLE_HOLDER, /* holds before the others come, releases at the cue */
        ROLE_ACTOR,  /* the one who dies */
        ROLE_WAITER, /* must get its turn whatever happens to the actor */
        ROLE_PROBE,  /* comes last, or while the actor is stopped */
        ROLES,
};

enum {
        ACT_PLAIN,
        ACT_HANDLE,
        ACT_UPGRADE,
        ACT_DOWNGRADE,
        ACT_ALL,
        ACT_TRANSFER,
        ACT_BREAK,
        ACT_ASYNC,
        ACT_RENEW,
        ACT_CONFIGURE,
};

/* What somebody takes of the scene's name: 'x' exclusive, 's' shared, '1' to '3' permits of three, 0 nothing. */
struct scenario {
        const char *name;
        char holder, actor, waiter;
        int act;
        bool waiter_first;     /* it waits before the actor comes */
        bool fresh;            /* in a directory without a segment */
        bool new_name;         /* which nobody has used yet, in a full table */
        uint64_t timeout_usec; /* of the actor; 0: endless */
        const char *owner;     /* of the actor's hold, NULL: its process */
        const char *holder_owner;
        bool holder_downgrades; /* at the cue, before it releases */
        int priority;
        uint64_t flags;
};

struct stage {
        _Atomic uint32_t cue;           /* the holder releases, the actor goes on */
        _Atomic uint32_t settled;       /* the actor has ended or waits: the waiter may release */
        _Atomic uint32_t ready[ROLES];  /* holds what it came for */
        _Atomic uint32_t step[ROLES];   /* the last one + 1 */
        _Atomic uint32_t steps[ROLES];  /* how many it has taken */
        uint32_t fatal[ROLES];          /* the one at which it happens, 0: at none */
        bool stop;                      /* the actor is not killed but stopped */
        _Atomic uint32_t struck[ROLES]; /* step + 1 at which it happened */
        uint32_t performance;
        pid_t pids[ROLES];
};

extern struct stage *stage;
extern const struct scenario scenarios[];
extern const size_t n_scenarios;

/* scenarios.c: run in processes of their own; the result is the exit status */
int role_play(const struct scenario *s, unsigned role);
enum {
        PROBE_BESIDE, /* while the actor is stopped: granted or not, but in time */
        PROBE_TAKEN,  /* while the waiter holds: not granted */
        PROBE_LAST,   /* everybody has gone: granted, and nothing else may be left */
};
int role_probe(const struct scenario *s, uint64_t timeout_usec, int kind);
