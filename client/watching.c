/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for a change: while somebody watches, takers and releasers ring the segment's bell, and deaths
 * come from pidfds. What changed is not told, only that what one can see is another picture now.
 */
#include "internal.h"

#include <fnmatch.h>

/* Processes and leases that one client watches for their end. */
#define DEATHS_MAX 1024u

/* ---- deaths: nobody rings a bell when a holder just dies ---- */

struct Deaths {
        Watch *watch;
        uint64_t info;
        bool seen;
};

static void deaths_begin(coord_client *c) {
        for (size_t i = 0; i < c->n_deaths; i++)
                c->deaths[i].seen = false;
}

static void death_watch(coord_client *c, Segment *s, uint64_t info) {
        struct Deaths *more;

        for (size_t i = 0; i < c->n_deaths; i++)
                if (c->deaths[i].info == info) {
                        c->deaths[i].seen = true;
                        return;
                }
        if (c->n_deaths >= DEATHS_MAX)
                return;
        more = realloc(c->deaths, (c->n_deaths + 1) * sizeof(*more));
        if (!more)
                return;
        c->deaths = more;
        more += c->n_deaths;
        *more = (struct Deaths){
                        .watch = watch_new(s, info, &s->header->bell), .info = info, .seen = true};
        if (more->watch)
                c->n_deaths++;
}

static void deaths_end(coord_client *c) {
        for (size_t i = 0; i < c->n_deaths;) {
                if (c->deaths[i].seen) {
                        watch_refresh(c->deaths[i].watch);
                        i++;
                        continue;
                }
                watch_free(c->deaths[i].watch);
                c->deaths[i] = c->deaths[--c->n_deaths];
        }
}

void deaths_free(coord_client *c) {
        deaths_begin(c);
        deaths_end(c);
        free(c->deaths);
        c->deaths = NULL;
}

/* ---- what is to be seen ---- */

static uint64_t mix(uint64_t h, uint64_t v) {
        h ^= v;
        h *= UINT64_C(0x9e3779b97f4a7c15);
        return h ^ (h >> 29);
}

static uint64_t slot_digest(coord_client *c, Segment *s, Slot *slot, uint64_t h) {
        uint32_t at = atomic_load(&slot->tail);
        EntryWalk walk;

        h = mix(h, atomic_load(&slot->counter));
        h = mix(h, atomic_load(&slot->capacity));
        SLOT_EACH_ENTRY (e, s, slot, walk) {
                bool held = entry_is_held(s, e);

                h = mix(h, held ? atomic_load(&e->fence) + 1 : 0);
                if (held)
                        death_watch(c, s, atomic_load(&e->info));
        }
        for (uint32_t steps = 0; at != 0 && at < s->n_cells && steps < s->n_cells; steps++) {
                Cell *cell = &s->cells[at];

                if (cell_is_live(cell) && !(atomic_load(&cell->flags) & CELL_GRANTED)) {
                        h = mix(h, (uint64_t) at << 32 | atomic_load(&cell->gen));
                        death_watch(c, s, atomic_load(&cell->info));
                }
                at = (uint32_t) (atomic_load(&cell->pred) & PRED_INDEX);
        }
        return h;
}

static uint64_t digest(coord_client *c, Segment *s, const char *glob) {
        char name[SEG_NAME_MAX + 1];
        uint64_t h = 1;

        for (uint32_t i = 0; i < s->n_slots; i++) {
                if (atomic_load(&s->slots[i].kind) == 0)
                        continue;
                slot_name(&s->slots[i], name);
                if (fnmatch(glob, name, 0) == 0)
                        h = slot_digest(c, s, &s->slots[i], mix(h, i));
        }
        return h == 0 ? 1 : h;
}

static int watcher_enter(coord_client *c, Segment *s) {
        int r = 0;

        lite_lock(&c->lock);
        for (uint32_t i = 0; i < SEG_WATCHERS && atomic_load(&c->watcher) == 0; i++) {
                Word *word = &s->header->watchers[i].word;
                uint32_t v = atomic_load(word);
                Keeper *k;

                if (word_tid(v) != 0 && word_owner_exists(word_tid(v)))
                        continue;
                k = keeper_for(s, word);
                if (!k || !atomic_compare_exchange_strong(word, &v, k->tid)) {
                        keeper_disclaim(s, word);
                        continue;
                }
                atomic_store(&c->watcher, i + 1);
        }
        if (atomic_load(&c->watcher) == 0)
                r = client_fail(-EAGAIN, "%u others are watching %s already", SEG_WATCHERS,
                                s->path);
        lite_unlock(&c->lock);
        return r;
}

static void slots_watch(Segment *s) {
        for (uint32_t i = 0; i < s->n_slots; i++)
                if (atomic_load(&s->slots[i].kind) != 0 &&
                                !(atomic_load(&s->slots[i].flags) & SLOT_WATCHED))
                        (void) atomic_fetch_or(&s->slots[i].flags, SLOT_WATCHED);
}

static int
watch_loop(coord_client *c, Segment *s, const char *glob, uint64_t *cursor, uint64_t deadline) {
        for (;;) {
                WordSleep sleeps[2] = {
                                {&s->header->bell, atomic_load(&s->header->bell), false},
                                {&c->cancel, 0, true},
                };
                uint64_t now;

                slots_watch(s);
                lite_lock(&c->watch_lock);
                deaths_begin(c);
                now = digest(c, s, glob);
                deaths_end(c);
                lite_unlock(&c->watch_lock);
                if (now != *cursor) {
                        *cursor = now;
                        return 0;
                }
                if (atomic_load(&c->cancel) != 0)
                        return client_fail(-ECANCELED, "watching was cancelled");
                if (word_sleep(sleeps, 2, deadline) == -ETIMEDOUT)
                        return client_fail(-ETIMEDOUT, "nothing changed in time");
        }
}

PUBLIC int coord_watch(coord_client *c, const char *glob, uint64_t *cursor, uint64_t timeout_usec) {
        uint64_t deadline = deadline_of(timeout_usec);
        Segment *s;
        int r;

        if (!cursor)
                return client_fail(-EINVAL, "no cursor");
        r = client_ready(c, &s);
        if (r >= 0 && atomic_load(&c->watcher) == 0)
                r = watcher_enter(c, s);
        if (r < 0)
                return r;
        return watch_loop(c, s, glob ? glob : "*", cursor, deadline);
}
