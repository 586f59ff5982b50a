/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plays. In each, the holder (if there is one) holds, the actor comes, the waiter comes, and at
 * the cue the holder releases and the actor goes on to its end. What each does is plain use of the
 * public API; who dies where is the engine's business.
 */
#include "sweep.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENDLESS COORD_TIMEOUT_INFINITE

/* clang-format off */
const struct scenario scenarios[] = {
        { .name = "lone", .actor = 'x' },
        { .name = "lone-handle", .actor = 'x', .act = ACT_HANDLE },
        { .name = "lone-shared", .actor = 's' },
        { .name = "lone-permits", .actor = '2' },
        { .name = "first-ever", .actor = 'x', .fresh = true },
        { .name = "new-name", .actor = 'x', .new_name = true },
        { .name = "new-semaphore", .actor = '3', .new_name = true },
        { .name = "wait", .holder = 'x', .actor = 'x' },
        { .name = "handoff", .actor = 'x', .waiter = 'x' },
        { .name = "between", .holder = 'x', .actor = 'x', .waiter = 'x' },
        { .name = "timeout", .holder = 'x', .actor = 'x', .waiter = 'x', .timeout_usec = 1500 },
        { .name = "readers", .holder = 's', .actor = 's', .waiter = 'x' },
        { .name = "reader-behind-writer", .holder = 'x', .actor = 's', .waiter = 's' },
        { .name = "reader-timeout", .holder = 'x', .actor = 's', .waiter = 's', .timeout_usec = 1500 },
        { .name = "writer-behind-reader", .holder = 's', .actor = 'x', .waiter = 's' },
        { .name = "writer-timeout", .holder = 's', .actor = 'x', .waiter = 's', .timeout_usec = 1500 },
        { .name = "permits", .holder = '2', .actor = '2', .waiter = '1' },
        { .name = "permits-handoff", .actor = '3', .waiter = '2' },
        { .name = "permits-timeout", .holder = '2', .actor = '3', .waiter = '2', .timeout_usec = 1500 },
        { .name = "upgrade", .actor = 's', .act = ACT_UPGRADE },
        { .name = "upgrade-wait", .holder = 's', .actor = 's', .waiter = 'x', .act = ACT_UPGRADE },
        { .name = "upgrade-queue", .holder = 's', .actor = 's', .waiter = 's', .act = ACT_UPGRADE },
        { .name = "downgrade", .actor = 'x', .waiter = 's', .act = ACT_DOWNGRADE },
        { .name = "all", .actor = 'x', .act = ACT_ALL },
        { .name = "all-wait", .holder = '2', .actor = '3', .waiter = '1', .act = ACT_ALL },
        { .name = "all-timeout", .holder = '2', .actor = '3', .waiter = '2', .act = ACT_ALL, .timeout_usec = 1500 },
        { .name = "pid", .actor = 'x', .waiter = 'x', .owner = "pid:self" },
        { .name = "pid-wait", .holder = 'x', .actor = 'x', .waiter = 'x', .owner = "pid:self" },
        { .name = "pid-permits", .actor = '3', .waiter = '2', .owner = "pid:self" },
        { .name = "pid-shared", .actor = 's', .waiter = 'x', .owner = "pid:self" },
        { .name = "pid-beside", .holder = 'x', .actor = 'x', .waiter = 'x', .holder_owner = "pid:self" },
        { .name = "pid-permits-beside", .holder = '2', .actor = '3', .waiter = '1', .holder_owner = "pid:self" },
        { .name = "downgrade-beside", .holder = 'x', .actor = 's', .waiter = 's', .holder_downgrades = true },
        { .name = "lease", .actor = 'x', .waiter = 'x', .owner = "lease:20ms" },
        { .name = "lease-renew", .actor = 'x', .waiter = 'x', .owner = "lease:40ms", .act = ACT_RENEW },
        { .name = "transfer", .actor = 'x', .waiter = 'x', .act = ACT_TRANSFER },
        { .name = "strict", .actor = 'x', .waiter = 'x', .flags = COORD_STRICT },
        { .name = "break", .holder = 'x', .waiter = 'x', .actor = 0, .act = ACT_BREAK, .waiter_first = true },
        { .name = "break-permits", .holder = '2', .waiter = '3', .actor = 0, .act = ACT_BREAK, .waiter_first = true },
        { .name = "priority", .holder = 'x', .waiter = 'x', .actor = 'x', .waiter_first = true, .priority = -20 },
        { .name = "priority-timeout", .holder = 'x', .waiter = 'x', .actor = 'x', .waiter_first = true, .priority = -20, .timeout_usec = 1500 },
        { .name = "async", .holder = 'x', .actor = 'x', .waiter = 'x', .act = ACT_ASYNC },
        { .name = "configure", .actor = 0, .act = ACT_CONFIGURE, .new_name = true },
};
const size_t n_scenarios = sizeof(scenarios) / sizeof(scenarios[0]);
/* clang-format on */

