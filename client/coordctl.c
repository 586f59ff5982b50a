/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * coordctl: the options that stand before a command, and the way to the command. What a command does
 * is in the other files; nothing here knows of locks.
 */
#include "ctl.h"

#include <string.h>

static const Verb verbs[] = {
                {"run", "[OPTION...] NAME... [--] COMMAND [ARG...]",
                                "run COMMAND while holding every NAME", verb_run},
                {"acquire", "--owner=OWNER [OPTION...] NAME",
                                "acquire NAME for OWNER, print the token", verb_acquire},
                {"release", "TOKEN|NAME", "end a hold", verb_release},
                {"renew", "TOKEN DURATION", "let a lease end DURATION from now", verb_renew},
                {"check", "TOKEN", "exit with 0 if the hold stands, else with 1", verb_check},
                {"break", "NAME", "end every hold of NAME by force", verb_break},
                {"list", "[locks|semaphores|queues]", "show what is held or waited for", verb_list},
                {"show", "NAME", "show who holds NAME and who waits", verb_show},
                {"watch", "[GLOB]", "show each change as it comes", verb_watch},
                {"semaphore", "set NAME N", "give the semaphore NAME a capacity of N permits",
                                verb_semaphore},
                {"status", "", "show the figures of the shared segment", verb_status},
                {"version", "", "show the version", verb_version},
};

static const struct option global_options[] = {
                CTL_LONG_OPTIONS,
                {"version", no_argument, NULL, OPTION_VERSION},
                {NULL},
};

static const char common_help[] = "      --system     the locks of the system (default)\n"
                                  "      --user       the locks of this user alone\n"
                                  "      --json       JSON for programs\n"
                                  "  -q, --quiet      say nothing when something is not granted\n"
                                  "  -h, --help       this text\n";

static const char want_help[] =
                "  -s, --shared               beside other shared holders\n"
                "  -x, -e, --exclusive        alone (default)\n"
                "  -n, --nonblock             do not wait\n"
                "  -w, --wait=SECONDS         wait at most so long, fractions allowed\n"
                "  -E, --conflict-exit-code=N exit status when not granted (default 1)\n"
                "  -j, --slots=N              NAME is a semaphore of N permits; one is taken\n"
                "  -p, --permits=K            take K permits\n"
                "  -d, --description=TEXT     shown to everybody who asks who holds it\n"
                "      --priority=P           -20 (sooner) to 19 (later)\n";

static void help_end(const char *options) {
        (void) printf("%s\nEverywhere:\n%s\nSee coordctl(1).\n", options, common_help);
}

/** ctl_help_run() - usage of run on standard output; returns CTL_DONE. */
int ctl_help_run(void) {
        (void) printf("usage: coordctl run [OPTION...] NAME... [--] COMMAND [ARG...]\n\n"
                      "Run COMMAND while holding every NAME. Several names end with --.\n\n%s",
                        want_help);
        help_end("      --strict=BOOL          wait for all of a dead holder's threads (default "
                 "yes)\n"
                 "      --on-loss=SIGNAL       sent to COMMAND when the hold is lost (default "
                 "TERM)\n"
                 "  -F, --exec                 do not fork: COMMAND takes the place of coordctl\n"
                 "      --scope                hold until all descendants of COMMAND are gone\n"
                 "      --verbose              tell what is done\n");
        return CTL_DONE;
}

/** ctl_help_acquire() - usage of acquire on standard output; returns CTL_DONE. */
int ctl_help_acquire(void) {
        (void) printf("usage: coordctl acquire --owner=OWNER [OPTION...] NAME\n\n"
                      "Acquire NAME and print the token of the hold. It ends with its owner.\n\n%s",
                        want_help);
        help_end("      --owner=pid:N          the hold ends with process N, as pid:$$\n"
                 "      --owner=lease:DURATION the hold ends after DURATION, as lease:30s\n"
                 "      --strict=BOOL          wait for all of a dead holder's threads (default "
                 "yes\n"
                 "                             for pid:)\n");
        return CTL_DONE;
}

static int help(void) {
        size_t i;

        (void) printf("usage: coordctl [OPTION...] COMMAND [ARG...]\n\n"
                      "Named locks and semaphores for the programs of this host.\n\nCommands:\n");
        for (i = 0; i < ELEMENTSOF(verbs); i++)
                (void) printf("  %s%s%s\n        %s\n", verbs[i].name,
                                *verbs[i].synopsis ? " " : "", verbs[i].synopsis, verbs[i].help);
        (void) printf("\nOptions:\n%s      --version    the version\n\nSee coordctl(1).\n",
                        common_help);
        return CTL_DONE;
}

