/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of coordctl share: the options that stand before a command, exit codes, messages,
 * parsing, and printing for people and for programs. It knows the public library alone: nothing here
 * may look into the segment or talk to a daemon by itself.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <coord/client.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sysexits.h>

#include "util/util.h"

enum {
        EXIT_NOT_GRANTED = 1, /* not granted, not found, timed out */
        EXIT_CANNOT_EXECUTE = 126,
        EXIT_COMMAND_NOT_FOUND = 127,
        EXIT_SIGNAL_BASE = 128,
};

/* What the parsing of a command line says beside the exit statuses, which are positive. */
enum {
        CTL_GO_ON = 0,
        CTL_DONE = -1, /* the help was shown: exit with 0 */
};

typedef struct Ctl {
        uint64_t scope; /* COORD_CLIENT_SYSTEM or COORD_CLIENT_USER */
        bool json;
        bool quiet;
        coord_client *client; /* by ctl_open() */
} Ctl;

/* A command: its name, what follows it in the usage line, one line of help, what runs it. */
typedef struct Verb {
        const char *name;
        const char *synopsis;
        const char *help;
        int (*run)(Ctl *ctl, int argc, char **argv);
} Verb;

/* ---- coordctl.c --------------------------------------------------------------------------- */

enum {
        OPTION_SYSTEM = 0x100,
        OPTION_USER,
        OPTION_JSON,
        OPTION_HELP,
        OPTION_VERSION,
        OPTION_FIRST_OF_VERB, /* what a command may number its own long options from */
};

/* The long options every command takes, and their short ones. */
/* clang-format off */
#define CTL_LONG_OPTIONS                                                                           \
        { "system", no_argument, NULL, OPTION_SYSTEM },                                            \
        { "user", no_argument, NULL, OPTION_USER },                                                \
        { "json", no_argument, NULL, OPTION_JSON },                                                \
        { "quiet", no_argument, NULL, 'q' },                                                       \
        { "help", no_argument, NULL, OPTION_HELP }
/* clang-format on */
#define CTL_SHORT_OPTIONS "qh"

int ctl_option(Ctl *ctl, int c, char **argv);
int ctl_plain_options(Ctl *ctl, int *argc, char ***argv, int least, int most);
int ctl_open(Ctl *ctl);
int ctl_help_run(void);
int ctl_help_acquire(void);

/* ---- ctl-util.c --------------------------------------------------------------------------- */

int ctl_exit_code(int error);
bool ctl_is_refusal(int error);
void ctl_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ctl_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ctl_fail(const Ctl *ctl, int error);
int ctl_out_of_memory(void);
int ctl_close_stdout(void);
int ctl_hold_standard_fds(void);

int parse_seconds(const char *text, uint64_t *ret_usec);
int parse_duration(const char *text, uint64_t *ret_usec);
int parse_unsigned(const char *text, uint32_t most, uint32_t *ret);
int parse_integer(const char *text, int least, int most, int *ret);
int parse_boolean(const char *text, bool *ret);
int parse_signal(const char *text, int *ret);
bool name_is_valid(const char *name);
const char *signal_name(int signo, char buffer[static 16]);

/* ---- ctl-wait.c --------------------------------------------------------------------------- */

void wait_signals_catch(coord_client *c);
void wait_signals_restore(void);
int wait_signals_caught(void);
int wait_signals_pending(void);

/* ---- ctl-want.c --------------------------------------------------------------------------- */

/* What run and acquire want, and what they got. Zeroed but for what want_init() sets. */
typedef struct Want {
        struct coord_request request;
        bool semaphore;     /* -j or -p was given */
        bool strict_given;  /* --strict= was given */
        int status;         /* -E: when not granted */
        coord_hold *one[2]; /* the hold of a single name */
        coord_hold **all;   /* those of several names */
        coord_hold **holds; /* one or all, ended by NULL */
        uint64_t waited_usec;
} Want;

