/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * counter [--no-lock] [--no-wait] [--step] FILE ROUNDS: adds 1 to the number in FILE, ROUNDS times.
 *
 * Run it in two terminals at once, on the same file. With the lock the number is what both have
 * added. With --no-lock it is less: one reads, the other reads the same, and both write the same.
 * It knows the name of the lock and the file, and nothing of who else is counting.
 *
 *     counter /tmp/number 100000
 *
 * --no-wait gives up at once when the lock is taken. --step stops between reading and writing,
 * says "read N" and goes on when it gets a line: so a test can make the loss certain.
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

#define LOCK_NAME "example/counter"
#define DIGITS 20

static bool arg_lock = true;
static bool arg_wait = true;
static bool arg_step = false;

static int number_read(int fd, uint64_t *ret) {
        char text[DIGITS + 1] = "";
        ssize_t n;

        n = pread(fd, text, DIGITS, 0);
        if (n < 0)
                return -errno;

        *ret = strtoull(text, NULL, 10);
        return 0;
}

/* One write of a fixed length: whoever dies here leaves the old number or the new one. */
static int number_write(int fd, uint64_t number) {
        char text[DIGITS + 2];
        ssize_t written;
        int n;

        n = snprintf(text, sizeof(text), "%0*" PRIu64 "\n", DIGITS, number);
        written = pwrite(fd, text, (size_t) n, 0);
        if (written < 0)
                return -errno;

        return written == n ? 0 : -EIO;
}

static int step(uint64_t number) {
        int c;

        printf("read %" PRIu64 "\n", number);
        fflush(stdout);

        do
                c = getchar();
        while (c != '\n' && c != EOF);

        return c == EOF ? -ECANCELED : 0;
}

static int increment(int fd) {
        uint64_t number;
        int r;

        r = number_read(fd, &number);
        if (r < 0)
                return r;

        if (arg_step)
                r = step(number);
        else
                (void) sched_yield(); /* the window in which another may read the same number */
        if (r < 0)
                return r;

        return number_write(fd, number + 1);
}

static int increment_locked(coord_client *client, coord_lock *lock, int fd) {
        COORD_HOLD_CLEANUP coord_hold *hold = NULL;
        int r;

        r = coord_lock_lock(lock, 0, arg_wait ? COORD_TIMEOUT_INFINITE : 0, &hold);
        if (r < 0) {
                fprintf(stderr, "counter: %s\n", coord_strerror(client));
                return r;
        }

        if (coord_hold_was_abandoned(hold) > 0)
                fprintf(stderr, "counter: the holder before us died while counting\n");

        r = increment(fd);
        if (r < 0)
                return r;

        return coord_hold_release(hold);
}

static int count_locked(int fd, unsigned long rounds) {
        COORD_CLIENT_CLEANUP coord_client *client = NULL;
        COORD_LOCK_CLEANUP coord_lock *lock = NULL;
        int r;

        r = coord_client_new(COORD_CLIENT_USER, &client);
        if (r < 0)
                return r;

        r = coord_lock_open(client, LOCK_NAME, &lock);
        if (r < 0) {
                fprintf(stderr, "counter: %s\n", coord_strerror(client));
                return r;
        }

        for (unsigned long i = 0; i < rounds && r >= 0; i++)
                r = increment_locked(client, lock, fd);

        return r;
}

static int count_unlocked(int fd, unsigned long rounds) {
        int r = 0;

        for (unsigned long i = 0; i < rounds && r >= 0; i++)
                r = increment(fd);

        return r;
}

static int count(const char *path, unsigned long rounds) {
        uint64_t number = 0;
        int fd, r;

        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;

        r = arg_lock ? count_locked(fd, rounds) : count_unlocked(fd, rounds);
        if (r >= 0)
                r = number_read(fd, &number);
        if (r >= 0)
                printf("added %lu, the number is %" PRIu64 "\n", rounds, number);

        (void) close(fd);
        return r;
}

static int parse_options(int argc, char **argv) {
        static const struct option options[] = {
                        {"no-lock", no_argument, NULL, 'l'},
                        {"no-wait", no_argument, NULL, 'n'},
                        {"step", no_argument, NULL, 's'},
                        {NULL, 0, NULL, 0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'l':
                        arg_lock = false;
                        break;
                case 'n':
                        arg_wait = false;
                        break;
                case 's':
                        arg_step = true;
                        break;
                default:
                        return -EINVAL;
                }

        return argc - optind == 2 ? 0 : -EINVAL;
}

int main(int argc, char **argv) {
        unsigned long rounds;
        char *end;
        int r;

        r = parse_options(argc, argv);
        if (r >= 0) {
                rounds = strtoul(argv[optind + 1], &end, 10);
                if (*end != '\0' || end == argv[optind + 1])
                        r = -EINVAL;
        }
        if (r < 0) {
                fprintf(stderr, "usage: counter [--no-lock] [--no-wait] [--step] FILE ROUNDS\n");
                return 64;
        }

        r = count(argv[optind], rounds);
        if (r < 0) {
                fprintf(stderr, "counter: stopped: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }

        return EXIT_SUCCESS;
}