static bool is_semaphore(const struct scenario *s) {
        char c = s->actor ? s->actor : s->holder;

        return (c >= '1' && c <= '3') || s->act == ACT_CONFIGURE;
}

static void scene_name(const struct scenario *s, char *ret, size_t size) {
        if (s->new_name)
                snprintf(ret, size, "sweep/%s/%u", s->name, stage->performance);
        else
                snprintf(ret, size, "sweep/%s", s->name);
}

static void request_make(
                const struct scenario *s, char what, char name[64], struct coord_request *ret) {
        struct coord_request r = COORD_REQUEST_INIT;

        scene_name(s, name, 64);
        r.name = name;
        if (is_semaphore(s)) {
                r.kind = COORD_KIND_SEMAPHORE;
                r.permits = (uint32_t) (what - '0');
                r.capacity = 3;
        } else if (what == 's')
                r.flags = COORD_SHARED;
        *ret = r;
}

static void await_cue(void) {
        while (!atomic_load(&stage->cue))
                (void) sched_yield();
}

static void await_settled(void) {
        while (!atomic_load(&stage->settled))
                (void) sched_yield();
}

static int say(const struct scenario *s, const char *what, int r) {
        if (r < 0)
                fprintf(stderr, "torture: %s: %s: %s\n", s->name, what, strerror(-r));
        return r < 0 ? 1 : 0;
}

static int release(coord_hold *hold) {
        int r = coord_hold_release(hold);

        coord_hold_unref(hold);
        return r;
}

static const char *owner_text(const char *owner, char *buffer, size_t size) {
        if (!owner || strcmp(owner, "pid:self") != 0)
                return owner;
        snprintf(buffer, size, "pid:%d", (int) getpid());
        return buffer;
}

static int play_bystander(const struct scenario *s, coord_client *c, unsigned role) {
        struct coord_request r;
        coord_hold *hold = NULL;
        char name[64], owner[32];
        int e;

        request_make(s, role == ROLE_HOLDER ? s->holder : s->waiter, name, &r);
        if (role == ROLE_HOLDER)
                r.owner = owner_text(s->holder_owner, owner, sizeof(owner));
        e = coord_acquire_full(c, &r, &hold);
        if (e < 0)
                return say(s, role == ROLE_HOLDER ? "holder" : "waiter", e);
        atomic_store(&stage->ready[role], 1);
        if (role == ROLE_HOLDER)
                await_cue();
        else {
                await_settled();
                if (s->act != ACT_BREAK && coord_hold_check(hold) != 1)
                        return say(s, "waiter, whose hold was taken from it", -ESTALE);
        }
        if (role == ROLE_HOLDER && s->holder_downgrades) {
                e = coord_hold_convert(hold, COORD_SHARED, ENDLESS);
                if (e < 0)
                        return say(s, "holder's downgrade", e);
        }
        e = release(hold);
        if (e == -ESTALE && s->act == ACT_BREAK)
                e = 0;
        return say(s, role == ROLE_HOLDER ? "holder's release" : "waiter's release", e);
}

static void async_done(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        coord_hold **ret = userdata;

        if (result < 0)
                say(&scenarios[0], "asynchronous", result);
        *ret = hold;
}

