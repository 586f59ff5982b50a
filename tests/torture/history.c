/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules, each over the grants of one name:
 *
 *   overlap    sorted by time of grant, no exclusive hold begins while another hold stands, and no
 *              shared one while an exclusive one stands
 *   permits    the permits out at one time never exceed the capacity
 *   order      if A's grant had been returned before B was asked for, B's fence is above A's. If B
 *              stood for certain when it was granted, and excludes A, then it is enough that A's
 *              grant was returned before B's
 *   duplicate  no fence twice
 *   barged     if A was in the queue before B was asked for, with no worse a priority, and they
 *              exclude each other, A's fence is below B's; but conversions come first
 *
 * Nothing here knows where the events come from.
 */
#include "history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct edge {
        uint64_t at;
        int64_t change;
};

static const char *const verdict_names[VERDICT_KINDS] = {
                [VERDICT_OVERLAP] = "overlap",
                [VERDICT_PERMITS] = "too many permits",
                [VERDICT_ORDER] = "fence order lost",
                [VERDICT_DUPLICATE] = "fence given twice",
                [VERDICT_BARGED] = "barged past the queue",
                [VERDICT_STRANDED] = "stranded",
};

/** verdict_name() - the finding in words */
const char *verdict_name(unsigned kind) {
        return kind < VERDICT_KINDS ? verdict_names[kind] : "?";
}

/** verdict_total() - how many findings there are of all kinds */
uint64_t verdict_total(const struct verdict *v) {
        uint64_t total = 0;

        for (unsigned i = 0; i < VERDICT_KINDS; i++)
                total += v->count[i];
        return total;
}

/** event_print() - an event in words */
void event_print(char *text, size_t size, const struct event *e) {
        snprintf(text, size,
                        "[subject %u by %u %s x%u priority %d fence %" PRIu64 ".%" PRIu64
                        " asked %" PRIu64 " linked %" PRIu64 " granted %" PRIu64 " until %" PRIu64
                        "]",
                        e->subject, e->who, (e->flags & EVENT_SHARED) ? "shared" : "exclusive",
                        e->permits, e->priority, e->epoch, e->counter, e->asked, e->linked,
                        e->granted, e->until);
}

static void found(struct verdict *v, unsigned kind, const struct event *a, const struct event *b) {
        char first[280], second[280];

        v->count[kind]++;
        if (v->first[0] != 0)
                return;

        v->subject = b->subject;
        v->from = a->asked < b->asked ? a->asked : b->asked;
        v->to = a->granted > b->granted ? a->granted : b->granted;
        event_print(first, sizeof(first), a);
        event_print(second, sizeof(second), b);
        snprintf(v->first, sizeof(v->first), "%s: %s and %s", verdict_name(kind), first, second);
}

static int fence_compare(const struct event *a, const struct event *b) {
        if (a->epoch != b->epoch)
                return a->epoch < b->epoch ? -1 : 1;
        if (a->counter != b->counter)
                return a->counter < b->counter ? -1 : 1;
        return 0;
}

static bool certain(const struct event *e) {
        return e->until > e->granted;
}

static int by_granted(const void *a, const void *b) {
        const struct event *x = a, *y = b;

        if (x->subject != y->subject)
                return x->subject < y->subject ? -1 : 1;
        if (x->granted != y->granted)
                return x->granted < y->granted ? -1 : 1;
        return 0;
}

static int by_asked(const void *a, const void *b) {
        const struct event *const *x = a, *const *y = b;

        return (*x)->asked < (*y)->asked ? -1 : (*x)->asked > (*y)->asked;
}

static int by_linked(const void *a, const void *b) {
        const struct event *const *x = a, *const *y = b;

        return (*x)->linked < (*y)->linked ? -1 : (*x)->linked > (*y)->linked;
}

static int by_fence(const void *a, const void *b) {
        const struct event *const *x = a, *const *y = b;

        return fence_compare(*x, *y);
}

static int by_time(const void *a, const void *b) {
        const struct edge *x = a, *y = b;

        if (x->at != y->at)
                return x->at < y->at ? -1 : 1;
        return x->change < y->change ? -1 : x->change > y->change; /* what ends, ends first */
}

