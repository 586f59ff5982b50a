/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keepers: sleeping threads that own robust words for their process.
 *
 * The kernel, when a thread ends, walks that thread's robust list and marks each word that carries its
 * id. A list of our own has two reasons. A process and not a thread shall own a hold, so the owner is a
 * thread that ends only with the process. And the list's nodes are private memory at a fixed distance
 * from the words (a shadow of the segment), so that no peer who may write the segment can turn our list
 * against us; the C library's own list is never touched.
 *
 * The node of a gate or permit stays on the list once it is there: a node whose word is somebody
 * else's costs nothing, and an uncontended acquire needs no lock of the process and no list operation.
 * Cells come and go. The kernel stops after 2,048 nodes: near that a further keeper begins.
 *
 * In a thread-owned segment there are no keeper threads: the calling thread's own list is replaced
 * while it holds something, which is only possible while it holds no robust pthread mutex.
 *
 * This file knows no word's meaning.
 */
#include "segment/segment.h"

#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define KEEPER_STACK (256u * 1024u)

void keeper_list(Keeper *k, Node *n) {
        Node *head = (Node *) &k->head, *first = k->head.first;

        n->prev = head;
        n->next = first;
        atomic_signal_fence(memory_order_seq_cst);
        if (first != head)
                first->prev = n;
        *(Node *volatile *) &k->head.first = n;
        atomic_signal_fence(memory_order_seq_cst);
        (void) atomic_fetch_add(&k->listed, 1);
}

void keeper_unlist(Keeper *k, Node *n) {
        Node *head = (Node *) &k->head;

        if (n->prev == head)
                *(Node *volatile *) &k->head.first = n->next;
        else
                *(Node *volatile *) &n->prev->next = n->next;
        if (n->next != head)
                n->next->prev = n->prev;
        atomic_signal_fence(memory_order_seq_cst);
        n->next = n->prev = NULL;
        (void) atomic_fetch_sub(&k->listed, 1);
}

static void keeper_init(Segment *s, Keeper *k) {
        k->segment = s;
        k->head.first = (Node *) &k->head;
        k->head.distance = (long) s->distance;
        k->head.pending = NULL;
}

/* struct sched_attr, which the C library does not declare. */
typedef struct SchedAttr {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
} SchedAttr;

/* The one thing that a keeper ever does is to end, and somebody waits for that: a short slice puts it
 * before the other threads of a dying process (since Linux 6.12; before, this changes nothing). */
static void keeper_hasten(void) {
        SchedAttr attr = {.size = sizeof(attr)};

        if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0 || attr.policy != 0)
                return;
        attr.runtime = 100000;
        (void) syscall(SYS_sched_setattr, 0, &attr, 0);
}

static void *keeper_main(void *arg) {
        Keeper *k = arg;

        (void) prctl(PR_SET_NAME, "coord-keeper");
        keeper_hasten();
        k->tid = (uint32_t) syscall(SYS_gettid);
        if (syscall(SYS_set_robust_list, &k->head, sizeof(k->head)) < 0)
                k->tid = 0;
        atomic_store(&k->ready, 1);
        word_wake_private(&k->ready, 1);
        while (atomic_load(&k->quit) == 0)
                (void) word_sleep(&(WordSleep){&k->quit, 0, true}, 1, USEC_INFINITE);
        return NULL;
}

static int keeper_run(Keeper *k) {
        sigset_t all, old;
        pthread_attr_t attr;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return -r;
        (void) pthread_attr_setstacksize(&attr, KEEPER_STACK);
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&k->thread, &attr, keeper_main, k);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void) pthread_attr_destroy(&attr);
        if (r != 0)
                return -r;
        while (atomic_load(&k->ready) == 0)
                (void) word_sleep(&(WordSleep){&k->ready, 0, true}, 1, USEC_INFINITE);
        if (k->tid == 0) {
                (void) pthread_join(k->thread, NULL);
                return -ENOSYS;
        }
        return 0;
}

static void keeper_stop(Keeper *k) {
        atomic_store(&k->quit, 1);
        word_wake_private(&k->quit, 1);
        (void) pthread_join(k->thread, NULL);
        free(k);
}

