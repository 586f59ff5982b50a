/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * coordctl watch: each change as a line. The library says only *that* something changed; what changed
 * is the difference between two lists. What comes and goes between them is not seen; what stands is
 * never missed, because the cursor is older than the list it goes with.
 */
#include "ctl.h"

#include <fnmatch.h>
#include <string.h>

typedef int Compare(const void *a, const void *b);

/* What one name was, what it is, and what is said of it. */
typedef struct Change {
        const struct coord_entry *old, *new, *entry;
} Change;

typedef struct Snapshot {
        struct coord_entry *entries; /* sorted by kind and name */
        size_t n;
} Snapshot;

typedef struct Watch {
        Ctl *ctl;
        const char *glob;
        uint64_t cursor;
        Snapshot last;
        bool initial;
        int status; /* of the first failed output */
} Watch;

/* Order of holders: by token, which names a hold once and for all. */
static int compare_tokens(const void *a, const void *b) {
        const struct coord_party *p = *(const struct coord_party *const *) a;
        const struct coord_party *q = *(const struct coord_party *const *) b;

        return strcmp(p->token ? p->token : "", q->token ? q->token : "");
}

#define COMPARE(x, y) (((x) > (y)) - ((x) < (y)))

/* Order of waiters: they have no token, so those that look alike count as the same. */
static int compare_waiters(const void *a, const void *b) {
        const struct coord_party *p = *(const struct coord_party *const *) a;
        const struct coord_party *q = *(const struct coord_party *const *) b;
        int r = COMPARE(p->pid, q->pid);

        r = r ? r : COMPARE(p->mode, q->mode);
        r = r ? r : COMPARE(p->permits, q->permits);
        r = r ? r : COMPARE(p->priority, q->priority);
        return r ? r
                 : strcmp(p->description ? p->description : "",
                                   q->description ? q->description : "");
}

static char *event_line(const Event *e) {
        const char *kind = e->entry->kind == COORD_KIND_LOCK ? "lock" : "sem";
        _cleanup_(freep) char *who = e->party ? text_party(e->party) : NULL;
        char *line;
        int n;

        if (e->party && e->party->token)
                n = asprintf(&line, "%s  %s", e->party->token, who ? who : "?");
        else if (e->party)
                n = asprintf(&line, "%s:%s  %s", kind, e->entry->name, who ? who : "?");
        else
                n = asprintf(&line, "%s:%s  waiters: %zu", kind, e->entry->name,
                                e->entry->n_waiters);
        return n < 0 ? NULL : line;
}

static int print_text(const Event *e, uint64_t now_usec) {
        _cleanup_(freep) char *when = text_time(now_usec, true);
        _cleanup_(freep) char *line = e->entry ? event_line(e) : strdup(e->glob);
        _cleanup_(freep) char *escaped = line ? text_escape(line) : NULL;

        if (!when || !escaped)
                return ctl_out_of_memory();
        (void) printf("%s  %-9s  %s%s\n", when, e->name, escaped, e->initial ? "  (already)" : "");
        return ctl_close_stdout();
}

static void emit(Watch *w, Event e) {
        uint64_t now = clock_usec(CLOCK_REALTIME);

        if (w->status)
                return;
        e.initial = w->initial && e.entry;
        w->status = w->ctl->json ? json_print_event(&e, now) : print_text(&e, now);
}

/* Pointers to those parties that have a token if tokens is set, sorted. */
static size_t sorted(const struct coord_party *parties,
                size_t n,
                Compare *compare,
                const struct coord_party ***ret) {
        const struct coord_party **list = calloc(n + 1, sizeof(*list));
        size_t i, k = 0;

        for (i = 0; list && i < n; i++)
                if (compare != compare_tokens || parties[i].token)
                        list[k++] = &parties[i];
        if (k > 1)
                qsort(list, k, sizeof(*list), compare);
        *ret = list;
        return k;
}

/* Emit gone for each party of old that isn't in new, come for each of new that isn't in old; NULL
 * emits nothing. */
