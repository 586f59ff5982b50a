/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attaching: one segment a place, whoever comes first; files that are none; epochs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "unit.h"

enum {
        CREATORS = 16
};

static const Geometry small = {8, 16, 8, 16};
static char message[SEGMENT_MESSAGE_MAX];

static int attach(Segment **ret) {
        Place p = unit_place(small);

        return segment_attach(&p, false, ret, message);
}

static uint64_t epoch_of_new(void) {
        Segment *s;
        uint64_t epoch;

        assert_result(attach(&s), 0);
        epoch = s->epoch;
        segment_detach(s);
        return epoch;
}

static void assert_refused(const char *what) {
        Segment *s = NULL;

        assert_result(attach(&s), -EUNATCH);
        ck_assert_ptr_null(s);
        ck_assert_msg(strstr(message, what) && strstr(message, unit_path("segment")), "%s",
                        message);
}

START_TEST(second_attachment_sees_what_the_first_wrote) {
        Segment *a = unit_attach(small), *b = unit_attach(small);

        ck_assert_ptr_ne(a->header, b->header);
        ck_assert_uint_ne(a->serial, b->serial);
        ck_assert_uint_eq(a->epoch, b->epoch);
        ck_assert_uint_eq(slot_index(a, unit_lock(a, "x")), slot_index(b, unit_lock(b, "x")));
        ck_assert_uint_eq(a->n_slots, 8);
}
END_TEST

START_TEST(geometry_counts_only_for_the_creator) {
        Segment *a = unit_attach(small), *b = unit_attach((Geometry){512, 512, 512, 512});

        (void) a;
        ck_assert_uint_eq(b->n_slots, 8);
        ck_assert_uint_eq(b->n_cells, 16);
}
END_TEST

START_TEST(directories_are_made_when_missing) {
        char dir[256];
        Place p = unit_place(small);
        Segment *s;

        (void) snprintf(dir, sizeof(dir), "%s", unit_path("a/b/c"));
        p.runtime_dir = dir;
        assert_result(segment_attach(&p, false, &s, message), 0);
        ck_assert_int_eq(access(unit_path("a/b/c/segment"), F_OK), 0);
        segment_detach(s);
}
END_TEST

START_TEST(damaged_header_is_refused_and_left_alone) {
        struct stat before, after;
        uint8_t byte;
        int fd;

        (void) epoch_of_new();
        ck_assert_int_eq(stat(unit_path("segment"), &before), 0);
        fd = open(unit_path("segment"), O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(pread(fd, &byte, 1, offsetof(Header, epoch)), 1);
        byte ^= 0xff;
        ck_assert_int_eq(pwrite(fd, &byte, 1, offsetof(Header, epoch)), 1);
        safe_close(fd);
        assert_refused("remove the file and try again");
        ck_assert_int_eq(stat(unit_path("segment"), &after), 0);
        ck_assert_uint_eq(before.st_ino, after.st_ino);
        ck_assert_int_eq(before.st_size, after.st_size);
}
END_TEST

START_TEST(file_of_any_size_that_is_no_segment_is_refused) {
        static const off_t sizes[] = {0, 1, 8, SEG_PAGE, 1 << 20};

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                unit_write("segment", "");
                ck_assert_int_eq(truncate(unit_path("segment"), sizes[i]), 0);
                assert_refused("move the file away and try again");
        }
}
END_TEST

START_TEST(segment_cut_short_is_refused) {
        struct stat st;

        (void) epoch_of_new();
        ck_assert_int_eq(stat(unit_path("segment"), &st), 0);
        ck_assert_int_eq(truncate(unit_path("segment"), st.st_size - 1), 0);
        assert_refused("truncated");
        ck_assert_int_eq(truncate(unit_path("segment"), SEG_PAGE), 0);
        assert_refused("truncated");
}
END_TEST

