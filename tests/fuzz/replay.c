/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a target without libFuzzer: over files and directories, over mutations of them, and to make a
 * failing input smaller.
 *
 *     fuzz-TARGET PATH…                                  each file once
 *     fuzz-TARGET --mutate N [--seconds S] [--seed X] [--keep DIR] PATH…
 *     fuzz-TARGET --minimize FILE                        writes FILE.min
 *
 * It knows no target, and nothing of the library.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 65536u

struct blob {
        uint8_t *bytes;
        size_t size;
};

static struct blob *corpus;
static size_t n_corpus;
static unsigned failures;
static char failure[128];
static uint64_t arg_mutate, arg_seconds, arg_seed;
static const char *arg_keep, *arg_minimize;

static uint64_t random_next(void) {
        uint64_t z = (arg_seed += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static size_t random_below(size_t n) {
        return n > 0 ? (size_t) (random_next() % n) : 0;
}

static uint64_t now_seconds(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec;
}

static void on_failure(const char *why) {
        failures++;
        snprintf(failure, sizeof(failure), "%s", why);
}

static bool fails(const uint8_t *bytes, size_t size) {
        failure[0] = 0;
        (void) LLVMFuzzerTestOneInput(bytes, size);
        return failure[0] != 0;
}

static int file_read(const char *path, struct blob *ret) {
        FILE *f = fopen(path, "re");

        if (!f)
                return -errno;
        ret->bytes = malloc(INPUT_MAX);
        if (!ret->bytes) {
                fclose(f);
                return -ENOMEM;
        }
        ret->size = fread(ret->bytes, 1, INPUT_MAX, f);
        fclose(f);
        return 0;
}

static void file_write(const char *path, const uint8_t *bytes, size_t size) {
        FILE *f = fopen(path, "we");

        if (!f || fwrite(bytes, 1, size, f) != size)
                fprintf(stderr, "fuzz: cannot write %s: %s\n", path, strerror(errno));
        if (f)
                fclose(f);
}

static int corpus_add(const char *path) {
        struct blob *more = realloc(corpus, (n_corpus + 1) * sizeof(*corpus));
        int r;

        if (!more)
                return -ENOMEM;
        corpus = more;
        r = file_read(path, &corpus[n_corpus]);
        if (r < 0)
                return r;
        if (!arg_minimize && fails(corpus[n_corpus].bytes, corpus[n_corpus].size))
                fprintf(stderr, "FAIL %s: %s\n", path, failure);
        n_corpus++;
        return 0;
}

static int path_add(const char *path) {
        struct dirent **list;
        struct stat st;
        int n, r = 0;

        if (stat(path, &st) < 0)
                return -errno;
        if (!S_ISDIR(st.st_mode))
                return corpus_add(path);
        n = scandir(path, &list, NULL, alphasort);
        if (n < 0)
                return -errno;
        for (int i = 0; i < n; i++) {
                char name[4096];

                snprintf(name, sizeof(name), "%s/%s", path, list[i]->d_name);
                if (list[i]->d_name[0] != '.' && r >= 0)
                        r = corpus_add(name);
                free(list[i]);
        }
        free(list);
        return r;
}

static size_t mutate_once(uint8_t *bytes, size_t size) {
        static const uint8_t interesting[] = {
                        0, 1, 0x7f, 0x80, 0xff, 0x20, 0x40, '-', ':', '\n', '9'};
        const struct blob *other = &corpus[random_below(n_corpus)];
        size_t at = random_below(size + 1), n;

        switch (random_below(8)) {
        case 0:
                if (at < size)
                        bytes[at] ^= (uint8_t) (1u << random_below(8));
                return size;
        case 1:
                if (at < size)
                        bytes[at] = interesting[random_below(sizeof(interesting))];
                return size;
        case 2:
                if (at < size)
                        bytes[at] = (uint8_t) random_next();
                return size;
        case 3: /* leave out */
                n = random_below(size - at + 1) % 32;
                memmove(bytes + at, bytes + at + n, size - at - n);
                return size - n;
        case 4: /* insert at random */
                n = random_below(8);
                if (size + n > INPUT_MAX)
                        return size;
                memmove(bytes + at + n, bytes + at, size - at);
                for (size_t i = 0; i < n; i++)
                        bytes[at + i] = (uint8_t) random_next();
                return size + n;
        case 5: /* repeat a piece */
                n = random_below(size - at + 1) % 64;
                if (size + n > INPUT_MAX)
                        return size;
                memmove(bytes + at + n, bytes + at, size - at);
                return size + n;
        default: /* go on as another does */
                n = random_below(other->size + 1);
                if (at + other->size - n > INPUT_MAX)
                        return size;
                memcpy(bytes + at, other->bytes + n, other->size - n);
                return at + other->size - n > size ? at + other->size - n : size;
        }
}

static void keep(const uint8_t *bytes, size_t size) {
        char path[4096];

        snprintf(path, sizeof(path), "%s/failure-%u", arg_keep ? arg_keep : ".", failures);
        file_write(path, bytes, size);
        fprintf(stderr, "FAIL %s: %s\n", path, failure);
}

static void mutate_all(void) {
        uint64_t end = arg_seconds > 0 ? now_seconds() + arg_seconds : UINT64_MAX, n = 0;
        uint8_t *bytes = malloc(INPUT_MAX);

        if (!bytes || n_corpus == 0) {
                free(bytes);
                return;
        }
        printf("fuzz: --seed %" PRIu64 "\n", arg_seed);
        for (; n < arg_mutate && now_seconds() < end && failures < 10; n++) {
                const struct blob *b = &corpus[random_below(n_corpus)];
                size_t size = b->size;

                memcpy(bytes, b->bytes, size);
                for (size_t k = 1 + random_below(6); k > 0; k--)
                        size = mutate_once(bytes, size);
                if (fails(bytes, size))
                        keep(bytes, size);
        }
        printf("fuzz: %" PRIu64 " mutations\n", n);
        free(bytes);
}

/* Leave out ever smaller pieces as long as it still fails. */
static int minimize(const char *path) {
        char result[4096];
        struct blob b;
        uint8_t *less;

        if (file_read(path, &b) < 0 || !fails(b.bytes, b.size)) {
                fprintf(stderr, "fuzz: %s does not fail\n", path);
                return 1;
        }
        less = malloc(INPUT_MAX);
        if (!less)
                return 1;
        for (size_t piece = b.size / 2; piece > 0; piece /= 2)
                for (size_t at = 0; at + piece <= b.size;) {
                        memcpy(less, b.bytes, at);
                        memcpy(less + at, b.bytes + at + piece, b.size - at - piece);
                        if (fails(less, b.size - piece)) {
                                memcpy(b.bytes, less, b.size - piece);
                                b.size -= piece;
                        } else
                                at += piece;
                }
        snprintf(result, sizeof(result), "%s.min", path);
        file_write(result, b.bytes, b.size);
        printf("fuzz: %zu bytes in %s\n", b.size, result);
        free(less);
        free(b.bytes);
        return 0;
}

static int parse(int argc, char **argv) {
        static const struct option options[] = {
                        {"mutate", required_argument, NULL, 'm'},
                        {"seconds", required_argument, NULL, 's'},
                        {"seed", required_argument, NULL, 'S'},
                        {"keep", required_argument, NULL, 'k'},
                        {"minimize", required_argument, NULL, 'M'},
                        {0},
        };
        int c;

        arg_seed = (uint64_t) time(NULL);
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'm':
                        arg_mutate = strtoull(optarg, NULL, 10);
                        break;
                case 's':
                        arg_seconds = strtoull(optarg, NULL, 10);
                        break;
                case 'S':
                        arg_seed = strtoull(optarg, NULL, 10);
                        break;
                case 'k':
                        arg_keep = optarg;
                        break;
                case 'M':
                        arg_minimize = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        return 0;
}

int main(int argc, char **argv) {
        int r;

        if (parse(argc, argv) < 0)
                return 64;
        sandbox_failed = on_failure;
        if (arg_minimize)
                return minimize(arg_minimize);
        for (int i = optind; i < argc; i++) {
                r = path_add(argv[i]);
                if (r < 0) {
                        fprintf(stderr, "fuzz: %s: %s\n", argv[i], strerror(-r));
                        return 1;
                }
        }
        printf("fuzz: %zu inputs\n", n_corpus);
        if (arg_mutate > 0)
                mutate_all();
        printf("fuzz: %u failures\n", failures);
        return failures > 0;
}
