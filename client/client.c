/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client object: places, attaching at the first need, cancelling, error texts.
 */
#include "internal.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define ALL_FLAGS                                                                                  \
        (COORD_CLIENT_SYSTEM | COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON |                        \
                        COORD_CLIENT_DAEMON_ONLY | COORD_CLIENT_THREAD_OWNED)

static _Thread_local char last_failure[SEGMENT_MESSAGE_MAX + 256];

int client_fail(int r, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(last_failure, sizeof(last_failure), format, ap);
        va_end(ap);
        return r;
}

int client_fail_name(const char *name) {
        return client_fail(-EINVAL,
                        "'%.255s' is not a name: 1 to 255 of A-Z a-z 0-9 . _ / @ %% + -, not "
                        "beginning with -",
                        name ? name : "");
}

PUBLIC const char *coord_strerror(coord_client *c) {
        (void) c;
        return last_failure;
}

static const char *uid_directory(char *buffer, size_t size) {
        (void) snprintf(buffer, size, "/dev/shm/coordd-%u", (unsigned) geteuid());
        return buffer;
}

static char *path_below(const char *base, const char *below) {
        char *path = NULL;

        return asprintf(&path, "%s%s", base, below) < 0 ? NULL : path;
}

static int place_runtime(coord_client *c) {
        const char *dir = secure_getenv("COORD_RUNTIME_DIR"),
                   *run = secure_getenv("XDG_RUNTIME_DIR");
        char buffer[64];

        if (dir && *dir)
                c->runtime_dir = strdup(dir);
        else if (!(c->flags & COORD_CLIENT_USER))
                c->runtime_dir = strdup("/run/coordd");
        else if (run && *run == '/')
                c->runtime_dir = path_below(run, "/coordd");
        else
                c->runtime_dir = strdup(uid_directory(buffer, sizeof(buffer)));
        return c->runtime_dir ? 0 : -ENOMEM;
}

static int place_state(coord_client *c) {
        const char *dir = secure_getenv("COORD_STATE_DIR"),
                   *state = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");

        if (dir && *dir)
                c->state_dir = strdup(dir);
        else if (!(c->flags & COORD_CLIENT_USER))
                c->state_dir = strdup("/var/lib/coordd");
        else if (state && *state == '/')
                c->state_dir = path_below(state, "/coordd");
        else if (home && *home == '/')
                c->state_dir = path_below(home, "/.local/state/coordd");
        else
                return 0; /* the clock alone must do */
        return c->state_dir ? 0 : -ENOMEM;
}

PUBLIC int coord_client_new(uint64_t flags, coord_client **ret) {
        coord_client *c;

        if (!ret)
                return client_fail(-EINVAL, "no place for the result");
        if (flags & ~(uint64_t) ALL_FLAGS)
                return client_fail(-EINVAL, "unknown client flags");
        if ((flags & COORD_CLIENT_SYSTEM && flags & COORD_CLIENT_USER) ||
                        (flags & COORD_CLIENT_NO_DAEMON && flags & COORD_CLIENT_DAEMON_ONLY))
                return client_fail(-EINVAL, "client flags that contradict each other");
        c = calloc(1, sizeof(*c));
        if (!c)
                return client_fail(-ENOMEM, "out of memory");
        c->references = 1;
        c->flags = flags;
        c->generation = process_generation();
        if (c->generation == 0 || place_runtime(c) < 0 || place_state(c) < 0) {
                coord_client_unref(c);
                return client_fail(-ENOMEM, "out of memory");
        }
        *ret = c;
        return 0;
}

PUBLIC coord_client *coord_client_ref(coord_client *c) {
        if (c)
                (void) atomic_fetch_add(&c->references, 1);
        return c;
}

bool client_ref_alive(coord_client *c) {
        uint32_t n = atomic_load(&c->references);

        while (n != 0)
                if (atomic_compare_exchange_weak(&c->references, &n, n + 1))
                        return true;
        return false;
}

/* The last reference is that of the spare hold: let both go. */
void client_drop_spare(coord_client *c) {
        coord_hold *h = atomic_exchange(&c->spare, NULL);

        if (h) {
                free(h);
                coord_client_unref(c);
        }
}

PUBLIC coord_client *coord_client_unref(coord_client *c) {
        uint32_t n;
        Segment *s;

        if (!c)
                return NULL;
        n = atomic_fetch_sub(&c->references, 1);
        if (n == 2)
                client_drop_spare(c);
        if (n != 1)
                return NULL;
        s = atomic_load(&c->segment);
        if (c->generation != 0 && !client_is_forked(c)) {
                service_stop(c);
                deaths_free(c);
                if (s && atomic_load(&c->watcher) != 0)
                        (void) keeper_give_up(
                                        s, &s->header->watchers[atomic_load(&c->watcher) - 1].word);
                if (s)
                        registry_detach(s, c->generation);
        }
        config_free(c->config);
        free(c->runtime_dir);
        free(c->state_dir);
        free(c);
        return NULL;
}

PUBLIC int coord_client_cancel(coord_client *c) {
        if (!c)
                return -EINVAL;
        if (client_is_forked(c))
                return -ECHILD;
        atomic_store(&c->cancel, 1);
        word_wake_private(&c->cancel, INT_MAX);
        service_nudge(c);
        return 0;
}

