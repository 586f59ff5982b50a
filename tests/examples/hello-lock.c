/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hello-lock [NAME]: the smallest whole program. It takes a lock, shows the token, gives it back.
 * It knows nothing but <coord/client.h>; copy it and put your work where the comment says so.
 *
 *     gcc hello-lock.c $(pkg-config --cflags --libs coordclient) -o hello-lock
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coord/client.h>

#define WAIT_USEC (5 * UINT64_C(1000000))

static int work(coord_hold *hold) {
        uint64_t epoch, counter;
        int r;

        r = coord_hold_fence(hold, &epoch, &counter);
        if (r < 0)
                return r;

        if (coord_hold_was_abandoned(hold) > 0)
                printf("the holder before us died: what it was working on needs a look\n");

        printf("holding %s as %s (fence %" PRIu64 ".%" PRIu64 ")\n", coord_hold_name(hold),
                        coord_hold_token(hold), epoch, counter);

        /* Your work goes here. Nobody else does theirs meanwhile. */

        return 0;
}

static int run(const char *name) {
        COORD_CLIENT_CLEANUP coord_client *client = NULL;
        COORD_HOLD_CLEANUP coord_hold *hold = NULL;
        int r;

        r = coord_client_new(COORD_CLIENT_USER, &client);
        if (r < 0) {
                fprintf(stderr, "hello-lock: no client: %s\n", strerror(-r));
                return r;
        }

        r = coord_lock_acquire(client, name, 0, WAIT_USEC, &hold);
        if (r < 0) {
                /* The message names what was refused, who holds it and what to do. */
                fprintf(stderr, "hello-lock: %s\n", coord_strerror(client));
                return r;
        }

        r = work(hold);
        if (r < 0) {
                fprintf(stderr, "hello-lock: %s\n", strerror(-r));
                return r;
        }

        /* Leaving the scope would release too, but could not tell that the hold had been lost. */
        r = coord_hold_release(hold);
        if (r == -ESTALE)
                fprintf(stderr, "hello-lock: %s was taken from us: do not trust our work\n", name);
        else if (r < 0)
                fprintf(stderr, "hello-lock: %s\n", coord_strerror(client));
        else
                printf("released\n");

        return r;
}

int main(int argc, char **argv) {
        if (argc > 2) {
                fprintf(stderr, "usage: hello-lock [NAME]\n");
                return 64;
        }

        return run(argc > 1 ? argv[1] : "hello") < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
