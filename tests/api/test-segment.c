/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bad days of the shared file: no access, truncated, alien, of another version, deleted in use,
 * made by many at once. Only actors attach here, so that a test knows who is inside. It must never
 * know the file's layout.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"

enum {
        CREATORS = 16,
        HEAD = 12 /* bytes that tell what the file is, and of which layout */
};

/* ---- one to damage ------------------------------------------------------------------------ */

static struct answer last_token;

/* A sound segment that nobody uses any more. */
static off_t segment_made(void) {
        struct actor *a = api_process();
        struct stat st;

        last_token = api_take(a, "a");
        api_drop(a);
        api_actor_free(a);
        ck_assert_int_eq(stat(api_path("segment"), &st), 0);
        return st.st_size;
}

static struct answer newcomer(void) {
        struct actor *a = api_process();
        struct answer got = api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "a"));

        if (got.result == 0)
                api_drop(a);
        api_actor_free(a);
        return got;
}

static void byte_change(off_t at, uint8_t with) {
        int fd = open(api_path("segment"), O_RDWR | O_CLOEXEC);
        uint8_t byte;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
        byte ^= with;
        ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
        ck_assert_int_eq(close(fd), 0);
}

/* Refused, by a message that names the file. */
static void assert_refused(struct answer got) {
        ck_assert_msg(got.result < 0 && got.result != -EAGAIN && got.result != -EINVAL, "%d: %s",
                        got.result, got.said);
        ck_assert_msg(strstr(got.said, api_place()) != NULL, "%s", got.said);
}

START_TEST(truncated_file_is_refused) {
        off_t size = segment_made();
        const off_t sizes[] = {size - 1, size / 2, 4096, 100, 1};

        for (size_t i = 0; i < ELEMENTS(sizes); i++) {
                ck_assert_int_eq(truncate(api_path("segment"), sizes[i]), 0);
                assert_refused(newcomer());
        }
}
END_TEST

START_TEST(alien_file_is_refused_and_left_alone) {
        struct stat before, after;
        FILE *f;

        f = fopen(api_path("segment"), "we");
        ck_assert_ptr_nonnull(f);
        for (int i = 0; i < 5000; i++)
                ck_assert_int_gt(fprintf(f, "not a segment %d\n", i), 0);
        ck_assert_int_eq(fclose(f), 0);
        ck_assert_int_eq(stat(api_path("segment"), &before), 0);
        assert_refused(newcomer());
        ck_assert_int_eq(stat(api_path("segment"), &after), 0);
        ck_assert_uint_eq(before.st_ino, after.st_ino);
        ck_assert_int_eq(before.st_size, after.st_size);
        ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
        ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}
END_TEST

START_TEST(file_of_zeroes_is_refused) {
        off_t size = segment_made();

        ck_assert_int_eq(truncate(api_path("segment"), 0), 0);
        ck_assert_int_eq(truncate(api_path("segment"), size), 0);
        assert_refused(newcomer());
}
END_TEST

START_TEST(other_version_is_refused) {
        (void) segment_made();
        for (off_t at = 0; at < HEAD; at++) {
                byte_change(at, 0x15);
                assert_refused(newcomer());
                byte_change(at, 0x15);
        }
        assert_answer(newcomer(), 0);
}
END_TEST

START_TEST(directory_in_its_place_is_refused) {
        ck_assert_int_eq(mkdir(api_path("segment"), 0700), 0);
        assert_refused(newcomer());
}
END_TEST

START_TEST(symbolic_link_in_its_place_is_refused) {
        char target[512];
        struct stat st;

        (void) segment_made();
        snprintf(target, sizeof(target), "%s.moved", api_path("segment"));
        ck_assert_int_eq(rename(api_path("segment"), target), 0);
        ck_assert_int_eq(symlink(target, api_path("segment")), 0);
        assert_refused(newcomer());
        ck_assert_int_eq(lstat(api_path("segment"), &st), 0);
        ck_assert(S_ISLNK(st.st_mode));
}
END_TEST

START_TEST(fifo_in_its_place_does_not_hang) {
        ck_assert_int_eq(mkfifo(api_path("segment"), 0600), 0);
        assert_refused(newcomer());
}
END_TEST

/* ---- access ------------------------------------------------------------------------------- */