/* Whose hold lasts longest, so far. */
static void outlast(const struct event **longest, const struct event *e) {
        if (!*longest || (*longest)->until < e->until)
                *longest = e;
}

static void check_overlap(const struct event *events, size_t n, struct verdict *v) {
        const struct event *exclusive = NULL, *shared = NULL;

        for (size_t i = 0; i < n; i++) {
                const struct event *e = &events[i];
                bool is_shared = e->flags & EVENT_SHARED;

                if (e->capacity > 0 || !certain(e))
                        continue;
                if (exclusive && exclusive->until > e->granted)
                        found(v, VERDICT_OVERLAP, exclusive, e);
                if (!is_shared && shared && shared->until > e->granted)
                        found(v, VERDICT_OVERLAP, shared, e);
                outlast(is_shared ? &shared : &exclusive, e);
        }
}

static int check_permits(const struct event *events, size_t n, struct verdict *v) {
        struct edge *edges;
        size_t n_edges = 0;
        int64_t out = 0;

        edges = calloc(2 * n + 1, sizeof(*edges));
        if (!edges)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++)
                if (events[i].capacity > 0 && certain(&events[i])) {
                        int64_t k = events[i].permits;

                        edges[n_edges++] = (struct edge){events[i].granted, k};
                        edges[n_edges++] = (struct edge){events[i].until, -k};
                }
        qsort(edges, n_edges, sizeof(*edges), by_time);
        for (size_t i = 0; i < n_edges; i++) {
                out += edges[i].change;
                if (out > events[0].capacity && edges[i].change > 0)
                        found(v, VERDICT_PERMITS, &events[0], &events[n - 1]);
        }
        free(edges);
        return 0;
}

static void higher(const struct event **highest, const struct event *e) {
        if (!*highest || fence_compare(*highest, e) < 0)
                *highest = e;
}

static void check_below(const struct event *before, const struct event *e, struct verdict *v) {
        if (before && before != e && fence_compare(before, e) > 0)
                found(v, VERDICT_ORDER, before, e);
}

/* events is in the order of grants, asked in the order of asking. */
static void check_order(struct event *events, struct event **asked, size_t n, struct verdict *v) {
        const struct event *highest = NULL, *highest_exclusive = NULL;

        for (size_t i = 0, k = 0; i < n; i++) {
                while (k < n && events[k].granted < asked[i]->asked)
                        higher(&highest, &events[k++]);
                if (!(asked[i]->flags & EVENT_SAME_TOKEN))
                        check_below(highest, asked[i], v);
        }

        highest = NULL;
        for (size_t i = 0; i < n; i++) {
                struct event *e = &events[i];
                bool is_shared = e->flags & EVENT_SHARED;

                if (e->capacity == 0 && certain(e) && !(e->flags & EVENT_SAME_TOKEN))
                        check_below(is_shared ? highest_exclusive : highest, e, v);
                higher(&highest, e);
                if (!is_shared)
                        higher(&highest_exclusive, e);
        }
}

static void check_duplicates(struct event **fences, size_t n, struct verdict *v) {
        for (size_t i = 1; i < n; i++)
                if (fence_compare(fences[i - 1], fences[i]) == 0 &&
                                !((fences[i - 1]->flags | fences[i]->flags) & EVENT_SAME_TOKEN))
                        found(v, VERDICT_DUPLICATE, fences[i - 1], fences[i]);
}

#define PRIORITY_NS INT64_C(100000000)

/* Before this moment A must have queued to come before B. */
static uint64_t must_precede(const struct event *b, int32_t priority) {
        int64_t lag = (int64_t) (priority - b->priority) * PRIORITY_NS;

        if (lag <= 0)
                return b->asked;
        return b->asked > (uint64_t) lag ? b->asked - (uint64_t) lag : 0;
}

/* A series of events of one priority each; the pointers in it are sorted. */
struct series {
        struct event **events;
        size_t n;
        int32_t priority;
};

