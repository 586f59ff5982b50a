/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names to slots. Look-ups take no lock: a chain of slots is walked, at most as many steps as there are
 * slots, and what was found is checked again by the taker (Slot.gen) after it acquired. Who misses takes
 * the table lock and looks again before it makes a slot. When no slot is left, one that nobody uses is
 * reclaimed: its gate and every word are taken, so that no fast path can pass; gen rises; the header's
 * floor rises to its counter, so that fencing tokens of a name rise even when it comes back elsewhere.
 */
#include "segment/segment.h"

#include <string.h>

#include "util/siphash.h"

/* A-Z a-z 0-9 . _ / @ % + - */
static const uint8_t name_bytes[256] = {
                ['A' ... 'Z'] = 1,
                ['a' ... 'z'] = 1,
                ['0' ... '9'] = 1,
                ['.'] = 1,
                ['_'] = 1,
                ['/'] = 1,
                ['@'] = 1,
                ['%'] = 1,
                ['+'] = 1,
                ['-'] = 1,
};

/* Its length, 0 if it is not a name. */
static size_t name_length(const char *name) {
        size_t n = 0;

        if (!name || name[0] == '-')
                return 0;
        while (n <= SEG_NAME_MAX && name_bytes[(uint8_t) name[n]])
                n++;
        return name[n] == '\0' && n <= SEG_NAME_MAX ? n : 0;
}

bool segment_name_is_valid(const char *name) {
        return name_length(name) > 0;
}

int key_init(Segment *s, Key *key, uint32_t kind, const char *name) {
        size_t len = name_length(name), n = (len + 7) / 8;

        if (len == 0)
                return -EINVAL;
        key->words[n - 1] = 0;
        memcpy(key->words, name, len);
        key->kind = kind;
        key->len = (uint32_t) len;
        key->hash = siphash13(s->header->hash_key, (uint64_t) kind << 32 | len, key->words, n);
        return 0;
}

static bool slot_matches(const Slot *slot, const Key *key) {
        if (atomic_load_explicit(&slot->hash, memory_order_relaxed) != key->hash ||
                        atomic_load_explicit(&slot->kind, memory_order_relaxed) != key->kind ||
                        atomic_load_explicit(&slot->name_len, memory_order_relaxed) != key->len)
                return false;
        for (size_t i = 0; i < (key->len + 7) / 8; i++)
                if (atomic_load_explicit(&slot->name[i], memory_order_relaxed) != key->words[i])
                        return false;
        return true;
}

static Word *bucket_of(Segment *s, uint64_t hash) {
        return &s->buckets[hash & (s->n_buckets - 1)];
}

Slot *table_find(Segment *s, const Key *key, uint32_t *ret_gen) {
        uint32_t i = atomic_load_explicit(bucket_of(s, key->hash), memory_order_acquire);

        for (uint32_t steps = 0; i != 0 && i <= s->n_slots && steps < s->n_slots; steps++) {
                Slot *slot = &s->slots[i - 1];
                uint32_t gen = atomic_load_explicit(&slot->gen, memory_order_acquire);

                if (slot_matches(slot, key)) {
                        *ret_gen = gen;
                        return slot;
                }
                i = atomic_load_explicit(&slot->next, memory_order_acquire);
        }
        return NULL;
}

static void bucket_unlink(Segment *s, Slot *slot) {
        uint32_t me = slot_index(s, slot) + 1;
        Word *at = bucket_of(s, atomic_load(&slot->hash));

        for (uint32_t steps = 0; steps < s->n_slots; steps++) {
                uint32_t i = atomic_load(at);

                if (i == 0 || i > s->n_slots)
                        return;
                if (i == me) {
                        atomic_store(at, atomic_load(&slot->next));
                        return;
                }
                at = &s->slots[i - 1].next;
        }
}

/* Takes a free word for good, as a reclaimer does. */
static bool entry_seal(Segment *s, Entry *e) {
        Keeper *k = keeper_for(s, &e->word);
        uint32_t v = atomic_load(&e->word);

        /* Of the dead, only what an earlier reclaimer left behind: a death is still to be told. */
        if (!k || word_tid(v) != 0 || (v & WORD_DIED && atomic_load(&e->fence) != 0) ||
                        !atomic_compare_exchange_strong(&e->word, &v, k->tid | (v & WORD_WAITERS)))
                return false;
        atomic_store(&e->fence, 0);
        return true;
}

static void entry_unseal(Segment *s, Entry *e) {
        atomic_store(&e->word, 0);
        keeper_drop_entry(s, &e->word);
}

static void slot_unseal(Segment *s, Slot *slot, uint32_t sealed) {
        EntryWalk w;

        for (Entry *e = entry_first(s, slot, sealed, &w); e; e = entry_next(s, &w))
                entry_unseal(s, e);
        entry_unseal(s, &slot->gate);
}