START_TEST(segment_of_the_user_scope_is_the_users_alone) {
        struct stat st;

        (void) segment_made();
        ck_assert_int_eq(stat(api_path("segment"), &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0600);
        ck_assert_uint_eq(st.st_uid, geteuid());
}
END_TEST

START_TEST(place_without_access_is_eacces_and_says_where) {
        struct actor *a = api_process();
        struct answer got;

        (void) segment_made();
        assert_answer(api_do(a, ORDER(.op = ACTOR_NOBODY)), 0);
        if (geteuid() != 0)
                ck_assert_int_eq(chmod(api_place(), 0), 0);
        got = api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "a"));
        ck_assert_int_eq(chmod(api_place(), 0700), 0);
        assert_answer(got, -EACCES);
        ck_assert_msg(strstr(got.said, api_place()) != NULL, "%s", got.said);
}
END_TEST

START_TEST(segment_without_access_is_eacces_and_says_where) {
        struct actor *a = api_process();
        struct answer got;

        (void) segment_made();
        ck_assert_int_eq(chmod(api_place(), 0755), 0);
        assert_answer(api_do(a, ORDER(.op = ACTOR_NOBODY)), 0);
        if (geteuid() != 0)
                ck_assert_int_eq(chmod(api_path("segment"), 0), 0);
        got = api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "a"));
        assert_answer(got, -EACCES);
        ck_assert_msg(strstr(got.said, api_place()) != NULL, "%s", got.said);
}
END_TEST

START_TEST(segment_of_the_system_scope_tells_of_its_group) {
        uint64_t flags = COORD_CLIENT_SYSTEM | COORD_CLIENT_NO_DAEMON;
        struct actor *root, *nobody;
        struct answer got;

        if (geteuid() != 0) {
                fputs("skipped: only root makes the segment of the system scope\n", stderr);
                return;
        }
        root = api_process_with(flags);
        nobody = api_process_with(flags);
        ck_assert_int_eq(chmod(api_place(), 0755), 0);
        api_take(root, "a");
        assert_answer(api_do(nobody, ORDER(.op = ACTOR_NOBODY)), 0);
        got = api_do(nobody, ORDER(.patience = PATIENCE_NONE, .text = "a"));
        assert_answer(got, -EACCES);
        ck_assert_msg(strstr(got.said, "group") && strstr(got.said, "coord"), "%s", got.said);
        assert_answer(api_do(root, ORDER(.op = ACTOR_CHECK)), 1);
}
END_TEST

START_TEST(missing_runtime_directory_is_made) {
        char path[512];
        struct stat st;

        snprintf(path, sizeof(path), "%s", api_path("made"));
        ck_assert_int_eq(setenv("COORD_RUNTIME_DIR", path, 1), 0);
        assert_answer(newcomer(), 0);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0700);
}
END_TEST

START_TEST(runtime_directory_that_is_a_file_is_refused) {
        char path[512];

        snprintf(path, sizeof(path), "%s", api_path("coordd.conf"));
        ck_assert_int_eq(setenv("COORD_RUNTIME_DIR", path, 1), 0);
        assert_refused(newcomer());
}
END_TEST

/* ---- deleted ------------------------------------------------------------------------------ */

START_TEST(deleted_while_held_insiders_go_on_and_newcomers_are_told) {
        struct actor *holder = api_process(), *insider = api_process();
        struct answer got;

        api_take(holder, "a");
        api_take(insider, "b");
        ck_assert_int_eq(unlink(api_path("segment")), 0);
        got = newcomer();
        assert_answer(got, -EUNATCH);
        ck_assert_msg(strstr(got.said, api_place()) != NULL, "%s", got.said);
        assert_answer(api_do(insider, ORDER(.key = 1, .patience = PATIENCE_NONE, .text = "a")),
                        -EAGAIN);
        api_send(insider, ORDER(.key = 1, .text = "a"));
        api_drop(holder);
        assert_answer(api_answer(insider), 0);
        assert_answer(api_do(insider, ORDER(.op = ACTOR_CHECK)), 1);
        assert_answer(newcomer(), -EUNATCH);
}
END_TEST

START_TEST(deleted_segment_is_made_anew_when_all_have_left_and_tokens_rise) {
        struct actor *holder = api_process();
        struct answer before, after;

        before = api_take(holder, "a");
        ck_assert_int_eq(unlink(api_path("segment")), 0);
        assert_answer(newcomer(), -EUNATCH);
        api_kill(holder);
        after = newcomer();
        assert_answer(after, 0);
        ck_assert_uint_gt(after.epoch, before.epoch);
}
END_TEST

