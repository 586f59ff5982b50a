/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that the library reads from text: names, tokens, wants, owners, durations, descriptions.
 * The input is lines; the first letter says where the rest goes. Whatever was acquired is checked for
 * a token that the library itself understands.
 */
#include "fuzz.h"

#include <string.h>

#define LINE_MAX_BYTES 1200u
#define WANTS_MAX 8u

static size_t line_read(struct input *in, char *line) {
        size_t n = 0;

        while (input_left(in)) {
                uint8_t c = input_byte(in);

                if (c == '\n' || c == 0)
                        break;
                if (n + 1 < LINE_MAX_BYTES)
                        line[n++] = (char) c;
        }
        line[n] = 0;
        return n;
}

static void drop(coord_client *c, coord_hold *h) {
        char token[400];

        if (!h)
                return;
        if (strlen(coord_hold_token(h)) >= sizeof(token))
                sandbox_fail("a token of %zu bytes", strlen(coord_hold_token(h)));
        strcpy(token, coord_hold_token(h));
        if (coord_hold_check(h) == 1 && coord_check(c, token) != 1)
                sandbox_fail("the library does not know its own token %s", token);
        (void) coord_hold_release(h);
        coord_hold_unref(h);
}

static void acquire_wants(coord_client *c, char *text) {
        const char *wants[WANTS_MAX + 1] = {NULL};
        coord_hold **holds = NULL;
        size_t n = 0;
        char *rest;

        for (char *w = strtok_r(text, " ", &rest); w && n < WANTS_MAX;
                        w = strtok_r(NULL, " ", &rest))
                wants[n++] = w;
        if (coord_acquire_all(c, wants, 0, 0, &holds) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                drop(c, holds[i]);
                holds[i] = NULL;
        }
        coord_holds_free(holds);
}

static void acquire_with(coord_client *c, char where, const char *text) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_hold *h = NULL;

        r.name = "x";
        r.timeout_usec = 0;
        if (where == 'o')
                r.owner = text;
        else if (where == 'd')
                r.description = text;
        else if (where == 'k')
                r.cookie = text;
        else
                r.name = text;
        if (where == 's') {
                r.kind = COORD_KIND_SEMAPHORE;
                r.capacity = 2;
        }
        (void) coord_acquire_full(c, &r, &h);
        drop(c, h);
}

static void transfer(coord_client *c, const char *owner) {
        coord_hold *h = NULL;

        if (coord_lock_try(c, "y", 0, &h) < 0)
                return;
        (void) coord_hold_transfer(h, owner);
        drop(c, h);
}

static void line_run(coord_client *c, char *line) {
        uint64_t cursor = 0;
        char *text = line + 1;

        switch (line[0]) {
        case 'c':
                (void) coord_check(c, text);
                break;
        case 'r':
                (void) coord_release(c, text);
                break;
        case 'y':
                (void) coord_renew(c, text, 1000000);
                break;
        case 'm':
                (void) coord_transfer(c, text, "lease:1s");
                break;
        case 'b':
                (void) coord_break(c, text);
                break;
        case 'g':
                (void) coord_watch(c, text, &cursor, 0);
                break;
        case 't':
                transfer(c, text);
                break;
        case 'w':
                acquire_wants(c, text);
                break;
        case 'o':
        case 'd':
        case 'k':
        case 'n':
        case 's':
                acquire_with(c, line[0], text);
                break;
        default:
                break;
        }
        if (!coord_strerror(c))
                sandbox_fail("no message");
}

static void run(struct input *in) {
        char line[LINE_MAX_BYTES];
        coord_client *c = NULL;

        image_install(image_get(IMAGE_EMPTY));
        if (coord_client_new(CLIENT_FLAGS, &c) < 0)
                sandbox_fail("coord_client_new failed");
        for (unsigned i = 0; i < 64 && input_left(in); i++)
                if (line_read(in, line) > 0)
                        line_run(c, line);
        coord_client_unref(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        (void) image_get(IMAGE_EMPTY);
        return sandbox_run(run, data, size);
}
