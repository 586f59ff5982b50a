/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several at once, all or none. They are gathered one after the other in one order that is the same for
 * everybody (kind, then name), so such requests never wait for each other in a circle. What is gathered
 * has no token before all is; if the request fails it goes back, and a death told meanwhile is told on.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define WANTS_MAX 256u

typedef struct Want {
        WantText text;
        size_t index; /* in the caller's order */
        coord_hold *hold;
        bool again; /* this thread held it before: one more acquire of the same */
} Want;

static int want_compare(const void *a, const void *b) {
        const Want *x = a, *y = b;

        return x->text.kind != y->text.kind ? x->text.kind - y->text.kind
                                            : strcmp(x->text.name, y->text.name);
}

static int wants_parse(const char *const *wants, Want **ret, size_t *ret_n) {
        _cleanup_(freep) Want *w = NULL;
        size_t n = 0;

        while (wants && wants[n] && n <= WANTS_MAX)
                n++;
        if (n == 0 || n > WANTS_MAX)
                return client_fail(-EINVAL, "1 to %u locks and semaphores at once", WANTS_MAX);
        w = calloc(n, sizeof(*w));
        if (!w)
                return client_fail(-ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++) {
                w[i].index = i;
                if (want_parse(wants[i], &w[i].text) < 0)
                        return client_fail(-EINVAL,
                                        "'%.300s' is none of lock:NAME, lock:NAME:shared, "
                                        "sem:NAME:PERMITS",
                                        wants[i]);
                if (!segment_name_is_valid(w[i].text.name))
                        return client_fail_name(w[i].text.name);
        }
        qsort(w, n, sizeof(*w), want_compare);
        for (size_t i = 1; i < n; i++)
                if (want_compare(&w[i - 1], &w[i]) == 0)
                        return client_fail(-EINVAL, "'%s' is wanted twice", w[i].text.name);
        *ret = TAKE_PTR(w);
        *ret_n = n;
        return 0;
}

static void give_back(Segment *s, Want *w, size_t n) {
        for (size_t i = n; i-- > 0;) {
                coord_hold *h = w[i].hold;

                if (!h)
                        continue;
                w[i].hold = NULL;
                if (w[i].again) {
                        (void) coord_hold_release(h);
                        coord_hold_unref(h);
                        continue;
                }
                hold_forget(h);
                hold_put_back(s, &h->grant, h->grant.abandoned);
                if (h->info != 0)
                        record_free(s, h->info);
                atomic_store(&h->count, 0);
                hold_discard(h);
        }
}

/* With a stop of the queue lock held elsewhere, the deadline holds for all of it. */
static int
gather(coord_client *c, Segment *s, const Request *base, Want *w, size_t n, uint64_t deadline) {
        for (size_t i = 0; i < n; i++) {
                uint64_t now = clock_usec(CLOCK_MONOTONIC);
                Request q = *base;
                int r;

                q.kind = w[i].text.kind;
                q.name = w[i].text.name;
                q.permits = w[i].text.permits;
                q.capacity = w[i].text.capacity;
                q.flags = (base->flags & ~(uint64_t) COORD_SHARED) |
                          (w[i].text.shared ? COORD_SHARED : 0);
                q.reserve = true;
                if (base->timeout_usec != 0 && deadline != USEC_INFINITE)
                        q.timeout_usec = deadline > now ? deadline - now : 1;
                r = request_check(&q);
                if (r >= 0)
                        r = request_acquire(c, &q, &w[i].hold);
                if (r < 0) {
                        give_back(s, w, i);
                        return r;
                }
                w[i].again = w[i].hold->grant.fence != 0;
        }
        return 0;
}

static int confirm(Segment *s, const Request *base, Want *w, size_t n, const Owner *owner) {
        for (size_t i = 0; i < n; i++) {
                coord_hold *h = w[i].hold;

                if (w[i].again)
                        continue;
                hold_confirm(s, &h->grant, h->info ? h->info : atomic_load(&s->info),
                                base->flags & COORD_STRICT);
                if (owner->kind != RECORD_PROCESS) {
                        int r = coord_hold_transfer(h, base->owner);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int acquire_all(
                coord_client *c, const char *const *wants, const Request *base, coord_hold ***ret) {
        uint64_t deadline = deadline_of(base->timeout_usec);
        _cleanup_(freep) Want *w = NULL;
        Owner owner = {0};
        coord_hold **holds;
        Segment *s;
        Request plain = *base;
        size_t n = 0;
        int r;

        if (!ret)
                return client_fail(-EINVAL, "no place for the result");
        if (base->flags & ~(uint64_t) (COORD_STRICT | COORD_DEADLOCK))
                return client_fail(
                                -EINVAL, "unknown flags, or COORD_SHARED, which belongs to a want");
        r = owner_parse(base->owner, &owner);
        if (r >= 0)
                r = wants_parse(wants, &w, &n);
        if (r >= 0)
                r = client_ready(c, &s);
        if (r < 0)
                return r;
        holds = calloc(n + 1, sizeof(*holds));
        if (!holds)
                return client_fail(-ENOMEM, "out of memory");
        plain.owner = NULL;
        r = gather(c, s, &plain, w, n, deadline);
        if (r < 0) {
                free(holds);
                return r;
        }
        r = confirm(s, base, w, n, &owner);
        for (size_t i = 0; i < n; i++)
                holds[w[i].index] = w[i].hold;
        if (r < 0) {
                coord_holds_free(holds);
                return r;
        }
        *ret = holds;
        return 0;
}

PUBLIC int coord_acquire_all(coord_client *c,
                const char *const *wants,
                uint64_t flags,
                uint64_t timeout_usec,
                coord_hold ***ret) {
        const Request q = {.flags = flags, .timeout_usec = timeout_usec};

        return acquire_all(c, wants, &q, ret);
}

PUBLIC int coord_acquire_all_full(coord_client *c,
                const char *const *wants,
                const struct coord_request *request,
                coord_hold ***ret) {
        struct coord_request in = COORD_REQUEST_INIT;
        Request q;
        int r;

        if (!request || request->size < offsetof(struct coord_request, timeout_usec) ||
                        request->size > sizeof(in))
                return client_fail(-EINVAL, "coord_request.size is wrong");
        memcpy(&in, request, request->size);
        /* Name and kind come from the wants. */
        in.kind = COORD_KIND_LOCK;
        in.mode = COORD_MODE_EXCLUSIVE;
        in.name = "any";
        r = request_from(&in, &q);
        return r < 0 ? r : acquire_all(c, wants, &q, ret);
}
