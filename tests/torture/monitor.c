/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The door-keeper. Who was granted something puts a mark on the subject's door and looks at the
 * others' marks; whoever leaves takes it off before the release. Two marks that exclude each other,
 * both standing for certain, are the library's fault. A mark counts for nothing once its process was
 * condemned, its lease may be over, or a break of the name had begun. The library's state isn't read.
 */
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORD_PERMITS UINT64_C(0xff)
#define WORD_SHARED UINT64_C(0x100)
#define WORD_INCARNATION 16

static struct mark *own_mark(const struct actor *a, unsigned subject) {
        return &shared->marks[subject][a->worker][a->thread];
}

/**
 * monitor_ask() - a call for these stays is about to be made
 * @timeout_usec:   the call's
 */
void monitor_ask(struct actor *a, struct stay *stays, size_t n, uint64_t timeout_usec) {
        uint32_t bits = 0;
        uint64_t now;

        for (size_t i = 0; i < n; i++) {
                struct stay *s = &stays[i];
                uint64_t ended = atomic_load(&shared->breaks_ended[s->subject]);

                s->breaks = atomic_load(&shared->breaks_begun[s->subject]);
                if (s->breaks != ended)
                        s->flags |= STAY_BLIND;
                bits |= UINT32_C(1) << s->subject;
        }
        a->linked = 0;
        now = now_ns();
        for (size_t i = 0; i < n; i++)
                stays[i].asked = now;
        atomic_store(&a->state->subjects, bits);
        atomic_store(&a->state->timeout,
                        timeout_usec >= UINT64_MAX / 1000 ? UINT64_MAX : timeout_usec * 1000);
        atomic_store(&a->state->since, now);
}

/**
 * monitor_answered() - the call came back
 */
void monitor_answered(struct actor *a) {
        atomic_store(&a->state->since, 0);
}

static bool process_is_gone(uint32_t incarnation) {
        struct pollfd p = {.events = POLLIN};
        bool gone;

        if (atomic_load(&shared->gone[incarnation]))
                return true;
        p.fd = (int) syscall(SYS_pidfd_open, shared->pids[incarnation], 0);
        if (p.fd < 0)
                return errno == ESRCH;
        gone = poll(&p, 1, 0) > 0 || atomic_load(&shared->gone[incarnation]);
        close(p.fd);
        return gone;
}

/* Does another's mark stand for certain, now? Its word must not have changed since it was read. */
static bool stands(const struct mark *m, uint64_t word, unsigned subject, uint32_t *ret_flags) {
        uint32_t flags = atomic_load(&m->flags);
        uint64_t lease_end = atomic_load(&m->lease_end);
        bool unbroken = !(flags & STAY_BLIND) &&
                        atomic_load(&m->breaks) == atomic_load(&shared->breaks_begun[subject]);
        uint32_t incarnation = (uint32_t) (word >> WORD_INCARNATION);
        bool dead = atomic_load(&shared->died[incarnation]) != 0;
        bool in_time = now_ns() < lease_end;

        *ret_flags = flags;
        if (!unbroken || atomic_load(&m->word) != word)
                return false;
        if (flags & STAY_LEASE)
                return in_time;
        return !dead;
}

static void check_strict(const struct mark *m, uint64_t word, unsigned subject, uint32_t flags) {
        uint32_t incarnation = (uint32_t) (word >> WORD_INCARNATION);

        if (!(flags & STAY_STRICT) || (flags & (STAY_LEASE | STAY_BLIND)) ||
                        atomic_load(&m->breaks) != atomic_load(&shared->breaks_begun[subject]) ||
                        atomic_load(&shared->died[incarnation]) == 0 ||
                        process_is_gone(incarnation) || atomic_load(&m->word) != word)
                return;
        complain("%s: granted while the process of a strict hold is not gone (incarnation %u)",
                        subjects[subject].name, incarnation);
}

static void look_around(const struct actor *a, const struct stay *stay, uint64_t own) {
        uint64_t permits = stay->permits;

        for (unsigned w = 0; w < WORKERS_MAX; w++)
                for (unsigned t = 0; t < THREADS_MAX; t++) {
                        const struct mark *m = &shared->marks[stay->subject][w][t];
                        uint64_t word = atomic_load(&m->word);
                        uint32_t flags;

                        if (word == 0 || (w == a->worker && t == a->thread) ||
                                        (word & own & WORD_SHARED))
                                continue;
                        if (stands(m, word, stay->subject, &flags)) {
                                permits += word & WORD_PERMITS;
                                if (subjects[stay->subject].capacity == 0)
                                        complain("%s: two inside: incarnations %u and %u",
                                                        subjects[stay->subject].name,
                                                        a->incarnation,
                                                        (uint32_t) (word >> WORD_INCARNATION));
                        } else if (subjects[stay->subject].capacity == 0)
                                check_strict(m, word, stay->subject, flags);
                }
        if (subjects[stay->subject].capacity > 0 && permits > subjects[stay->subject].capacity)
                complain("%s: %" PRIu64 " permits out of %u", subjects[stay->subject].name, permits,
                                subjects[stay->subject].capacity);
}