static int keeper_new(Segment *s, Keeper **ret) {
        Keeper *k = calloc(1, sizeof(*k));
        int r;

        if (!k)
                return -ENOMEM;
        keeper_init(s, k);
        r = keeper_run(k);
        if (r < 0) {
                free(k);
                return r;
        }
        *ret = k;
        return 0;
}

/* One more keeper of entries and cells; under the segment's lock. */
static Keeper *keeper_add(Segment *s) {
        uint32_t n = atomic_load(&s->n_keepers);
        Keeper *k;

        if (n >= KEEPERS_MAX || keeper_new(s, &k) < 0)
                return NULL;
        k->index = n;
        s->keepers[n] = k;
        atomic_store(&s->n_keepers, n + 1);
        return k;
}

int keeper_start(Segment *s) {
        int r = 0;

        if (s->thread_owned || atomic_load(&s->n_keepers) > 0)
                return 0;
        lite_lock(&s->lock);
        if (atomic_load(&s->n_keepers) == 0 && !keeper_add(s))
                r = -EAGAIN;
        lite_unlock(&s->lock);
        return r;
}

int keeper_start_structural(Segment *s) {
        int r = 0;

        lite_lock(&s->lock);
        if (!s->structural)
                r = keeper_new(s, &s->structural);
        atomic_store(&s->has_structural, s->structural != NULL);
        lite_unlock(&s->lock);
        return r;
}

/* ---- thread-owned ---- */

static Keeper *thread_keeper(Segment *s, bool create) {
        uint32_t tid = (uint32_t) syscall(SYS_gettid), n = atomic_load(&s->n_keepers);
        Keeper *k, *spare = NULL;

        for (uint32_t i = 0; i < n; i++) {
                if (s->keepers[i]->tid == tid)
                        return s->keepers[i];
                if (!word_owner_exists(s->keepers[i]->tid))
                        spare = s->keepers[i];
        }
        if (!create || (!spare && n >= KEEPERS_MAX))
                return NULL;
        k = spare ? spare : calloc(1, sizeof(*k));
        if (!k)
                return NULL;
        keeper_init(s, k);
        k->tid = tid;
        atomic_store(&k->listed, 0);
        if (!spare) {
                k->index = n;
                s->keepers[n] = k;
                atomic_store(&s->n_keepers, n + 1);
        }
        return k;
}

/* The C library's list of the calling thread, remembered while ours stands in its place. */
static _Thread_local KeeperHead *libc_head;

static bool thread_enlist(Keeper *k) {
        KeeperHead *head;
        size_t len;

        if (syscall(SYS_get_robust_list, 0, &head, &len) < 0)
                return false;
        if (head == &k->head)
                return true;
        if (head && head->first != (Node *) head)
                return false; /* it holds a robust pthread mutex, which must not be forgotten */
        libc_head = head;
        return syscall(SYS_set_robust_list, &k->head, sizeof(k->head)) >= 0;
}

Keeper *keeper_of_thread(Segment *s) {
        Keeper *k;

        lite_lock(&s->lock);
        k = thread_keeper(s, true);
        if (k && !thread_enlist(k))
                k = NULL;
        lite_unlock(&s->lock);
        return k;
}

void keeper_of_thread_done(Keeper *k) {
        if (atomic_load(&k->listed) == 0)
                (void) syscall(SYS_set_robust_list, libc_head, sizeof(*libc_head));
}

static Keeper *thread_keeper_for(Segment *s, const Word *word, Node *n) {
        uint32_t old = atomic_load(&n->keeper);
        Keeper *k = NULL;

        lite_lock(&s->lock);
        if (old != 0 && word_tid(atomic_load(word)) == s->keepers[old - 1]->tid &&
                        word_owner_exists(s->keepers[old - 1]->tid))
                goto out; /* another thread of ours has it */
        k = thread_keeper(s, true);
        if (!k || !thread_enlist(k)) {
                k = NULL;
                goto out;
        }
        if (old == k->index + 1)
                goto out;
        if (old != 0 && word_owner_exists(s->keepers[old - 1]->tid)) {
                k = NULL; /* it is about to try */
                goto out;
        }
        keeper_list(k, n);
        atomic_store(&n->keeper, k->index + 1);
out:
        lite_unlock(&s->lock);
        return k;
}

