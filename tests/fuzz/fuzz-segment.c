/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes in the segment, before somebody attaches and while it works: no crash, no hang, no endless
 * loop, and timeouts that work. The input is a script of one-byte commands with their operands: edits
 * of the mapped file and calls of the library in any order.
 *
 *     first byte      image to begin with (bits 0-1), attach before the edits (bit 2), a client whose
 *                     threads own (bit 3), somebody who scribbles all the while (bit 4: seed follows);
 *                     0xff: the rest is the file
 *     0x00 … 0x7f     an edit, see edit(); past the first call they hit a segment in use
 *     0x80 … 0xff     a call, see calls.c
 */
#include "calls.h"
#include "fuzz.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "segment/layout.h"
#include "util/siphash.h"

#define COMMANDS_MAX 200u

struct target {
        uint8_t *bytes;
        size_t size;
        Header sane; /* of the image: where things lie, whatever is in the file by now */
};

enum {
        REGION_HEADER,
        REGION_BUCKETS,
        REGION_SLOTS,
        REGION_CELLS,
        REGION_EXTENTS,
        REGION_RECORDS,
        REGION_USED_SLOTS,
        REGION_ANYWHERE,
        REGIONS,
};

static bool target_open(struct target *t, const struct image *image) {
        char path[96];
        int fd;

        snprintf(path, sizeof(path), "%s/segment", sandbox_directory());
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return false;
        t->size = image->size;
        t->bytes = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        memcpy(&t->sane, image->bytes, sizeof(t->sane));
        return t->bytes != MAP_FAILED;
}

/* The n-th slot that has a name. */
static uint64_t used_slot(const struct target *t, uint64_t n) {
        const Slot *slots = (const Slot *) (t->bytes + t->sane.off_slots);
        uint32_t used[64];
        uint64_t n_used = 0;

        for (uint32_t i = 0; i < t->sane.n_slots && n_used < 64; i++)
                if (slots[i].kind != 0)
                        used[n_used++] = i;
        return n_used > 0 ? used[n % n_used] : 0;
}

/* Where a region's n-th item lies, and how long it is. */
static uint64_t item_at(const struct target *t, unsigned region, uint64_t n, uint64_t *ret_size) {
        const Header *h = &t->sane;

#define ITEM(offset, count, type)                                                                  \
        (*ret_size = sizeof(type), (offset) + (n % (count)) * sizeof(type))
        switch (region) {
        case REGION_HEADER:
                *ret_size = sizeof(Header);
                return 0;
        case REGION_BUCKETS:
                return ITEM(h->off_buckets, h->n_buckets, Word);
        case REGION_SLOTS:
                return ITEM(h->off_slots, h->n_slots, Slot);
        case REGION_CELLS:
                return ITEM(h->off_cells, h->n_cells, Cell);
        case REGION_EXTENTS:
                return ITEM(h->off_extents, h->n_extents, Extent);
        case REGION_RECORDS:
                return ITEM(h->off_records, h->n_records, Record);
        case REGION_USED_SLOTS:
                n = used_slot(t, n);
                return ITEM(h->off_slots, h->n_slots, Slot);
        default:
                *ret_size = t->size;
                return 0;
        }
#undef ITEM
}

static void header_mend(struct target *t) {
        static const uint64_t key[2] = {UINT64_C(0x636f6f7264640001), UINT64_C(0x7365676d656e7400)};
        uint64_t words[offsetof(Header, check) / sizeof(uint64_t)];
        Header *h = (Header *) t->bytes;

        memcpy(words, h, sizeof(words));
        h->check = siphash13(key, sizeof(Slot), words, sizeof(words) / sizeof(words[0]));
}

/* A value worth storing: as given, or one that means something. */
static uint64_t value_of(struct input *in, unsigned width) {
        static const uint32_t words[] = {0, 1, WORD_WAITERS, WORD_DIED, WORD_WAITERS | WORD_DIED,
                        WORD_TID, WORD_SENTINEL | 1, WORD_SENTINEL | WORD_RECORD, UINT32_MAX,
                        INT32_MAX};
        uint8_t how = input_byte(in);

        if (how < 10)
                return words[how];
        if (how == 10)
                return (uint32_t) getpid();
        if (how == 11)
                return (uint32_t) getppid();
        if (how == 12)
                return WORD_WAITERS | (uint32_t) getppid();
        return input_number(in, width);
}

