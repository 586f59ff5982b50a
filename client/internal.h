/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the library share. None of it is seen from outside.
 */
#pragma once

#include <coord/client.h>

#include "segment/fast.h"
#include "util/owner.h"
#include "util/util.h"

#define PUBLIC __attribute__((visibility("default")))

/* ---- config.c ---- */

typedef struct Config Config;

/* What the configuration says of names; both doors read the same. NULL: nothing. */
Config *config_load(bool system);
Config *config_free(Config *c);
uint32_t config_capacity(const Config *c, const char *name);
void config_lock(const Config *c, const char *name, uint64_t *ret_delay, uint64_t *ret_max_hold);
/* Anything about locks at all? */
bool config_has_locks(const Config *c);

/* ---- registry.c: one attachment a process and place, shared by clients ---- */

int registry_attach(const Place *place, bool thread_owned, Segment **ret, char *message);
void registry_detach(Segment *s, uint64_t generation);

/* Threads of this process that wait; a forked child has none. */
typedef struct Parties {
        Lite lock;
        struct Party *first;
} Parties;

Parties *process_parties(void);
/* Another value after fork; 0 never. */
uint64_t process_generation(void);
extern _Atomic uint64_t *process_page;

/* ---- client.c ---- */

typedef struct Service Service;

struct coord_client {
        _Atomic uint32_t references;
        uint64_t flags;
        uint64_t generation;
        _Atomic(Segment *) segment;
        Config *config;
        bool watched_config; /* config has something about locks */
        Lite lock;           /* of what follows */
        coord_hold *shared;  /* shared holds, for their threads to take again */
        coord_hold *alarmed; /* holds with a lost callback */
        Service *service;    /* threads for asynchronous waits and lost callbacks */
        _Atomic(coord_hold *) spare;
        Lite watch_lock; /* of the deaths that coord_watch() listens for */
        struct Deaths *deaths;
        size_t n_deaths;
        Word watcher; /* index + 1 of our word among the header's watchers */
        Word cancel;
        char *runtime_dir, *state_dir;
};

static inline bool client_is_forked(const coord_client *c) {
        return UNLIKELY(atomic_load_explicit(process_page, memory_order_relaxed) != c->generation);
}

/* Checks that the client may be used here, and attaches. */
int client_use(coord_client *c, Segment **ret);
/* The same, ready to own something. */
int client_ready(coord_client *c, Segment **ret);
/* One reference more, unless the last is gone. */
bool client_ref_alive(coord_client *c);
void client_drop_spare(coord_client *c);
/* Remembers for coord_strerror() why, and returns r. */
int client_fail(int r, const char *format, ...) __attribute__((format(printf, 2, 3)));
int client_fail_name(const char *name);

/* ---- hold.c ---- */

typedef struct TokenText {
        struct TokenText *next;
        uint64_t fence;
        char text[TOKEN_TEXT_MAX];
} TokenText;

struct coord_hold {
        _Atomic uint32_t references;
        _Atomic uint32_t count; /* acquires by one thread that want a release each; 0: over */
        coord_client *client;
        Segment *segment;
        Grant grant;
        uint64_t thread;
        uint64_t info; /* description record of ours, else 0 */
        int kind;
        bool strict;
        bool listed;  /* among client->shared */
        bool alarmed; /* has, or had, a lost callback: what is below it is set */
        uint32_t name_len;
        _Atomic(struct TokenText *) token; /* and those of before its conversions */
        char name[SEG_NAME_MAX + 1];
        coord_hold *next, *prev;
        coord_hold *alarm_next;
        void (*lost)(coord_hold *h, void *userdata);
        void *lost_userdata;
        _Atomic bool lost_told;
};

/* Acquires by one thread of one hold. */
#define NESTING_MAX 65536u

uint64_t thread_serial_new(void);
extern _Thread_local uint64_t thread_number __attribute__((tls_model("initial-exec")));
static inline uint64_t thread_serial(void) {
        return LIKELY(thread_number != 0) ? thread_number : thread_serial_new();
}
/* name is in a buffer of 256. */
coord_hold *hold_new(coord_client *c, Segment *s, int kind, const char *name, size_t len);
coord_hold *hold_discard(coord_hold *h);
/* Whose it is, for taking again and for cycles. */
void hold_adopt(coord_hold *h);
/* The reverse, while it still is ours. */
void hold_forget(coord_hold *h);
/* The calling thread's own hold of that slot through this client, one reference more; 0: there is none. */
int hold_again(coord_client *c, Segment *s, Slot *slot, bool shared, coord_hold **ret);
bool hold_stands(coord_hold *h);

/* ---- acquire.c ---- */

struct Party;

typedef struct Request {
        int kind;
        const char *name;
        uint64_t flags;
        uint64_t timeout_usec;
        uint32_t permits, capacity;
        int priority;
        const char *owner;
        const char *description;
        bool reserve;
} Request;

#define REQUEST_FLAGS ((uint64_t) (COORD_SHARED | COORD_STRICT | COORD_DEADLOCK))

int request_check(const Request *q);
int request_from(const struct coord_request *in, Request *ret);
int request_acquire(coord_client *c, const Request *q, coord_hold **ret);
/* In pieces, for asynchronous waits. */
int request_lookup(coord_client *c,
                Segment *s,
                const Request *q,
                Key *key,
                Slot **ret,
                uint32_t *ret_gen);
int request_prepare(coord_client *c, Segment *s, const Request *q, Wait *w, coord_hold *h);
/* Puts r into words and returns it. */
int request_fail(coord_client *c, Segment *s, const Request *q, int r);
int request_fail_circle(const Request *q, const struct Party *party);
int wait_run(coord_client *c, Wait *w, const Request *q, struct Party *party);
uint64_t deadline_of(uint64_t timeout_usec);
int owner_parse(const char *text, Owner *ret);
/* How long making a new name may take where the caller has no timeout. */
#define LOOKUP_USEC (2 * USEC_PER_SEC)
/* The same for a caller that does not wait. */
#define LOOKUP_TRY_USEC USEC_PER_SEC
int slot_get(Segment *s, const Key *key, uint64_t timeout_usec, Slot **ret, uint32_t *ret_gen);
/* Declare a capacity: -ERANGE if there is another, unless it shall change; -ESTALE if the slot is another
 * name's by now; -ETIMEDOUT. */
int semaphore_declare(Segment *s,
                Slot *slot,
                uint32_t gen,
                uint32_t capacity,
                bool change,
                uint64_t timeout_usec);

/* ---- deadlock.c ---- */

typedef struct Party {
        struct Party *next;
        uint64_t thread;
        Wait *wait;
        bool stuck;
        char circle[192]; /* who waits for what, once it is deadlocked */
} Party;

void party_enter(Party *p, Wait *w);
void party_leave(Party *p);
/* Would the calling thread wait for ever? */
bool party_is_deadlocked(Party *p, bool permits_too);

/* ---- list.c, watching.c ---- */

/* Owned, by somebody who exists. */
bool entry_is_held(Segment *s, Entry *e);
void deaths_free(coord_client *c);

/* ---- service.c ---- */

/* Somebody to notice that holds of c were lost. */
int service_start(coord_client *c);
void service_stop(coord_client *c);
void service_nudge(coord_client *c);
