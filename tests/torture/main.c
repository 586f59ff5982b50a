/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture: many processes fight over a few names while they are killed and stopped at every
 * instrumented step of the word protocol. Here: options, the witness area, a private runtime
 * directory, and which part is to run. What is checked is told in README.md.
 */
#include "torture.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct shared *shared;

static bool arg_self_test;
static const char *arg_sweep;
static struct options arg_options = {
                .procs = 8,
                .threads = 3,
                .rounds = UINT64_MAX,
                .min_kills = UINT64_MAX,
                .patience = UINT64_C(10000000000),
};

/**
 * complain() - say what is wrong and let everything end
 *
 * A process that has been condemned already is no witness.
 */
void complain(const char *format, ...) {
        char text[512];
        va_list ap;

        if (inject_condemned())
                return;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        fprintf(stderr, "torture: VIOLATION: %s (process %d)\n", text, (int) getpid());
        atomic_fetch_add(&shared->failed, 1);
}

static int usage(void) {
        fprintf(stderr, "torture [--procs N] [--threads N] [--rounds N] [--seconds S] [--min-kills "
                        "N]\n"
                        "        [--rate PER_MILLION] [--seed X] [--patience S] [--no-breaks] "
                        "[--verbose]\n"
                        "torture --sweep[=SCENE] [--pairs]   one death (two) at each single step, "
                        "in order\n"
                        "torture --self-test          show that the judge can say no\n");
        return 64;
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret) {
        char *end;

        errno = 0;
        *ret = strtoull(text, &end, 0);
        return errno != 0 || end == text || *end != 0 || text[0] == '-' || *ret > max ? -EINVAL : 0;
}

static int parse_option(int c) {
        struct options *o = &arg_options;
        uint64_t n = 0;
        int r = 0;

        if (c == '?')
                return -EINVAL;
        if (c != 'b' && c != 'v' && c != 't' && c != 'w' && c != '2')
                r = parse_number(optarg, UINT64_MAX - 1, &n);
        switch (c) {
        case 'p':
                o->procs = (unsigned) n;
                return r < 0 || n < 1 || n > WORKERS_MAX ? -EINVAL : 0;
        case 'T':
                o->threads = (unsigned) n;
                return r < 0 || n < 1 || n > THREADS_MAX ? -EINVAL : 0;
        case 'r':
                o->rounds = n;
                return r;
        case 's':
                o->seconds = n;
                return r;
        case 'R':
                o->rate = (unsigned) n;
                return r < 0 || n > 1000000 ? -EINVAL : 0;
        case 'S':
                o->seed = n;
                return r;
        case 'k':
                o->min_kills = n;
                return r;
        case 'P':
                o->patience = n * UINT64_C(1000000000);
                return r < 0 || n < 1 || n > 3600 ? -EINVAL : 0;
        case 'b':
                o->no_breaks = true;
                return 0;
        case 'v':
                o->verbose = true;
                return 0;
        case 't':
                arg_self_test = true;
                return 0;
        case 'w':
                arg_sweep = optarg ? optarg : "";
                return 0;
        case '2':
                o->pairs = true;
                return 0;
        default:
                return -EINVAL;
        }
}

static int parse_options(int argc, char **argv) {
        static const struct option options[] = {
                        {"procs", required_argument, NULL, 'p'},
                        {"threads", required_argument, NULL, 'T'},
                        {"rounds", required_argument, NULL, 'r'},
                        {"seconds", required_argument, NULL, 's'},
                        {"rate", required_argument, NULL, 'R'},
                        {"seed", required_argument, NULL, 'S'},
                        {"min-kills", required_argument, NULL, 'k'},
                        {"patience", required_argument, NULL, 'P'},
                        {"no-breaks", no_argument, NULL, 'b'},
                        {"verbose", no_argument, NULL, 'v'},
                        {"self-test", no_argument, NULL, 't'},
                        {"sweep", optional_argument, NULL, 'w'},
                        {"pairs", no_argument, NULL, '2'},
                        {0},
        };
        struct options *o = &arg_options;
        int c;

        o->seed = now_ns();
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (parse_option(c) < 0)
                        return -EINVAL;
        if (optind < argc)
                return -EINVAL;
        if (o->rounds == UINT64_MAX && o->seconds == 0)
                o->rounds = 100000;
        if (o->min_kills == UINT64_MAX)
                o->min_kills = o->rounds == UINT64_MAX ? 1000 : o->rounds / 100;
        return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int directory_make(void) {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        char state[80];

        snprintf(shared->directory, sizeof(shared->directory), "%s/torture-XXXXXX", base);
        if (!mkdtemp(shared->directory))
                return -errno;
        snprintf(state, sizeof(state), "%s/state", shared->directory);
        if (setenv("COORD_RUNTIME_DIR", shared->directory, 1) < 0 ||
                        setenv("COORD_STATE_DIR", state, 1) < 0 ||
                        setenv("COORD_CONFIG", "/dev/null", 1) < 0)
                return -errno;
        return 0;
}

static int witness_make(void) {
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (shared == MAP_FAILED)
                return -errno;
        shared->options = arg_options;
        return 0;
}

int main(int argc, char **argv) {
        int r;

        if (parse_options(argc, argv) < 0)
                return usage();
        if (arg_self_test)
                return selftest_run();

        r = witness_make();
        if (r >= 0)
                r = directory_make();
        if (r < 0) {
                fprintf(stderr, "torture: cannot begin: %s\n", strerror(-r));
                return 1;
        }
        printf("torture: --seed %" PRIu64 " in %s\n", arg_options.seed, shared->directory);
        (void) fflush(stdout);

        r = arg_sweep ? sweep_run(arg_sweep) : conductor_run();
        (void) nftw(shared->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        return r;
}
