/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of words for readers and permits. A slot starts with none; they come from a pool in pieces of
 * fifteen and go back when the slot is reclaimed. Growing takes no lock: who links a piece and dies
 * before it is counted leaves the counting to the next.
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

/* Where the piece after the first have ones hangs, or shall hang; NULL for damage. */
static Word *extent_link(Segment *s, Slot *slot, uint32_t have) {
        Word *link = &slot->extent;

        for (uint32_t i = 0; i < have; i++) {
                Extent *e = extent_at(s, atomic_load(link));

                if (!e)
                        return NULL;
                link = &e->next;
        }
        return link;
}

int extent_reserve(Segment *s, Slot *slot, uint32_t n) {
        while (slot_entries(s, slot) < n) {
                uint32_t have = slot_entries(s, slot) / EXTENT_ENTRIES, at, none = 0;
                Word *link = extent_link(s, slot, have);

                if (!link)
                        return -ENOSPC;
                if (atomic_load(link) == 0) {
                        at = extent_new(s, slot);
                        if (at == 0)
                                return -ENOSPC;
                        atomic_store(&s->extents[at].number, have);
                        if (!atomic_compare_exchange_strong(link, &none, at))
                                atomic_store(&s->extents[at].slot, 0); /* somebody was faster */
                }
                if (!atomic_compare_exchange_strong(&slot->extents, &have, have + 1) &&
                                slot_entries(s, slot) / EXTENT_ENTRIES < have)
                        return -ENOSPC;
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
