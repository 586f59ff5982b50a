/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of words for readers and permits. A slot starts with none; they come from a pool in pieces of
 * fifteen, under the slot's queue lock, and go back when the slot is reclaimed.
 */
#include "segment/segment.h"

static Extent *extent_at(Segment *s, uint32_t i) {
        return i != 0 && i < s->n_extents ? &s->extents[i] : NULL;
}

static uint32_t extent_new(Segment *s, const Slot *slot) {
        uint32_t hint = atomic_load(&s->header->extent_hint);

        for (uint32_t i = 0; i < s->n_extents; i++) {
                uint32_t at = (hint + i) % s->n_extents, zero = 0;

                if (at == 0 || !atomic_compare_exchange_strong(&s->extents[at].slot, &zero,
                                               slot_index(s, slot) + 1))
                        continue;
                atomic_store(&s->header->extent_hint, at + 1);
                atomic_store(&s->extents[at].next, 0);
                return at;
        }
        return 0;
}

int extent_reserve(Segment *s, Slot *slot, uint32_t n) {
        uint32_t have = slot_entries(s, slot) / EXTENT_ENTRIES;
        Word *link = &slot->extent;

        for (uint32_t i = 0; i < have; i++) {
                Extent *e = extent_at(s, atomic_load(link));

                if (!e) {
                        atomic_store(&slot->extents, i); /* damage: go on with what there is */
                        break;
                }
                link = &e->next;
        }
        while (slot_entries(s, slot) < n) {
                uint32_t at = extent_new(s, slot);

                if (at == 0)
                        return -ENOSPC;
                atomic_store(&s->extents[at].number, atomic_load(&slot->extents));
                atomic_store(link, at);
                (void) atomic_fetch_add(&slot->extents, 1);
                link = &s->extents[at].next;
        }
        return 0;
}

void extent_free_all(Segment *s, Slot *slot) {
        uint32_t me = slot_index(s, slot) + 1;

        atomic_store(&slot->extent, 0);
        atomic_store(&slot->extents, 0);
        for (uint32_t i = 1; i < s->n_extents; i++)
                if (atomic_load(&s->extents[i].slot) == me)
                        atomic_store(&s->extents[i].slot, 0);
}

Entry *entry_first(Segment *s, const Slot *slot, uint32_t n, EntryWalk *w) {
        uint32_t have = slot_entries(s, slot);

        w->extent = atomic_load(&slot->extent);
        w->index = 0;
        w->left = MIN_OF(n, have);
        return entry_next(s, w);
}

Entry *entry_next(Segment *s, EntryWalk *w) {
        Extent *e;

        if (w->left == 0)
                return NULL;
        if (w->index == EXTENT_ENTRIES) {
                e = extent_at(s, w->extent);
                w->extent = e ? atomic_load(&e->next) : 0;
                w->index = 0;
        }
        e = extent_at(s, w->extent);
        if (!e)
                return NULL;
        w->left--;
        return &e->entries[w->index++];
}
