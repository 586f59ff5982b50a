/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration file as the library reads it: [Semaphore] Capacity=, [Lock] LockDelay= MaxHold=.
 * The input is the file. A library that can't make sense of it still serves what is not in it.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void file_write(const struct input *in) {
        char path[96];
        FILE *f;

        snprintf(path, sizeof(path), "%s/coordd.conf", sandbox_directory());
        f = fopen(path, "we");
        if (!f || fwrite(in->data, 1, in->size, f) != in->size || fclose(f) != 0)
                sandbox_fail("fuzz: cannot write %s: %s", path, strerror(errno));
}

static void use_locks(coord_client *c) {
        static const char *const names[] = {"backup", "x", "a/b"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                coord_hold *h = NULL;

                for (unsigned k = 0; k < 2; k++) {
                        if (coord_lock_acquire(c, names[i], k, 1000, &h) < 0)
                                continue;
                        (void) coord_hold_check(h);
                        (void) coord_hold_release(h);
                        h = coord_hold_unref(h);
                }
        }
}

static void use_semaphores(coord_client *c) {
        static const char *const names[] = {"devices", "x", "seats"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                coord_hold *h = NULL;

                if (coord_semaphore_acquire(c, names[i], 0, 1, 0, 1000, &h) >= 0) {
                        (void) coord_hold_release(h);
                        h = coord_hold_unref(h);
                }
                (void) coord_strerror(c);
                if (coord_semaphore_try(c, names[i], 3, 3, 0, &h) >= 0)
                        (void) coord_hold_release(h);
                coord_hold_unref(h);
        }
}

static void run(struct input *in) {
        struct coord_entry *entries = NULL;
        coord_client *c = NULL;
        size_t n = 0;

        image_install(image_get(IMAGE_EMPTY));
        file_write(in);
        if (coord_client_new(CLIENT_FLAGS, &c) < 0)
                sandbox_fail("coord_client_new failed");
        use_locks(c);
        use_semaphores(c);
        if (coord_list(c, COORD_KIND_ANY, &entries, &n) < 0)
                sandbox_fail("coord_list: %s", coord_strerror(c));
        coord_entries_free(entries, n);
        coord_client_unref(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        (void) image_get(IMAGE_EMPTY);
        return sandbox_run(run, data, size);
}