static const Verb *find_verb(const char *name) {
        size_t i;

        for (i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

static int bad_option(int c, char **argv) {
        /* getopt has gone past a long option, but not yet past the last letter of a bundle. */
        const char *word = optopt > 0 && optopt < OPTION_SYSTEM ? NULL : argv[optind - 1];

        if (c == ':' && word)
                return ctl_usage("%s needs a value", word);
        if (c == ':')
                return ctl_usage("-%c needs a value", optopt);
        if (word)
                return ctl_usage("unknown option '%s', or a value that it doesn't take; try --help",
                                word);
        return ctl_usage("unknown option '-%c'; try --help", optopt);
}

/**
 * ctl_option() - take an option that every command has
 * @c: what getopt_long() returned
 *
 * Return: CTL_GO_ON, or EX_USAGE after a message for what no command has.
 */
int ctl_option(Ctl *ctl, int c, char **argv) {
        switch (c) {
        case OPTION_SYSTEM:
                ctl->scope = COORD_CLIENT_SYSTEM;
                break;
        case OPTION_USER:
                ctl->scope = COORD_CLIENT_USER;
                break;
        case OPTION_JSON:
                ctl->json = true;
                break;
        case 'q':
                ctl->quiet = true;
                break;
        default:
                return bad_option(c, argv);
        }
        return CTL_GO_ON;
}

static int help_verb(const char *name) {
        const Verb *verb = find_verb(name);

        (void) printf("usage: coordctl %s%s%s\n\n%s.\n\n%s\nSee coordctl(1).\n", verb->name,
                        *verb->synopsis ? " " : "", verb->synopsis, verb->help, common_help);
        return CTL_DONE;
}

/**
 * ctl_plain_options() - the command line of a command without options of its own
 * @argc: in: of the command, its name first; out: how many arguments are left
 * @argv: likewise
 * @least: so many arguments it needs
 * @most: so many it takes
 *
 * Return: CTL_GO_ON, CTL_DONE, or EX_USAGE after a message.
 */
int ctl_plain_options(Ctl *ctl, int *argc, char ***argv, int least, int most) {
        const Verb *verb = find_verb((*argv)[0]);
        int c, status;

        optind = 0;
        while ((c = getopt_long(*argc, *argv, ":" CTL_SHORT_OPTIONS, global_options, NULL)) >= 0) {
                if (c == OPTION_HELP || c == 'h')
                        return help_verb((*argv)[0]);
                status = ctl_option(ctl, c, *argv);
                if (status != CTL_GO_ON)
                        return status;
        }
        if (*argc - optind < least || *argc - optind > most)
                return ctl_usage("usage: coordctl %s %s", verb->name, verb->synopsis);
        *argc -= optind;
        *argv += optind;
        return CTL_GO_ON;
}

/**
 * ctl_open() - make the client of the chosen scope
 *
 * Return: 0, or the exit status after a message.
 */
int ctl_open(Ctl *ctl) {
        int r = coord_client_new(ctl->scope, &ctl->client);

        if (r >= 0)
                return 0;
        ctl_message("cannot start: %s", strerrordesc_np(-r));
        return ctl_exit_code(r);
}

static int dispatch(Ctl *ctl, int argc, char **argv) {
        const Verb *verb;
        int c, status;

        while ((c = getopt_long(argc, argv, "+:" CTL_SHORT_OPTIONS, global_options, NULL)) >= 0) {
                if (c == OPTION_HELP || c == 'h')
                        return help();
                if (c == OPTION_VERSION)
                        return verb_version(ctl, 1, (char *[]){(char *) "version", NULL});
                status = ctl_option(ctl, c, argv);
                if (status != CTL_GO_ON)
                        return status;
        }
        if (optind == argc)
                return ctl_usage("no command given; try 'coordctl --help'");
        verb = find_verb(argv[optind]);
        if (!verb)
                return ctl_usage("unknown command '%s'; try 'coordctl --help'", argv[optind]);
        return verb->run(ctl, argc - optind, argv + optind);
}

int main(int argc, char **argv) {
        static Ctl ctl = {.scope = COORD_CLIENT_SYSTEM};
        int r, status;

        opterr = 0;
        r = ctl_hold_standard_fds();
        if (r < 0) {
                ctl_message("cannot open /dev/null: %s", strerrordesc_np(-r));
                return EX_OSERR;
        }
        status = dispatch(&ctl, argc, argv);
        /* The client goes with the process: ending its threads one by one would only cost time. */
        if (status == CTL_DONE)
                status = ctl_close_stdout();
        return status;
}
