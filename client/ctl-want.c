/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What run and acquire have in common: the options that say what is wanted and how long to wait for
 * it, and getting it. It doesn't know what the holds are for.
 *
 * A bare NAME is a lock, or with -j or -p a semaphore. "lock:NAME", "lock:NAME:shared" and
 * "sem:NAME:PERMITS" say it themselves; a name holds no colon, so nothing is ambiguous. Several names
 * are one request: all or none.
 */
#include "ctl.h"

#include <string.h>

/** want_init() - an exclusive lock, waited for without end. */
void want_init(Want *w) {
        *w = (Want){
                        .request = COORD_REQUEST_INIT,
                        .status = EXIT_NOT_GRANTED,
        };
}

/** want_deinit() - drop the holds, which releases them. */
void want_deinit(Want *w) {
        w->one[0] = coord_hold_unref(w->one[0]);
        w->all = coord_holds_free(w->all);
        w->holds = NULL;
}

static int option_wait(Want *w, const char *value) {
        int r = parse_seconds(value, &w->request.timeout_usec);

        if (r == -ERANGE)
                return ctl_usage("-w %s: more than can be waited; leave -w out to wait without end",
                                value);
        if (r < 0)
                return ctl_usage("-w %s: not a number of seconds, as 5 or 0.25", value);
        return 0;
}

static int option_count(const char *option, const char *value, uint32_t *ret) {
        if (parse_unsigned(value, UINT32_MAX, ret) < 0 || *ret == 0)
                return ctl_usage("%s %s: not a number from 1 up", option, value);
        return 0;
}

static int option_priority(Want *w, const char *value) {
        if (parse_integer(value, -20, 19, &w->request.priority) < 0)
                return ctl_usage("--priority=%s: not a number from -20 (sooner) to 19 (later)",
                                value);
        return 0;
}

static int option_strict(Want *w, const char *value) {
        bool strict;

        if (parse_boolean(value, &strict) < 0)
                return ctl_usage("--strict=%s: neither yes nor no", value);
        w->strict_given = true;
        w->request.flags = strict ? COORD_STRICT : 0;
        return 0;
}

/**
 * want_option() - take an option of WANT_LONG_OPTIONS or WANT_SHORT_OPTIONS
 * @c: what getopt_long() returned
 * @value: its argument
 * @ret_status: set if the option is one of these: 0, or EX_USAGE after a message
 *
 * Return: 1 if it is one of these, else 0.
 */
int want_option(Want *w, int c, const char *value, int *ret_status) {
        int status = 0;

        switch (c) {
        case 's':
        case 'x':
                w->request.mode = c == 's' ? COORD_MODE_SHARED : COORD_MODE_EXCLUSIVE;
                break;
        case 'n':
                w->request.timeout_usec = 0;
                break;
        case 'w':
                status = option_wait(w, value);
                break;
        case 'E':
                if (parse_integer(value, 0, 255, &w->status) < 0)
                        status = ctl_usage("-E %s: not an exit status from 0 to 255", value);
                break;
        case 'j':
        case 'p':
                w->semaphore = true;
                status = option_count(c == 'j' ? "-j" : "-p", value,
                                c == 'j' ? &w->request.capacity : &w->request.permits);
                break;
        case 'd':
                w->request.description = value;
                break;
        case OPTION_PRIORITY:
                status = option_priority(w, value);
                break;
        case OPTION_STRICT:
                status = option_strict(w, value);
                break;
        default:
                return 0;
        }
        *ret_status = status;
        return 1;
}

/**
 * want_check() - refuse options that contradict each other
 *
 * Return: 0, or EX_USAGE after a message.
 */
int want_check(const Want *w) {
        if (w->semaphore && w->request.mode == COORD_MODE_SHARED)
                return ctl_usage("-s is for locks; a semaphore (-j, -p) has no shared mode");
        if (w->request.capacity && w->request.permits > w->request.capacity)
                return ctl_usage("-p %u: there are only %u permits (-j)", w->request.permits,
                                w->request.capacity);
        return 0;
}

