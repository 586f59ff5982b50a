/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-locks: the numbers to reach of locks and semaphores without a daemon, each beside its rival
 * in the same run. Every group of rows is measured in a process of its own. The exit status tells
 * of functional failure alone: it must never depend on a time.
 */
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Longer than any group takes on any machine: what is still running then is stuck. */
#define GROUP_TIMEOUT_SEC 600

static volatile sig_atomic_t interrupted;

typedef struct Group {
        const char *id, *what;
        void (*measure)(Bench *b);
} Group;

static const Group groups[] = {
                {"l1", "locks, uncontended", pairs_measure_locks},
                {"l2", "semaphores, uncontended", pairs_measure_semaphores},
                {"l3", "handoff to a sleeping waiter", handoff_measure},
                {"l3", "order among three", crowd_measure},
                {"l5", "coordctl run", run_measure},
                {"l6", "death of the holder", death_measure},
};

static void usage(FILE *f) {
        fputs("bench-locks [--quick] [--json] [--coordctl=PATH] [l1|l2|l3|l5|l6]...\n\n"
              "Measure locks and semaphores without a daemon beside their rivals.\n"
              "  --quick          a few rounds of each: whether it works, not how fast\n"
              "  --json           for programs\n"
              "  --coordctl=PATH  the command that l5 runs (default: $COORDCTL, else of the same\n"
              "                   build tree)\n",
                        f);
}

static bool group_chosen(const Group *g, char **chosen) {
        if (!*chosen)
                return true;
        for (; *chosen; chosen++)
                if (strcmp(*chosen, g->id) == 0)
                        return true;
        return false;
}

static bool group_exists(const char *id) {
        for (size_t i = 0; i < ELEMENTS(groups); i++)
                if (strcmp(groups[i].id, id) == 0)
                        return true;
        return false;
}

static void signal_note(int signal_number) {
        interrupted = signal_number;
}

static void signals_set(void (*handler)(int)) {
        static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
        struct sigaction action = {.sa_handler = handler};

        for (size_t i = 0; i < ELEMENTS(signals); i++)
                (void) sigaction(signals[i], &action, NULL);
}

/* Returns whether the group worked. */
static bool group_run(Bench *b, const Group *g) {
        pid_t pid;
        int status;

        if (!b->json && isatty(STDERR_FILENO))
                fprintf(stderr, "%s: %s\n", g->id, g->what);
        pid = measure_fork();
        if (pid == 0) {
                signals_set(SIG_DFL);
                (void) alarm(GROUP_TIMEOUT_SEC);
                g->measure(b);
                fflush(NULL);
                _exit(EXIT_SUCCESS);
        }
        while (waitpid(pid, &status, 0) != pid) {
                if (errno != EINTR)
                        die("waitpid: %m");
                (void) kill(pid, SIGKILL);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS)
                return true;
        fprintf(stderr, "bench-locks: %s (%s) failed with status 0x%x\n", g->id, g->what, status);
        return false;
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

/* The segment and the files of the rivals lie side by side, in memory where that can be had. */
static void bench_init_dir(Bench *b) {
        char state[PATH_MAX + 16];

        snprintf(b->dir, sizeof(b->dir), "/dev/shm/coord-bench.XXXXXX");
        if (!mkdtemp(b->dir)) {
                snprintf(b->dir, sizeof(b->dir), "/tmp/coord-bench.XXXXXX");
                if (!mkdtemp(b->dir))
                        die("%s: %m", b->dir);
        }
        snprintf(state, sizeof(state), "%s/state", b->dir);
        if (mkdir(state, 0700) < 0)
                die("%s: %m", state);
        if (setenv("COORD_RUNTIME_DIR", b->dir, 1) < 0 || setenv("COORD_STATE_DIR", state, 1) < 0)
                die("setenv: %m");
}

static void bench_init(Bench *b, const char *coordctl) {
        ssize_t n;

        n = readlink("/proc/self/exe", b->here, sizeof(b->here) - 1);
        if (n < 0)
                die("/proc/self/exe: %m");
        b->here[n] = '\0';
        (void) dirname(b->here);
        if (!coordctl)
                coordctl = getenv("COORDCTL");
        if (coordctl)
                n = snprintf(b->coordctl, sizeof(b->coordctl), "%s", coordctl);
        else
                n = snprintf(b->coordctl, sizeof(b->coordctl), "%s/../../client/coordctl", b->here);
        if ((size_t) n >= sizeof(b->coordctl))
                die("the path of coordctl is too long");
        b->report = measure_shared_new(sizeof(*b->report));
        bench_init_dir(b);
}

static void arguments_parse(int argc, char **argv, Bench *b, const char **ret_coordctl) {
        static const struct option options[] = {
                        {"quick", no_argument, NULL, 'q'},
                        {"json", no_argument, NULL, 'j'},
                        {"coordctl", required_argument, NULL, 'c'},
                        {"help", no_argument, NULL, 'h'},
                        {NULL, 0, NULL, 0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case 'q':
                        b->quick = true;
                        break;
                case 'j':
                        b->json = true;
                        break;
                case 'c':
                        *ret_coordctl = optarg;
                        break;
                case 'h':
                        usage(stdout);
                        exit(EXIT_SUCCESS);
                default:
                        usage(stderr);
                        exit(EXIT_FAILURE);
                }
        for (int i = optind; i < argc; i++)
                if (!group_exists(argv[i]))
                        die("no rows are called %s; see --help", argv[i]);
}

int main(int argc, char **argv) {
        const char *coordctl = NULL;
        bool worked = true;
        Bench b = {0};

        arguments_parse(argc, argv, &b, &coordctl);
        bench_init(&b, coordctl);
        signals_set(signal_note);
        for (size_t i = 0; i < ELEMENTS(groups) && !interrupted; i++)
                if (group_chosen(&groups[i], &argv[optind]))
                        worked = group_run(&b, &groups[i]) && worked;
        if (b.json)
                report_print_json(b.report);
        else
                report_print_table(b.report);
        (void) nftw(b.dir, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
        return worked ? EXIT_SUCCESS : EXIT_FAILURE;
}
