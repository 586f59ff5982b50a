/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lease-worker [--lease-ms=N] [--step] STORE ROUNDS: works under a lease, and shows what a fencing
 * token is for.
 *
 * A lease ends when it isn't renewed, whatever its holder believes: a worker that was stopped, or
 * swapped out, or suspended with its machine, may wake after the end of its lease in the middle of
 * a write. No lock can call that write back. The store can refuse it: it remembers the highest
 * token that it has seen and takes nothing that comes with a lower one.
 *
 * store_put() is that other side. It stands for a database or an object store; it knows tokens as
 * pairs of numbers, and nothing of leases, holders or coord.
 *
 * --step says "ready TOKEN" before each write and goes on when it gets a line: the long pause.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <coord/client.h>

#define LOCK_NAME "example/lease"
#define RECORD_MAX 127

static unsigned long arg_lease_ms = 10000;
static bool arg_step = false;

/* ---- the store -------------------------------------------------------------------------- */

static int store_replace(int fd, uint64_t epoch, uint64_t counter, const char *value) {
        char record[RECORD_MAX + 1] = "";
        uint64_t last_epoch = 0, last_counter = 0;
        ssize_t n;
        int k;

        n = pread(fd, record, RECORD_MAX, 0);
        if (n < 0)
                return -errno;

        (void) sscanf(record, "%" SCNu64 ".%" SCNu64, &last_epoch, &last_counter);
        if (epoch < last_epoch || (epoch == last_epoch && counter < last_counter))
                return -ESTALE;

        k = snprintf(record, sizeof(record), "%" PRIu64 ".%" PRIu64 " %s\n", epoch, counter, value);
        if (k < 0 || (size_t) k >= sizeof(record))
                return -E2BIG;
        if (ftruncate(fd, 0) < 0)
                return -errno;

        n = pwrite(fd, record, (size_t) k, 0);
        if (n < 0)
                return -errno;

        return n == k ? 0 : -EIO;
}

static int store_put(const char *path, uint64_t epoch, uint64_t counter, const char *value) {
        int fd, r;

        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;

        r = flock(fd, LOCK_EX) < 0 ? -errno : store_replace(fd, epoch, counter, value);
        (void) close(fd);
        return r;
}

/* ---- the worker ------------------------------------------------------------------------- */

static int step(coord_hold *hold) {
        int c;

        printf("ready %s\n", coord_hold_token(hold));
        fflush(stdout);

        do
                c = getchar();
        while (c != '\n' && c != EOF);

        return c == EOF ? -ECANCELED : 0;
}

static int work(coord_hold *hold, const char *store, unsigned long round) {
        uint64_t epoch, counter;
        char value[64];
        int r;

        /* Renewing first leaves the whole lease for one piece of work. */
        r = coord_hold_renew(hold, UINT64_C(1000) * arg_lease_ms);
        if (r == -ESTALE)
                fprintf(stderr, "lease-worker: the lease ran out before round %lu\n", round);
        if (r >= 0 && arg_step)
                r = step(hold);
        if (r >= 0)
                r = coord_hold_fence(hold, &epoch, &counter);
        if (r < 0)
                return r;

        snprintf(value, sizeof(value), "round %lu of pid %d", round, (int) getpid());
        r = store_put(store, epoch, counter, value);
        if (r == -ESTALE)
                printf("refused %s: the store has seen a newer token\n", coord_hold_token(hold));
        else if (r >= 0)
                printf("stored %s\n", coord_hold_token(hold));

        return r;
}

static int lease(coord_client *client, coord_hold **ret) {
        struct coord_request request = COORD_REQUEST_INIT;
        char owner[64];

        snprintf(owner, sizeof(owner), "lease:%lums", arg_lease_ms);
        request.name = LOCK_NAME;
        request.owner = owner;
        request.description = "lease-worker";

        return coord_acquire_full(client, &request, ret);
}

static int run(const char *store, unsigned long rounds) {
        COORD_CLIENT_CLEANUP coord_client *client = NULL;
        COORD_HOLD_CLEANUP coord_hold *hold = NULL;
        int r, k;

        r = coord_client_new(COORD_CLIENT_USER, &client);
        if (r < 0)
                return r;

        r = lease(client, &hold);
        if (r < 0) {
                fprintf(stderr, "lease-worker: %s\n", coord_strerror(client));
                return r;
        }

        if (coord_hold_was_abandoned(hold) > 0)
                printf("the lease before ours ran out\n");

        for (unsigned long i = 1; i <= rounds && r >= 0; i++)
                r = work(hold, store, i);

        /* A lease outlives its process: who doesn't give it back lets the next one wait it out. */
        k = coord_hold_release(hold);
        if (k == -ESTALE)
                printf("lost %s\n", coord_hold_token(hold));

        return r < 0 ? r : k;
}

static int parse_options(int argc, char **argv) {
        static const struct option options[] = {
                        {"lease-ms", required_argument, NULL, 'l'},
                        {"step", no_argument, NULL, 's'},
                        {NULL, 0, NULL, 0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l':
                        arg_lease_ms = strtoul(optarg, NULL, 10);
                        break;
                case 's':
                        arg_step = true;
                        break;
                default:
                        return -EINVAL;
                }

        return argc - optind == 2 && arg_lease_ms > 0 ? 0 : -EINVAL;
}

int main(int argc, char **argv) {
        int r;

        r = parse_options(argc, argv);
        if (r < 0) {
                fprintf(stderr, "usage: lease-worker [--lease-ms=N] [--step] STORE ROUNDS\n");
                return 64;
        }

        r = run(argv[optind], strtoul(argv[optind + 1], NULL, 10));
        if (r < 0) {
                fprintf(stderr, "lease-worker: stopped: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }

        return EXIT_SUCCESS;
}
