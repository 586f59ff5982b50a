/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watcher: a thread, started at the first need, that sleeps on the pidfds and timers of what somebody
 * in this process waits for, and pokes the waiter's cell. It judges nothing: the waiter looks again. When
 * this process dies, its successor at the head of the queue takes up the watch by itself.
 */
#include "segment/segment.h"

#include <limits.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>

struct Watch {
        Watch *next;
        Segment *segment;
        uint64_t id, info;
        Word *poke;
        int fds[2];
        int timer;
};

typedef struct Watcher {
        int epoll, stop;
        pthread_t thread;
        Lite lock; /* of the list */
        Watch *watches;
        uint64_t last_id;
} Watcher;

#define STOP_ID 0

static void poke(Word *word) {
        (void) atomic_fetch_add(word, 1);
        word_wake(word, INT_MAX);
}

static int timer_arm(Watch *w, uint64_t deadline) {
        struct itimerspec t = {
                        .it_value =
                                        {
                                                        .tv_sec = (time_t) (deadline /
                                                                            USEC_PER_SEC),
                                                        .tv_nsec = (long) (deadline %
                                                                                   USEC_PER_SEC) *
                                                                                   1000 +
                                                                   1,
                                        },
        };

        return timerfd_settime(w->timer, TFD_TIMER_ABSTIME, &t, NULL) < 0 ? -errno : 0;
}

static void watch_fired(Watcher *me, uint64_t id) {
        uint64_t expirations, deadline;
        Record *r;

        lite_lock(&me->lock);
        for (Watch *w = me->watches; w; w = w->next) {
                if (w->id != id)
                        continue;
                if (w->timer >= 0) {
                        (void) !read(w->timer, &expirations, sizeof(expirations));
                        r = record_of(w->segment, w->info);
                        deadline = r ? atomic_load(&r->deadline) : 0;
                        if (deadline > clock_usec(CLOCK_BOOTTIME) && timer_arm(w, deadline) >= 0)
                                break; /* renewed */
                }
                poke(w->poke);
                break;
        }
        lite_unlock(&me->lock);
}

static void *watcher_main(void *arg) {
        Watcher *me = arg;
        struct epoll_event events[16];
        int n;

        (void) prctl(PR_SET_NAME, "coord-watch");
        for (;;) {
                n = epoll_wait(me->epoll, events, ELEMENTSOF(events), -1);
                for (int i = 0; i < n; i++) {
                        if (events[i].data.u64 == STOP_ID)
                                return NULL;
                        watch_fired(me, events[i].data.u64);
                }
        }
}

static int watcher_run(Watcher *me) {
        struct epoll_event ev = {.events = EPOLLIN, .data.u64 = STOP_ID};
        sigset_t all, old;
        int r;

        me->epoll = epoll_create1(EPOLL_CLOEXEC);
        me->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (me->epoll < 0 || me->stop < 0 || epoll_ctl(me->epoll, EPOLL_CTL_ADD, me->stop, &ev) < 0)
                return -errno;
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&me->thread, NULL, watcher_main, me);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return -r;
}

static void watcher_free(Watcher *me) {
        safe_close(me->epoll);
        safe_close(me->stop);
        free(me);
}

static Watcher *watcher_get(Segment *s) {
        Watcher *me;

        lite_lock(&s->lock);
        if (!s->watcher) {
                me = calloc(1, sizeof(*me));
                if (me) {
                        me->epoll = me->stop = -EBADF;
                        if (watcher_run(me) < 0)
                                watcher_free(me);
                        else
                                s->watcher = me;
                }
        }
        me = s->watcher;
        lite_unlock(&s->lock);
        return me;
}

void watcher_stop(Segment *s) {
        uint64_t one = 1;

        if (!s->watcher)
                return;
        (void) !write(s->watcher->stop, &one, sizeof(one));
        (void) pthread_join(s->watcher->thread, NULL);
        watcher_free(TAKE_PTR(s->watcher));
}

static int watch_add_fd(Watcher *me, Watch *w, int fd) {
        struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = w->id};

        if (w->timer == fd)
                ev.events = EPOLLIN;
        return epoll_ctl(me->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int watch_open(Watcher *me, Watch *w, Record *r) {
        int ret = 0;

        if (atomic_load(&r->kind) == RECORD_LEASE) {
                w->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
                if (w->timer < 0)
                        return -errno;
                ret = timer_arm(w, atomic_load(&r->deadline));
                return ret < 0 ? ret : watch_add_fd(me, w, w->timer);
        }
        for (unsigned i = 0; i < 2 && ret >= 0; i++) {
                if (atomic_load(&r->who[i].pid) == 0)
                        continue;
                w->fds[i] = ident_open(&r->who[i]);
                if (w->fds[i] == -ESRCH)
                        continue; /* gone: the other one decides */
                ret = w->fds[i] < 0 ? w->fds[i] : watch_add_fd(me, w, w->fds[i]);
        }
        return ret;
}

static void watch_close(Watcher *me, Watch *w) {
        const int fds[] = {w->fds[0], w->fds[1], w->timer};

        /* A forked child may hold copies, so closing alone does not end the watch. */
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                if (fds[i] >= 0)
                        (void) epoll_ctl(me->epoll, EPOLL_CTL_DEL, fds[i], NULL);
        safe_close(w->fds[0]);
        safe_close(w->fds[1]);
        safe_close(w->timer);
        free(w);
}

Watch *watch_new(Segment *s, uint64_t info, Word *poke_word) {
        Watcher *me = watcher_get(s);
        Record *r = record_of(s, info);
        Watch *w;

        if (!me || !r)
                return NULL;
        w = calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        w->segment = s;
        w->info = info;
        w->poke = poke_word;
        w->fds[0] = w->fds[1] = w->timer = -EBADF;
        lite_lock(&me->lock);
        w->id = ++me->last_id;
        if (watch_open(me, w, r) < 0) {
                lite_unlock(&me->lock);
                watch_close(me, w);
                return NULL;
        }
        w->next = me->watches;
        me->watches = w;
        lite_unlock(&me->lock);
        return w;
}

Watch *watch_free(Watch *w) {
        Watcher *me;

        if (!w)
                return NULL;
        me = w->segment->watcher;
        lite_lock(&me->lock);
        for (Watch **at = &me->watches; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        break;
                }
        lite_unlock(&me->lock);
        watch_close(me, w);
        return NULL;
}

void watch_refresh(Watch *w) {
        Record *r = record_of(w->segment, w->info);

        if (w->timer >= 0 && r)
                (void) timer_arm(w, MAX_OF(atomic_load(&r->deadline), 1));
}

bool watch_is_of(const Watch *w, uint64_t info) {
        return w->info == info;
}
