/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transfer DIR FROM TO ROUNDS: moves 1 from the account DIR/FROM to the account DIR/TO, ROUNDS times.
 *
 * Both accounts are locked by one request: both or none. Another process that moves money the other
 * way asks in the opposite order, and neither ever holds the one while it waits for the other, so
 * no order among accounts need be agreed on. The program knows the accounts, not who else uses them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <coord/client.h>

#define DIGITS 20
#define NAME_SIZE 256

static int account_open(const char *dir, const char *account) {
        char path[4096];
        int n, fd;

        n = snprintf(path, sizeof(path), "%s/%s", dir, account);
        if (n < 0 || (size_t) n >= sizeof(path))
                return -ENAMETOOLONG;

        fd = open(path, O_RDWR | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int account_add(int fd, int64_t amount) {
        char text[DIGITS + 2] = "";
        int64_t balance;
        ssize_t written;
        int n;

        if (pread(fd, text, DIGITS, 0) < 0)
                return -errno;

        balance = strtoll(text, NULL, 10) + amount;
        if (balance < 0)
                return -EDOM; /* not enough there: nothing has been moved */

        n = snprintf(text, sizeof(text), "%0*" PRId64 "\n", DIGITS, balance);
        written = pwrite(fd, text, (size_t) n, 0);
        if (written < 0)
                return -errno;

        return written == n ? 0 : -EIO;
}

static int move(int from, int to) {
        int r;

        r = account_add(from, -1);
        if (r < 0)
                return r;

        return account_add(to, 1);
}

static int transfer(coord_client *client, const char *const *wants, int from, int to) {
        COORD_HOLDS_CLEANUP coord_hold **holds = NULL;
        int r;

        r = coord_acquire_all(client, wants, 0, COORD_TIMEOUT_INFINITE, &holds);
        if (r < 0) {
                fprintf(stderr, "transfer: %s\n", coord_strerror(client));
                return r;
        }

        /* One of the two was held by somebody who died, perhaps between its two steps. */
        if (coord_hold_was_abandoned(holds[0]) > 0 || coord_hold_was_abandoned(holds[1]) > 0)
                fprintf(stderr, "transfer: a transfer was broken off, the books need a look\n");

        return move(from, to); /* leaving the scope releases both */
}

static int transfer_all(const char *const *wants, int from, int to, unsigned long rounds) {
        COORD_CLIENT_CLEANUP coord_client *client = NULL;
        int r;

        r = coord_client_new(COORD_CLIENT_USER, &client);
        if (r < 0)
                return r;

        for (unsigned long i = 0; i < rounds && r >= 0; i++)
                r = transfer(client, wants, from, to);

        return r;
}

static int run(const char *dir, const char *from, const char *to, unsigned long rounds) {
        char want_from[NAME_SIZE], want_to[NAME_SIZE];
        const char *wants[] = {want_from, want_to, NULL};
        int from_fd, to_fd, r;

        if (snprintf(want_from, NAME_SIZE, "lock:account/%s", from) >= NAME_SIZE ||
                        snprintf(want_to, NAME_SIZE, "lock:account/%s", to) >= NAME_SIZE)
                return -ENAMETOOLONG;

        from_fd = account_open(dir, from);
        if (from_fd < 0)
                return from_fd;

        to_fd = account_open(dir, to);
        r = to_fd < 0 ? to_fd : transfer_all(wants, from_fd, to_fd, rounds);

        (void) close(from_fd);
        if (to_fd >= 0)
                (void) close(to_fd);
        return r;
}

int main(int argc, char **argv) {
        unsigned long rounds;
        char *end;
        int r;

        if (argc != 5 || (rounds = strtoul(argv[4], &end, 10), *end != '\0')) {
                fprintf(stderr, "usage: transfer DIR FROM TO ROUNDS\n");
                return 64;
        }

        r = run(argv[1], argv[2], argv[3], rounds);
        if (r < 0) {
                fprintf(stderr, "transfer: stopped: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }

        printf("moved %lu from %s to %s\n", rounds, argv[2], argv[3]);
        return EXIT_SUCCESS;
}
