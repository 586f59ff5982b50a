/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Things run out: file descriptors, space on the file system, names in the segment. What is held
 * stays held. It must never know the library's insides.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        MORE_THAN_ALL = 200000,
        SKIPPED = 77
};

/* ---- file descriptors --------------------------------------------------------------------- */

START_TEST(no_descriptors_left_is_an_error_that_says_so) {
        struct actor *a = api_process(), *first = api_process();
        struct answer got;

        api_take(first, "b");
        assert_answer(api_do(a, ORDER(.op = ACTOR_LIMIT)), 0);
        got = api_do(a, ORDER(.patience = PATIENCE_NONE, .text = "a"));
        assert_answer(got, -EMFILE);
        ck_assert_str_ne(got.said, "");
        assert_answer(api_do(first, ORDER(.op = ACTOR_CHECK)), 1);
}
END_TEST

START_TEST(no_descriptors_left_harms_no_hold) {
        struct actor *a = api_process(), *waiter = api_process();
        struct order o = {.key = 1, .patience = PATIENCE_NONE, .text = "b"};
        struct answer got;

        api_take(a, "a");
        assert_answer(api_do(a, ORDER(.op = ACTOR_LIMIT)), 0);
        snprintf(o.owner, sizeof(o.owner), "pid:%d", (int) waiter->pid);
        got = api_do(a, &o);
        ck_assert_msg(got.result == 0 || got.result == -EMFILE, "%d: %s", got.result, got.said);
        assert_answer(api_do(a, ORDER(.op = ACTOR_CHECK)), 1);
        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_drop(a);
        assert_answer(api_answer(waiter), 0);
        api_send(a, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_drop(waiter);
        assert_answer(api_answer(a), 0);
}
END_TEST

/* ---- space -------------------------------------------------------------------------------- */

static bool map_write(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text);

        if (fd >= 0)
                (void) close(fd);
        return written;
}

/* A mount namespace; for users, within a user namespace in which they are root. */
static bool namespace_new(void) {
        char uid_map[64], gid_map[64];

        if (geteuid() == 0)
                return unshare(CLONE_NEWNS) == 0;
        snprintf(uid_map, sizeof(uid_map), "0 %d 1", (int) geteuid());
        snprintf(gid_map, sizeof(gid_map), "0 %d 1", (int) getegid());
        return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
               map_write("/proc/self/setgroups", "deny") &&
               map_write("/proc/self/uid_map", uid_map) && map_write("/proc/self/gid_map", gid_map);
}

/* A file system of 64 KiB over the place, seen by this process alone. */
static bool place_shrink(void) {
        if (!namespace_new())
                return false;
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        return mount("tmpfs", api_place(), "tmpfs", 0, "size=64k,mode=0700") == 0;
}

static int full_place(void) {
        coord_client *c = NULL;
        coord_hold *h = NULL;
        int e;

        if (!place_shrink())
                return SKIPPED;
        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) < 0)
                return 1;
        e = coord_lock_try(c, "a", 0, &h);
        if (e != -ENOSPC) {
                fprintf(stderr, "try on a full file system: %d\n", e);
                return 2;
        }
        if (!strstr(coord_strerror(c), api_place())) {
                fprintf(stderr, "no place in \"%s\"\n", coord_strerror(c));
                return 3;
        }
        /* Nothing half made is left behind: with room, it works. */
        if (mount(NULL, api_place(), NULL, MS_REMOUNT, "size=64m") < 0)
                return 4;
        return coord_lock_try(c, "a", 0, &h) == 0 ? 0 : 5;
}

