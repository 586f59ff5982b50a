/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the fuzzing targets share: a reader of the input, a private runtime directory that can be put
 * back into a known state, and a process of its own for each input, with a deadline. A target is a
 * function that libFuzzer calls; without libFuzzer replay.c does. Nothing here reads the segment.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <coord/client.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLIENT_FLAGS (COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON)

/* ---- the input, read from front to back; past its end there are zeroes ---- */

struct input {
        const uint8_t *data;
        size_t size, at;
};

static inline uint8_t input_byte(struct input *in) {
        return in->at < in->size ? in->data[in->at++] : 0;
}

static inline uint64_t input_number(struct input *in, unsigned bytes) {
        uint64_t n = 0;

        for (unsigned i = 0; i < bytes; i++)
                n |= (uint64_t) input_byte(in) << (8 * i);
        return n;
}

static inline int input_left(const struct input *in) {
        return in->at < in->size;
}

/* ---- sandbox.c ---- */

/* Run one input in a child; what it may not do is to crash, or to be there after the deadline. */
int sandbox_run(void (*run)(struct input *in), const uint8_t *data, size_t size);
/* What happens when it did: by default abort(), which libFuzzer takes for a crash. */
extern void (*sandbox_failed)(const char *why);
/* Say, in the child, that something came out wrong. */
_Noreturn void sandbox_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *sandbox_directory(void);

/* ---- image.c ---- */

enum {
        IMAGE_EMPTY,     /* a fresh segment */
        IMAGE_LIVE,      /* holders and waiters that are alive */
        IMAGE_ABANDONED, /* the same, all of them killed */
        IMAGES,
};

#define IMAGE_PAGE 4096

struct image {
        uint8_t *bytes;
        size_t size;
        size_t *pages; /* offsets of those that are not all zero */
        size_t n_pages;
};

/* A segment as the library left it; made when first asked for. */
const struct image *image_get(unsigned which);
/* Make it the segment of the sandbox. */
void image_install(const struct image *image);
