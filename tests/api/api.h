/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the public API share: a private place for each test, actors in threads and
 * processes, waiting for conditions instead of times. It must never know the library's insides.
 */
#ifndef COORD_TEST_API_H
#define COORD_TEST_API_H

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include <coord/client.h>

#include "actor.h"

#define ENDLESS COORD_TIMEOUT_INFINITE
#define MSEC ((uint64_t) 1000)
#define SEC (1000 * MSEC)

/* ThreadSanitizer can't follow a thread that is made after a fork with threads. */
#if defined(__SANITIZE_THREAD__)
#define THREADS_AFTER_FORK 0
#else
#define THREADS_AFTER_FORK 1
#endif

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

/* ---- a test ------------------------------------------------------------------------------ */

/* One behaviour: a tcase of its own, in a private place, with its actors ended afterwards. */
void api_fact(Suite *s, const TTest *test);
/* The same for one value of _i. */
void api_fact_of(Suite *s, const TTest *test, int i);
/* Run the suite; returns an exit status. */
int api_run(Suite *s);
/* The directory that COORD_RUNTIME_DIR names. */
const char *api_place(void);
/* A path inside it; valid until the next call. */
const char *api_path(const char *name);
/* A client of this segment alone. */
coord_client *api_client(void);
uint64_t api_now(void);

/* ---- what is listed ----------------------------------------------------------------------- */

struct glance {
        struct coord_entry *entries;
        size_t n;
        const struct coord_entry *entry; /* of the name asked for, or NULL */
};

/* coord_list() by a client of its own. */
struct glance api_glance(int kind, const char *name);
void api_glance_end(struct glance *g);
size_t api_waiters(int kind, const char *name);
size_t api_holders(int kind, const char *name);
/* Until so many wait, hold, or until some of it is reserved. */
void api_until_waiters(int kind, const char *name, size_t n);
void api_until_holders(int kind, const char *name, size_t n);
void api_until_reserved(int kind, const char *name);

/* ---- actors ------------------------------------------------------------------------------- */

struct actor {
        struct actor *next;
        int fd;
        coord_client *client;
        pthread_t thread;
        pid_t pid; /* 0 of a thread */
        int pidfd;
        bool stopped;
};

/* Ended by api_actor_free(), or by the end of the test. */
struct actor *api_thread(coord_client *c);
struct actor *api_process(void);
struct actor *api_process_with(uint64_t client_flags);
struct actor *api_actor_free(struct actor *a);

void api_send(struct actor *a, const struct order *o);
struct answer api_answer(struct actor *a);
struct answer api_do(struct actor *a, const struct order *o);
/* True while there is no answer to read. */
bool api_silent(struct actor *a);
/* Which of them answers next. */
size_t api_next(struct actor *const *actors, size_t n);
/* Acquire the lock endlessly under key 0; drop it again. Both assert success. */
struct answer api_take(struct actor *a, const char *name);
void api_drop(struct actor *a);

/* Signals to a process actor: dead and reaped, stopped for certain, on its way again. */
void api_kill(struct actor *a);
void api_stop(struct actor *a);
void api_continue(struct actor *a);
/* Reap one that ends by itself. */
void api_gone(struct actor *a);

/* fork(), and the exit status of a child that ended by itself. */
pid_t api_fork(void);
int api_status(pid_t pid);

/* ---- short forms -------------------------------------------------------------------------- */

coord_hold *api_lock(coord_client *c, const char *name);
coord_hold *api_share(coord_client *c, const char *name);
/* The result of a try, of which nothing is kept. */
int api_try(coord_client *c, const char *name);
coord_hold *api_permits(coord_client *c, const char *name, uint32_t capacity, uint32_t permits);
int api_try_permits(coord_client *c, const char *name, uint32_t capacity, uint32_t permits);
/* Is the lock free for another process? */
bool api_free(const char *name);

#define assert_result(call, expected)                                                              \
        do {                                                                                       \
                int result_ = (call), expected_ = (expected);                                      \
                ck_assert_msg(result_ == expected_, "%s is %d (%s), not %d", #call, result_,       \
                                result_ < 0 ? coord_error_name(result_) : "success", expected_);   \
        } while (0)
#define assert_answer(given, expected)                                                             \
        do {                                                                                       \
                struct answer answer_ = (given);                                                   \
                int expected_ = (expected);                                                        \
                ck_assert_msg(answer_.result == expected_, "%s is %d, not %d: %s", #given,         \
                                answer_.result, expected_, answer_.said);                          \
        } while (0)

#endif