START_TEST(full_file_system_is_enospc_and_nothing_is_left_behind) {
        pid_t pid = api_fork();
        int status;

        if (pid == 0)
                _exit(full_place());
        status = api_status(pid);
        if (status == SKIPPED)
                fputs("skipped: no file system may be mounted here\n", stderr);
        else
                ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- names -------------------------------------------------------------------------------- */

static coord_hold *numbered(coord_client *c, int i, int *ret_error) {
        coord_hold *h = NULL;
        char name[48];

        snprintf(name, sizeof(name), "numbered/%d", i);
        *ret_error = coord_lock_try(c, name, 0, &h);
        return h;
}

START_TEST(full_segment_is_enospc_and_loses_nothing) {
        coord_hold **holds = calloc(MORE_THAN_ALL, sizeof(*holds));
        struct actor *other = api_process();
        coord_client *c = api_client();
        int n = 0, e = 0;

        ck_assert_ptr_nonnull(holds);
        while (n < MORE_THAN_ALL && (holds[n] = numbered(c, n, &e)))
                n++;
        assert_result(e, -ENOSPC);
        ck_assert_str_ne(coord_strerror(c), "");
        ck_assert_int_ge(n, 4000);
        assert_answer(api_do(other, ORDER(.patience = PATIENCE_NONE, .text = "new")), -ENOSPC);
        assert_answer(api_do(other, ORDER(.patience = PATIENCE_NONE, .text = "numbered/7")),
                        -EAGAIN);
        for (int i = 0; i < n; i++)
                assert_result(coord_hold_check(holds[i]), 1);
        assert_result(coord_hold_release(holds[n / 2]), 0);
        assert_answer(api_do(other, ORDER(.patience = PATIENCE_NONE, .text = "new")), 0);
        for (int i = 0; i < n; i++) {
                assert_result(coord_hold_release(holds[i]), i == n / 2 ? -ESTALE : 0);
                coord_hold_unref(holds[i]);
        }
        free(holds);
        coord_client_unref(c);
}
END_TEST

START_TEST(thousands_held_by_a_killed_process_all_come_free) {
        coord_client *c;
        pid_t pid;
        int e = 0;

        pid = api_fork();
        if (pid == 0) {
                coord_client *own = NULL;

                if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &own) < 0)
                        _exit(1);
                for (int i = 0; i < 4000; i++)
                        if (!numbered(own, i, &e))
                                _exit(2);
                _exit(0);
        }
        ck_assert_int_eq(api_status(pid), 0);
        c = api_client();
        for (int i = 0; i < 4000; i++) {
                coord_hold *h = numbered(c, i, &e);

                assert_result(e, 0);
                assert_result(coord_hold_was_abandoned(h), 1);
                coord_hold_unref(h);
        }
        coord_client_unref(c);
}
END_TEST

static struct coord_status status_of(coord_client *c) {
        struct coord_status status = {.size = sizeof(status)};

        assert_result(coord_client_get_status(c, &status), 0);
        return status;
}

START_TEST(names_that_nobody_uses_are_reclaimed) {
        coord_client *c = api_client();
        coord_hold *kept = api_lock(c, "kept");
        int all = 10000, e = 0;
        uint32_t names_max = status_of(c).names_max;

        if (all < (int) names_max * 3 / 2)
                all = (int) names_max * 3 / 2;
        for (int i = 0; i < all; i++) {
                coord_hold *h = numbered(c, i, &e);

                ck_assert_msg(e == 0, "name %d: %s", i, coord_strerror(c));
                coord_hold_unref(h);
        }
        ck_assert_uint_le(status_of(c).names, names_max);
        assert_result(coord_hold_check(kept), 1);
        coord_hold_unref(kept);
        coord_client_unref(c);
}
END_TEST

START_TEST(tokens_rise_for_a_name_that_was_reclaimed) {
        coord_client *c = api_client();
        uint64_t epoch = 0, counter = 0, later_epoch = 0, later = 0;
        int all = (int) status_of(c).names_max + 100, e = 0;
        coord_hold *h = NULL;

        for (int i = 0; i < 50; i++) {
                coord_hold_unref(h);
                h = api_lock(c, "first");
        }
        assert_result(coord_hold_fence(h, &epoch, &counter), 0);
        coord_hold_unref(h);
        for (int i = 0; i < all; i++)
                coord_hold_unref(numbered(c, i, &e));
        h = api_lock(c, "first");
        assert_result(coord_hold_fence(h, &later_epoch, &later), 0);
        ck_assert(later_epoch > epoch || (later_epoch == epoch && later > counter));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(opened_lock_survives_the_reclaiming_of_its_name) {
        coord_client *c = api_client();
        int all = (int) status_of(c).names_max + 100, e = 0;
        coord_hold *h = NULL;
        coord_lock *l = NULL;

        assert_result(coord_lock_open(c, "opened", &l), 0);
        assert_result(coord_lock_lock(l, 0, 0, &h), 0);
        h = coord_hold_unref(h);
        for (int i = 0; i < all; i++)
                coord_hold_unref(numbered(c, i, &e));
        assert_result(coord_lock_lock(l, 0, 0, &h), 0);
        ck_assert_str_eq(coord_hold_name(h), "opened");
        ck_assert(!api_free("opened"));
        coord_hold_unref(h);
        coord_lock_unref(l);
        coord_client_unref(c);
}
END_TEST

static Suite *limits_suite(void) {
        Suite *s = suite_create("limits");

        api_fact(s, no_descriptors_left_is_an_error_that_says_so);
        api_fact(s, no_descriptors_left_harms_no_hold);
        api_fact(s, full_file_system_is_enospc_and_nothing_is_left_behind);
        api_fact(s, full_segment_is_enospc_and_loses_nothing);
        api_fact(s, thousands_held_by_a_killed_process_all_come_free);
        api_fact(s, names_that_nobody_uses_are_reclaimed);
        api_fact(s, tokens_rise_for_a_name_that_was_reclaimed);
        api_fact(s, opened_lock_survives_the_reclaiming_of_its_name);
        return s;
}

int main(void) {
        return api_run(limits_suite());
}
