/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the go to the end of `coordctl run`: wait for the command, pass signals on, stop and go on with
 * it, and end it when a hold is lost. It doesn't know how holds are got or given back.
 *
 * Every signal that could be meant for the command is blocked and read from a signalfd. One from the
 * terminal (Ctrl-C, Ctrl-\, Ctrl-Z) went to the whole foreground process group, to the command too;
 * sent on, it would arrive there twice. One that the command sent (to its group) it has itself. All
 * others are passed on.
 *
 * Job control: coordctl doesn't stop by Ctrl-Z itself, for the command may want to put the terminal in
 * order first, or not stop at all. When the command was stopped, coordctl stops likewise, which is
 * what the shell waits for; when it is continued, by `fg`, it continues the command.
 *
 * A descriptor beside these tells of lost holds. Then the command gets the signal of --on-loss, and
 * SIGKILL if it is still there after LOSS_KILL_USEC.
 */
#include "ctl-run.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define LOSS_KILL_USEC (5 * USEC_PER_SEC)
/* A command that ends before costs no watching of its holds. */
#define WATCH_AFTER_USEC 3000

/* Passed on besides the real-time ones. Not those that tell of a fault of coordctl's own. */
static const int passed_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM,
                SIGCONT, SIGTSTP, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGURG};
/* Blocked besides: coordctl must neither stop nor die of its own messages. */
static const int held_signals[] = {SIGTTIN, SIGTTOU, SIGPIPE};

typedef struct Supervisor {
        Run *run;
        int client_fd;
        uint64_t watch_at; /* CLOCK_MONOTONIC: when to begin to watch the holds; set by the exec */
        bool lost;         /* the command has been told */
        bool killed;       /* and has been killed */
        uint64_t kill_at;  /* CLOCK_MONOTONIC */
        bool ended;        /* the command, not its descendants */
        bool all_ended;
        bool stopped;
        bool resume;    /* the command must go on, unless it was continued already */
        bool continued; /* coordctl itself, since it last slept */
        int status;     /* of waitpid() */
} Supervisor;

/* Set by the library's callback, from within coord_client_process(). */
static bool hold_lost;

static void on_lost(coord_hold *h, void *userdata) {
        Run *run = userdata;

        hold_lost = true;
        ctl_message("lost %s: ending %s", coord_hold_token(h), run->command[0]);
}

/**
 * supervise_signals() - block what is to be passed on, and open the descriptor it is read from
 *
 * Of all that child_start() blocked no more stays blocked.
 *
 * Return: 0 or a negative errno.
 */
int supervise_signals(Run *run) {
        sigset_t read_set, blocked;
        size_t i;
        int signo;

        (void) sigemptyset(&read_set);
        (void) sigaddset(&read_set, SIGCHLD);
        for (i = 0; i < ELEMENTSOF(passed_signals); i++)
                (void) sigaddset(&read_set, passed_signals[i]);
        for (signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
                (void) sigaddset(&read_set, signo);
        (void) sigorset(&blocked, &read_set, &run->mask);
        for (i = 0; i < ELEMENTSOF(held_signals); i++)
                (void) sigaddset(&blocked, held_signals[i]);
        if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0)
                return -errno;
        run->signal_fd = signalfd(-1, &read_set, SFD_CLOEXEC | SFD_NONBLOCK);
        return run->signal_fd < 0 ? -errno : 0;
}

/* Ask to be told when a hold is lost, and look whether one is already. */
static int watch_holds(Supervisor *s) {
        coord_client *c = s->run->ctl->client;
        coord_hold **h;
        int r;

        /* Asked for before the callbacks are set, it makes them come when we process the client. */
        s->client_fd = coord_client_get_fd(c);
        if (s->client_fd < 0)
                return s->client_fd;
        for (h = s->run->want.holds; *h; h++) {
                r = coord_hold_set_lost_callback(*h, on_lost, s->run);
                if (r < 0 && r != -ESTALE)
                        return r;
                if (r == -ESTALE || coord_hold_check(*h) == 0) {
                        (void) coord_hold_set_lost_callback(*h, NULL, NULL);
                        on_lost(*h, s->run);
                }
        }
        return 0;
}

