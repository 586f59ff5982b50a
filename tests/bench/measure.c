/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clock, statistics, processes and the futex words by which they meet. It must never know what is
 * being measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* So long may the other side be silent before it counts as lost. */
#define PEER_TIMEOUT_SEC 120

/**
 * die() - end this process as failed, with the reason on standard error
 *
 * A group of rows whose process dies is reported as a functional failure; slowness never is one.
 */
void die(const char *format, ...) {
        va_list ap;

        fputs("bench-locks: ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
        fflush(stderr);
        _exit(EXIT_FAILURE);
}

/** measure_now_nsec() - CLOCK_MONOTONIC */
uint64_t measure_now_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * NSEC_PER_SEC + (uint64_t) ts.tv_nsec;
}

/** measure_spin_nsec() - stay on the processor for so long */
void measure_spin_nsec(uint64_t nsec) {
        uint64_t end_nsec = measure_now_nsec() + nsec;

        while (measure_now_nsec() < end_nsec)
                ;
}

/**
 * measure_shuffle() - put 0 … n - 1 in random order, the same in every run
 *
 * Where the last round has left its processes decides how fast the next one wakes them: in a fixed
 * order each contestant would always inherit from the same other.
 */
void measure_shuffle(unsigned order[], unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                unsigned k = (unsigned) random() % (i + 1);

                order[i] = order[k];
                order[k] = i;
        }
}

static int double_compare(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

/** measure_percentile() - the value that percent of the samples do not exceed; sorts them in place
 */
double measure_percentile(double *samples, size_t n, double percent) {
        size_t i;

        if (n == 0)
                die("no samples");
        qsort(samples, n, sizeof(*samples), double_compare);
        i = (size_t) (percent / 100 * (double) n);
        return samples[i < n ? i : n - 1];
}

/** measure_shared_new() - zeroed memory that forked children share; it lives as long as they do */
void *measure_shared_new(size_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                die("mmap of %zu bytes: %m", size);
        return p;
}

/** measure_fork() - fork a child that dies with its parent */
pid_t measure_fork(void) {
        pid_t parent = getpid(), pid;

        fflush(NULL);
        pid = fork();
        if (pid < 0)
                die("fork: %m");
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_FAILURE);
        }
        return pid;
}

/** measure_reap() - wait for a child that must succeed, or was killed by us */
void measure_reap(pid_t pid) {
        int status;

        if (waitpid(pid, &status, 0) != pid)
                die("waitpid: %m");
        if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL : WEXITSTATUS(status) != 0)
                die("a child failed with status 0x%x", status);
}

static const cpu_set_t *processors(void) {
        static cpu_set_t all;

        if (CPU_COUNT(&all) == 0 && sched_getaffinity(0, sizeof(all), &all) < 0)
                die("sched_getaffinity: %m");
        return &all;
}

/** measure_place_is_possible() - whether there are processors enough; call it first, unplaced */
bool measure_place_is_possible(Placement p) {
        return p != PLACED_APART || CPU_COUNT(processors()) > 1;
}

/**
 * measure_place() - put this process where the waiter, or everybody else, is to be
 *
 * Children inherit it. PLACED_FREELY undoes it.
 */
void measure_place(Placement p, bool waiter) {
        const cpu_set_t *all = processors();
        cpu_set_t one;
        int skip = p == PLACED_APART && waiter;

        CPU_ZERO(&one);
        for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
                if (CPU_ISSET(i, all) && skip-- == 0)
                        CPU_SET(i, &one);
        if (sched_setaffinity(0, sizeof(one), p == PLACED_FREELY ? all : &one) < 0)
                die("sched_setaffinity: %m");
}

static void children_check(void) {
        siginfo_t info = {0};

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
                return;
        if (info.si_code != CLD_EXITED || info.si_status != 0)
                die("a process of this row failed");
}

/** measure_task_open() - a descriptor for measure_task_sleeps() of a process's first thread */
int measure_task_open(pid_t pid) {
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int) pid, (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                die("%s: %m", path);
        return fd;
}

/** measure_task_sleeps() - whether the thread is asleep in the kernel, waiting for an event */
bool measure_task_sleeps(int fd) {
        char buffer[512], *end;
        ssize_t n;

        n = pread(fd, buffer, sizeof(buffer) - 1, 0);
        buffer[n > 0 ? n : 0] = '\0';
        end = strrchr(buffer, ')');
        if (!end || end[1] != ' ' || end[2] == 'Z' || end[2] == 'X')
                die("a watched process is gone");
        return end[2] == 'S';
}

/** measure_task_await_sleep() - return once the thread is seen asleep */
void measure_task_await_sleep(int fd) {
        uint64_t end_nsec = measure_now_nsec() + PEER_TIMEOUT_SEC * NSEC_PER_SEC;

        while (!measure_task_sleeps(fd)) {
                if (measure_now_nsec() > end_nsec)
                        die("a process that should wait never sleeps");
                (void) sched_yield();
        }
}

/** word_set() - write a shared word and wake whoever waits for it */
void word_set(_Atomic uint32_t *word, uint32_t value) {
        atomic_store(word, value);
        (void) syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/** word_await() - sleep until a shared word has this value; die where nobody is left to set it */
void word_await(_Atomic uint32_t *word, uint32_t value) {
        const struct timespec second = {.tv_sec = 1};
        unsigned silent_sec = 0;
        uint32_t seen;

        while ((seen = atomic_load(word)) != value) {
                if (syscall(SYS_futex, word, FUTEX_WAIT, seen, &second, NULL, 0) == 0 ||
                                errno != ETIMEDOUT)
                        continue;
                children_check();
                if (++silent_sec == PEER_TIMEOUT_SEC)
                        die("the other process stopped answering");
        }
}
