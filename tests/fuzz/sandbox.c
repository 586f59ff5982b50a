/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process for each input: the library's owners are processes, so whatever an input left held goes
 * with it. Under libFuzzer the child's coverage is carried back to the parent. It knows no target.
 */
#include "fuzz.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_SECONDS 20
#define EXIT_WRONG 3

/* The counters of -fsanitize=fuzzer; there are none in other builds. */
extern uint8_t __start___sancov_cntrs[] __attribute__((weak));
extern uint8_t __stop___sancov_cntrs[] __attribute__((weak));

/* Undefined behaviour ends the child, as a crash does. */
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) {
        return "halt_on_error=1:print_stacktrace=1";
}

static uint8_t *counters_shared;
static char directory[64];
static pid_t directory_owner;

static void fail_by_abort(const char *why) {
        abort();
}

void (*sandbox_failed)(const char *why) = fail_by_abort;

static size_t counters_size(void) {
        return __start___sancov_cntrs ? (size_t) (__stop___sancov_cntrs - __start___sancov_cntrs)
                                      : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void directory_remove(void) {
        if (directory_owner == getpid())
                (void) nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/**
 * sandbox_directory() - the private runtime directory, made when first asked for
 *
 * Ends the process when it can't be made.
 */
const char *sandbox_directory(void) {
        char path[96];

        if (directory[0] != 0)
                return directory;
        snprintf(directory, sizeof(directory), "%s/coord-fuzz-XXXXXX",
                        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (!mkdtemp(directory)) {
                perror("fuzz: no directory");
                exit(1);
        }
        directory_owner = getpid();
        (void) atexit(directory_remove);
        (void) setenv("COORD_RUNTIME_DIR", directory, 1);
        snprintf(path, sizeof(path), "%s/state", directory);
        (void) setenv("COORD_STATE_DIR", path, 1);
        snprintf(path, sizeof(path), "%s/coordd.conf", directory);
        (void) setenv("COORD_CONFIG", path, 1);
        if (counters_size() > 0) {
                counters_shared = mmap(NULL, counters_size(), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                if (counters_shared == MAP_FAILED)
                        counters_shared = NULL;
        }
        return directory;
}

static _Noreturn void child_run(void (*run)(struct input *in), const uint8_t *data, size_t size) {
        struct input in = {.data = data, .size = size};

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) signal(SIGALRM, SIG_DFL);
        (void) alarm(DEADLINE_SECONDS);
        run(&in);
        if (counters_shared)
                memcpy(counters_shared, __start___sancov_cntrs, counters_size());
        _exit(0);
}

static void judge(int status) {
        char why[128];

        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                snprintf(why, sizeof(why), "still running after %d s", DEADLINE_SECONDS);
        else if (WIFSIGNALED(status))
                snprintf(why, sizeof(why), "killed by signal %d", WTERMSIG(status));
        else
                snprintf(why, sizeof(why), "exit status %d", WEXITSTATUS(status));
        sandbox_failed(why);
}

/**
 * sandbox_run() - run one input in a process of its own
 *
 * Return: 0, also when it failed; that goes to sandbox_failed.
 */
int sandbox_run(void (*run)(struct input *in), const uint8_t *data, size_t size) {
        int status = 0;
        pid_t pid;

        (void) sandbox_directory();
        (void) fflush(NULL);
        pid = fork();
        if (pid == 0)
                child_run(run, data, size);
        if (pid < 0)
                return 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (counters_shared)
                for (size_t i = 0; i < counters_size(); i++)
                        if (counters_shared[i] > __start___sancov_cntrs[i])
                                __start___sancov_cntrs[i] = counters_shared[i];
        if (status != 0)
                judge(status);
        return 0;
}

/**
 * sandbox_fail() - end the child: the library did not do what it says
 */
void sandbox_fail(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vfprintf(stderr, format, ap);
        va_end(ap);
        (void) fputc('\n', stderr);
        _exit(EXIT_WRONG);
}