static int emit_difference(
                Watch *w, const Change *c, Compare *compare, const char *gone, const char *come) {
        bool holders = compare == compare_tokens;
        _cleanup_(freep) const struct coord_party **old = NULL, **new = NULL;
        size_t n_old, n_new, i = 0, k = 0;

        n_old = holders ? sorted(c->old->holders, c->old->n_holders, compare, &old)
                        : sorted(c->old->waiters, c->old->n_waiters, compare, &old);
        n_new = holders ? sorted(c->new->holders, c->new->n_holders, compare, &new)
                        : sorted(c->new->waiters, c->new->n_waiters, compare, &new);
        if (!old || !new)
                return -ENOMEM;
        while (i < n_old || k < n_new) {
                int r = i == n_old ? 1 : k == n_new ? -1 : compare(&old[i], &new[k]);

                if (r < 0 && gone)
                        emit(w, (Event){.name = gone, .entry = c->entry, .party = old[i]});
                if (r > 0 && come)
                        emit(w, (Event){.name = come, .entry = c->entry, .party = new[k]});
                i += r <= 0;
                k += r >= 0;
        }
        return 0;
}

/* What changed about one name; old or new is NULL where it was or is not listed. */
static int emit_entry(Watch *w, const struct coord_entry *old, const struct coord_entry *new) {
        static const struct coord_entry nothing;
        struct coord_entry entry = new ? *new : *old;
        Change c = {.old = old ? old : &nothing, .new = new ? new : &nothing, .entry = &entry};
        int r;

        if (!new)
                entry.n_waiters = 0;
        if (fnmatch(w->glob, entry.name, 0) != 0)
                return 0;
        r = emit_difference(w, &c, compare_tokens, "Released", NULL);
        if (r >= 0)
                r = emit_difference(w, &c, compare_tokens, NULL, "Acquired");
        if (r >= 0)
                r = emit_difference(w, &c, compare_waiters, NULL, "Waiting");
        if (r >= 0 && c.old->n_waiters != c.new->n_waiters)
                emit(w, (Event){.name = "Contended", .entry = &entry});
        return r;
}

static int compare_entries(const struct coord_entry *a, const struct coord_entry *b) {
        int r = COMPARE(a->kind, b->kind);

        return r ? r : strcmp(a->name, b->name);
}

/* Take a new list, and tell what is different from the last one. */
static int look(Watch *w) {
        Snapshot now;
        size_t i = 0, k = 0;
        int r;

        r = coord_list(w->ctl->client, COORD_KIND_ANY, &now.entries, &now.n);
        if (r < 0)
                return r;
        while (r >= 0 && (i < w->last.n || k < now.n)) {
                int order = i == w->last.n ? 1
                            : k == now.n   ? -1
                                           : compare_entries(&w->last.entries[i], &now.entries[k]);

                r = emit_entry(w, order <= 0 ? &w->last.entries[i] : NULL,
                                order >= 0 ? &now.entries[k] : NULL);
                i += order <= 0;
                k += order >= 0;
        }
        coord_entries_free(w->last.entries, w->last.n);
        w->last = now;
        return r;
}

/* Until a signal or a failure; a reader that is gone is one. */
static int watch(Watch *w) {
        coord_client *c = w->ctl->client;
        int r;

        r = coord_watch(c, w->glob, &w->cursor, COORD_TIMEOUT_INFINITE);
        if (r >= 0)
                r = look(w);
        w->initial = false;
        if (r >= 0)
                emit(w, (Event){.name = "Watching", .glob = w->glob});
        while (r >= 0 && !w->status) {
                r = coord_watch(c, w->glob, &w->cursor, COORD_TIMEOUT_INFINITE);
                if (r >= 0)
                        r = look(w);
        }
        return r;
}

/** verb_watch() - coordctl watch [GLOB] */
int verb_watch(Ctl *ctl, int argc, char **argv) {
        Watch w = {.ctl = ctl, .initial = true};
        int r, status;

        status = ctl_plain_options(ctl, &argc, &argv, 0, 1);
        if (status == CTL_GO_ON)
                status = ctl_open(ctl);
        if (status)
                return status;
        w.glob = argc > 0 ? argv[0] : "*";
        wait_signals_catch(ctl->client);
        r = watch(&w);
        if (!wait_signals_caught() && !w.status)
                w.status = r == -ENOMEM ? ctl_out_of_memory() : ctl_fail(ctl, r);
        coord_entries_free(w.last.entries, w.last.n);
        wait_signals_restore();
        return w.status;
}
