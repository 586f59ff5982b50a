/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that becomes the command of `coordctl run`. It doesn't know what is held.
 *
 * It must not exec before the holds are its own too, must never run without them, and must not outlive
 * coordctl. So it waits on a pipe for the go; end of file there says that coordctl died or thought
 * better of it. From the moment it asked the kernel for SIGKILL at its parent's death, and saw that its
 * parent was still there, coordctl's death is its own; what is before that can only end at the pipe.
 *
 * A signal that comes between fork() and the go ends the run, whoever of the two it reaches: the
 * handlers of ctl-wait.c are inherited, so that one to the process group is caught in both, one from
 * before the fork is known in both, and none is lost between.
 */
#include "ctl-run.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/**
 * command_exec() - become the command
 *
 * Return: only on failure: the exit status, 127 (not found) or 126, after a message.
 */
int command_exec(char **command) {
        int error;

        (void) execvp(command[0], command);
        error = errno;
        ctl_message("cannot run '%s': %s", command[0], strerrordesc_np(error));
        return error == ENOENT ? EXIT_COMMAND_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}

static bool wait_for_go(int fd) {
        ssize_t n;
        char byte;

        do
                n = read(fd, &byte, 1);
        while (n < 0 && errno == EINTR);
        return n == 1;
}

static _Noreturn void child_main(Run *run, int go_read_fd, pid_t parent) {
        /* Our own copy of the end that coordctl writes to would keep the end of file away. */
        (void) close(run->go_fd);
        wait_signals_restore();
        if (wait_signals_caught())
                _exit(EXIT_SIGNAL_BASE + wait_signals_caught());
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || !wait_for_go(go_read_fd))
                _exit(EX_OSERR);
        _exit(command_exec(run->command));
}

/**
 * child_start() - create the child; it waits for child_go()
 *
 * Return: 0 or a negative errno.
 */
int child_start(Run *run) {
        pid_t parent = getpid();
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        run->go_fd = fds[1];
        run->child = fork();
        if (run->child == 0)
                child_main(run, fds[0], parent);
        r = run->child < 0 ? -errno : 0;
        (void) close(fds[0]);
        if (r < 0)
                run->go_fd = safe_close(run->go_fd);
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

/** child_abandon() - end a child that never got the go, and wait for its end. */
void child_abandon(Run *run) {
        run->go_fd = safe_close(run->go_fd);
        if (run->child <= 0)
                return;
        while (waitpid(run->child, NULL, 0) < 0 && errno == EINTR)
                ;
        run->child = 0;
}