START_TEST(other_layout_is_refused_by_name) {
        uint32_t layout = SEG_LAYOUT + 1;
        int fd;

        (void) epoch_of_new();
        fd = open(unit_path("segment"), O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(pwrite(fd, &layout, sizeof(layout), offsetof(Header, layout)),
                        sizeof(layout));
        safe_close(fd);
        assert_refused("use programs of one version");
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused) {
        char target[256];
        Segment *s = NULL;

        ck_assert_int_eq(mkfifo(unit_path("segment"), 0600), 0);
        ck_assert_int_lt(attach(&s), 0);
        ck_assert_ptr_nonnull(strstr(message, unit_path("segment")));
        ck_assert_int_eq(unlink(unit_path("segment")), 0);

        ck_assert_int_eq(mkdir(unit_path("segment"), 0700), 0);
        ck_assert_int_lt(attach(&s), 0);
        ck_assert_ptr_nonnull(strstr(message, unit_path("segment")));
        ck_assert_int_eq(rmdir(unit_path("segment")), 0);

        (void) snprintf(target, sizeof(target), "%s", unit_path("elsewhere"));
        ck_assert_int_eq(symlink(target, unit_path("segment")), 0);
        ck_assert_int_lt(attach(&s), 0);
        ck_assert_ptr_nonnull(strstr(message, unit_path("segment")));
        ck_assert_int_ne(access(target, F_OK), 0);
}
END_TEST

START_TEST(segment_of_an_earlier_boot_is_replaced_with_a_higher_epoch) {
        uint64_t epoch = epoch_of_new();
        Header h;
        int fd = open(unit_path("segment"), O_RDWR | O_CLOEXEC);

        ck_assert_int_eq(pread(fd, &h, sizeof(h), 0), sizeof(h));
        h.boot_id[0] ^= 1;
        h.epoch += 1000;
        h.check = header_check(&h);
        ck_assert_int_eq(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
        safe_close(fd);
        ck_assert_uint_gt(epoch_of_new(), epoch + 1000);
}
END_TEST

START_TEST(epoch_rises_with_each_segment_and_survives_its_removal) {
        uint64_t last = epoch_of_new(), epoch;

        ck_assert_uint_eq(epoch_of_new(), last);
        for (int i = 0; i < 5; i++) {
                ck_assert_int_eq(unlink(unit_path("segment")), 0);
                epoch = epoch_of_new();
                ck_assert_uint_gt(epoch, last);
                last = epoch;
        }
}
END_TEST

START_TEST(epoch_follows_the_file_even_when_the_clock_fell) {
        ck_assert_int_eq(mkdir(unit_path("state"), 0755), 0);
        unit_write("state/epoch", "4100000000\n");
        ck_assert_uint_eq(epoch_of_new(), UINT64_C(4100000001));
        ck_assert_int_eq(unlink(unit_path("segment")), 0);
        ck_assert_uint_eq(epoch_of_new(), UINT64_C(4100000002));
}
END_TEST

START_TEST(epoch_file_of_garbage_does_not_matter) {
        uint64_t now = clock_usec(CLOCK_REALTIME) / USEC_PER_SEC;

        ck_assert_int_eq(mkdir(unit_path("state"), 0755), 0);
        unit_write("state/epoch", "garbage");
        ck_assert_uint_ge(epoch_of_new(), now);
        ck_assert_int_eq(unlink(unit_path("segment")), 0);
        unit_write("state/epoch", "99999999999999999999999999999999\n");
        ck_assert_uint_le(epoch_of_new(), UINT32_MAX);
}
END_TEST

START_TEST(segment_deleted_in_use_is_not_doubled) {
        Segment *a = unit_attach(small);

        ck_assert(!segment_deleted(a));
        ck_assert_int_eq(unlink(unit_path("segment")), 0);
        ck_assert(segment_deleted(a));
        assert_refused("fuser -v");
        ck_assert_int_ne(access(unit_path("segment"), F_OK), 0);
        unit_detach(a);
        a = unit_attach(small);
        ck_assert(!segment_deleted(a));
}
END_TEST

START_TEST(segment_replaced_in_use_is_told_from_ours) {
        Segment *a = unit_attach(small);

        ck_assert_int_eq(unlink(unit_path("segment")), 0);
        unit_write("segment", "");
        ck_assert(segment_deleted(a));
}
END_TEST

START_TEST(detach_takes_null) {
        ck_assert_ptr_null(segment_detach(NULL));
}
END_TEST

static void create(Peer *me, void *data) {
        struct stat st;
        Segment *s;

        (void) data;
        (void) peer_hear(me);
        if (attach(&s) < 0) {
                peer_say(me, 0);
                peer_say(me, 0);
                return;
        }
        (void) fstat(s->fd, &st);
        peer_say(me, st.st_ino);
        peer_say(me, s->epoch);
        (void) peer_hear(me);
        segment_detach(s);
}

START_TEST(sixteen_creators_at_once_make_one_segment) {
        uint64_t inode = 0, epoch = 0;
        Peer peers[CREATORS];

        for (int i = 0; i < CREATORS; i++)
                peer_start(&peers[i], create, NULL);
        for (int i = 0; i < CREATORS; i++)
                peer_say(&peers[i], 1);
        for (int i = 0; i < CREATORS; i++) {
                uint64_t its_inode = peer_hear(&peers[i]), its_epoch = peer_hear(&peers[i]);

                ck_assert_uint_ne(its_inode, 0);
                ck_assert_uint_eq(its_inode, i == 0 ? its_inode : inode);
                ck_assert_uint_eq(its_epoch, i == 0 ? its_epoch : epoch);
                inode = its_inode;
                epoch = its_epoch;
        }
        for (int i = 0; i < CREATORS; i++) {
                peer_say(&peers[i], 1);
                peer_end(&peers[i]);
        }
}
END_TEST

static Suite *attach_suite(void) {
        Suite *s = suite_create("attach");

        unit_fact(s, second_attachment_sees_what_the_first_wrote);
        unit_fact(s, geometry_counts_only_for_the_creator);
        unit_fact(s, directories_are_made_when_missing);
        unit_fact(s, damaged_header_is_refused_and_left_alone);
        unit_fact(s, file_of_any_size_that_is_no_segment_is_refused);
        unit_fact(s, segment_cut_short_is_refused);
        unit_fact(s, other_layout_is_refused_by_name);
        unit_fact(s, what_is_no_regular_file_is_refused);
        unit_fact(s, segment_of_an_earlier_boot_is_replaced_with_a_higher_epoch);
        unit_fact(s, epoch_rises_with_each_segment_and_survives_its_removal);
        unit_fact(s, epoch_follows_the_file_even_when_the_clock_fell);
        unit_fact(s, epoch_file_of_garbage_does_not_matter);
        unit_fact(s, segment_deleted_in_use_is_not_doubled);
        unit_fact(s, segment_replaced_in_use_is_told_from_ours);
        unit_fact(s, detach_takes_null);
        unit_fact(s, sixteen_creators_at_once_make_one_segment);
        return s;
}

int main(void) {
        return unit_run(attach_suite());
}
