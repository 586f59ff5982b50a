/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The caller's loop: a descriptor that becomes readable when coord_client_process() has something to tell, and
 * sd-event, looked for at run time, because the library links nothing but libc.
 */
#include "service.h"

#include <dlfcn.h>
#include <poll.h>
#include <string.h>

/* ---- the caller's loop ---- */

static Service *service_of(coord_client *c, int *ret_error) {
        *ret_error = c ? 0 : client_fail(-EINVAL, "no client");
        if (*ret_error >= 0)
                *ret_error = client_is_forked(c) ? client_fail(-ECHILD, "this client belongs to "
                                                                        "the parent process")
                                                 : service_start(c);
        return *ret_error < 0 ? NULL : c->service;
}

PUBLIC int coord_client_get_fd(coord_client *c) {
        int r;
        Service *v = service_of(c, &r);

        if (!v)
                return r;
        atomic_store(&v->has_loop, true);
        return v->event_fd;
}

PUBLIC int coord_client_get_events(coord_client *c) {
        return c ? POLLIN : client_fail(-EINVAL, "no client");
}

PUBLIC int coord_client_get_timeout(coord_client *c, uint64_t *ret_usec) {
        int r;
        Service *v = service_of(c, &r);

        if (!v || !ret_usec)
                return r < 0 ? r : client_fail(-EINVAL, "no place for the result");
        lite_lock(&v->lock);
        *ret_usec = v->done ? 0 : UINT64_MAX;
        lite_unlock(&v->lock);
        return 0;
}

static coord_slot *done_pop(Service *v) {
        coord_slot *slot;

        lite_lock(&v->lock);
        slot = v->done;
        if (slot) {
                v->done = slot->next;
                if (!v->done)
                        v->done_end = &v->done;
                slot->next = NULL;
        }
        lite_unlock(&v->lock);
        return slot;
}

PUBLIC int coord_client_process(coord_client *c) {
        coord_slot *slot;
        uint64_t count;
        int r, did = 0;
        Service *v = service_of(c, &r);

        if (!v)
                return r;
        (void) coord_client_ref(c); /* a callback may drop the client */
        (void) !read(v->event_fd, &count, sizeof(count));
        while ((slot = done_pop(v))) {
                coord_hold *h = slot_hold_take(slot);

                if (slot->party_entered)
                        party_leave(&slot->party);
                slot->party_entered = false;
                if (slot->result < 0 && slot->wait.s)
                        (void) request_fail(c, slot->wait.s, &slot->q, slot->result);
                slot->cb(slot, slot->result, h, slot->userdata);
                slot_release(slot);
                did = 1;
        }
        if (atomic_load(&v->has_loop) && alarms_run(c) > 0)
                did = 1;
        coord_client_unref(c);
        return did;
}

/* ---- sd-event, if the program has it ---- */

typedef int (*AddIo)(struct sd_event *,
                void **,
                int,
                uint32_t,
                int (*)(void *, int, uint32_t, void *),
                void *);
typedef int (*SetPriority)(void *, int64_t);
typedef void *(*Unref)(void *);

static void *event_symbol(const char *name) {
        void *p = dlsym(RTLD_DEFAULT, name), *library;

        if (p)
                return p;
        library = dlopen("libsystemd.so.0", RTLD_LAZY | RTLD_NOLOAD);
        return library ? dlsym(library, name) : NULL;
}

void detach_event(Service *v) {
        Unref unref = v->event_source ? (Unref) event_symbol("sd_event_source_disable_unref")
                                      : NULL;

        if (unref)
                (void) unref(v->event_source);
        v->event_source = NULL;
}

static int on_event(void *source, int fd, uint32_t revents, void *userdata) {
        (void) source;
        (void) fd;
        (void) revents;
        (void) coord_client_process(userdata);
        return 0;
}

PUBLIC int coord_client_attach_event(coord_client *c, struct sd_event *event, int64_t priority) {
        AddIo add_io = (AddIo) event_symbol("sd_event_add_io");
        SetPriority set_priority = (SetPriority) event_symbol("sd_event_source_set_priority");
        int r;
        Service *v = service_of(c, &r);

        if (!v)
                return r;
        detach_event(v);
        if (!event)
                return 0;
        if (!add_io || !set_priority)
                return client_fail(-EOPNOTSUPP, "this program has no libsystemd");
        r = add_io(event, &v->event_source, v->event_fd, POLLIN, on_event, c);
        if (r >= 0)
                r = set_priority(v->event_source, priority);
        if (r < 0)
                return client_fail(r, "can't attach to the event loop: %s", strerror(-r));
        atomic_store(&v->has_loop, true);
        return 0;
}