static int take_async(coord_client *c, const struct coord_request *r, coord_hold **ret) {
        coord_slot *slot = NULL;
        int e;

        e = coord_acquire_async(c, &slot, r, async_done, ret);
        while (e >= 0 && !*ret) {
                struct pollfd p = {.fd = coord_client_get_fd(c)};

                p.events = (short) coord_client_get_events(c);
                (void) poll(&p, 1, 1000);
                e = coord_client_process(c);
        }
        coord_slot_unref(slot);
        return e < 0 ? e : 0;
}

static int take_all(coord_client *c, const struct coord_request *r, coord_hold **ret) {
        char want[80];
        const char *wants[] = {want, "lock:sweep/other", NULL};
        coord_hold **holds = NULL;
        int e;

        if (r->kind == COORD_KIND_SEMAPHORE)
                snprintf(want, sizeof(want), "sem:%s:%u:%u", r->name, r->permits, r->capacity);
        else
                snprintf(want, sizeof(want), "lock:%s", r->name);
        e = coord_acquire_all(c, wants, r->flags, r->timeout_usec, &holds);
        if (e < 0)
                return e;
        *ret = holds[0];
        e = release(holds[1]);
        holds[0] = holds[1] = NULL;
        coord_holds_free(holds);
        return e;
}

static int take_handle(coord_client *c, const struct coord_request *r, coord_hold **ret) {
        coord_lock *lock = NULL;
        int e;

        e = coord_lock_open(c, r->name, &lock);
        for (unsigned i = 0; e >= 0 && i < 2; i++) {
                if (*ret)
                        e = release(*ret);
                if (e >= 0)
                        e = coord_lock_lock(lock, r->flags, r->timeout_usec, ret);
        }
        coord_lock_unref(lock);
        return e;
}

static int actor_take(const struct scenario *s,
                coord_client *c,
                const struct coord_request *r,
                coord_hold **ret) {
        switch (s->act) {
        case ACT_ASYNC:
                return take_async(c, r, ret);
        case ACT_ALL:
                return take_all(c, r, ret);
        case ACT_HANDLE:
                return take_handle(c, r, ret);
        default:
                return coord_acquire_full(c, r, ret);
        }
}

static int actor_change(const struct scenario *s, coord_hold *hold) {
        char owner[32];

        switch (s->act) {
        case ACT_UPGRADE:
                return coord_hold_convert(hold, 0, ENDLESS);
        case ACT_DOWNGRADE:
                return coord_hold_convert(hold, COORD_SHARED, ENDLESS);
        case ACT_TRANSFER:
                snprintf(owner, sizeof(owner), "pid:%d", (int) getpid());
                return coord_hold_transfer(hold, owner);
        case ACT_RENEW:
                return coord_hold_renew(hold, 30000);
        default:
                return 0;
        }
}

/* What is not about a hold of the actor's own. */
static int play_meddler(const struct scenario *s, coord_client *c) {
        char name[64], target[80];
        int e;

        scene_name(s, name, sizeof(name));
        snprintf(target, sizeof(target), "%s%s", is_semaphore(s) ? "sem:" : "", name);
        if (s->act == ACT_BREAK) {
                e = coord_break(c, target);
                return say(s, "break", e == -ESTALE || e == -ENOENT ? 0 : e);
        }
        e = coord_semaphore_configure(c, name, 3);
        if (e >= 0)
                e = coord_semaphore_configure(c, name, 5);
        if (e >= 0)
                e = coord_semaphore_configure(c, name, 3);
        return say(s, "configure", e);
}

static int play_actor(const struct scenario *s, coord_client *c) {
        char name[64], owner[32];
        struct coord_request r;
        coord_hold *hold = NULL;
        int e;

        if (!s->actor)
                return play_meddler(s, c);

        request_make(s, s->actor, name, &r);
        r.flags |= s->flags;
        r.priority = s->priority;
        r.owner = owner_text(s->owner, owner, sizeof(owner));
        if (s->timeout_usec > 0)
                r.timeout_usec = s->timeout_usec;
        e = actor_take(s, c, &r, &hold);
        if (e == -ETIMEDOUT && s->timeout_usec > 0)
                return 0;
        if (e < 0)
                return say(s, "actor", e);
        atomic_store(&stage->ready[ROLE_ACTOR], 1);
        if (s->act != ACT_UPGRADE)
                await_cue();
        e = actor_change(s, hold);
        if (e < 0 && !(e == -ESTALE && s->owner))
                return say(s, "actor's change", e);
        if (s->act == ACT_UPGRADE)
                await_cue();
        e = release(hold);
        return say(s, "actor's release", e == -ESTALE && s->owner ? 0 : e);
}

