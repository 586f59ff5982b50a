/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the segment's modules share: a private place, attachments that go with the test,
 * requests, and processes to talk to. It must never know the library above the segment.
 */
#pragma once

#include <check.h>
#include <sys/types.h>

#include "segment/fast.h"

#define assert_result(expression, want) ck_assert_int_eq((expression), (want))

/* ---- a test ---- */

/* One fact: a test case of its own, in a private place. */
void unit_fact(Suite *s, const TTest *test);
int unit_run(Suite *s);
/* A path below the private place; of the last call only. */
const char *unit_path(const char *name);
void unit_write(const char *name, const char *text);

/* ---- attachments ---- */

/* The private place, for a segment of that size. */
Place unit_place(Geometry g);
/* Attached, ready to own something, detached at the end of the test. Two of them are two participants. */
Segment *unit_attach(Geometry g);
Segment *unit_attach_threaded(void);
/* The same with 32 names, 256 cells, 128 extents, 128 records. */
Segment *unit_segment(void);
void unit_detach(Segment *s);

/* ---- requests ---- */

Slot *unit_lock(Segment *s, const char *name);
Slot *unit_semaphore(Segment *s, const char *name, uint32_t capacity);
/* A change of the capacity that is meant. */
void unit_resize(Segment *s, Slot *slot, uint32_t capacity);

/* A request and where its outcome goes. It must not be moved. */
typedef struct Ask {
        Wait wait;
        Grant grant;
} Ask;

void ask_init(Ask *a, Segment *s, Slot *slot);
/* As a try: 1 granted, -EAGAIN. */
int ask_try(Ask *a);
/* 1 granted, 0 queued. */
int ask_start(Ask *a);
int ask_step(Ask *a);
/* Queued, and asleep after its first look. */
void ask_queue(Ask *a);
void ask_abandon(Ask *a);
/* Waits for as long as it takes. */
int ask_acquire(Ask *a);
int ask_release(Ask *a);
/* A word it would sleep on is another by now, or it looks again without. */
bool ask_is_awake(const Ask *a);
void assert_granted(Ask *a);
/* Nobody holds, nobody waits, and nothing is left of those who did. */
void assert_slot_is_idle(Segment *s, Slot *slot);
uint32_t unit_cells_used(Segment *s);
uint32_t unit_extents_used(Segment *s);
uint32_t unit_records_used(Segment *s);

/* ---- processes ---- */

typedef struct Peer {
        pid_t pid;
        int in, out;
} Peer;

/* A child that runs body and ends; what it says comes by the pipe. */
void peer_start(Peer *p, void (*body)(Peer *me, void *data), void *data);
void peer_say(Peer *p, uint64_t v);
uint64_t peer_hear(Peer *p);
void peer_kill(Peer *p);
/* It ended by itself and well. */
void peer_end(Peer *p);
/* A child that does nothing until it is killed. */
void peer_idle(Peer *p);