/*
 * Operands: item (2 bytes), offset in it (2), value. The command's bits 0-2 choose the region, bits 3-4
 * the width (1, 2, 4, 8), bits 5-6 whether to store, add, xor, or copy from another item of the kind.
 */
static void edit(struct target *t, uint8_t command, struct input *in) {
        unsigned width = 1u << (command >> 3 & 3), how = command >> 5;
        uint64_t n = input_number(in, 2), offset = input_number(in, 2), size, at, old = 0, value;

        if (command % REGIONS == REGION_ANYWHERE)
                offset |= n << 16;
        at = item_at(t, command % REGIONS, n, &size);
        if (how == 3) {
                uint64_t from = item_at(t, command % REGIONS, offset, &size);

                memmove(t->bytes + at, t->bytes + from, size);
                return;
        }
        at += offset % size / width * width;
        if (at + width > t->size)
                return;
        value = value_of(in, width);
        memcpy(&old, t->bytes + at, width);
        if (how == 1)
                value += old;
        else if (how == 2)
                value ^= old;
        memcpy(t->bytes + at, &value, width);
        if (command % REGIONS == REGION_HEADER && offset % size < offsetof(Header, check))
                header_mend(t);
}

struct scribbler {
        struct target *target;
        pthread_t thread;
        _Atomic bool stop;
        uint32_t seed;
        bool started;
};

/* A peer who may write the segment and has lost its mind: not to be repeated exactly, but by chance. */
static void *scribble(void *userdata) {
        struct scribbler *s = userdata;
        uint8_t bytes[16];

        while (!atomic_load(&s->stop)) {
                struct input in = {.data = bytes, .size = sizeof(bytes)};

                for (size_t i = 0; i < sizeof(bytes); i++) {
                        s->seed = s->seed * 1664525u + 1013904223u;
                        bytes[i] = (uint8_t) (s->seed >> 24);
                }
                bytes[1] %= 8; /* item: what is used lies in front */
                bytes[2] = 0;
                if (bytes[0] % REGIONS != REGION_ANYWHERE)
                        edit(s->target, bytes[0] & 0x7f,
                                        &(struct input){bytes + 1, in.size - 1, 0});
                (void) sched_yield();
        }
        return NULL;
}

static void scribbler_start(struct scribbler *s, struct target *t, struct input *in) {
        s->target = t;
        s->seed = (uint32_t) input_number(in, 2);
        s->started = pthread_create(&s->thread, NULL, scribble, s) == 0;
}

static void scribbler_stop(struct scribbler *s) {
        atomic_store(&s->stop, true);
        if (s->started)
                (void) pthread_join(s->thread, NULL);
}

/* The rest of the input is the file. */
static void replace_file(struct target *t, struct input *in) {
        size_t n = in->size - in->at < t->size ? in->size - in->at : t->size;
        char path[96];

        memcpy(t->bytes, in->data + in->at, n);
        snprintf(path, sizeof(path), "%s/segment", sandbox_directory());
        if (truncate(path, (off_t) n) < 0)
                sandbox_fail("fuzz: truncate failed");
        in->at = in->size;
}

static void run(struct input *in) {
        uint8_t first = input_byte(in);
        const struct image *image = image_get((first & 3) % IMAGES);
        struct scribbler scribbler = {0};
        struct player player = {0};
        struct target t = {0};

        image_install(image);
        if (!target_open(&t, image))
                sandbox_fail("fuzz: the file is not there");
        if (first == 0xff)
                replace_file(&t, in);
        player.flags = first & 8 ? COORD_CLIENT_THREAD_OWNED : 0;
        if (first & 4)
                call_attach(&player);
        if (first != 0xff && first & 16)
                scribbler_start(&scribbler, &t, in);
        for (unsigned i = 0; i < COMMANDS_MAX && input_left(in); i++) {
                uint8_t command = input_byte(in);

                if (command < 0x80)
                        edit(&t, command, in);
                else
                        call(&player, command & 0x7f, in);
        }
        call_finish(&player);
        scribbler_stop(&scribbler);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        (void) image_get(IMAGE_EMPTY);
        return sandbox_run(run, data, size);
}