/* What coord_acquire_all_full() is to get for one name. */
static char *want_text(const Want *w, const char *name) {
        uint32_t permits = w->request.permits ? w->request.permits : 1;
        char *text;
        int n;

        if (strchr(name, ':'))
                n = asprintf(&text, "%s", name);
        else if (w->semaphore && w->request.capacity)
                n = asprintf(&text, "sem:%s:%u:%u", name, permits, w->request.capacity);
        else if (w->semaphore)
                n = asprintf(&text, "sem:%s:%u", name, permits);
        else
                n = asprintf(&text, "lock:%s%s", name,
                                w->request.mode == COORD_MODE_SHARED ? ":shared" : "");
        return n < 0 ? NULL : text;
}

static void wants_freep(char ***wants) {
        char **p;

        for (p = *wants; p && *p; p++)
                free(*p);
        free(*wants);
}

static int acquire_all(Want *w, Ctl *ctl, char **names, size_t n_names) {
        _cleanup_(wants_freep) char **wants = calloc(n_names + 1, sizeof(*wants));
        struct coord_request request = w->request;
        size_t i;
        int r;

        for (i = 0; wants && i < n_names; i++) {
                wants[i] = want_text(w, names[i]);
                if (!wants[i])
                        return -ENOMEM;
        }
        if (!wants)
                return -ENOMEM;
        /* These are in the texts. */
        request.mode = COORD_MODE_EXCLUSIVE;
        request.permits = request.capacity = 0;
        r = coord_acquire_all_full(ctl->client, (const char *const *) wants, &request, &w->all);
        w->holds = r < 0 ? NULL : w->all;
        return r;
}

static int acquire_one(Want *w, Ctl *ctl, const char *name) {
        int r;

        w->request.name = name;
        w->request.kind = w->semaphore ? COORD_KIND_SEMAPHORE : COORD_KIND_LOCK;
        r = coord_acquire_full(ctl->client, &w->request, &w->one[0]);
        w->holds = r < 0 ? NULL : w->one;
        return r;
}

/**
 * want_acquire() - get all of @names, or none
 * @ret_status: set when they were not got: the exit status, after a message
 *
 * The first signal that wait_signals_catch() looks out for ends the wait. The caller drops the holds
 * with want_deinit(), whatever is returned.
 *
 * Return: whether all are held.
 */
bool want_acquire(Want *w, Ctl *ctl, char **names, size_t n_names, int *ret_status) {
        uint64_t begin = clock_usec(CLOCK_MONOTONIC);
        int r;

        r = n_names == 1 && !strchr(names[0], ':') ? acquire_one(w, ctl, names[0])
                                                   : acquire_all(w, ctl, names, n_names);
        w->waited_usec = clock_usec(CLOCK_MONOTONIC) - begin;
        if (wait_signals_caught()) {
                (void) want_release(w, ctl);
                *ret_status = EXIT_SIGNAL_BASE + wait_signals_caught();
        } else if (r < 0) {
                *ret_status = r == -ENOMEM ? ctl_out_of_memory() : ctl_fail(ctl, r);
                if (ctl_is_refusal(r))
                        *ret_status = w->status;
        }
        return r >= 0 && !wait_signals_caught();
}

/** want_leave() - let every hold stand on its owner, beyond this process. */
void want_leave(Want *w) {
        for (size_t i = 0; w->holds && w->holds[i]; i++)
                if (coord_hold_detach(w->holds[i]) >= 0 && w->holds == w->one)
                        w->one[0] = NULL;
        if (w->all)
                w->all[0] = NULL;
}

/**
 * want_release() - release every hold
 *
 * Return: 0, or -ESTALE if one had been lost before; that is told.
 */
int want_release(Want *w, Ctl *ctl) {
        int status = 0;
        size_t i;

        for (i = 0; w->holds && w->holds[i]; i++) {
                int r = coord_hold_release(w->holds[i]);

                if (r == -ESTALE)
                        ctl_message("%s was lost before it was released: somebody else may have "
                                    "held it "
                                    "meanwhile",
                                        coord_hold_token(w->holds[i]));
                else if (r < 0)
                        ctl_message("cannot release %s: %s", coord_hold_token(w->holds[i]),
                                        coord_strerror(ctl->client));
                if (r < 0)
                        status = r;
        }
        return status;
}
