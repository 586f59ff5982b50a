/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Robust words and sleeping on them. See segment/README.md for what their values mean.
 */
#pragma once

#include "segment/layout.h"
#include "util/util.h"

typedef struct WordSleep {
        Word *word;
        uint32_t value; /* sleep only while it has this value */
        bool private;   /* of this process alone */
} WordSleep;

#define WORD_SLEEP_MAX 128u

static inline uint32_t word_tid(uint32_t v) {
        return v & WORD_TID;
}

static inline bool word_is_sentinel(uint32_t v) {
        return (v & WORD_SENTINEL) != 0;
}

static inline uint32_t word_record(uint32_t v) {
        return v & WORD_RECORD;
}

/* Sleep until one of n words (at most WORD_SLEEP_MAX) is woken or differs, or deadline (CLOCK_MONOTONIC
 * microseconds) is over: 0 or -ETIMEDOUT. May return 0 for no reason. */
int word_sleep(const WordSleep *sleeps, size_t n, uint64_t deadline);

/* Wakes up to n sleepers of a shared word. */
void word_wake(Word *word, int n);
void word_wake_private(Word *word, int n);

/* False only if there certainly is no thread of that id. */
bool word_owner_exists(uint32_t tid);
