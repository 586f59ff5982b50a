/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows that the judge can say no: each lie about a history must be found, by its name, and each
 * honest history next to it must pass. It knows nothing of the library.
 */
#include "torture.h"

#include <stdio.h>
#include <string.h>

#include "history.h"

#define SECOND UINT64_C(1000000000)

struct trial {
        const char *fact;
        int expected; /* VERDICT_…, or -1: nothing wrong */
        size_t n;
        struct event events[4];
};

/* clang-format off */
static const struct trial trials[] = {
        { "one after the other is fine", -1, 2, {
                { .asked = 1, .granted = 2, .until = 5, .epoch = 1, .counter = 1 },
                { .asked = 3, .granted = 5, .until = 9, .epoch = 1, .counter = 2 } } },
        { "two exclusive holds overlap", VERDICT_OVERLAP, 2, {
                { .asked = 1, .granted = 2, .until = 6, .epoch = 1, .counter = 1 },
                { .asked = 3, .granted = 5, .until = 9, .epoch = 1, .counter = 2 } } },
        { "a long hold overlaps one behind a short one", VERDICT_OVERLAP, 3, {
                { .asked = 1, .granted = 2, .until = 90, .epoch = 1, .counter = 1, .flags = EVENT_SHARED },
                { .asked = 1, .granted = 3, .until = 4, .epoch = 1, .counter = 2, .flags = EVENT_SHARED },
                { .asked = 6, .granted = 7, .until = 9, .epoch = 1, .counter = 3 } } },
        { "a shared hold inside an exclusive one", VERDICT_OVERLAP, 2, {
                { .asked = 1, .granted = 2, .until = 9, .epoch = 1, .counter = 1 },
                { .asked = 1, .granted = 4, .until = 5, .epoch = 1, .counter = 2, .flags = EVENT_SHARED } } },
        { "two shared holds at once are fine", -1, 2, {
                { .asked = 1, .granted = 2, .until = 6, .epoch = 1, .counter = 1, .flags = EVENT_SHARED },
                { .asked = 1, .granted = 3, .until = 9, .epoch = 1, .counter = 2, .flags = EVENT_SHARED } } },
        { "other names do not matter", -1, 2, {
                { .subject = 1, .asked = 1, .granted = 2, .until = 6, .epoch = 1, .counter = 1 },
                { .subject = 2, .asked = 1, .granted = 3, .until = 9, .epoch = 1, .counter = 1 } } },
        { "an end that nobody saw accuses nobody", -1, 2, {
                { .asked = 1, .granted = 2, .until = 0, .epoch = 1, .counter = 1 },
                { .asked = 1, .granted = 3, .until = 9, .epoch = 1, .counter = 2 } } },
        { "all permits out is fine", -1, 2, {
                { .asked = 1, .granted = 2, .until = 9, .epoch = 1, .counter = 1, .capacity = 3, .permits = 2 },
                { .asked = 1, .granted = 3, .until = 9, .epoch = 1, .counter = 2, .capacity = 3, .permits = 1 } } },
        { "one permit more than there are", VERDICT_PERMITS, 3, {
                { .asked = 1, .granted = 2, .until = 9, .epoch = 1, .counter = 1, .capacity = 3, .permits = 2 },
                { .asked = 1, .granted = 3, .until = 9, .epoch = 1, .counter = 2, .capacity = 3, .permits = 1 },
                { .asked = 1, .granted = 8, .until = 9, .epoch = 1, .counter = 3, .capacity = 3, .permits = 1 } } },
        { "a fence that went back", VERDICT_ORDER, 2, {
                { .asked = 1, .granted = 2, .until = 3, .epoch = 1, .counter = 8 },
                { .asked = 4, .granted = 5, .until = 9, .epoch = 1, .counter = 7 } } },
        { "a fence that went back in a lesser epoch", VERDICT_ORDER, 2, {
                { .asked = 1, .granted = 2, .until = 3, .epoch = 2, .counter = 1 },
                { .asked = 4, .granted = 5, .until = 9, .epoch = 1, .counter = 7 } } },
        { "a fence that went back under waiters", VERDICT_ORDER, 2, {
                { .asked = 1, .granted = 2, .until = 3, .epoch = 1, .counter = 8 },
                { .asked = 1, .granted = 5, .until = 9, .epoch = 1, .counter = 7 } } },
        { "fences of shared holds granted at once have no order", -1, 2, {
                { .asked = 1, .granted = 2, .until = 6, .epoch = 1, .counter = 8, .flags = EVENT_SHARED },
                { .asked = 1, .granted = 3, .until = 6, .epoch = 1, .counter = 7, .flags = EVENT_SHARED } } },
        { "one fence for two grants", VERDICT_DUPLICATE, 2, {
                { .asked = 1, .granted = 2, .until = 3, .epoch = 1, .counter = 8 },
                { .asked = 1, .granted = 5, .until = 9, .epoch = 1, .counter = 8 } } },
        { "a conversion may keep its fence", -1, 2, {
                { .asked = 1, .granted = 2, .until = 3, .epoch = 1, .counter = 8 },
                { .asked = 2, .granted = 3, .until = 9, .epoch = 1, .counter = 8,
                  .flags = EVENT_SAME_TOKEN | EVENT_SHARED } } },
        { "a later arrival passed one in the queue", VERDICT_BARGED, 2, {
                { .asked = 1, .linked = 2, .granted = 9, .until = 10, .epoch = 1, .counter = 8,
                  .flags = EVENT_QUEUED },
                { .asked = 3, .granted = 5, .until = 6, .epoch = 1, .counter = 7 } } },
        { "a better priority may pass", -1, 2, {
                { .asked = 1, .linked = 2, .granted = 9, .until = 10, .epoch = 1, .counter = 8,
                  .flags = EVENT_QUEUED },
                { .asked = 3, .granted = 5, .until = 6, .epoch = 1, .counter = 7, .priority = -1 } } },
        { "a better priority may not pass who came long before", VERDICT_BARGED, 2, {
                { .asked = 1, .linked = 2, .granted = 9 * SECOND, .until = 10 * SECOND, .epoch = 1,
                  .counter = 8, .flags = EVENT_QUEUED },
                { .asked = SECOND, .granted = 2 * SECOND, .until = 3 * SECOND, .epoch = 1,
                  .counter = 7, .priority = -1 } } },
        { "one permit passed three", VERDICT_BARGED, 2, {
                { .asked = 1, .linked = 2, .granted = 9, .until = 10, .epoch = 1, .counter = 8,
                  .flags = EVENT_QUEUED, .capacity = 3, .permits = 3 },
                { .asked = 3, .granted = 5, .until = 6, .epoch = 1, .counter = 7, .capacity = 3,
                  .permits = 1 } } },
};

