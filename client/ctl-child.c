/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that becomes the command of `coordctl run`. It doesn't know what is held.
 *
 * It must not exec before the holds are its own too, must never run without them, and must not outlive
 * coordctl. So it waits on a pipe for the go; end of file there says that coordctl died or thought
 * better of it. From the moment it asked the kernel for SIGKILL at its parent's death, and saw that its
 * parent was still there, coordctl's death is its own; what is before that can only end at the pipe.
 *
 * Signals are blocked in both from before its creation. One that ends a wait and is pending in coordctl
 * at the go ends the run. One that comes later to the process group is pending in the child as well,
 * and acts when that unblocks it, with the dispositions that the command is to have. So none is lost,
 * and none acts twice.
 *
 * Until it execs the child shares coordctl's memory (CLONE_VM): copying that would cost a tenth of a
 * short run. So it has a stack of its own, and writes to that and to errno alone, which it shares with
 * coordctl's main thread, since that is who the C library takes it for. It calls nothing that allocates,
 * locks or can be cancelled. From the go until it is out of here coordctl calls nothing that looks at
 * errno; a second pipe tells, whose end closes by the exec or brings the errno of a failed one.
 */
#include "ctl-run.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* What execvp() needs beside a copy of the arguments. */
#define CHILD_STACK_BYTES (128 * 1024)

typedef struct ChildStart {
        Run *run;
        pid_t parent;
        int go_fd;
        int report_fd;
} ChildStart;

/* Whether a command that is looked for in PATH is there at all: a directory of PATH that may not be
 * searched makes execvp() say EACCES, as if it were. */
static bool is_in_path(const char *command) {
        const char *path = getenv("PATH"), *end;
        char file[PATH_MAX];

        for (; path; path = *end ? end + 1 : NULL) {
                end = strchrnul(path, ':');
                if (snprintf(file, sizeof(file), "%.*s/%s", (int) (end - path), path, command) <
                                                (int) sizeof(file) &&
                                access(file, F_OK) == 0)
                        return true;
        }
        return false;
}

static int tell_failure(const char *command, int error) {
        if (error == EACCES && !strchr(command, '/') && !is_in_path(command))
                error = ENOENT;
        ctl_message("cannot run '%s': %s", command, strerrordesc_np(error));
        return error == ENOENT ? EXIT_COMMAND_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}

/**
 * command_exec() - become the command
 *
 * Return: only on failure: the exit status, 127 (not found) or 126, after a message.
 */
int command_exec(char **command) {
        (void) execvp(command[0], command);
        return tell_failure(command[0], errno);
}

/* read() and write() are points of cancellation and would write to the thread's state. */
static bool wait_for_go(int fd) {
        long n;
        char byte;

        do
                n = syscall(SYS_read, fd, &byte, 1);
        while (n < 0 && errno == EINTR);
        return n == 1;
}

static int child_main(void *arg) {
        const ChildStart *start = arg;
        const Run *run = start->run;
        int error;

        /* Our own copy of the end that coordctl writes to would keep the end of file away. */
        (void) syscall(SYS_close, run->go_fd);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != start->parent ||
                        !wait_for_go(start->go_fd))
                _exit(EX_OSERR);
        wait_signals_restore();
        (void) sigprocmask(SIG_SETMASK, &run->mask, NULL);
        (void) execvp(run->command[0], run->command);
        error = errno;
        (void) syscall(SYS_write, start->report_fd, &error, sizeof(error));
        _exit(EXIT_CANNOT_EXECUTE);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)

/* These keep books on each thread, which two processes must not write into at once. */
static pid_t child_create(ChildStart *start) {
        pid_t pid = fork();

        if (pid == 0)
                _exit(child_main(start));
        return pid;
}

#else

/* The stack is freed by nothing: there is one child, and coordctl ends soon after it. */
static pid_t child_create(ChildStart *start) {
        size_t bytes = CHILD_STACK_BYTES;
        char **argument, *stack;

        for (argument = start->run->command; *argument; argument++)
                bytes += 2 * sizeof(*argument);
        bytes = (bytes + 4095) & ~(size_t) 4095;
        stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        return stack == MAP_FAILED ? -1
                                   : clone(child_main, stack + bytes, CLONE_VM | SIGCHLD, start);
}

#endif

/**
 * child_start() - create the child; it waits for child_go()
 *
 * From here on all signals are blocked.
 *
 * Return: 0 or a negative errno.
 */
int child_start(Run *run) {
        static ChildStart start;
        int go[2] = {-EBADF, -EBADF}, report[2] = {-EBADF, -EBADF}, r = 0;
        sigset_t all;

        (void) sigfillset(&all);
        if (sigprocmask(SIG_SETMASK, &all, &run->mask) < 0 || pipe2(go, O_CLOEXEC) < 0 ||
                        pipe2(report, O_CLOEXEC) < 0)
                r = -errno;
        run->go_fd = go[1];
        run->report_fd = report[0];
        start = (ChildStart){
                        .run = run,
                        .parent = getpid(),
                        .go_fd = go[0],
                        .report_fd = report[1],
        };
        if (r == 0) {
                run->child = child_create(&start);
                if (run->child < 0)
                        r = -errno;
        }
        safe_close(go[0]);
        safe_close(report[1]);
        return r;
}

/**
 * child_go() - let it exec
 *
 * A child that is gone already is no failure here: its status tells.
 *
 * Return: 0 or a negative errno.
 */
int child_go(Run *run) {
        ssize_t n;

        do
                n = write(run->go_fd, "", 1);
        while (n < 0 && errno == EINTR);
        n = n < 0 && errno != EPIPE ? -errno : 0;
        run->go_fd = safe_close(run->go_fd);
        return (int) n;
}

/**
 * child_report() - whether the child has left our memory: it became the command, or ended
 *
 * To be called when report_fd is readable. Why it did not become the command is told here, and set as exec_status.
 */
bool child_report(Run *run) {
        int error;
        ssize_t n = read(run->report_fd, &error, sizeof(error));

        if (n == sizeof(error)) {
                run->exec_status = tell_failure(run->command[0], error);
                return false;
        }
        run->report_fd = safe_close(run->report_fd);
        return true;
}

/** child_abandon() - end a child that never got the go, and wait for its end. */
void child_abandon(Run *run) {
        run->go_fd = safe_close(run->go_fd);
        if (run->child > 0)
                while (waitpid(run->child, NULL, 0) < 0 && errno == EINTR)
                        ;
        run->report_fd = safe_close(run->report_fd);
        run->child = 0;
}
