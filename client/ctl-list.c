/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands that look and change nothing: list, show, status, version. They print what the library
 * tells and work nothing out by themselves.
 */
#include "ctl.h"

#include <string.h>

typedef struct Entries {
        struct coord_entry *entries;
        size_t n;
} Entries;

static void entries_deinit(Entries *e) {
        e->entries = coord_entries_free(e->entries, e->n);
}

static const char *or_dash(const char *text) {
        return text && *text ? text : "-";
}

/* "3s" since then, or "" for a time that is not known. */
static char *age_since(uint64_t since_usec) {
        uint64_t now = clock_usec(CLOCK_REALTIME);

        return since_usec == 0 ? strdup("") : text_age(now > since_usec ? now - since_usec : 0);
}

static char *entry_state(const struct coord_entry *e) {
        char *text;
        int n;

        if (e->kind == COORD_KIND_SEMAPHORE)
                n = asprintf(&text, "%u/%u", e->capacity - MIN_OF(e->free, e->capacity),
                                e->capacity);
        else
                n = asprintf(&text, "%s", e->held ? "held" : e->reserved ? "reserved" : "free");
        return n < 0 ? NULL : text;
}

static const char *kind_or_mode(const struct coord_entry *e) {
        return e->kind == COORD_KIND_LOCK ? text_mode(e->mode) : text_kind(e->kind);
}

/* The row of one holder, or of an entry without one. */
static int add_row(Table *t, const struct coord_entry *e, const struct coord_party *p) {
        _cleanup_(freep) char *state = entry_state(e), *who = NULL, *holder = NULL, *age = NULL;
        char waiters[32], permits[32] = "";

        who = p ? text_party(p) : strdup("");
        age = p ? age_since(p->since_usec) : strdup("");
        if (p && e->kind == COORD_KIND_SEMAPHORE && p->permits != 1)
                (void) snprintf(permits, sizeof(permits), " x%u", p->permits);
        if (!state || !who || !age || asprintf(&holder, "%s%s", who, permits) < 0)
                return -ENOMEM;
        (void) snprintf(waiters, sizeof(waiters), "%zu", e->n_waiters);
        return table_add(t, (char *[TABLE_COLUMNS]){
                                            (char *) e->name,
                                            (char *) kind_or_mode(e),
                                            p && p->reserved ? (char *) "reserved" : state,
                                            holder,
                                            p ? (char *) p->owner : NULL,
                                            age,
                                            waiters,
                                            p ? (char *) p->description : NULL,
                            });
}

static int print_table(const Entries *all) {
        _cleanup_(table_deinit) Table t = {0};
        static const char *const head[TABLE_COLUMNS] = {"NAME", "KIND", "STATE", "HOLDER", "OWNER",
                        "SINCE", "WAITERS", "DESCRIPTION"};
        size_t i, k;
        int r;

        r = table_add(&t, (char *const *) head);
        for (i = 0; i < all->n && r >= 0; i++) {
                const struct coord_entry *e = &all->entries[i];

                if (e->n_holders == 0)
                        r = add_row(&t, e, NULL);
                for (k = 0; k < e->n_holders && r >= 0; k++)
                        r = add_row(&t, e, &e->holders[k]);
        }
        if (r < 0)
                return ctl_out_of_memory();
        table_print(&t, stdout);
        return ctl_close_stdout();
}

