/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands about one hold: acquire, release, renew, check, break, and semaphore set. Each is one
 * call of the library; here are the words around it.
 */
#include "ctl.h"

#include <signal.h>
#include <string.h>

enum {
        OPTION_OWNER = OPTION_FIRST_AFTER_WANT,
};

static const struct option acquire_options[] = {
                WANT_LONG_OPTIONS,
                {"owner", required_argument, NULL, OPTION_OWNER},
                CTL_LONG_OPTIONS,
                {NULL},
};

static bool begins(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int check_owner(Want *w) {
        const char *owner = w->request.owner;

        if (!owner)
                return ctl_usage("acquire: --owner= is needed: pid:N (as pid:$$) or lease:DURATION "
                                 "(as "
                                 "lease:30s)");
        if (begins(owner, "pid:")) {
                if (!w->strict_given)
                        w->request.flags |= COORD_STRICT;
                return 0;
        }
        if (begins(owner, "lease:"))
                return 0;
        if (strcmp(owner, "unit") == 0 || begins(owner, "unit:")) {
                ctl_message("--owner=%s: only coordd knows about units, and it does not run; use "
                            "pid:N "
                            "or lease:DURATION",
                                owner);
                return EX_UNAVAILABLE;
        }
        if (strcmp(owner, "process") == 0 || strcmp(owner, "connection") == 0 ||
                        strcmp(owner, "fd") == 0)
                return ctl_usage("--owner=%s: such a hold would end with coordctl, at once; use "
                                 "pid:N "
                                 "or lease:DURATION",
                                owner);
        return ctl_usage("--owner=%s: no such owner; use pid:N or lease:DURATION", owner);
}

static int acquire_parse(Ctl *ctl, Want *w, int argc, char **argv) {
        int c, status;

        optind = 0;
        while ((c = getopt_long(argc, argv, ":e" WANT_SHORT_OPTIONS CTL_SHORT_OPTIONS,
                                acquire_options, NULL)) >= 0) {
                status = CTL_GO_ON;
                if (c == OPTION_HELP || c == 'h')
                        return ctl_help_acquire();
                if (c == OPTION_OWNER)
                        w->request.owner = optarg;
                else if (!want_option(w, c == 'e' ? 'x' : c, optarg, &status))
                        status = ctl_option(ctl, c, argv);
                if (status)
                        return status;
        }
        if (optind == argc)
                return ctl_usage("acquire: no name given; try 'coordctl acquire --help'");
        status = want_check(w);
        return status ? status : check_owner(w);
}

static int print_tokens(Ctl *ctl, Want *w) {
        int status = 0;
        size_t i;

        for (i = 0; !status && w->holds[i]; i++)
                if (ctl->json)
                        status = json_print_grant(w->holds[i]);
                else
                        (void) printf("%s\n", coord_hold_token(w->holds[i]));
        return status ? status : ctl_close_stdout();
}

/** verb_acquire() - coordctl acquire --owner=OWNER [OPTIONS] NAME... */
int verb_acquire(Ctl *ctl, int argc, char **argv) {
        Want want;
        int status;

        want_init(&want);
        status = acquire_parse(ctl, &want, argc, argv);
        if (status == CTL_GO_ON)
                status = ctl_open(ctl);
        if (status)
                return status;
        /* A reader of the token that is gone shows as a failed write. */
        (void) signal(SIGPIPE, SIG_IGN);
        wait_signals_catch(ctl->client);
        if (want_acquire(&want, ctl, argv + optind, (size_t) (argc - optind), &status)) {
                status = print_tokens(ctl, &want);
                /* A hold whose token nobody has is in the way of all. */
                if (status)
                        (void) want_release(&want, ctl);
                else
                        want_leave(&want);
        }
        want_deinit(&want);
        wait_signals_restore();
        return status;
}

/* Parse the command line of a command without options of its own, and open the client. */
static int prepare(Ctl *ctl, int *argc, char ***argv, int n) {
        int status = ctl_plain_options(ctl, argc, argv, n, n);

        return status == CTL_GO_ON ? ctl_open(ctl) : status;
}

/** verb_release() - coordctl release TOKEN|NAME */
int verb_release(Ctl *ctl, int argc, char **argv) {
        int r, status = prepare(ctl, &argc, &argv, 1);

        if (status)
                return status;
        r = coord_release(ctl->client, argv[0]);
        return r < 0 ? ctl_fail(ctl, r) : 0;
}

/** verb_renew() - coordctl renew TOKEN DURATION */
int verb_renew(Ctl *ctl, int argc, char **argv) {
        int r, status = ctl_plain_options(ctl, &argc, &argv, 2, 2);
        uint64_t usec;

        if (status)
                return status;
        if (parse_duration(argv[1], &usec) < 0 || usec == 0)
                return ctl_usage("'%s' is no duration, as 30s, 500ms or 5min", argv[1]);
        status = ctl_open(ctl);
        if (status)
                return status;
        r = coord_renew(ctl->client, argv[0], usec);
        return r < 0 ? ctl_fail(ctl, r) : 0;
}

/** verb_check() - coordctl check TOKEN */
int verb_check(Ctl *ctl, int argc, char **argv) {
        int r, status = prepare(ctl, &argc, &argv, 1);

        if (status)
                return status;
        r = coord_check(ctl->client, argv[0]);
        if (r < 0)
                return ctl_fail(ctl, r);
        if (ctl->json)
                status = json_print_check(argv[0], r > 0);
        return status ? status : r > 0 ? 0 : EXIT_NOT_GRANTED;
}

/** verb_break() - coordctl break NAME */
int verb_break(Ctl *ctl, int argc, char **argv) {
        int r, status = prepare(ctl, &argc, &argv, 1);

        if (status)
                return status;
        r = coord_break(ctl->client, argv[0]);
        return r < 0 ? ctl_fail(ctl, r) : 0;
}

/** verb_semaphore() - coordctl semaphore set NAME N */
int verb_semaphore(Ctl *ctl, int argc, char **argv) {
        int r, status = ctl_plain_options(ctl, &argc, &argv, 3, 3);
        uint32_t capacity;

        if (status)
                return status;
        if (strcmp(argv[0], "set") != 0)
                return ctl_usage("semaphore %s: there is only 'semaphore set NAME N'", argv[0]);
        if (parse_unsigned(argv[2], UINT32_MAX, &capacity) < 0 || capacity == 0)
                return ctl_usage("'%s' is no number of permits from 1 up", argv[2]);
        status = ctl_open(ctl);
        if (status)
                return status;
        r = coord_semaphore_configure(ctl->client, argv[1], capacity);
        return r < 0 ? ctl_fail(ctl, r) : 0;
}