static void begin_to_watch(Supervisor *s) {
        if (s->watch_at == USEC_INFINITE || clock_usec(CLOCK_MONOTONIC) < s->watch_at)
                return;
        s->watch_at = USEC_INFINITE;
        if (watch_holds(s) < 0) {
                ctl_message("will not be told when a hold is lost: %s",
                                coord_strerror(s->run->ctl->client));
                s->client_fd = -EBADF;
        }
}

/* Send it to the command, or to what is left of it. */
static void send_signal(Supervisor *s, int signo) {
        if (!s->ended)
                (void) kill(s->run->child, signo);
        else if (s->run->scope.active)
                scope_signal(&s->run->scope, signo);
}

/* Whether the command got this signal by itself. */
static bool has_reached_child(const Supervisor *s, const struct signalfd_siginfo *si) {
        if (s->ended)
                return false;
        if (si->ssi_pid == (uint32_t) s->run->child && si->ssi_code <= 0)
                return true;
        if (si->ssi_code != SI_KERNEL || getpgid(s->run->child) != getpgrp())
                return false;
        /* A terminal that hangs up tells the leader of the session alone. */
        return !(si->ssi_signo == SIGHUP && getsid(0) == getpid());
}

/* The other one of the two processes of --scope was killed. */
static void end_scope(Supervisor *s) {
        hold_lost = s->lost = true;
        s->kill_at = 0;
}

static void pass_signals(Supervisor *s) {
        struct signalfd_siginfo si;

        s->continued = false;
        if (s->run->guard && getppid() != s->run->guard)
                end_scope(s);
        while (read(s->run->signal_fd, &si, sizeof(si)) == sizeof(si)) {
                s->continued = s->continued || si.ssi_signo == SIGCONT;
                if (si.ssi_signo == SIGCHLD || has_reached_child(s, &si))
                        continue;
                if (si.ssi_signo == SIGCONT) {
                        s->resume = s->stopped;
                        continue;
                }
                if (s->run->verbose) {
                        char buffer[16];

                        ctl_message("passing on %s", signal_name((int) si.ssi_signo, buffer));
                }
                send_signal(s, (int) si.ssi_signo);
        }
}

static bool in_foreground(void) {
        _cleanup_(closep) int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

        return fd >= 0 && tcgetpgrp(fd) == getpgrp();
}

/* Stop by signo, unless nobody would continue our process group: the kernel doesn't stop it then.
 * Returns true if it stopped and was continued. */
static bool stop_by(int signo) {
        struct sigaction deflt = {.sa_handler = SIG_DFL}, before;
        const struct timespec at_once = {0};
        sigset_t stop, cont;

        (void) sigemptyset(&stop);
        (void) sigaddset(&stop, signo);
        (void) sigemptyset(&cont);
        (void) sigaddset(&cont, SIGCONT);
        (void) sigaction(signo, &deflt, &before);
        (void) raise(signo);
        (void) sigprocmask(SIG_UNBLOCK, &stop, NULL);
        /* Here it stops. */
        (void) sigprocmask(SIG_BLOCK, &stop, NULL);
        (void) sigaction(signo, &before, NULL);
        /* To stop takes a pending SIGCONT away, so this is the one that continued us. */
        return sigtimedwait(&cont, NULL, &at_once) == SIGCONT;
}

/* The command was stopped by signo: stop too, as the shell expects, and go on with it. */
static void stop_along(Supervisor *s, int signo) {
        /* Continued already; together with the command, or for it. */
        if (s->continued) {
                s->resume = true;
                return;
        }
        if (signo == SIGSTOP) {
                /* By hand, and only the command: whoever did it will continue the command alone. Or by
                 * the command itself, which gave the terminal back. */
                if (!in_foreground())
                        return;
                signo = SIGTSTP;
        }
        s->resume = stop_by(signo);
}

static void note_status(Supervisor *s, pid_t pid, int status) {
        if (pid != s->run->child)
                return;
        if (WIFSTOPPED(status)) {
                s->stopped = true;
                stop_along(s, WSTOPSIG(status));
        } else if (WIFCONTINUED(status))
                s->stopped = false;
        else {
                s->ended = true;
                s->status = status;
                if (s->run->is_guard && WIFSIGNALED(status))
                        end_scope(s);
        }
}

/* Continue the command if it still stands where it was seen to stop. A shell continues the whole group;
 * a SIGCONT of ours that comes after that one would undo the next Ctrl-Z. */
