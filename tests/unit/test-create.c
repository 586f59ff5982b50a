/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a segment, and which one may be used: each damage is refused by a text that says what to do.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "segment/create.h"
#include "unit.h"

static char message[SEGMENT_MESSAGE_MAX];

static int create_here(Geometry g, uint64_t old_epoch) {
        Place p = unit_place(g);
        int fd = runtime_directory_open(&p, message), r;

        ck_assert_int_ge(fd, 0);
        r = segment_create(fd, &p, old_epoch, message);
        safe_close(fd);
        return r;
}

static off_t header_load(Header *h) {
        int fd = open(unit_path("segment"), O_RDONLY | O_CLOEXEC);
        struct stat st;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(read(fd, h, sizeof(*h)), sizeof(*h));
        ck_assert_int_eq(fstat(fd, &st), 0);
        safe_close(fd);
        return st.st_size;
}

START_TEST(geometry_is_what_the_place_says) {
        Header h;

        assert_result(create_here((Geometry){10, 20, 30, 40}, 0), 0);
        ck_assert_int_eq(header_load(&h), (off_t) h.size);
        ck_assert_uint_eq(h.n_slots, 10);
        ck_assert_uint_eq(h.n_cells, 20);
        ck_assert_uint_eq(h.n_extents, 30);
        ck_assert_uint_eq(h.n_records, 40);
        ck_assert_uint_ge(h.n_buckets, 20);
        assert_result(segment_verify(&h, h.size, message), 0);
}
END_TEST

START_TEST(geometry_of_zero_is_the_default) {
        Header h;

        assert_result(create_here((Geometry){0}, 0), 0);
        header_load(&h);
        ck_assert_uint_ge(h.n_slots, 1024);
        assert_result(segment_verify(&h, h.size, message), 0);
}
END_TEST

START_TEST(parts_lie_behind_each_other_within_the_file) {
        Header h;

        assert_result(create_here((Geometry){33, 65, 17, 129}, 0), 0);
        header_load(&h);
        ck_assert_uint_ge(h.off_buckets, SEG_PAGE);
        ck_assert_uint_ge(h.off_slots, h.off_buckets + h.n_buckets * sizeof(Word));
        ck_assert_uint_ge(h.off_cells, h.off_slots + h.n_slots * sizeof(Slot));
        ck_assert_uint_ge(h.off_extents, h.off_cells + h.n_cells * sizeof(Cell));
        ck_assert_uint_ge(h.off_records, h.off_extents + h.n_extents * sizeof(Extent));
        ck_assert_uint_ge(h.size, h.off_records + h.n_records * sizeof(Record));
}
END_TEST

START_TEST(file_is_allocated_in_full_and_its_owners_alone) {
        struct stat st;

        assert_result(create_here((Geometry){32, 256, 128, 128}, 0), 0);
        ck_assert_int_eq(stat(unit_path("segment"), &st), 0);
        ck_assert_int_ge(st.st_blocks * 512, st.st_size);
        ck_assert_uint_eq(st.st_mode & 0777, 0600);
        ck_assert_uint_eq(st.st_nlink, 1);
}
END_TEST

START_TEST(second_segment_beside_one_is_eexist) {
        Header a, b;

        assert_result(create_here((Geometry){8, 8, 8, 8}, 0), 0);
        header_load(&a);
        assert_result(create_here((Geometry){16, 8, 8, 8}, 0), -EEXIST);
        header_load(&b);
        ck_assert_mem_eq(&a, &b, sizeof(a));
}
END_TEST

START_TEST(hash_keys_of_two_segments_differ) {
        Header a, b;

        assert_result(create_here((Geometry){8, 8, 8, 8}, 0), 0);
        header_load(&a);
        ck_assert_int_eq(unlink(unit_path("segment")), 0);
        assert_result(create_here((Geometry){8, 8, 8, 8}, 0), 0);
        header_load(&b);
        ck_assert_mem_ne(a.hash_key, b.hash_key, sizeof(a.hash_key));
}
END_TEST

START_TEST(epoch_is_above_the_old_one_whatever_the_clock_says) {
        Header h;

        assert_result(create_here((Geometry){8, 8, 8, 8}, UINT64_C(4000000000)), 0);
        header_load(&h);
        ck_assert_uint_eq(h.epoch, UINT64_C(4000000001));
}
END_TEST

START_TEST(segment_that_does_not_fit_is_named_and_leaves_nothing) {
        struct rlimit limit = {SEG_PAGE, SEG_PAGE};

        (void) signal(SIGXFSZ, SIG_IGN);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_assert_int_lt(create_here((Geometry){8, 8, 8, 8}, 0), 0);
        ck_assert_ptr_nonnull(strstr(message, unit_place((Geometry){0}).runtime_dir));
        ck_assert_int_ne(access(unit_path("segment"), F_OK), 0);
}
END_TEST

/* ---- verifying ---- */

static Header sound;

static void sound_make(void) {
        assert_result(create_here((Geometry){8, 16, 24, 32}, 0), 0);
        header_load(&sound);
}

/* The check is made to fit the damage when fit says so. */
static void assert_refused(Header *h, bool fit, const char *what, const char *remedy) {
        if (fit)
                h->check = header_check(h);
        message[0] = '\0';
        assert_result(segment_verify(h, sound.size, message), -EUNATCH);
        ck_assert_msg(strstr(message, what) && strstr(message, remedy), "expected %s, %s: %s", what,
                        remedy, message);
}

