/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cycles within one process. A party is a thread with the holds it took. A thread that is about to sleep
 * asks whether it would ever wake: who waits only for holders that wait themselves, in a circle that
 * comes back to it, would not. Whatever another process holds, or a thread that runs, may come back at
 * any time, so there is no false alarm.
 *
 * Permits are often given back by another thread than the one that took them, so a circle of permits
 * alone is only reported to who asked for it (COORD_DEADLOCK).
 */
#include "internal.h"

#include <stdio.h>

void party_enter(Party *p, Wait *w) {
        Parties *all = process_parties();

        p->thread = thread_serial();
        p->wait = w;
        lite_lock(&all->lock);
        p->next = all->first;
        all->first = p;
        lite_unlock(&all->lock);
}

void party_leave(Party *p) {
        Parties *all = process_parties();

        lite_lock(&all->lock);
        for (Party **at = &all->first; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        break;
                }
        lite_unlock(&all->lock);
}

/* All that follows is under the lock. */

static Party *party_of(uint64_t thread) {
        for (Party *p = process_parties()->first; p; p = p->next)
                if (p->thread == thread)
                        return p;
        return NULL;
}

/* The party that owns e: NULL if it is another process's, or a thread that runs. */
static Party *holder_of(Segment *s, Entry *e) {
        uint32_t tid = word_tid(atomic_load(&e->word));
        uint64_t thread = atomic_load(&node_of(s, e)->thread);

        if (tid == 0 || word_is_sentinel(tid) || !keeper_by_tid(s, tid) || thread == 0)
                return NULL;
        return party_of(thread);
}

static bool is_semaphore(const Wait *w) {
        return atomic_load(&w->slot->kind) == KIND_SEMAPHORE;
}

/* Of a lock, every holder in the way must go; calls back for each that is stuck. */
static bool lock_is_stuck(const Wait *w, Party *target, bool *ret_target) {
        Entry *own = w->own ? w->own->entry : NULL;
        bool stuck = false;
        EntryWalk walk;
        Party *h;

        SLOT_EACH_ENTRY (e, w->s, w->slot, walk) {
                if (e == own || (w->shared && e != &w->slot->gate))
                        continue;
                h = holder_of(w->s, e);
                if (!h || !h->stuck)
                        continue;
                stuck = true;
                if (h == target)
                        *ret_target = true;
        }
        return stuck;
}

/* Of a semaphore, enough permits must be free or with somebody who runs. */
static bool permits_are_stuck(const Wait *w, Party *target, bool *ret_target) {
        uint32_t capacity = atomic_load(&w->slot->capacity), stuck = 0;
        bool is_target = false;
        EntryWalk walk;
        Party *h;

        for (Entry *e = entry_first(w->s, w->slot, capacity, &walk); e;
                        e = entry_next(w->s, &walk)) {
                h = holder_of(w->s, e);
                if (h && h->stuck && atomic_load(&e->fence) != 0) {
                        stuck++;
                        is_target |= h == target;
                }
        }
        if (capacity - MIN_OF(stuck, capacity) >= w->permits)
                return false;
        *ret_target |= is_target;
        return true;
}

static bool wait_is_stuck(const Wait *w, Party *target, bool *ret_target) {
        return is_semaphore(w) ? permits_are_stuck(w, target, ret_target)
                               : lock_is_stuck(w, target, ret_target);
}

/* Take out everybody who will get on by what the others do; who is left is stuck. */
static void parties_settle(void) {
        bool changed, ignored = false;

        for (Party *p = process_parties()->first; p; p = p->next)
                p->stuck = true;
        do {
                changed = false;
                for (Party *p = process_parties()->first; p; p = p->next)
                        if (p->stuck && !wait_is_stuck(p->wait, NULL, &ignored)) {
                                p->stuck = false;
                                changed = true;
                        }
        } while (changed);
}

/* Does somebody in the circle wait for what target holds, and is there a lock in it? */
static bool circle_closes(Party *target, bool *ret_lock) {
        bool closes = false;

        for (Party *p = process_parties()->first; p; p = p->next) {
                if (!p->stuck)
                        continue;
                (void) wait_is_stuck(p->wait, target, &closes);
                *ret_lock |= !is_semaphore(p->wait);
        }
        return closes;
}

/* Who waits for what, of all in the circle: "thread 2 waits for 'a', thread 5 waits for 'b'". */
static void circle_tell(Party *target) {
        char name[SEG_NAME_MAX + 1];
        size_t n = 0;

        target->circle[0] = '\0';
        for (Party *p = process_parties()->first; p && n < sizeof(target->circle); p = p->next) {
                if (!p->stuck)
                        continue;
                slot_name(p->wait->slot, name);
                n += (size_t) snprintf(target->circle + n, sizeof(target->circle) - n,
                                "%s%s waits for %s '%.40s'", n > 0 ? ", " : "",
                                p == target ? "this thread" : "another",
                                is_semaphore(p->wait) ? "semaphore" : "lock", name);
        }
}

bool party_is_deadlocked(Party *p, bool permits_too) {
        Parties *all = process_parties();
        bool lock = false, closes;

        lite_lock(&all->lock);
        parties_settle();
        closes = p->stuck && circle_closes(p, &lock) && (lock || permits_too);
        if (closes)
                circle_tell(p);
        lite_unlock(&all->lock);
        return closes;
}