static const struct {
        const char *fact;
        struct waiting w;
        uint64_t now;
        int expected;
} waits[] = {
        { "who doesn't wait is not stranded", { 0, UINT64_MAX, 0 }, 99 * SECOND, 0 },
        { "an endless wait of a second is fine", { SECOND, UINT64_MAX, 0 }, 2 * SECOND, 0 },
        { "an endless wait that nobody ends", { SECOND, UINT64_MAX, 0 }, 12 * SECOND, 1 },
        { "a timeout that lies ahead", { SECOND, 20 * SECOND, 0 }, 12 * SECOND, 0 },
        { "a timeout that was slept through", { SECOND, SECOND, 0 }, 14 * SECOND, 1 },
        { "one who was stopped gets its time again", { SECOND, SECOND, 9 * SECOND }, 14 * SECOND, 0 },
};
/* clang-format on */

static bool trial_passes(const struct trial *t) {
        struct event events[4];
        struct verdict v = {0};
        uint64_t total;

        memcpy(events, t->events, sizeof(events));
        if (history_check(events, t->n, &v) < 0)
                return false;
        total = verdict_total(&v);
        return t->expected < 0 ? total == 0 : v.count[t->expected] > 0;
}

/**
 * selftest_run() - feed the judge lies and truths
 *
 * Return: 0 when each was judged rightly, else 1.
 */
int selftest_run(void) {
        unsigned wrong = 0, n = 0;

        for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++, n++)
                if (!trial_passes(&trials[i])) {
                        fprintf(stderr, "judged wrongly: %s\n", trials[i].fact);
                        wrong++;
                }
        for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++, n++)
                if (history_is_stranded(&waits[i].w, waits[i].now, 10 * SECOND) !=
                                waits[i].expected) {
                        fprintf(stderr, "judged wrongly: %s\n", waits[i].fact);
                        wrong++;
                }
        printf("torture: self-test: %u histories, %u judged wrongly\n", n, wrong);
        return wrong > 0;
}
