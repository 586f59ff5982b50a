/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * coordctl run: hold names while a command runs.
 *
 * The holds are acquired as this process's own, so that nobody is named as owner who isn't there yet.
 * Then the child is created, which waits; the holds are given to "coordctl and its child together"
 * (pid:SELF+CHILD); then the child may exec. At no step does a command run unguarded, and at none does
 * a hold stand without a living process behind it. The holds end by their release when the command has
 * been waited for, or by the kernel's word that both processes are gone.
 *
 * With -F the holds are given to this process itself (pid:SELF), which then execs.
 *
 * With --scope there are two processes: the outer one, which was started, and the inner one, which does
 * all of the above as its child. The holds belong to the two of them. Both are there to outlive the other:
 * whichever is killed, the one that is left kills every descendant and waits for it before the holds end.
 */
#include "ctl-run.h"

#include <string.h>
#include <sys/prctl.h>

enum {
        OPTION_ON_LOSS = OPTION_FIRST_AFTER_WANT,
        OPTION_SCOPE,
        OPTION_VERBOSE,
};

static const struct option run_options[] = {
                WANT_LONG_OPTIONS,
                {"exec", no_argument, NULL, 'F'},
                {"on-loss", required_argument, NULL, OPTION_ON_LOSS},
                {"scope", no_argument, NULL, OPTION_SCOPE},
                {"verbose", no_argument, NULL, OPTION_VERBOSE},
                CTL_LONG_OPTIONS,
                {NULL},
};

static int run_option(Run *run, int c, char **argv) {
        int status = 0;

        if (want_option(&run->want, c, optarg, &status))
                return status;
        switch (c) {
        case 'F':
                run->exec = true;
                return 0;
        case OPTION_ON_LOSS:
                if (parse_signal(optarg, &run->on_loss) < 0)
                        return ctl_usage("--on-loss=%s: no such signal", optarg);
                return 0;
        case OPTION_SCOPE:
                run->scoped = true;
                return 0;
        case OPTION_VERBOSE:
                run->verbose = true;
                return 0;
        default:
                return ctl_option(run->ctl, c, argv);
        }
}

/* Part NAME... [--] COMMAND: the first "--" ends the names, without one there is one name. */
static int split_names(Run *run, int argc, char **argv) {
        int i, end = optind;

        while (end < argc && strcmp(argv[end], "--") != 0)
                end++;
        run->names = argv + optind;
        run->command = argv + end + 1;
        if (end == argc) {
                end = MIN_OF(optind + 1, argc);
                run->command = argv + end;
        }
        run->n_names = (size_t) (end - optind);
        for (i = optind; i < end; i++)
                if (argv[i][0] == '-')
                        return ctl_usage(
                                        "'%s' is no name; options stand before the names", argv[i]);
        if (run->n_names == 0)
                return ctl_usage("run: no name given; try 'coordctl run --help'");
        if (!*run->command)
                return ctl_usage("run: no command to run while '%s' is held", run->names[0]);
        if (run->command[0][0] == '-')
                return ctl_usage("'%s' is no command; options stand before the name",
                                run->command[0]);
        return 0;
}

static int run_parse(Run *run, int argc, char **argv) {
        int c, status;

        optind = 0;
        while ((c = getopt_long(argc, argv, "+:" WANT_SHORT_OPTIONS "eF" CTL_SHORT_OPTIONS,
                                run_options, NULL)) >= 0) {
                if (c == OPTION_HELP || c == 'h')
                        return ctl_help_run();
                status = run_option(run, c == 'e' ? 'x' : c, argv);
                if (status)
                        return status;
        }
        if (run->exec && run->on_loss)
                return ctl_usage("-F leaves nobody to send a signal: it can't go with --on-loss");
        if (run->exec && run->scoped)
                return ctl_usage("-F leaves nobody to wait for descendants: it can't go with "
                                 "--scope");
        status = want_check(&run->want);
        return status ? status : split_names(run, argc, argv);
}

