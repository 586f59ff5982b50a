/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One attachment a process and place, shared by its clients: two would have two keepers, and a thread
 * could not see what it holds through the other. All of it hangs on a page that the kernel wipes in a
 * forked child, which therefore begins with nothing and knows an inherited client by its generation.
 */
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

typedef struct Attached {
        struct Attached *next;
        Segment *segment;
        char *runtime_dir;
        unsigned users;
} Attached;

typedef struct Page {
        _Atomic uint64_t generation;
        Lite lock;
        Attached *attached;
        Parties parties;
} Page;

_Atomic uint64_t *process_page;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void page_init(void) {
        void *p = mmap(NULL, SEG_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return;
        if (madvise(p, SEG_PAGE, MADV_WIPEONFORK) < 0) {
                (void) munmap(p, SEG_PAGE);
                return;
        }
        process_page = p;
}

static Page *page(void) {
        (void) pthread_once(&once, page_init);
        return (Page *) process_page;
}

Parties *process_parties(void) {
        return &page()->parties;
}

uint64_t process_generation(void) {
        static _Atomic uint64_t last;
        Page *p = page();
        uint64_t mine;

        if (!p)
                return 0;
        lite_lock(&p->lock);
        if (atomic_load(&p->generation) == 0)
                atomic_store(&p->generation, atomic_fetch_add(&last, 1) + 1);
        mine = atomic_load(&p->generation);
        lite_unlock(&p->lock);
        return mine;
}

/* For leak checkers, which don't look for pointers in the page. */
static Attached *volatile known;

int registry_attach(const Place *place, bool thread_owned, Segment **ret, char *message) {
        Page *p = page();
        Attached *a;
        int r = 0;

        lite_lock(&p->lock);
        for (a = p->attached; a; a = a->next)
                if (a->segment->thread_owned == thread_owned &&
                                strcmp(a->runtime_dir, place->runtime_dir) == 0 &&
                                !segment_deleted(a->segment))
                        break;
        if (!a) {
                a = calloc(1, sizeof(*a));
                if (a)
                        a->runtime_dir = strdup(place->runtime_dir);
                r = !a || !a->runtime_dir
                                    ? -ENOMEM
                                    : segment_attach(place, thread_owned, &a->segment, message);
                if (r < 0) {
                        if (a)
                                free(a->runtime_dir);
                        free(a);
                        goto out;
                }
                a->next = p->attached;
                p->attached = known = a;
        }
        a->users++;
        *ret = a->segment;
out:
        lite_unlock(&p->lock);
        return r;
}

void registry_detach(Segment *s, uint64_t generation) {
        Page *p = page();
        Attached *gone = NULL;

        /* In a forked child nothing of it is ours but the memory, which goes with the process. */
        if (!p || atomic_load(&p->generation) != generation)
                return;
        lite_lock(&p->lock);
        for (Attached **at = &p->attached; *at; at = &(*at)->next)
                if ((*at)->segment == s) {
                        if (--(*at)->users == 0) {
                                gone = *at;
                                *at = gone->next;
                        }
                        break;
                }
        known = p->attached;
        lite_unlock(&p->lock);
        if (!gone)
                return;
        segment_detach(gone->segment);
        free(gone->runtime_dir);
        free(gone);
}
