/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON for programs: one document a line. The keys are those of Locks.Get on the bus and are always
 * all there; null stands where a value has no meaning. coordctl(1) describes them, and what it
 * describes stays. Only --json leads here, so nothing else pays for jansson.
 */
#include "ctl.h"

#include <jansson.h>
#include <string.h>

/* A string; what is no UTF-8 in it is escaped, as in the tables. NULL becomes null. */
static json_t *string_or_null(const char *text) {
        _cleanup_(freep) char *escaped = NULL;
        json_t *j;

        if (!text)
                return json_null();
        j = json_string(text);
        if (j)
                return j;
        escaped = text_escape(text);
        return escaped ? json_string(escaped) : NULL;
}

static int set(json_t *object, const char *key, json_t *value) {
        return json_object_set_new(object, key, value);
}

/* Print it and drop it; NULL stands for memory that ran out on the way. */
static int print(json_t *j) {
        _cleanup_(json_decrefp) json_t *dropped = j;

        if (!j)
                return ctl_out_of_memory();
        (void) json_dumpf(j, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        (void) fputc('\n', stdout);
        return ctl_close_stdout();
}

static json_t *party_to_json(const struct coord_party *p) {
        _cleanup_(json_decrefp) json_t *j = json_object();
        bool bad = !j;

        bad = bad || set(j, "token", string_or_null(p->token)) < 0;
        bad = bad || set(j, "owner", string_or_null(p->owner)) < 0;
        bad = bad || set(j, "pid", p->pid > 0 ? json_integer(p->pid) : json_null()) < 0;
        bad = bad || set(j, "uid",
                                     p->uid != (uid_t) -1 ? json_integer((json_int_t) p->uid)
                                                          : json_null()) < 0;
        bad = bad || set(j, "command", string_or_null(p->command ? p->command : "")) < 0;
        bad = bad || set(j, "unit", string_or_null(p->unit)) < 0;
        bad = bad ||
              set(j, "description", string_or_null(p->description ? p->description : "")) < 0;
        bad = bad || set(j, "mode", json_string(text_mode(p->mode))) < 0;
        bad = bad || set(j, "permits", json_integer((json_int_t) p->permits)) < 0;
        bad = bad || set(j, "priority", json_integer(p->priority)) < 0;
        bad = bad || set(j, "reserved", json_boolean(p->reserved)) < 0;
        bad = bad || set(j, "since_usec", json_integer((json_int_t) p->since_usec)) < 0;
        return bad ? NULL : TAKE_PTR(j);
}

static json_t *parties_to_json(const struct coord_party *parties, size_t n) {
        _cleanup_(json_decrefp) json_t *j = json_array();
        size_t i;

        for (i = 0; j && i < n; i++)
                if (json_array_append_new(j, party_to_json(&parties[i])) < 0)
                        return NULL;
        return TAKE_PTR(j);
}

static json_t *entry_to_json(const struct coord_entry *e) {
        _cleanup_(json_decrefp) json_t *j = json_object();
        bool lock = e->kind == COORD_KIND_LOCK, semaphore = e->kind == COORD_KIND_SEMAPHORE;
        bool bad = !j;

        bad = bad || set(j, "kind", json_string(text_kind(e->kind))) < 0;
        bad = bad || set(j, "name", string_or_null(e->name)) < 0;
        bad = bad || set(j, "held", json_boolean(e->held)) < 0;
        bad = bad ||
              set(j, "mode", lock && e->held ? json_string(text_mode(e->mode)) : json_null()) < 0;
        bad = bad || set(j, "reserved", json_boolean(e->reserved)) < 0;
        bad = bad ||
              set(j, "capacity", semaphore ? json_integer((json_int_t) e->capacity) : json_null()) <
                              0;
        bad = bad ||
              set(j, "free", semaphore ? json_integer((json_int_t) e->free) : json_null()) < 0;
        bad = bad || set(j, "holders", parties_to_json(e->holders, e->n_holders)) < 0;
        bad = bad || set(j, "waiters", parties_to_json(e->waiters, e->n_waiters)) < 0;
        return bad ? NULL : TAKE_PTR(j);
}

/** json_print_entries() - an array of all; returns 0 or the exit status after a message. */
int json_print_entries(const struct coord_entry *entries, size_t n) {
        _cleanup_(json_decrefp) json_t *j = json_array();
        size_t i;

        for (i = 0; j && i < n; i++)
                if (json_array_append_new(j, entry_to_json(&entries[i])) < 0)
                        return ctl_out_of_memory();
        return print(TAKE_PTR(j));
}

/** json_print_entry() - one of them; returns as json_print_entries(). */
int json_print_entry(const struct coord_entry *e) {
        return print(entry_to_json(e));
}

/** json_print_free() - a name that nobody holds or waits for; returns as json_print_entries(). */
int json_print_free(int kind, const char *name) {
        struct coord_entry e = {.kind = kind, .name = name};

        return json_print_entry(&e);
}

/** json_print_status() - the figures of the segment; returns as json_print_entries(). */
int json_print_status(const struct coord_status *s, const char *scope) {
        return print(json_pack(
                        "{s:s, s:s?, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, "
                        "s:b, s:s}",
                        "scope", scope, "path", s->path, "epoch", (json_int_t) s->epoch, "bytes",
                        (json_int_t) s->bytes, "names", (int) s->names, "names_max",
                        (int) s->names_max, "waiters", (int) s->waiters, "waiters_max",
                        (int) s->waiters_max, "records", (int) s->records, "records_max",
                        (int) s->records_max, "permits", (int) s->permits, "permits_max",
                        (int) s->permits_max, "processes", (int) s->processes, "daemon", s->daemon,
                        "deleted", s->deleted, "version", coord_version()));
}

/** json_print_version() - the version; returns as json_print_entries(). */
int json_print_version(const char *version) {
        return print(json_pack("{s:s}", "version", version));
}

/** json_print_grant() - what acquire got; returns as json_print_entries(). */
int json_print_grant(coord_hold *h) {
        return print(json_pack("{s:s, s:s, s:b}", "token", coord_hold_token(h), "name",
                        coord_hold_name(h), "abandoned", coord_hold_was_abandoned(h) > 0));
}

/** json_print_check() - the answer of check; returns as json_print_entries(). */
int json_print_check(const char *token, bool valid) {
        _cleanup_(json_decrefp) json_t *j = json_object();

        if (!j || set(j, "token", string_or_null(token)) < 0 ||
                        set(j, "valid", json_boolean(valid)) < 0)
                return ctl_out_of_memory();
        return print(TAKE_PTR(j));
}

/** json_print_event() - one line of watch; returns as json_print_entries(). */
int json_print_event(const Event *e, uint64_t now_usec) {
        _cleanup_(json_decrefp) json_t *j = json_object();
        bool bad = !j;

        bad = bad || set(j, "event", json_string(e->name)) < 0;
        bad = bad || set(j, "time_usec", json_integer((json_int_t) now_usec)) < 0;
        if (e->glob)
                bad = bad || set(j, "glob", string_or_null(e->glob)) < 0;
        if (e->entry) {
                bad = bad || set(j, "kind", json_string(text_kind(e->entry->kind))) < 0;
                bad = bad || set(j, "name", string_or_null(e->entry->name)) < 0;
                bad = bad || set(j, "waiters", json_integer((json_int_t) e->entry->n_waiters)) < 0;
                bad = bad || set(j, "initial", json_boolean(e->initial)) < 0;
        }
        if (e->party) {
                bad = bad || set(j, "token", string_or_null(e->party->token)) < 0;
                bad = bad || set(j, "party", party_to_json(e->party)) < 0;
        }
        return print(bad ? NULL : TAKE_PTR(j));
}