static int kind_from_plural(const char *text, int *ret) {
        static const char *const kinds[] = {
                        [COORD_KIND_LOCK] = "locks",
                        [COORD_KIND_SEMAPHORE] = "semaphores",
                        [COORD_KIND_QUEUE] = "queues",
        };
        int i;

        for (i = COORD_KIND_LOCK; i <= COORD_KIND_QUEUE; i++)
                if (strcmp(text, kinds[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        return -EINVAL;
}

static int get_entries(Ctl *ctl, int kind, Entries *ret) {
        int r, status = ctl_open(ctl);

        if (status)
                return status;
        r = coord_list(ctl->client, kind, &ret->entries, &ret->n);
        return r < 0 ? ctl_fail(ctl, r) : 0;
}

/** verb_list() - coordctl list [locks|semaphores|queues] */
int verb_list(Ctl *ctl, int argc, char **argv) {
        _cleanup_(entries_deinit) Entries all = {0};
        int status, kind = COORD_KIND_ANY;

        status = ctl_plain_options(ctl, &argc, &argv, 0, 1);
        if (status)
                return status;
        if (argc > 0 && kind_from_plural(argv[0], &kind) < 0)
                return ctl_usage("list %s: not one of locks, semaphores, queues", argv[0]);
        status = get_entries(ctl, kind, &all);
        if (status)
                return status;
        return ctl->json ? json_print_entries(all.entries, all.n) : print_table(&all);
}

static void print_field(const char *indent, const char *field, const char *value) {
        _cleanup_(freep) char *escaped = text_escape(or_dash(value));

        (void) printf("%s%-13s%s\n", indent, field, escaped ? escaped : "?");
}

/* Who it is, with what they want or have, in one line. */
static void print_who(const char *field, const struct coord_entry *e, const struct coord_party *p) {
        _cleanup_(freep) char *who = text_party(p), *line = NULL;
        char uid[32] = "", what[48];

        if (p->uid != (uid_t) -1)
                (void) snprintf(uid, sizeof(uid), ", uid %u", (unsigned) p->uid);
        if (e->kind == COORD_KIND_SEMAPHORE)
                (void) snprintf(what, sizeof(what), ", %u permit%s", p->permits,
                                p->permits == 1 ? "" : "s");
        else
                (void) snprintf(what, sizeof(what), ", %s", text_mode(p->mode));
        if (asprintf(&line, "%s%s%s%s", who ? who : "?", uid, what,
                            p->reserved ? ", reserved" : "") < 0)
                line = NULL;
        print_field("  ", field, line);
}

static void print_since(const char *field, uint64_t since_usec) {
        _cleanup_(freep) char *age = age_since(since_usec), *when = NULL, *line = NULL;

        if (since_usec == 0)
                return;
        when = text_time(since_usec, false);
        if (asprintf(&line, "%s (%s ago)", when ? when : "?", age ? age : "?") < 0)
                line = NULL;
        print_field("    ", field, line);
}

static void print_holder(const struct coord_entry *e, const struct coord_party *p) {
        print_who("Holder:", e, p);
        if (p->token)
                print_field("    ", "Token:", p->token);
        print_field("    ", "Owner:", p->owner);
        if (p->unit && *p->unit)
                print_field("    ", "Unit:", p->unit);
        print_since("Since:", p->since_usec);
        if (p->description && *p->description)
                print_field("    ", "Description:", p->description);
}

static void print_waiter(const struct coord_entry *e, const struct coord_party *p, size_t place) {
        char field[32], priority[16];

        (void) snprintf(field, sizeof(field), "Waiter %zu:", place);
        print_who(field, e, p);
        print_since("Since:", p->since_usec);
        if (p->priority != 0) {
                (void) snprintf(priority, sizeof(priority), "%d", p->priority);
                print_field("    ", "Priority:", priority);
        }
        if (p->description && *p->description)
                print_field("    ", "Description:", p->description);
}

static void print_entry(const struct coord_entry *e) {
        _cleanup_(freep) char *state = entry_state(e), *line = NULL;
        size_t i;

        print_field("", "Name:", e->name);
        print_field("", "Kind:", text_kind(e->kind));
        if (e->kind == COORD_KIND_SEMAPHORE) {
                if (asprintf(&line, "%s permits taken", state ? state : "?") < 0)
                        line = NULL;
        } else if (asprintf(&line, "%s%s%s", state ? state : "?", e->held ? ", " : "",
                                   e->held ? text_mode(e->mode) : "") < 0)
                line = NULL;
        print_field("", "State:", line);
        for (i = 0; i < e->n_holders; i++)
                print_holder(e, &e->holders[i]);
        for (i = 0; i < e->n_waiters; i++)
                print_waiter(e, &e->waiters[i], i + 1);
}

static bool is_shown(const struct coord_entry *e, int kind, const char *name) {
        return (kind == COORD_KIND_ANY || e->kind == kind) && strcmp(e->name, name) == 0;
}

/* A free lock is nothing that the segment must remember: what isn't there is free. */
static int show_free(const Ctl *ctl, int kind, const char *name) {
        int status;

        if (ctl->json) {
                status = json_print_free(kind == COORD_KIND_ANY ? COORD_KIND_LOCK : kind, name);
                return status ? status : EXIT_NOT_GRANTED;
        }
        ctl_message("nobody holds '%s' or waits for it", name);
        return EXIT_NOT_GRANTED;
}

/** verb_show() - coordctl show [lock:|sem:]NAME */
int verb_show(Ctl *ctl, int argc, char **argv) {
        _cleanup_(entries_deinit) Entries all = {0};
        int status, kind = COORD_KIND_ANY;
        const char *name;
        size_t i, n = 0;

        status = ctl_plain_options(ctl, &argc, &argv, 1, 1);
        if (status)
                return status;
        name = argv[0];
        if (strncmp(name, "lock:", 5) == 0 || strncmp(name, "sem:", 4) == 0) {
                kind = *name == 'l' ? COORD_KIND_LOCK : COORD_KIND_SEMAPHORE;
                name = strchr(name, ':') + 1;
        }
        if (!name_is_valid(name))
                return ctl_usage("'%s' is no name: 1 to 255 of A-Z a-z 0-9 . _ / @ %% + -, not "
                                 "beginning "
                                 "with -",
                                name);
        status = get_entries(ctl, kind, &all);
        if (status)
                return status;
        for (i = 0; i < all.n && !status; i++) {
                if (!is_shown(&all.entries[i], kind, name))
                        continue;
                if (ctl->json)
                        status = json_print_entry(&all.entries[i]);
                else {
                        (void) fputs(n > 0 ? "\n" : "", stdout);
                        print_entry(&all.entries[i]);
                }
                n++;
        }
        if (status)
                return status;
        return n > 0 ? ctl_close_stdout() : show_free(ctl, kind, name);
}

static void print_figure(const char *field, uint64_t used, uint64_t most) {
        char text[64];

        if (most > 0)
                (void) snprintf(text, sizeof(text), "%llu of %llu", (unsigned long long) used,
                                (unsigned long long) most);
        else
                (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) used);
        print_field("", field, text);
}

static int print_status(const struct coord_status *s, const char *scope) {
        print_field("", "Scope:", scope);
        print_field("", "Segment:", s->path);
        if (s->deleted)
                print_field("", "Warning:",
                                "the segment's file was deleted: whoever comes new gets nowhere "
                                "until all who "
                                "use it have ended");
        print_field("", "Daemon:", s->daemon ? "running" : "not running (none is needed)");
        print_figure("Epoch:", s->epoch, 0);
        print_figure("Bytes:", s->bytes, 0);
        print_figure("Processes:", s->processes, 0);
        print_figure("Names:", s->names, s->names_max);
        print_figure("Waiters:", s->waiters, s->waiters_max);
        print_figure("Permits:", s->permits, s->permits_max);
        print_figure("Records:", s->records, s->records_max);
        return ctl_close_stdout();
}

/** verb_status() - coordctl status */
int verb_status(Ctl *ctl, int argc, char **argv) {
        struct coord_status s = {.size = sizeof(s)};
        const char *scope;
        int r, status;

        status = ctl_plain_options(ctl, &argc, &argv, 0, 0);
        if (status == CTL_GO_ON)
                status = ctl_open(ctl);
        if (status)
                return status;
        r = coord_client_get_status(ctl->client, &s);
        if (r < 0)
                return ctl_fail(ctl, r);
        scope = ctl->scope == COORD_CLIENT_USER ? "user" : "system";
        return ctl->json ? json_print_status(&s, scope) : print_status(&s, scope);
}

/** verb_version() - coordctl version */
int verb_version(Ctl *ctl, int argc, char **argv) {
        int status = ctl_plain_options(ctl, &argc, &argv, 0, 0);

        if (status)
                return status;
        if (ctl->json)
                return json_print_version(coord_version());
        (void) printf("coordctl %s\n", coord_version());
        return ctl_close_stdout();
}
