/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One call a command. The names are those of the images and a few new ones. Any result is fine; what
 * counts is that there is one, and in time: a call that overstays its timeout by SLACK_NS fails the
 * input. Nothing here knows what the segment looks like.
 */
#include "calls.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLACK_NS UINT64_C(8000000000)
#define TIMEOUT_STEP_USEC 100u

static const char *const names[] = {
                "held", "shared", "pidded", "leased", "first", "new1", "new2", "x"};
static const char *const pools[] = {"pool", "wide", "newpool", "held"};

static uint64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * UINT64_C(1000000000) + (uint64_t) ts.tv_nsec;
}

static const char *any_name(struct input *in) {
        return names[input_byte(in) % (sizeof(names) / sizeof(names[0]))];
}

static const char *any_pool(struct input *in) {
        return pools[input_byte(in) % (sizeof(pools) / sizeof(pools[0]))];
}

static uint64_t any_timeout(struct input *in) {
        return input_byte(in) % 16 * TIMEOUT_STEP_USEC;
}

static coord_hold **any_hold(struct player *p, struct input *in) {
        return &p->holds[input_byte(in) % PLAYER_HOLDS];
}

/* Where the next result goes; what was there is dropped. */
static coord_hold **place(struct player *p) {
        coord_hold **h = &p->holds[p->next++ % PLAYER_HOLDS];

        *h = coord_hold_unref(*h);
        return h;
}

/**
 * call_attach() - make the client and let it attach
 */
void call_attach(struct player *p) {
        struct coord_status s = {.size = sizeof(s)};

        if (!p->client && coord_client_new(CLIENT_FLAGS | p->flags, &p->client) < 0)
                sandbox_fail("coord_client_new failed");
        (void) coord_client_get_status(p->client, &s);
        (void) coord_strerror(p->client);
}

/* Every text that must be there; a token is missing where something is only reserved. */
static size_t read_party(const struct coord_party *p) {
        return (p->token ? strlen(p->token) : 0) + strlen(p->owner) + strlen(p->command) +
               strlen(p->description) + (p->unit ? strlen(p->unit) : 0);
}

static void read_entries(coord_client *c) {
        struct coord_entry *e = NULL;
        size_t n = 0, bytes = 0;

        if (coord_list(c, COORD_KIND_ANY, &e, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                bytes += strlen(e[i].name);
                for (size_t k = 0; k < e[i].n_holders; k++)
                        bytes += read_party(&e[i].holders[k]);
                for (size_t k = 0; k < e[i].n_waiters; k++)
                        bytes += read_party(&e[i].waiters[k]);
        }
        if (bytes == SIZE_MAX)
                sandbox_fail("endless names");
        coord_entries_free(e, n);
}

static void acquire_owned(struct player *p, struct input *in) {
        struct coord_request r = COORD_REQUEST_INIT;
        uint8_t how = input_byte(in);
        char owner[48];

        if (how & 1) {
                r.kind = COORD_KIND_SEMAPHORE;
                r.name = any_pool(in);
                r.permits = input_byte(in) % 8;
                r.capacity = input_byte(in) % 8;
        } else
                r.name = any_name(in);
        r.mode = how & 2 ? COORD_MODE_SHARED : COORD_MODE_EXCLUSIVE;
        if (r.kind == COORD_KIND_SEMAPHORE)
                r.mode = COORD_MODE_EXCLUSIVE;
        if (how & 4) {
                snprintf(owner, sizeof(owner), how & 8 ? "pid:%d" : "lease:%dms", (int) getpid());
                r.owner = owner;
        }
        r.description = how & 16 ? "described at some length, more than what is kept of it in any "
                                   "case"
                                 : NULL;
        r.flags = how & 32 ? COORD_STRICT : 0;
        r.priority = (int) (input_byte(in) % 40) - 20;
        r.timeout_usec = any_timeout(in);
        (void) coord_acquire_full(p->client, &r, place(p));
}

static void acquire_all(struct player *p, struct input *in) {
        const char *lock = any_name(in), *pool = any_pool(in);
        uint8_t how = input_byte(in);
        uint64_t timeout = any_timeout(in);
        char wants[2][80];
        const char *list[] = {wants[0], wants[1], NULL};
        coord_hold **holds = NULL;

        snprintf(wants[0], sizeof(wants[0]), "lock:%s%s", lock, how % 2 ? ":shared" : "");
        snprintf(wants[1], sizeof(wants[1]), "sem:%s:%u", pool, how / 2 % 4u);
        if (coord_acquire_all(p->client, list, 0, timeout, &holds) < 0)
                return;
        *place(p) = holds[0];
        holds[0] = NULL;
        coord_holds_free(holds);
}

static void granted(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        *(coord_hold **) userdata = hold;
}

static void acquire_async(struct player *p, struct input *in) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_slot *slot = NULL;
        coord_hold *hold = NULL;
        uint8_t turns;

        if (!p->async && coord_client_new(CLIENT_FLAGS, &p->async) < 0)
                return;
        r.name = any_name(in);
        r.timeout_usec = any_timeout(in);
        turns = input_byte(in) % 4;
        if (coord_acquire_async(p->async, &slot, &r, granted, &hold) >= 0)
                for (uint8_t i = 0; i < turns && !hold; i++) {
                        struct pollfd f = {.fd = coord_client_get_fd(p->async)};

                        f.events = (short) coord_client_get_events(p->async);
                        (void) poll(&f, 1, 1);
                        (void) coord_client_process(p->async);
                }
        coord_slot_unref(slot);
        *place(p) = hold;
}

