/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judges what happened: a list of grants, each with the time during which the hold stood for certain.
 * It knows nothing of processes, kills and the library, so that its own tests can feed it lies.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
        EVENT_SHARED = 1u << 0,     /* of a lock, beside other shared holds */
        EVENT_SAME_TOKEN = 1u << 1, /* a conversion that kept its token */
        EVENT_QUEUED = 1u << 2,     /* linked is when its place in the queue was taken */
        EVENT_CONVERTED = 1u << 3,  /* came from another hold of the name: it need not queue */
};

/* One grant. It stood for certain from granted until until; until <= granted says nothing. */
struct event {
        uint32_t subject;
        uint32_t flags;
        uint32_t permits;
        uint32_t who; /* for people */
        int32_t priority;
        uint32_t capacity;                      /* of a semaphore, else 0 */
        uint64_t asked, linked, granted, until; /* nanoseconds */
        uint64_t epoch, counter;
};

enum {
        VERDICT_OVERLAP,   /* two holds that exclude each other */
        VERDICT_PERMITS,   /* more permits out than there are */
        VERDICT_ORDER,     /* a later grant with a smaller fence */
        VERDICT_DUPLICATE, /* two grants with one fence */
        VERDICT_BARGED,    /* granted before one who had queued when it was not there yet */
        VERDICT_STRANDED,  /* waits and nobody serves it */
        VERDICT_KINDS,
};

struct verdict {
        uint64_t count[VERDICT_KINDS];
        char first[640];  /* the first finding in words */
        uint32_t subject; /* and where and when to look */
        uint64_t from, to;
};

const char *verdict_name(unsigned kind);
uint64_t verdict_total(const struct verdict *v);
void event_print(char *text, size_t size, const struct event *e);
int history_check(struct event *events, size_t n, struct verdict *v);

/* A party that waits: since when, until when it means to, and since when it runs at all. */
struct waiting {
        uint64_t since;   /* 0: it doesn't wait */
        uint64_t timeout; /* UINT64_MAX: without end */
        uint64_t resumed; /* it had been stopped until then; 0: never */
};

int history_is_stranded(const struct waiting *w, uint64_t now, uint64_t patience);
