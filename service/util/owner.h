/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts that callers write: tokens, wants, durations. Parsing only; nothing here knows the segment.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_NAME_MAX 255u
#define TOKEN_TEXT_MAX (8u + TOKEN_NAME_MAX + 34u)

enum {
        TOKEN_LOCK = 1,
        TOKEN_SEMAPHORE = 2,
        TOKEN_QUEUE = 3,
};

typedef struct Token {
        int kind;
        char name[TOKEN_NAME_MAX + 1];
        uint64_t epoch, counter;
} Token;

/* KIND:NAME:EPOCH.COUNTER; -EINVAL. The name itself is not judged. */
int token_parse(const char *text, Token *ret);
void token_format(int kind, const char *name, uint64_t epoch, uint64_t counter, char *ret);

typedef struct WantText {
        int kind;
        char name[TOKEN_NAME_MAX + 1];
        bool shared;
        uint32_t permits, capacity;
} WantText;

/* lock:NAME, lock:NAME:shared, sem:NAME:PERMITS, sem:NAME:PERMITS:CAPACITY; -EINVAL. */
int want_parse(const char *text, WantText *ret);

/* 30s, 500ms, 1min30s, 2h, 0.5 (seconds): microseconds; -EINVAL, -ERANGE. */
int duration_parse(const char *text, uint64_t *ret_usec);

/* Digits and nothing else, up to max; -EINVAL. */
int number_parse(const char *text, size_t len, uint64_t max, uint64_t *ret);