/* Is anyone of asked above somebody in queued who had queued before it came? */
static void check_barging(const struct series *queued,
                const struct series *asked,
                bool among_exclusive,
                struct verdict *v) {
        const struct event *highest = NULL;
        size_t k = 0;

        for (size_t i = 0; i < asked->n; i++) {
                const struct event *b = asked->events[i];

                if (b->priority != asked->priority || (b->flags & EVENT_CONVERTED))
                        continue;
                if (!among_exclusive && (b->flags & EVENT_SHARED))
                        continue;
                while (k < queued->n &&
                                queued->events[k]->linked < must_precede(b, queued->priority))
                        higher(&highest, queued->events[k++]);
                if (highest && highest != b && fence_compare(highest, b) > 0)
                        found(v, VERDICT_BARGED, highest, b);
        }
}

static size_t pick_queued(
                struct series *queued, struct event *events, size_t n, bool only_exclusive) {
        queued->n = 0;
        for (size_t i = 0; i < n; i++)
                if ((events[i].flags & EVENT_QUEUED) && events[i].priority == queued->priority &&
                                !(only_exclusive && (events[i].flags & EVENT_SHARED)))
                        queued->events[queued->n++] = &events[i];
        qsort(queued->events, queued->n, sizeof(*queued->events), by_linked);
        return queued->n;
}

#define PRIORITY_MIN (-20)
#define PRIORITIES 40

/* must_precede() rises along asked only among those of one priority: so pairs of priorities. */
static void check_fifo(struct event *events,
                struct event **asked,
                size_t n,
                struct event **scratch,
                struct verdict *v) {
        struct series all = {asked, n, 0};
        uint64_t present = 0;

        for (size_t i = 0; i < n; i++)
                present |= UINT64_C(1) << (events[i].priority - PRIORITY_MIN);

        for (int a = 0; a < PRIORITIES; a++)
                for (int only_exclusive = 0; only_exclusive < 2; only_exclusive++) {
                        struct series queued = {scratch, 0, a + PRIORITY_MIN};

                        if (!(present >> a & 1) ||
                                        pick_queued(&queued, events, n, only_exclusive) == 0)
                                continue;
                        for (int b = 0; b < PRIORITIES; b++) {
                                all.priority = b + PRIORITY_MIN;
                                if (present >> b & 1)
                                        check_barging(&queued, &all, only_exclusive, v);
                        }
                }
}

static int check_subject(struct event *events, size_t n, struct verdict *v) {
        struct event **asked, **scratch;
        int r;

        asked = calloc(2 * n, sizeof(struct event *));
        if (!asked)
                return -ENOMEM;
        scratch = asked + n;

        for (size_t i = 0; i < n; i++)
                asked[i] = &events[i];
        qsort(asked, n, sizeof(*asked), by_asked);

        check_overlap(events, n, v);
        check_order(events, asked, n, v);
        check_fifo(events, asked, n, scratch, v);
        r = check_permits(events, n, v);

        qsort(asked, n, sizeof(*asked), by_fence);
        check_duplicates(asked, n, v);
        free(asked);
        return r;
}

/**
 * history_check() - judge all grants of a run
 * @events:     sorted here
 * @v:          what was found is added to it
 *
 * Return: 0, also when something was found; -EINVAL for an impossible priority; -ENOMEM.
 */
int history_check(struct event *events, size_t n, struct verdict *v) {
        for (size_t i = 0; i < n; i++)
                if (events[i].priority < PRIORITY_MIN ||
                                events[i].priority >= PRIORITY_MIN + PRIORITIES)
                        return -EINVAL;

        qsort(events, n, sizeof(*events), by_granted);
        for (size_t first = 0, last = 0; first < n; first = last) {
                int r;

                while (last < n && events[last].subject == events[first].subject)
                        last++;
                r = check_subject(events + first, last - first, v);
                if (r < 0)
                        return r;
        }
        return 0;
}

/**
 * history_is_stranded() - has a party that runs waited longer than anything may take?
 * @patience:   more than any hold in this test lasts, and than a busy machine delays
 *
 * Return: 1 or 0.
 */
int history_is_stranded(const struct waiting *w, uint64_t now, uint64_t patience) {
        uint64_t since = w->since, due;

        if (since == 0)
                return 0;
        due = since + (w->timeout == UINT64_MAX ? 0 : w->timeout);
        if (due < w->resumed)
                due = w->resumed;
        return now > due && now - due > patience;
}
