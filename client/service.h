/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What async.c, service.c, lost.c and loop.c share: the threads that sleep for callers that can't, and what is
 * done and not yet told.
 */
#pragma once

#include "internal.h"

#define WAITS_PER_WORKER 32u
#define WORDS_PER_WAIT 3u

typedef struct Worker Worker;

struct coord_slot {
        _Atomic uint32_t references; /* the caller's and the service's */
        coord_client *client;
        Worker *worker; /* NULL: not driven (any more) */
        coord_slot *next;
        coord_acquired_t cb;
        void *userdata;
        Request q;
        Wait wait;
        coord_hold *hold;
        uint64_t deadline;
        int result;
        Party party;
        bool party_entered;
        bool dropped; /* under the worker's lock: nobody wants it any more */
        char name[SEG_NAME_MAX + 1];
        char owner[64], description[64];
};

struct Worker {
        Worker *next;
        Service *service;
        pthread_t thread;
        Lite lock; /* of slots and their waits */
        Word control;
        coord_slot *slots;
        Word n; /* how many */
        bool first;
        Word stop;
};

struct Service {
        coord_client *client;
        Segment *segment;
        Lite lock; /* of workers and of the two lists of what is done */
        Worker *workers;
        coord_slot *done, **done_end;
        int event_fd;
        _Atomic bool has_loop;
        void *event_source;
        pthread_t teller;
        bool has_teller;
        bool orphan; /* the teller itself dropped the last reference, in a callback */
        Word teller_stop;
        Word tell;
};

/* ---- async.c ---- */

/* Under the worker's lock: 0 still waiting, else it is over. */
int slot_step(coord_slot *slot);
/* To the list of what is done; the event descriptor becomes readable. */
void slot_done(Service *v, coord_slot *slot, int result);
/* The hold that was granted, with its references, or NULL. */
coord_hold *slot_hold_take(coord_slot *slot);
void slot_release(coord_slot *slot);
/* Leave the queue, from the thread that sleeps for it. */
void slot_abandon(coord_slot *slot);
void slots_drop(coord_slot *slot, bool waiting);

/* ---- service.c ---- */

Worker *worker_with_room(Service *v);
void worker_nudge(Worker *w);
void event_raise(Service *v);
int thread_start(pthread_t *ret, void *(*run)(void *), void *arg);

/* ---- lost.c ---- */

/* Has a hold with a callback been lost? *ret_until is when a lease of one ends. */
bool alarm_is_due(coord_client *c, uint64_t *ret_until);
/* Call back for each; how many. */
int alarms_run(coord_client *c);
/* Have it done: in the caller's loop if it has one, else by the teller. */
void alarms_tell(Service *v);
void teller_stop(Service *v);

/* ---- loop.c ---- */

void detach_event(Service *v);