/**
 * role_play() - play one role to its end
 *
 * Return: the exit status: 0 when all went as it should.
 */
int role_play(const struct scenario *s, unsigned role) {
        coord_client *c = NULL;
        int e;

        e = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c);
        if (e < 0)
                return say(s, "coord_client_new", e);
        e = role == ROLE_ACTOR ? play_actor(s, c) : play_bystander(s, c, role);
        coord_client_unref(c);
        return e;
}

static int check_rest(const struct scenario *s, coord_client *c) {
        struct coord_entry *entries = NULL;
        size_t n = 0;
        int e;

        e = coord_list(c, COORD_KIND_ANY, &entries, &n);
        if (e < 0)
                return say(s, "coord_list", e);
        for (size_t i = 0; i < n; i++)
                if (entries[i].n_holders > 0 || entries[i].n_waiters > 0 ||
                                entries[i].free != entries[i].capacity) {
                        fprintf(stderr,
                                        "torture: %s: left in %s: %zu holders, %zu waiters, %u of "
                                        "%u free\n",
                                        s->name, entries[i].name, entries[i].n_holders,
                                        entries[i].n_waiters, entries[i].free, entries[i].capacity);
                        e = -1;
                }
        coord_entries_free(entries, n);
        return e < 0 ? 1 : 0;
}

/**
 * role_probe() - can somebody else have it all?
 * @timeout_usec:       to wait for it
 * @kind:               PROBE_…: what the answer should be
 *
 * Return: the exit status: 0 when all is as it should be.
 */
int role_probe(const struct scenario *s, uint64_t timeout_usec, int kind) {
        bool last = kind == PROBE_LAST;
        struct coord_request r;
        coord_client *c = NULL;
        coord_hold *hold = NULL;
        char name[64];
        int e;

        e = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c);
        if (e < 0)
                return say(s, "probe's client", e);
        request_make(s, is_semaphore(s) ? '3' : 'x', name, &r);
        r.timeout_usec = timeout_usec;
        if (last && s->act == ACT_CONFIGURE && coord_semaphore_configure(c, name, 3) < 0)
                return say(s, "probe's configure", -EINVAL);
        e = coord_acquire_full(c, &r, &hold);
        if (kind == PROBE_TAKEN)
                return e == -EAGAIN ? 0 : say(s, "a probe beside a holder", e < 0 ? e : -EEXIST);
        if (e == 0)
                e = release(hold);
        else if (!last && (e == -ETIMEDOUT || (e == -ERANGE && s->act == ACT_CONFIGURE)))
                e = 0;
        if (e < 0)
                return say(s, last ? "the last probe" : "a probe beside a stopped process", e);
        e = last ? check_rest(s, c) : 0;
        coord_client_unref(c);
        return e;
}

/**
 * table_fill() - use names until the table can have no free place left
 *
 * Return: the exit status.
 */
int table_fill(void) {
        struct coord_status status = {.size = sizeof(status)};
        coord_client *c = NULL;
        int e;

        e = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c);
        if (e < 0)
                return 1;
        e = coord_client_get_status(c, &status);
        for (uint32_t i = 0; e >= 0 && i < status.names_max; i++) {
                coord_hold *hold = NULL;
                char name[32];

                snprintf(name, sizeof(name), "sweep/fill/%u", i);
                e = coord_lock_try(c, name, 0, &hold);
                if (e >= 0)
                        e = release(hold);
        }
        if (e < 0)
                fprintf(stderr, "torture: filling the table: %s\n", strerror(-e));
        coord_client_unref(c);
        return e < 0;
}