static struct record *
record_new(const struct actor *a, const struct stay *stay, uint64_t granted, coord_hold *hold) {
        uint64_t i = atomic_fetch_add(&shared->n_records, 1);
        struct record *r;

        if (i >= RECORDS_MAX)
                return NULL;

        r = &shared->records[i];
        r->incarnation = a->incarnation;
        r->thread = (uint8_t) a->thread;
        r->subject = (uint8_t) stay->subject;
        r->permits = (uint8_t) stay->permits;
        r->priority = (int8_t) stay->priority;
        r->flags = stay->flags | (a->linked > 0 ? STAY_QUEUED : 0);
        r->asked = stay->asked;
        r->linked = a->linked;
        r->granted = granted;
        r->lease_end = stay->lease_ns > 0 ? stay->asked + stay->lease_ns : UINT64_MAX;
        r->breaks = stay->breaks;
        if (coord_hold_fence(hold, &r->epoch, &r->counter) < 0)
                complain("%s: a hold without a fence", subjects[stay->subject].name);
        atomic_store(&r->state, RECORD_GRANTED);
        return r;
}

/**
 * monitor_enter() - a hold was granted: log it, mark it, look who else is there
 * @stay:   as given to monitor_ask(); flags, permits, priority and lease_ns filled in
 */
void monitor_enter(struct actor *a, struct stay *stay, coord_hold *hold) {
        struct mark *m = own_mark(a, stay->subject);
        uint64_t granted = now_ns(), word;

        word = ((uint64_t) a->incarnation << WORD_INCARNATION) | stay->permits |
               ((stay->flags & STAY_SHARED) ? WORD_SHARED : 0);
        stay->record = record_new(a, stay, granted, hold);
        atomic_store(&m->word, 0);
        atomic_store(&m->lease_end, stay->lease_ns > 0 ? stay->asked + stay->lease_ns : UINT64_MAX);
        atomic_store(&m->breaks, stay->breaks);
        atomic_store(&m->flags, stay->flags);
        atomic_store(&m->word, word);

        if (monitor_certain(stay))
                look_around(a, stay, word);
        count(COUNT_GRANTS);
        if (coord_hold_was_abandoned(hold) == 1)
                count(COUNT_ABANDONED);
}

/**
 * monitor_certain() - does our own hold still stand, for all that we know?
 */
bool monitor_certain(const struct stay *stay) {
        return !(stay->flags & STAY_BLIND) &&
               stay->breaks == atomic_load(&shared->breaks_begun[stay->subject]) &&
               (stay->lease_ns == 0 || now_ns() < stay->asked + stay->lease_ns);
}

/**
 * monitor_leave() - the hold is about to be released
 */
void monitor_leave(struct actor *a, struct stay *stay) {
        atomic_store(&own_mark(a, stay->subject)->word, 0);
        if (!stay->record)
                return;
        atomic_store(&stay->record->left, now_ns());
        atomic_store(&stay->record->state, RECORD_LEFT);
}

/**
 * monitor_weaken() - an exclusive hold is about to become a shared one
 */
void monitor_weaken(struct actor *a, struct stay *stay) {
        struct mark *m = own_mark(a, stay->subject);

        atomic_fetch_or(&m->word, WORD_SHARED);
        if (!stay->record)
                return;
        atomic_store(&stay->record->left, now_ns());
        atomic_store(&stay->record->state, RECORD_LEFT);
}

/**
 * monitor_break_begin() - all holds of a subject are about to be broken
 *
 * One at a time breaks, so that the parent can tidy up for one who died in the midst of it.
 *
 * Return: true; false when another breaks, or no more breaks fit into the log: then don't.
 */
bool monitor_break_begin(struct actor *a, unsigned subject) {
        uint64_t i = atomic_load(&shared->breaks_begun[subject]);
        uint32_t nobody = 0;

        if (i >= BREAKS_MAX ||
                        !atomic_compare_exchange_strong(&shared->breaker, &nobody, a->incarnation))
                return false;
        shared->break_times[subject][atomic_load(&shared->breaks_begun[subject])] = now_ns();
        atomic_fetch_add(&shared->breaks_begun[subject], 1);
        return true;
}

/**
 * monitor_break_end() - the break is done, or who began it is gone
 */
void monitor_break_end(uint32_t incarnation) {
        if (atomic_load(&shared->breaker) != incarnation)
                return;
        for (unsigned i = 0; i < SUBJECTS; i++)
                atomic_store(&shared->breaks_ended[i], atomic_load(&shared->breaks_begun[i]));
        atomic_store(&shared->breaker, 0);
}
