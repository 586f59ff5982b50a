/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an actor does with an order. It must never know what a test expects, nor anything of the
 * library but its header.
 */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        NOBODY = 65534
};

struct stage {
        int fd;
        coord_client *client;
        uint64_t client_flags;
        coord_hold *holds[ACTOR_KEYS];
        coord_hold **all;
};

static uint64_t timeout_of(const struct order *o) {
        if (o->patience == 0)
                return COORD_TIMEOUT_INFINITE;
        return o->patience == PATIENCE_NONE ? 0 : o->patience;
}

static int stage_need_client(struct stage *s) {
        return s->client ? 0 : coord_client_new(s->client_flags, &s->client);
}

static void answer_fill(struct answer *a, coord_hold *h) {
        snprintf(a->token, sizeof(a->token), "%s", coord_hold_token(h));
        a->abandoned = coord_hold_was_abandoned(h);
        (void) coord_hold_fence(h, &a->epoch, &a->counter);
}

static int stage_acquire(struct stage *s, const struct order *o, struct answer *a) {
        struct coord_request r = COORD_REQUEST_INIT;
        int e;

        r.kind = o->kind ? o->kind : COORD_KIND_LOCK;
        r.mode = o->mode;
        r.name = o->text;
        r.owner = *o->owner ? o->owner : NULL;
        r.description = *o->description ? o->description : NULL;
        r.flags = o->flags;
        r.timeout_usec = timeout_of(o);
        r.permits = o->permits;
        r.capacity = o->capacity;
        r.priority = o->priority;
        e = coord_acquire_full(s->client, &r, &s->holds[o->key]);
        if (e >= 0)
                answer_fill(a, s->holds[o->key]);
        return e;
}

static int stage_all(struct stage *s, const struct order *o) {
        char text[ACTOR_TEXT], *save = NULL;
        const char *wants[32] = {NULL};

        memcpy(text, o->text, sizeof(text));
        for (size_t n = 0; n < 31; n++) {
                wants[n] = strtok_r(n == 0 ? text : NULL, " ", &save);
                if (!wants[n])
                        break;
        }
        s->all = coord_holds_free(s->all);
        return coord_acquire_all(s->client, wants, o->flags, timeout_of(o), &s->all);
}

static int stage_drop(struct stage *s, const struct order *o) {
        int e;

        if (s->all) {
                s->all = coord_holds_free(s->all);
                return 0;
        }
        e = o->op == ACTOR_UNREF ? 0 : coord_hold_release(s->holds[o->key]);
        s->holds[o->key] = coord_hold_unref(s->holds[o->key]);
        return e;
}

static void stage_clear(struct stage *s) {
        s->all = coord_holds_free(s->all);
        for (size_t n = 0; n < ACTOR_KEYS; n++)
                s->holds[n] = coord_hold_unref(s->holds[n]);
        s->client = coord_client_unref(s->client);
}

static int stage_hold(struct stage *s, const struct order *o) {
        coord_hold *h = s->holds[o->key];
        int e;

        switch (o->op) {
        case ACTOR_RELEASE:
                return coord_hold_release(h);
        case ACTOR_DETACH:
                e = coord_hold_detach(h);
                s->holds[o->key] = e < 0 ? h : NULL;
                return e;
        case ACTOR_CONVERT:
                return coord_hold_convert(h, o->flags, timeout_of(o));
        case ACTOR_CHECK:
                return coord_hold_check(h);
        case ACTOR_TRANSFER:
                return coord_hold_transfer(h, o->owner);
        default:
                return stage_drop(s, o);
        }
}

static int stage_token(struct stage *s, const struct order *o) {
        switch (o->op) {
        case ACTOR_RELEASE_TOKEN:
                return coord_release(s->client, o->text);
        case ACTOR_CHECK_TOKEN:
                return coord_check(s->client, o->text);
        case ACTOR_RENEW_TOKEN:
                return coord_renew(s->client, o->text, o->patience);
        case ACTOR_TRANSFER_TOKEN:
                return coord_transfer(s->client, o->text, o->owner);
        case ACTOR_BREAK:
                return coord_break(s->client, o->text);
        default:
                return coord_semaphore_configure(s->client, o->text, o->capacity);
        }
}

static int grow(uint32_t mib) {
        size_t size = (size_t) mib << 20;
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        return p == MAP_FAILED ? -errno : 0;
}

static int limit_files(void) {
        struct rlimit limit;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -errno;
        (void) close(fd);
        limit.rlim_cur = (rlim_t) fd;
        return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

static int become_nobody(void) {
        if (geteuid() != 0)
                return 0;
        return setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0 ? -errno : 0;
}

/* The socket is to stay open for the program that follows. */
static int become_another(int fd) {
        char number[16];

        snprintf(number, sizeof(number), "%d", fd);
        if (fcntl(fd, F_SETFD, 0) < 0)
                return -errno;
        (void) execl("/proc/self/exe", "actor", "idle", number, (char *) NULL);
        return -errno;
}

static int stage_do(struct stage *s, const struct order *o, struct answer *a) {
        int e;

        switch (o->op) {
        case ACTOR_PING:
                return 0;
        case ACTOR_GROW:
                return grow(o->permits);
        case ACTOR_LIMIT:
                return limit_files();
        case ACTOR_NOBODY:
                return become_nobody();
        case ACTOR_LEAVE:
                stage_clear(s);
                return 0;
        case ACTOR_EXEC:
                return become_another(s->fd);
        case ACTOR_EXIT:
                exit(0);
        default:
                break;
        }
        e = stage_need_client(s);
        if (e < 0)
                return e;
        if (o->op == ACTOR_ACQUIRE)
                return stage_acquire(s, o, a);
        if (o->op == ACTOR_ALL)
                return stage_all(s, o);
        return o->op < ACTOR_RELEASE_TOKEN ? stage_hold(s, o) : stage_token(s, o);
}

int actor_serve(int fd, coord_client *client, uint64_t client_flags) {
        struct stage s = {.fd = fd, .client = coord_client_ref(client)};
        struct order o;

        s.client_flags = client_flags;
        while (recv(fd, &o, sizeof(o), 0) == (ssize_t) sizeof(o)) {
                struct answer a;

                memset(&a, 0, sizeof(a));
                a.result = stage_do(&s, &o, &a);
                if (a.result < 0 && s.client)
                        snprintf(a.said, sizeof(a.said), "%s", coord_strerror(s.client));
                if (send(fd, &a, sizeof(a), MSG_NOSIGNAL) < 0)
                        break;
        }
        stage_clear(&s);
        return 0;
}