START_TEST(every_damaged_byte_of_the_header_is_refused) {
        sound_make();
        for (size_t i = 0; i < offsetof(Header, check) + sizeof(sound.check); i++) {
                Header h = sound;

                ((uint8_t *) &h)[i] ^= 0x10;
                message[0] = '\0';
                ck_assert_msg(segment_verify(&h, h.size, message) == -EUNATCH, "byte %zu", i);
                ck_assert_msg(strstr(message, "move the file away") ||
                                                strstr(message, "end all its users"),
                                "byte %zu: %s", i, message);
        }
}
END_TEST

START_TEST(counts_that_lie_are_refused_even_with_a_sound_check) {
        static const uint32_t lies[] = {0, 1000001, UINT32_MAX};

        sound_make();
        for (size_t i = 0; i < ELEMENTSOF(lies); i++) {
                Header h = sound;

                h.n_slots = lies[i];
                assert_refused(&h, true, "damaged", "remove the file and try again");
                h = sound;
                h.n_extents = lies[i] ? lies[i] : UINT32_MAX;
                assert_refused(&h, true, "damaged", "remove the file and try again");
                h = sound;
                h.n_records = lies[i] ? lies[i] : UINT32_MAX;
                assert_refused(&h, true, "damaged", "remove the file and try again");
                h = sound;
                h.n_cells = lies[i] > 1000001 ? lies[i] : lies[i] ? PRED_INDEX + 1 : 0;
                assert_refused(&h, true, "damaged", "remove the file and try again");
        }
}
END_TEST

START_TEST(sizes_that_do_not_follow_from_the_counts_are_refused) {
        Header h;

        sound_make();
        h = sound;
        h.size += SEG_PAGE;
        assert_refused(&h, true, "truncated or damaged", "remove the file and try again");
        h = sound;
        h.n_buckets *= 2;
        assert_refused(&h, true, "truncated or damaged", "remove the file and try again");
        h = sound;
        h.n_slots += 4096;
        assert_refused(&h, true, "truncated or damaged", "remove the file and try again");
}
END_TEST

START_TEST(other_layout_is_named_with_both_numbers) {
        Header h;

        sound_make();
        h = sound;
        h.layout = SEG_LAYOUT + 6;
        assert_refused(&h, true, "layout 7, this program knows layout 1",
                        "programs of one version");
        assert_refused(&h, false, "layout 7", "programs of one version");
}
END_TEST

START_TEST(other_namespaces_are_told_apart) {
        Header h;

        sound_make();
        h = sound;
        h.pid_ns++;
        assert_refused(&h, true, "another pid namespace", "a runtime directory of your own");
        h = sound;
        h.time_ns++;
        assert_refused(&h, true, "another time namespace", "a runtime directory of your own");
}
END_TEST

START_TEST(another_boots_segment_is_estale) {
        Header h;

        sound_make();
        h = sound;
        h.boot_id[3] ^= 1;
        h.check = header_check(&h);
        assert_result(segment_verify(&h, h.size, message), -ESTALE);
}
END_TEST

START_TEST(file_shorter_than_its_header_says_is_refused) {
        sound_make();
        assert_result(segment_verify(&sound, sound.size - 1, message), -EUNATCH);
        ck_assert_ptr_nonnull(strstr(message, "truncated"));
        assert_result(segment_verify(&sound, 0, message), -EUNATCH);
        ck_assert_ptr_nonnull(strstr(message, "not a segment"));
        assert_result(segment_verify(&sound, SEG_PAGE - 1, message), -EUNATCH);
        ck_assert_ptr_nonnull(strstr(message, "not a segment"));
}
END_TEST

START_TEST(offsets_that_lie_are_refused_even_with_a_sound_check) {
        uint64_t lie = UINT64_C(1) << 40;

        sound_make();
        for (size_t i = 0; i < 5; i++) {
                Header h = sound;

                (&h.off_buckets)[i] = lie;
                assert_refused(&h, true, "damaged", "remove the file and try again");
        }
}
END_TEST

static Suite *create_suite(void) {
        Suite *s = suite_create("create");

        unit_fact(s, geometry_is_what_the_place_says);
        unit_fact(s, geometry_of_zero_is_the_default);
        unit_fact(s, parts_lie_behind_each_other_within_the_file);
        unit_fact(s, file_is_allocated_in_full_and_its_owners_alone);
        unit_fact(s, second_segment_beside_one_is_eexist);
        unit_fact(s, hash_keys_of_two_segments_differ);
        unit_fact(s, epoch_is_above_the_old_one_whatever_the_clock_says);
        unit_fact(s, segment_that_does_not_fit_is_named_and_leaves_nothing);
        unit_fact(s, every_damaged_byte_of_the_header_is_refused);
        unit_fact(s, counts_that_lie_are_refused_even_with_a_sound_check);
        unit_fact(s, sizes_that_do_not_follow_from_the_counts_are_refused);
        unit_fact(s, other_layout_is_named_with_both_numbers);
        unit_fact(s, other_namespaces_are_told_apart);
        unit_fact(s, another_boots_segment_is_estale);
        unit_fact(s, file_shorter_than_its_header_says_is_refused);
        unit_fact(s, offsets_that_lie_are_refused_even_with_a_sound_check);
        return s;
}

int main(void) {
        return unit_run(create_suite());
}