START_TEST(tokens_rise_over_many_deletions) {
        uint64_t last = 0;

        for (int i = 0; i < 5; i++) {
                (void) segment_made();
                ck_assert_uint_gt(last_token.epoch, last);
                last = last_token.epoch;
                ck_assert_int_eq(unlink(api_path("segment")), 0);
        }
}
END_TEST

START_TEST(epoch_stays_while_the_segment_stays) {
        uint64_t first;

        (void) segment_made();
        first = last_token.epoch;
        (void) segment_made();
        ck_assert_uint_eq(last_token.epoch, first);
}
END_TEST

START_TEST(insider_sees_that_the_file_is_gone) {
        struct coord_status status = {.size = sizeof(status)};
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_client_get_status(c, &status), 0);
        ck_assert_int_eq(status.deleted, 0);
        ck_assert_int_eq(unlink(api_path("segment")), 0);
        assert_result(coord_client_get_status(c, &status), 0);
        ck_assert_int_eq(status.deleted, 1);
        assert_result(coord_hold_release(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(lease_of_a_segment_outlives_its_users) {
        struct actor *a = api_process();

        assert_answer(api_do(a, ORDER(.owner = "lease:1h", .text = "a")), 0);
        assert_answer(api_do(a, ORDER(.op = ACTOR_DETACH)), 0);
        api_actor_free(a);
        assert_answer(newcomer(), -EAGAIN);
}
END_TEST

/* ---- made by many ------------------------------------------------------------------------- */

START_TEST(creators_at_once_all_succeed_with_one_epoch) {
        for (int round = 0; round < 5; round++) {
                struct actor *actors[CREATORS];
                uint64_t epoch = 0;

                for (size_t i = 0; i < CREATORS; i++) {
                        actors[i] = api_process();
                        assert_answer(api_do(actors[i], ORDER(.op = ACTOR_PING)), 0);
                }
                for (size_t i = 0; i < CREATORS; i++) {
                        struct order o = {.patience = PATIENCE_NONE};

                        snprintf(o.text, sizeof(o.text), "creator.%zu", i);
                        api_send(actors[i], &o);
                }
                for (size_t i = 0; i < CREATORS; i++) {
                        struct answer got = api_answer(actors[i]);

                        assert_answer(got, 0);
                        ck_assert(epoch == 0 || got.epoch == epoch);
                        epoch = got.epoch;
                }
                for (size_t i = 0; i < CREATORS; i++)
                        api_actor_free(actors[i]);
                ck_assert_int_eq(unlink(api_path("segment")), 0);
        }
}
END_TEST

static Suite *segment_suite(void) {
        Suite *s = suite_create("segment");

        api_fact(s, truncated_file_is_refused);
        api_fact(s, alien_file_is_refused_and_left_alone);
        api_fact(s, file_of_zeroes_is_refused);
        api_fact(s, other_version_is_refused);
        api_fact(s, directory_in_its_place_is_refused);
        api_fact(s, symbolic_link_in_its_place_is_refused);
        api_fact(s, fifo_in_its_place_does_not_hang);
        api_fact(s, segment_of_the_user_scope_is_the_users_alone);
        api_fact(s, place_without_access_is_eacces_and_says_where);
        api_fact(s, segment_without_access_is_eacces_and_says_where);
        api_fact(s, segment_of_the_system_scope_tells_of_its_group);
        api_fact(s, missing_runtime_directory_is_made);
        api_fact(s, runtime_directory_that_is_a_file_is_refused);
        api_fact(s, deleted_while_held_insiders_go_on_and_newcomers_are_told);
        api_fact(s, deleted_segment_is_made_anew_when_all_have_left_and_tokens_rise);
        api_fact(s, tokens_rise_over_many_deletions);
        api_fact(s, epoch_stays_while_the_segment_stays);
        api_fact(s, insider_sees_that_the_file_is_gone);
        api_fact(s, lease_of_a_segment_outlives_its_users);
        api_fact(s, creators_at_once_all_succeed_with_one_epoch);
        return s;
}

int main(void) {
        return api_run(segment_suite());
}
