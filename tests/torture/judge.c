/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns the log into a history, saying of each hold only until when it stood for certain, and looks
 * at what is left when everybody has gone.
 */
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "history.h"

/* The first break that may have ended it, begun after it was asked for. */
static uint64_t break_limit(const struct record *r) {
        uint64_t begun = atomic_load(&shared->breaks_begun[r->subject]);

        if (r->flags & STAY_BLIND)
                return 0;
        return r->breaks < begun ? shared->break_times[r->subject][r->breaks] : UINT64_MAX;
}

static uint64_t certain_until(const struct record *r) {
        uint64_t until = break_limit(r), died = atomic_load(&shared->died[r->incarnation]);

        if (atomic_load(&r->state) == RECORD_LEFT && atomic_load(&r->left) < until)
                until = atomic_load(&r->left);
        if (r->flags & STAY_LEASE) {
                if (r->lease_end < until)
                        until = r->lease_end;
        } else if (died != 0 && died < until)
                until = died;
        return until;
}

static void event_of(const struct record *r, struct event *e) {
        *e = (struct event){
                        .subject = r->subject,
                        .permits = r->permits,
                        .capacity = subjects[r->subject].capacity,
                        .who = r->incarnation,
                        .priority = r->priority,
                        .asked = r->asked,
                        .linked = r->linked,
                        .granted = r->granted,
                        .until = certain_until(r),
                        .epoch = r->epoch,
                        .counter = r->counter,
        };
        if (r->flags & STAY_SHARED)
                e->flags |= EVENT_SHARED;
        if (r->flags & STAY_SAME_TOKEN)
                e->flags |= EVENT_SAME_TOKEN;
        if (r->flags & STAY_CONVERTED)
                e->flags |= EVENT_CONVERTED;
        if (r->flags & STAY_QUEUED)
                e->flags |= EVENT_QUEUED;
}

/* What went on around the first finding. */
static void show_around(const struct event *events, size_t n, const struct verdict *v) {
        char text[280];
        unsigned shown = 0;

        for (size_t i = 0; i < n && shown < 60; i++) {
                const struct event *e = &events[i];

                if (e->subject != v->subject || e->granted > v->to ||
                                (e->granted < v->from && e->until < v->from))
                        continue;
                event_print(text, sizeof(text), e);
                fprintf(stderr, "  %s\n", text);
                shown++;
        }
}

/**
 * judge_history() - check the log of the run
 *
 * Return: how many violations there are; they are told on standard error.
 */
uint64_t judge_history(void) {
        uint64_t n = atomic_load(&shared->n_records);
        struct verdict v = {0};
        struct event *events;
        size_t n_events = 0;

        if (n > RECORDS_MAX)
                n = RECORDS_MAX;
        events = calloc(n + 1, sizeof(*events));
        if (!events)
                return 1;
        for (uint64_t i = 0; i < n; i++)
                if (atomic_load(&shared->records[i].state) != 0)
                        event_of(&shared->records[i], &events[n_events++]);

        if (history_check(events, n_events, &v) < 0)
                v.count[VERDICT_STRANDED]++;
        for (unsigned i = 0; i < VERDICT_KINDS; i++)
                if (v.count[i] > 0)
                        fprintf(stderr, "torture: VIOLATION: %s: %" PRIu64 " times\n",
                                        verdict_name(i), v.count[i]);
        if (v.first[0] != 0) {
                fprintf(stderr, "torture: first: %s\n", v.first);
                show_around(events, n_events, &v);
        }
        free(events);
        return verdict_total(&v);
}

static void check_entry(const struct coord_entry *e) {
        if (e->n_holders > 0 || e->n_waiters > 0 || e->held || e->reserved)
                complain("%s: %zu holders and %zu waiters are left", e->name, e->n_holders,
                                e->n_waiters);
        if (e->kind == COORD_KIND_SEMAPHORE && e->free != e->capacity)
                complain("%s: %u of %u permits are free", e->name, e->free, e->capacity);
}

/* Everybody can have everything (leases of the dead run out meanwhile), with a fence above all that were given. */
static void check_free(coord_client *c, const struct subject *s, uint64_t highest) {
        struct coord_request r = COORD_REQUEST_INIT;
        uint64_t epoch = 0, counter = 0;
        coord_hold *hold = NULL;
        int e;

        r.kind = s->kind;
        r.name = s->name;
        r.permits = r.capacity = s->capacity;
        r.timeout_usec = shared->options.patience / 1000;
        e = coord_acquire_full(c, &r, &hold);
        if (e < 0) {
                complain("%s: at the end: %s", s->name, strerror(-e));
                return;
        }
        (void) coord_hold_fence(hold, &epoch, &counter);
        if (counter <= highest)
                complain("%s: the last fence is %" PRIu64 " after %" PRIu64, s->name, counter,
                                highest);
        e = coord_hold_release(hold);
        if (e < 0)
                complain("%s: release at the end: %s", s->name, strerror(-e));
        coord_hold_unref(hold);
}

static uint64_t highest_fence(unsigned subject) {
        uint64_t n = atomic_load(&shared->n_records), highest = 0;

        for (uint64_t i = 0; i < n && i < RECORDS_MAX; i++)
                if (shared->records[i].subject == subject && shared->records[i].counter > highest)
                        highest = shared->records[i].counter;
        return highest;
}

static void look_afterwards(void) {
        struct coord_status status = {.size = sizeof(status)};
        struct coord_entry *entries = NULL;
        coord_client *c = NULL;
        size_t n = 0;
        int r;

        r = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c);
        for (unsigned i = 0; r >= 0 && i < SUBJECTS; i++)
                check_free(c, &subjects[i], highest_fence(i));
        if (r >= 0)
                r = coord_list(c, COORD_KIND_ANY, &entries, &n);
        for (size_t i = 0; r >= 0 && i < n; i++)
                check_entry(&entries[i]);
        coord_entries_free(entries, n);
        if (r >= 0)
                r = coord_client_get_status(c, &status);
        if (r < 0)
                complain("afterwards: %s", strerror(-r));
        printf("torture: left in use: %u cells, %u records, %u permit words, %u names, %u "
               "processes\n",
                        status.waiters, status.records, status.permits, status.names,
                        status.processes);
        coord_client_unref(c);
}

/**
 * judge_after() - when all workers have gone: is all free again?
 *
 * In a process of its own, so that a library that hangs is found out and the parent stays no client.
 */
void judge_after(void) {
        int status = 0;
        pid_t pid;

        (void) fflush(stdout);
        pid = fork();
        if (pid == 0) {
                (void) alarm((unsigned) (3 * shared->options.patience / 1000000000));
                coord_step_hook = NULL;
                look_afterwards();
                (void) fflush(stdout);
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) ||
                        WEXITSTATUS(status) != 0)
                complain("the last look at the segment failed (status 0x%x)", (unsigned) status);
}
