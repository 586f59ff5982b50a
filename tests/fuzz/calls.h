/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls of the public API as an input asks for them, each with a short timeout, each timed. Nothing
 * here knows what the segment looks like.
 */
#pragma once

#include "fuzz.h"

#define PLAYER_HOLDS 16u

struct player {
        uint64_t flags; /* of the client, beside CLIENT_FLAGS */
        coord_client *client;
        coord_client *async;
        coord_lock *lock;
        coord_hold *holds[PLAYER_HOLDS];
        unsigned next;
};

void call_attach(struct player *p);
void call(struct player *p, uint8_t command, struct input *in);
/* What there is to do at the end of an input: look at everything once more, drop everything. */
void call_finish(struct player *p);