/* Every word of the slot is ours, or none. Under its queue lock. */
static bool slot_seal(Segment *s, Slot *slot) {
        uint32_t n = slot_entries(s, slot), sealed = 0;
        EntryWalk w;

        queue_trim(s, slot);
        if (atomic_load(&slot->tail) != 0 || !entry_seal(s, &slot->gate))
                return false;
        for (Entry *e = entry_first(s, slot, n, &w); e; e = entry_next(s, &w)) {
                if (!entry_seal(s, e)) {
                        slot_unseal(s, slot, sealed);
                        return false;
                }
                sealed++;
        }
        return true;
}

static void slot_recycle(Segment *s, Slot *slot) {
        uint64_t floor = atomic_load(&s->header->floor), counter = atomic_load(&slot->counter);
        uint32_t n = slot_entries(s, slot);

        while (counter > floor && !atomic_compare_exchange_weak(&s->header->floor, &floor, counter))
                ;
        (void) atomic_fetch_add(&slot->gen, 1);
        STEP(RECLAIMING);
        bucket_unlink(s, slot);
        atomic_store(&slot->kind, 0);
        slot_unseal(s, slot, n);
        extent_free_all(s, slot);
        (void) atomic_fetch_sub(&s->header->n_names, 1);
}

/* Frees a slot that nobody uses; under the table lock. */
static bool slot_reclaim(Segment *s, Slot *slot) {
        bool sealed;

        if (atomic_load(&slot->flags) & SLOT_PINNED ||
                        word_tid(atomic_load(&slot->gate.word)) != 0 ||
                        !structure_trylock_second(s, &slot->qlock))
                return false;
        sealed = slot_seal(s, slot);
        if (sealed)
                slot_recycle(s, slot);
        structure_unlock_second(s, &slot->qlock);
        return sealed;
}

static Slot *slot_new(Segment *s) {
        uint32_t hint = atomic_load(&s->header->slot_hint);

        for (uint32_t i = 0; i < s->n_slots; i++) {
                Slot *slot = &s->slots[(hint + i) % s->n_slots];

                if (atomic_load(&slot->kind) == 0) {
                        atomic_store(&s->header->slot_hint, (hint + i + 1) % s->n_slots);
                        return slot;
                }
        }
        for (uint32_t i = 0; i < s->n_slots; i++) {
                Slot *slot = &s->slots[(hint + i) % s->n_slots];

                if (slot_reclaim(s, slot)) {
                        atomic_store(&s->header->slot_hint, (hint + i + 1) % s->n_slots);
                        return slot;
                }
        }
        return NULL;
}

static void slot_fill(Segment *s, Slot *slot, const Key *key) {
        Word *bucket = bucket_of(s, key->hash);
        uint64_t floor = atomic_load(&s->header->floor);
        bool watched = false;

        for (uint32_t i = 0; i < SEG_WATCHERS; i++)
                watched |= word_tid(atomic_load(&s->header->watchers[i].word)) != 0;
        if (atomic_load(&slot->counter) < floor)
                atomic_store(&slot->counter, floor);
        atomic_store(&slot->tail, 0);
        atomic_store(&slot->capacity, 0);
        atomic_store(&slot->flags, watched ? SLOT_WATCHED : 0);
        atomic_store(&slot->upgrader, 0);
        atomic_store(&slot->free_at, 0);
        atomic_store(&slot->dying, 0);
        atomic_store(&slot->gate.fence, 0);
        for (size_t i = 0; i < (key->len + 7) / 8; i++)
                atomic_store_explicit(&slot->name[i], key->words[i], memory_order_relaxed);
        atomic_store(&slot->name_len, key->len);
        atomic_store(&slot->hash, key->hash);
        atomic_store(&slot->next, atomic_load(bucket));
        atomic_store(&slot->kind, key->kind);
        STEP(SLOT_LINKED);
        atomic_store_explicit(bucket, slot_index(s, slot) + 1, memory_order_release);
        (void) atomic_fetch_add(&s->header->n_names, 1);
}

int table_get(Segment *s, const Key *key, uint64_t deadline, Slot **ret, uint32_t *ret_gen) {
        Slot *slot = table_find(s, key, ret_gen);
        int r;

        if (LIKELY(slot)) {
                *ret = slot;
                return 0;
        }
        r = structure_lock(s, &s->header->table_lock, deadline);
        if (r < 0)
                return r;
        STEP(TABLE_TAKEN);
        slot = table_find(s, key, ret_gen);
        if (!slot) {
                slot = slot_new(s);
                if (slot) {
                        slot_fill(s, slot, key);
                        *ret_gen = atomic_load(&slot->gen);
                }
        }
        structure_unlock(s, &s->header->table_lock);
        if (!slot)
                return -ENOSPC;
        *ret = slot;
        return 0;
}

void slot_name(const Slot *slot, char ret[SEG_NAME_MAX + 1]) {
        uint64_t words[32];

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                words[i] = atomic_load_explicit(&slot->name[i], memory_order_relaxed);
        memcpy(ret, words, SEG_NAME_MAX + 1);
        ret[MIN_OF(atomic_load(&slot->name_len), SEG_NAME_MAX)] = '\0';
        for (char *p = ret; *p; p++)
                if ((unsigned char) *p < 0x21 || (unsigned char) *p > 0x7e)
                        *p = '?';
}