static void use_handle(struct player *p, struct input *in) {
        const char *name = any_name(in);
        uint64_t timeout = any_timeout(in), flags = input_byte(in) % 2;

        if (!p->lock)
                (void) coord_lock_open(p->client, name, &p->lock);
        if (p->lock)
                (void) coord_lock_lock(p->lock, flags, timeout, place(p));
}

static void by_token(struct player *p, struct input *in) {
        coord_hold *h = *any_hold(p, in);
        uint8_t how = input_byte(in) % 6;
        char token[320] = "lock:held:1.1";

        if (h)
                snprintf(token, sizeof(token), "%s", coord_hold_token(h));
        if (how == 0)
                (void) coord_release(p->client, token);
        else if (how == 1)
                (void) coord_release(p->client, any_name(in));
        else if (how == 2)
                (void) coord_renew(p->client, token, 1000000);
        else if (how == 3)
                (void) coord_transfer(p->client, token, "lease:1s");
        else
                (void) coord_check(p->client, token);
}

static void with_hold(struct player *p, struct input *in, unsigned what) {
        coord_hold **h = any_hold(p, in);
        uint8_t operand = input_byte(in);
        uint64_t epoch, counter;
        char owner[32];

        if (!*h)
                return;
        switch (what) {
        case 0:
                (void) coord_hold_release(*h);
                break;
        case 1:
                (void) coord_hold_convert(*h, operand % 2, any_timeout(in));
                break;
        case 2:
                (void) coord_hold_check(*h);
                (void) coord_hold_fence(*h, &epoch, &counter);
                (void) coord_hold_was_abandoned(*h);
                break;
        case 3:
                (void) coord_hold_renew(*h, 1000 * (uint64_t) operand);
                break;
        case 4:
                snprintf(owner, sizeof(owner), operand % 2 ? "pid:%d" : "lease:%dms",
                                (int) getpid());
                (void) coord_hold_transfer(*h, owner);
                break;
        default:
                *h = coord_hold_unref(*h);
                break;
        }
}

/* The operands are read before the call: C leaves open in which order arguments are. */
static void on_names(struct player *p, struct input *in, unsigned what) {
        uint8_t first = input_byte(in), second = input_byte(in), third = input_byte(in);
        const char *lock = names[first % (sizeof(names) / sizeof(names[0]))];
        const char *pool = pools[first % (sizeof(pools) / sizeof(pools[0]))];
        uint64_t timeout = any_timeout(in), cursor = 0;
        char name[64];

        switch (what) {
        case 0:
                (void) coord_lock_acquire(p->client, lock, second % 4, timeout, place(p));
                break;
        case 1:
                (void) coord_semaphore_acquire(
                                p->client, pool, second % 4, third % 4, 0, timeout, place(p));
                break;
        case 2:
                snprintf(name, sizeof(name), "%s%s", second % 2 ? "sem:" : "",
                                third % 2 ? lock : pool);
                (void) coord_break(p->client, name);
                break;
        case 3:
                (void) coord_semaphore_configure(p->client, pool, second * 5u);
                break;
        default:
                (void) coord_watch(p->client, "*", &cursor, 0);
                (void) coord_watch(p->client, lock, &cursor, timeout);
                break;
        }
}

static void dispatch(struct player *p, uint8_t command, struct input *in) {
        switch (command % 20) {
        case 0 ... 4:
                on_names(p, in, command % 20);
                break;
        case 5 ... 10:
                with_hold(p, in, command % 20 - 5);
                break;
        case 11:
                read_entries(p->client);
                break;
        case 12:
                call_attach(p);
                break;
        case 13:
                acquire_all(p, in);
                break;
        case 14:
                acquire_async(p, in);
                break;
        case 15:
                use_handle(p, in);
                break;
        case 16:
                by_token(p, in);
                break;
        default:
                acquire_owned(p, in);
                break;
        }
}

/**
 * call() - make one call and see that it comes back in time
 * @command:    0 to 127
 */
void call(struct player *p, uint8_t command, struct input *in) {
        uint64_t began = now_ns(), lasted;

        if (!p->client)
                call_attach(p);
        dispatch(p, command, in);
        lasted = now_ns() - began;
        if (lasted > SLACK_NS)
                sandbox_fail("call %u came back after %llu ms", command % 20,
                                (unsigned long long) (lasted / 1000000));
}

void call_finish(struct player *p) {
        if (!p->client)
                call_attach(p);
        read_entries(p->client);
        for (unsigned i = 0; i < PLAYER_HOLDS; i++)
                coord_hold_unref(p->holds[i]);
        coord_lock_unref(p->lock);
        coord_client_unref(p->async);
        coord_client_unref(p->client);
}