enum {
        OPTION_PRIORITY = OPTION_FIRST_OF_VERB,
        OPTION_STRICT,
        OPTION_FIRST_AFTER_WANT,
};

/* clang-format off */
#define WANT_LONG_OPTIONS                                                                          \
        { "shared", no_argument, NULL, 's' },                                                      \
        { "exclusive", no_argument, NULL, 'x' },                                                   \
        { "nonblock", no_argument, NULL, 'n' },                                                    \
        { "wait", required_argument, NULL, 'w' },                                                  \
        { "timeout", required_argument, NULL, 'w' },                                               \
        { "conflict-exit-code", required_argument, NULL, 'E' },                                    \
        { "slots", required_argument, NULL, 'j' },                                                 \
        { "permits", required_argument, NULL, 'p' },                                               \
        { "description", required_argument, NULL, 'd' },                                           \
        { "priority", required_argument, NULL, OPTION_PRIORITY },                                  \
        { "strict", required_argument, NULL, OPTION_STRICT }
/* clang-format on */
#define WANT_SHORT_OPTIONS "sxnw:E:j:p:d:"

void want_init(Want *w);
void want_deinit(Want *w);
int want_option(Want *w, int c, const char *value, int *ret_status);
int want_check(const Want *w);
bool want_acquire(Want *w, Ctl *ctl, char **names, size_t n_names, int *ret_status);
int want_release(Want *w, Ctl *ctl);
void want_leave(Want *w);

/* ---- the commands -------------------------------------------------------------------------- */

int verb_run(Ctl *ctl, int argc, char **argv);
int verb_acquire(Ctl *ctl, int argc, char **argv);
int verb_release(Ctl *ctl, int argc, char **argv);
int verb_renew(Ctl *ctl, int argc, char **argv);
int verb_check(Ctl *ctl, int argc, char **argv);
int verb_break(Ctl *ctl, int argc, char **argv);
int verb_semaphore(Ctl *ctl, int argc, char **argv);
int verb_list(Ctl *ctl, int argc, char **argv);
int verb_show(Ctl *ctl, int argc, char **argv);
int verb_status(Ctl *ctl, int argc, char **argv);
int verb_version(Ctl *ctl, int argc, char **argv);
int verb_watch(Ctl *ctl, int argc, char **argv);

/* ---- ctl-text.c: for people ----------------------------------------------------------------- */

#define TABLE_COLUMNS 8

/* Rows of cells, printed with columns as wide as their widest cell. Zeroed it is empty. */
typedef struct Table {
        char *(*rows)[TABLE_COLUMNS];
        size_t n_rows, n_allocated;
} Table;

char *text_escape(const char *text);
size_t text_width(const char *text);
char *text_age(uint64_t usec);
char *text_time(uint64_t realtime_usec, bool with_usec);
char *text_party(const struct coord_party *p);
const char *text_kind(int kind);
const char *text_mode(int mode);
int table_add(Table *t, char *const cells[static TABLE_COLUMNS]);
void table_print(const Table *t, FILE *f);
void table_deinit(Table *t);

/* ---- ctl-json.c: for programs --------------------------------------------------------------- */

int json_print_entries(const struct coord_entry *entries, size_t n);
int json_print_entry(const struct coord_entry *e);
int json_print_free(int kind, const char *name);
int json_print_status(const struct coord_status *s, const char *scope);
int json_print_version(const char *version);
int json_print_grant(coord_hold *h);
int json_print_check(const char *token, bool valid);

/* A line of watch. Of holder, waiters and glob those that the event has. */
typedef struct Event {
        const char *name; /* Acquired, Released, Waiting, Contended, Watching */
        const struct coord_entry *entry;
        const struct coord_party *party;
        const char *glob;
        bool initial; /* stood already when watching began */
} Event;

int json_print_event(const Event *e, uint64_t now_usec);