/* The names or the tokens of all holds, separated by spaces. */
static char *join(coord_hold **holds, const char *(*part)(coord_hold *h)) {
        char *text = NULL;
        size_t length;
        FILE *f = open_memstream(&text, &length);
        size_t i;

        if (!f)
                return NULL;
        for (i = 0; holds[i]; i++)
                (void) fprintf(f, "%s%s", i > 0 ? " " : "", part(holds[i]));
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static bool any_abandoned(coord_hold **holds) {
        for (; *holds; holds++)
                if (coord_hold_was_abandoned(*holds) > 0)
                        return true;
        return false;
}

static int set_environment(Run *run) {
        coord_hold **holds = run->want.holds;
        bool single = !holds[1];
        _cleanup_(freep) char *tokens = single ? NULL : join(holds, coord_hold_token);
        _cleanup_(freep) char *names = single ? NULL : join(holds, coord_hold_name);
        int r;

        if (!single && (!tokens || !names))
                return -ENOMEM;
        if (setenv("COORD_TOKEN", single ? coord_hold_token(holds[0]) : tokens, 1) < 0 ||
                        setenv("COORD_NAME", single ? coord_hold_name(holds[0]) : names, 1) < 0)
                return -errno;
        r = any_abandoned(holds) ? setenv("COORD_ABANDONED", "1", 1) : unsetenv("COORD_ABANDONED");
        return r < 0 ? -errno : 0;
}

static void tell_holds(Run *run) {
        _cleanup_(freep) char *age = NULL;
        size_t i;

        if (!run->verbose)
                return;
        age = text_age(run->want.waited_usec);
        for (i = 0; run->want.holds[i]; i++)
                ctl_message("holding %s after %s%s", coord_hold_token(run->want.holds[i]),
                                age ? age : "?",
                                coord_hold_was_abandoned(run->want.holds[i]) > 0
                                                ? ", abandoned by its last holder"
                                                : "");
}

static int transfer(Run *run, const char *owner) {
        size_t i;
        int r;

        for (i = 0; run->want.holds[i]; i++) {
                r = coord_hold_transfer(run->want.holds[i], owner);
                if (r < 0)
                        return ctl_fail(run->ctl, r);
        }
        return 0;
}

static int run_exec(Run *run) {
        char owner[32];
        int status;

        (void) snprintf(owner, sizeof(owner), "pid:%d", (int) getpid());
        status = transfer(run, owner);
        if (!status) {
                wait_signals_restore();
                status = wait_signals_caught() ? EXIT_SIGNAL_BASE + wait_signals_caught()
                                               : command_exec(run->command);
        }
        (void) want_release(&run->want, run->ctl);
        return status;
}

/* From the created child to the go. */
static int guard_child(Run *run) {
        char owner[64];
        int r, status;

        r = supervise_signals(run);
        if (r < 0) {
                ctl_message("cannot watch for signals: %s", strerrordesc_np(-r));
                return EX_OSERR;
        }
        scope_add(&run->scope, run->child);
        (void) snprintf(owner, sizeof(owner), "pid:%d+%d",
                        (int) (run->guard ? run->guard : getpid()),
                        (int) (run->guard ? getpid() : run->child));
        status = transfer(run, owner);
        if (status)
                return status;
        r = wait_signals_caught() ? wait_signals_caught() : wait_signals_pending();
        if (!r && run->guard && getppid() != run->guard)
                r = SIGTERM;
        if (r)
                return EXIT_SIGNAL_BASE + r;
        r = child_go(run);
        if (r < 0) {
                ctl_message("cannot start '%s': %s", run->command[0], strerrordesc_np(-r));
                return EX_OSERR;
        }
        return 0;
}

static int run_child(Run *run) {
        int r, status;

        r = child_start(run);
        if (r < 0) {
                ctl_message("cannot create a process for '%s': %s", run->command[0],
                                strerrordesc_np(-r));
                status = EX_OSERR;
        } else {
                status = guard_child(run);
                if (!status)
                        status = supervise(run);
        }
        child_abandon(run);
        (void) want_release(&run->want, run->ctl);
        return status;
}

static int run_main(Run *run) {
        int status, r;
        size_t i;

        status = ctl_open(run->ctl);
        if (status)
                return status;
        wait_signals_catch(run->ctl->client);
        for (i = 0; run->verbose && i < run->n_names; i++)
                ctl_message("acquiring %s", run->names[i]);
        if (!want_acquire(&run->want, run->ctl, run->names, run->n_names, &status))
                return status;
        tell_holds(run);
        r = set_environment(run);
        if (r < 0)
                return ctl_out_of_memory();
        return run->exec ? run_exec(run) : run_child(run);
}

static int fail_guard(int error) {
        ctl_message("cannot keep descendants together: %s", strerrordesc_np(-error));
        return EX_OSERR;
}

static int run_inner(Run *run, pid_t guard) {
        int r, status;

        run->guard = guard;
        /* While it waits that ends it; later it looks who sent it. */
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != guard)
                return EX_OSERR;
        r = scope_inherit(&run->scope);
        (void) sigprocmask(SIG_SETMASK, &run->mask, NULL);
        status = r < 0 ? fail_guard(r) : run_main(run);
        /* Done by the outer one too, if that is still there. */
        scope_close(&run->scope);
        return status;
}

static int run_scoped(Run *run) {
        pid_t guard = getpid();
        sigset_t all;
        int r, status;

        (void) sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, &run->mask);
        r = scope_open(&run->scope);
        if (r < 0)
                return fail_guard(r);
        run->child = fork();
        if (run->child == 0)
                return run_inner(run, guard);
        run->is_guard = true;
        r = run->child < 0 ? -errno : supervise_signals(run);
        status = r < 0 ? fail_guard(r) : supervise(run);
        scope_close(&run->scope);
        return status;
}

/** verb_run() - coordctl run [OPTIONS] NAME... [--] COMMAND [ARG...] */
int verb_run(Ctl *ctl, int argc, char **argv) {
        Run run = {
                        .ctl = ctl,
                        .scope = SCOPE_INIT,
                        .go_fd = -EBADF,
                        .report_fd = -EBADF,
                        .signal_fd = -EBADF,
        };
        int status;

        want_init(&run.want);
        run.want.request.flags = COORD_STRICT;
        status = run_parse(&run, argc, argv);
        if (status != CTL_GO_ON)
                return status;
        /* Whoever ignored it before us would take the child's status from us. */
        (void) signal(SIGCHLD, SIG_DFL);
        status = run.scoped ? run_scoped(&run) : run_main(&run);
        want_deinit(&run.want);
        wait_signals_restore();
        return status;
}