static void resume(Supervisor *s) {
        pid_t group = getpgid(s->run->child);

        s->resume = s->stopped = false;
        if (group > 0)
                (void) kill(group == getpgrp() ? s->run->child : -group, SIGCONT);
}

static void reap(Supervisor *s) {
        bool scoped = s->run->scope.active;
        /* Read each time, for that is what takes the news from its descriptor. */
        bool populated = scope_is_populated(&s->run->scope);
        pid_t pid;
        int status;

        do {
                pid = waitpid(scoped ? -1 : s->run->child, &status,
                                WUNTRACED | WCONTINUED | WNOHANG);
                if (pid == s->run->child)
                        s->resume = false;
                if (pid > 0)
                        note_status(s, pid, status);
                else if (s->resume)
                        resume(s);
        } while (pid > 0 && (scoped || !s->ended));
        s->all_ended = scoped ? pid < 0 && errno == ECHILD && !populated : s->ended;
}

static void end_command(Supervisor *s, int signo) {
        if (s->run->scope.active)
                scope_signal(&s->run->scope, signo);
        else
                send_signal(s, signo);
}

static void look_at_loss(Supervisor *s) {
        if (!hold_lost)
                return;
        if (!s->lost) {
                s->lost = true;
                s->kill_at = usec_add(clock_usec(CLOCK_MONOTONIC), LOSS_KILL_USEC);
                end_command(s, s->run->on_loss ? s->run->on_loss : SIGTERM);
                /* A stopped one would get it only when somebody continues it. */
                end_command(s, SIGCONT);
        }
        if (clock_usec(CLOCK_MONOTONIC) < s->kill_at)
                return;
        if (!s->killed && s->run->verbose)
                ctl_message("killing %s", s->run->command[0]);
        s->killed = true;
        end_command(s, SIGKILL);
}

/* How long poll() may sleep, in milliseconds. */
static int sleep_time(Supervisor *s) {
        uint64_t until = s->watch_at, now;

        if (s->client_fd >= 0 && coord_client_get_timeout(s->run->ctl->client, &until) < 0)
                until = USEC_INFINITE;
        if (s->lost && !s->killed)
                until = MIN_OF(until, s->kill_at);
        if (until == USEC_INFINITE)
                return -1;
        now = clock_usec(CLOCK_MONOTONIC);
        return until <= now ? 0 : (int) MIN_OF((until - now + 999) / 1000, UINT64_C(3600000));
}

static void wait_for_event(Supervisor *s) {
        coord_client *c = s->run->ctl->client;
        struct pollfd fds[] = {
                        {.fd = s->run->signal_fd, .events = POLLIN},
                        {.fd = s->client_fd},
                        {.fd = s->run->scope.events_fd, .events = POLLPRI},
                        {.fd = s->run->report_fd, .events = POLLIN},
        };

        if (s->client_fd >= 0)
                fds[1].events = (short) coord_client_get_events(c);
        if (poll(fds, ELEMENTSOF(fds), sleep_time(s)) > 0 && fds[3].revents && child_report(s->run))
                s->watch_at = clock_usec(CLOCK_MONOTONIC) + WATCH_AFTER_USEC;
        if (s->client_fd >= 0 && (fds[1].revents & POLLNVAL || coord_client_process(c) < 0)) {
                ctl_message("will not be told when a hold is lost: %s", coord_strerror(c));
                s->client_fd = -EBADF;
        }
}

/**
 * supervise() - wait until the command has ended, with --scope until all of its descendants have
 *
 * Return: the exit status of the command.
 */
int supervise(Run *run) {
        Supervisor s = {
                        .run = run,
                        .client_fd = -EBADF,
                        .watch_at = USEC_INFINITE,
        };

        for (;;) {
                pass_signals(&s);
                reap(&s);
                if (s.all_ended)
                        break;
                begin_to_watch(&s);
                look_at_loss(&s);
                wait_for_event(&s);
        }
        /* It may have failed to exec, and ended, since we last looked. */
        while (run->report_fd >= 0)
                (void) child_report(run);
        run->signal_fd = safe_close(run->signal_fd);
        run->child = 0;
        if (run->exec_status)
                return run->exec_status;
        return WIFEXITED(s.status) ? WEXITSTATUS(s.status) : EXIT_SIGNAL_BASE + WTERMSIG(s.status);
}