static int client_attach(coord_client *c, Segment **ret) {
        const Place place = {
                        .runtime_dir = c->runtime_dir,
                        .state_dir = c->state_dir,
                        .system = !(c->flags & COORD_CLIENT_USER),
                        .shared_parent = strncmp(c->runtime_dir, "/dev/shm/coordd-", 16) == 0 &&
                                         !secure_getenv("COORD_RUNTIME_DIR"),
                        .group = "coord",
        };
        char message[SEGMENT_MESSAGE_MAX];
        Segment *s;
        int r = 0;

        if (c->flags & COORD_CLIENT_DAEMON_ONLY)
                return client_fail(-EUNATCH,
                                "no coordd answers in %s, and this client was told to talk to "
                                "nothing else",
                                c->runtime_dir);
        lite_lock(&c->lock);
        s = atomic_load(&c->segment);
        if (!s) {
                r = registry_attach(&place, c->flags & COORD_CLIENT_THREAD_OWNED, &s, message);
                if (r >= 0) {
                        c->config = config_load(place.system);
                        c->watched_config = config_has_locks(c->config);
                        atomic_store(&c->segment, s);
                }
        }
        lite_unlock(&c->lock);
        if (r < 0) /* a place that can't be is nothing to talk to, not a thing not found */
                return client_fail(r == -ENOENT || r == -ENOTDIR ? -EUNATCH : r, "%s",
                                message[0] ? message : strerror(-r));
        *ret = s;
        return 0;
}

int client_use(coord_client *c, Segment **ret) {
        if (!c)
                return client_fail(-EINVAL, "no client");
        if (client_is_forked(c))
                return client_fail(-ECHILD, "this client belongs to the parent process; make a new "
                                            "one after fork");
        *ret = atomic_load_explicit(&c->segment, memory_order_acquire);
        return LIKELY(*ret != NULL) ? 0 : client_attach(c, ret);
}

static int client_keep(Segment *s) {
        uint64_t info;
        int r;

        r = keeper_start(s);
        if (r < 0)
                return client_fail(r, "can't start a thread: %s", strerror(-r));
        if (s->thread_owned && !keeper_any(s))
                return client_fail(-EBUSY, "this thread holds a robust pthread mutex; a "
                                           "thread-owned client can't work beside it");
        if (atomic_load(&s->info) != 0)
                return 0;
        r = record_new_process(s, &info);
        if (r < 0)
                return client_fail(r, "the segment %s is full of processes: %s", s->path,
                                strerror(-r));
        lite_lock(&s->lock);
        if (atomic_load(&s->info) == 0) {
                atomic_store(&s->info, info);
                info = 0;
        }
        lite_unlock(&s->lock);
        if (info != 0)
                record_free(s, info);
        return 0;
}

int client_ready(coord_client *c, Segment **ret) {
        int r;

        r = client_use(c, ret);
        if (r < 0 || LIKELY(atomic_load_explicit(&(*ret)->info, memory_order_relaxed) != 0))
                return r;
        return client_keep(*ret);
}

/* ---- errors ---- */

PUBLIC const char *coord_error_name(int error) {
        static const struct {
                int error;
                const char *name;
        } names[] = {
                        {EINVAL, "InvalidArgument"},
                        {ETIMEDOUT, "Timeout"},
                        {EAGAIN, "WouldBlock"},
                        {ESTALE, "NotHeld"},
                        {EPERM, "NotOwner"},
                        {EACCES, "AccessDenied"},
                        {ENOENT, "NoSuchSemaphore"},
                        {ESRCH, "NoSuchProcess"},
                        {ERANGE, "CapacityMismatch"},
                        {EDEADLK, "Deadlock"},
                        {EDQUOT, "QuotaExceeded"},
                        {ENOSPC, "QuotaExceeded"},
                        {EOVERFLOW, "QuotaExceeded"},
                        {ECANCELED, "Canceled"},
                        {ECHILD, "Forked"},
                        {EUNATCH, "Unavailable"},
                        {EUCLEAN, "Unavailable"},
                        {EOPNOTSUPP, "Unavailable"},
        };

        if (error < 0)
                error = -error;
        if (error == 0)
                return "";
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].error == error) {
                        static _Thread_local char text[64];

                        (void) snprintf(text, sizeof(text), "org.coordd.Coord1.Error.%s",
                                        names[i].name);
                        return text;
                }
        return "org.freedesktop.DBus.Error.Failed";
}

PUBLIC const char *coord_version(void) {
        return COORD_VERSION;
}

PUBLIC int coord_client_get_status(coord_client *c, struct coord_status *status) {
        struct coord_status st = {.size = sizeof(st)};
        Segment *s;
        int r;

        if (!status || status->size < sizeof(size_t) + sizeof(const char *) ||
                        status->size > sizeof(struct coord_status))
                return client_fail(-EINVAL, "coord_status.size is wrong");
        r = client_use(c, &s);
        if (r < 0)
                return r;
        st.size = status->size;
        st.path = s->path;
        st.epoch = s->epoch;
        st.bytes = s->size;
        st.names = MIN_OF(atomic_load(&s->header->n_names), s->n_slots);
        st.names_max = s->n_slots;
        st.waiters_max = s->n_cells - 1;
        st.records_max = s->n_records - 1;
        st.permits_max = (s->n_extents - 1) * EXTENT_ENTRIES;
        for (uint32_t i = 1; i < s->n_cells; i++)
                st.waiters += cell_is_live(&s->cells[i]) && atomic_load(&s->cells[i].slot) != 0;
        for (uint32_t i = 1; i < s->n_extents; i++)
                if (atomic_load(&s->extents[i].slot) != 0)
                        st.permits += EXTENT_ENTRIES;
        for (uint32_t i = 1; i < s->n_records; i++) {
                uint32_t kind = atomic_load(&s->records[i].kind);

                st.records += kind != RECORD_FREE;
                st.processes += kind == RECORD_PROCESS &&
                                word_tid(atomic_load(&s->records[i].own)) != 0 &&
                                atomic_load(&s->records[i].description[0]) == 0;
        }
        st.deleted = segment_deleted(s);
        memcpy(status, &st, status->size);
        return 0;
}