static void thread_drop(Segment *s, Node *n) {
        Keeper *k;

        lite_lock(&s->lock);
        k = atomic_load(&n->keeper) ? s->keepers[atomic_load(&n->keeper) - 1] : NULL;
        if (k) {
                keeper_unlist(k, n);
                atomic_store(&n->keeper, 0);
                if (k->tid == (uint32_t) syscall(SYS_gettid))
                        keeper_of_thread_done(k);
        }
        lite_unlock(&s->lock);
}

/* ---- what others call ---- */

static Keeper *keeper_with_room(Segment *s) {
        for (uint32_t i = atomic_load(&s->room); i < atomic_load(&s->n_keepers); i++)
                if (atomic_load(&s->keepers[i]->listed) < KEEPER_ENTRIES)
                        return s->keepers[i];
        return keeper_add(s);
}

Keeper *keeper_for(Segment *s, const Word *word) {
        Node *n = node_of(s, word);
        uint32_t at;
        Keeper *k;

        if (s->thread_owned)
                return thread_keeper_for(s, word, n);
        at = atomic_load_explicit(&n->keeper, memory_order_acquire);
        if (at != 0)
                return s->keepers[at - 1];
        lite_lock(&s->lock);
        at = atomic_load(&n->keeper);
        k = at != 0 ? s->keepers[at - 1] : keeper_with_room(s);
        if (k && at == 0) {
                lite_lock(&k->lock);
                keeper_list(k, n);
                lite_unlock(&k->lock);
                atomic_store_explicit(&n->keeper, k->index + 1, memory_order_release);
        }
        lite_unlock(&s->lock);
        return k;
}

/* Off the list. Gates and permits leave it only in a thread-owned segment. */
static void keeper_drop(Segment *s, const Word *word) {
        Node *n = node_of(s, word);
        Keeper *k;

        if (s->thread_owned) {
                thread_drop(s, n);
                return;
        }
        lite_lock(&s->lock);
        k = atomic_load(&n->keeper) ? s->keepers[atomic_load(&n->keeper) - 1] : NULL;
        if (k) {
                lite_lock(&k->lock);
                keeper_unlist(k, n);
                lite_unlock(&k->lock);
                atomic_store(&n->keeper, 0);
        }
        lite_unlock(&s->lock);
}

/* The word may be somebody else's the moment it is free, even another thread's of ours, so its node
 * leaves the list before; until then the pending operation stands for it. */
uint32_t keeper_give_up(Segment *s, Word *word) {
        Node *n = node_of(s, word);
        uint32_t at = atomic_load(&n->keeper), v;
        Keeper *k = at != 0 ? s->keepers[at - 1] : NULL;

        if (!k)
                return atomic_exchange(word, 0);
        keeper_pending(s, k, word);
        STEP(CELL_PENDING);
        keeper_unlist(k, n);
        atomic_store(&n->keeper, 0);
        if (k->index < atomic_load(&s->room))
                atomic_store(&s->room, k->index);
        v = atomic_exchange(word, 0);
        STEP(CELL_FREED);
        if (v & WORD_WAITERS)
                word_wake(word, INT_MAX);
        STEP(CELL_WAKED);
        keeper_pending_done(k);
        if (s->thread_owned && k->tid == (uint32_t) syscall(SYS_gettid))
                keeper_of_thread_done(k);
        return v;
}

void keeper_disclaim(Segment *s, const Word *word) {
        keeper_drop(s, word);
}

void keeper_drop_entry(Segment *s, const Word *word) {
        if (s->thread_owned)
                keeper_drop(s, word);
}

Keeper *keeper_any(Segment *s) {
        return s->thread_owned ? keeper_of_thread(s) : s->keepers[0];
}

Keeper *keeper_by_tid(Segment *s, uint32_t tid) {
        uint32_t n = atomic_load(&s->n_keepers);

        for (uint32_t i = 0; i < n; i++)
                if (s->keepers[i]->tid == tid)
                        return s->keepers[i];
        return NULL;
}

void keeper_stop_all(Segment *s) {
        uint32_t n = atomic_load(&s->n_keepers);

        for (uint32_t i = 0; i < n; i++) {
                if (s->thread_owned)
                        free(s->keepers[i]);
                else
                        keeper_stop(s->keepers[i]);
        }
        atomic_store(&s->n_keepers, 0);
        if (s->structural)
                keeper_stop(TAKE_PTR(s->structural));
}
