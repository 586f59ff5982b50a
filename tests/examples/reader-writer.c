/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reader-writer [--no-wait] [--step] FILE read|write ROUNDS: many read at once, one writes alone.
 *
 * The file holds a number and its copy, written by two writes. Readers share the lock, so any number
 * of them are inside together; a writer is inside alone, so no reader meets the number without its
 * copy. Who comes first is served first: a stream of readers doesn't keep a writer out.
 *
 * --no-wait gives up at once when it would have to wait. --step says "inside" and goes on when it
 * gets a line.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <coord/client.h>

#define LOCK_NAME "example/reader-writer"
#define DIGITS 20
#define COPY_OFFSET 32

static bool arg_wait = true;
static bool arg_step = false;
static bool arg_write = false;

static int number_read(int fd, off_t offset, uint64_t *ret) {
        char text[DIGITS + 1] = "";

        if (pread(fd, text, DIGITS, offset) < 0)
                return -errno;

        *ret = strtoull(text, NULL, 10);
        return 0;
}

static int number_write(int fd, off_t offset, uint64_t number) {
        char text[DIGITS + 2];
        ssize_t written;
        int n;

        n = snprintf(text, sizeof(text), "%0*" PRIu64 "\n", DIGITS, number);
        written = pwrite(fd, text, (size_t) n, offset);
        if (written < 0)
                return -errno;

        return written == n ? 0 : -EIO;
}

static int step(void) {
        int c;

        printf("inside\n");
        fflush(stdout);

        do
                c = getchar();
        while (c != '\n' && c != EOF);

        return c == EOF ? -ECANCELED : 0;
}

static int visit(int fd) {
        uint64_t number = 0, copy = 0;
        int r = 0;

        if (arg_step)
                r = step();
        if (r >= 0)
                r = number_read(fd, 0, &number);
        if (r >= 0 && arg_write)
                r = number_write(fd, 0, ++number);

        (void) sched_yield(); /* the window in which number and copy differ */

        if (r >= 0 && arg_write)
                r = number_write(fd, COPY_OFFSET, number);
        if (r >= 0)
                r = number_read(fd, COPY_OFFSET, &copy);
        if (r >= 0 && number != copy) {
                printf("torn: %" PRIu64 " and %" PRIu64 "\n", number, copy);
                r = -EILSEQ;
        }

        return r;
}

static int visit_locked(coord_client *client, coord_lock *lock, int fd) {
        COORD_HOLD_CLEANUP coord_hold *hold = NULL;
        int r;

        r = coord_lock_lock(lock, arg_write ? 0 : COORD_SHARED,
                        arg_wait ? COORD_TIMEOUT_INFINITE : 0, &hold);
        if (r < 0) {
                fprintf(stderr, "reader-writer: %s\n", coord_strerror(client));
                return r;
        }

        r = visit(fd);
        if (r < 0)
                return r;

        return coord_hold_release(hold);
}

static int visit_all(int fd, unsigned long rounds) {
        COORD_CLIENT_CLEANUP coord_client *client = NULL;
        COORD_LOCK_CLEANUP coord_lock *lock = NULL;
        int r;

        r = coord_client_new(COORD_CLIENT_USER, &client);
        if (r < 0)
                return r;

        r = coord_lock_open(client, LOCK_NAME, &lock);
        if (r < 0) {
                fprintf(stderr, "reader-writer: %s\n", coord_strerror(client));
                return r;
        }

        for (unsigned long i = 0; i < rounds && r >= 0; i++)
                r = visit_locked(client, lock, fd);

        return r;
}

static int parse_options(int argc, char **argv) {
        static const struct option options[] = {
                        {"no-wait", no_argument, NULL, 'n'},
                        {"step", no_argument, NULL, 's'},
                        {NULL, 0, NULL, 0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'n':
                        arg_wait = false;
                        break;
                case 's':
                        arg_step = true;
                        break;
                default:
                        return -EINVAL;
                }

        if (argc - optind != 3)
                return -EINVAL;

        arg_write = strcmp(argv[optind + 1], "write") == 0;
        return arg_write || strcmp(argv[optind + 1], "read") == 0 ? 0 : -EINVAL;
}

int main(int argc, char **argv) {
        int fd, r;

        r = parse_options(argc, argv);
        if (r < 0) {
                fprintf(stderr, "usage: reader-writer [--no-wait] [--step] FILE read|write "
                                "ROUNDS\n");
                return 64;
        }

        fd = open(argv[optind], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        r = fd < 0 ? -errno : visit_all(fd, strtoul(argv[optind + 2], NULL, 10));
        if (fd >= 0)
                (void) close(fd);
        if (r < 0) {
                fprintf(stderr, "reader-writer: stopped: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }

        printf("done\n");
        return EXIT_SUCCESS;
}
