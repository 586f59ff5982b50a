/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bad input: names, flags, sizes, requests, absent objects, absurd timeouts; and what the errors
 * say. It must never know the library's insides.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK
};

/* ---- names -------------------------------------------------------------------------------- */

START_TEST(bad_names_are_einval_everywhere) {
        static const char *const bad[] = {"", "-", "-x", ":", "a:b", "lock:a", "a b", " a", "a ",
                        "\t", "a\nb", "\x01", "a\x7f", "\xff", "\xc3\xa9", "a*", "?", "[a]", "a,b",
                        "~a", "a\\b", "a\"b", "a'b", "a;b", "a&b", "$a", "a!"};
        coord_client *c = api_client();

        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                coord_hold *h = NULL;
                coord_lock *l = NULL;

                assert_result(coord_lock_acquire(c, bad[i], 0, ENDLESS, &h), -EINVAL);
                ck_assert_str_ne(coord_strerror(c), "");
                assert_result(coord_lock_try(c, bad[i], 0, &h), -EINVAL);
                assert_result(coord_lock_open(c, bad[i], &l), -EINVAL);
                assert_result(coord_semaphore_try(c, bad[i], 1, 1, 0, &h), -EINVAL);
                ck_assert_ptr_null(h);
                ck_assert_ptr_null(l);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(name_of_255_bytes_is_the_longest) {
        coord_client *c = api_client();
        char name[257];

        memset(name, 'x', sizeof(name));
        name[256] = 0;
        assert_result(api_try(c, name), -EINVAL);
        name[255] = 0;
        assert_result(api_try(c, name), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(every_other_byte_is_refused) {
        static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                   "._/@%+-";
        coord_client *c = api_client();

        for (int byte = 1; byte < 256; byte++) {
                char name[] = {'x', (char) byte, 0};
                int expected = strchr(good, byte) ? 0 : -EINVAL;

                assert_result(api_try(c, name), expected);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(names_that_are_missing_are_einval) {
        struct coord_request r = COORD_REQUEST_INIT;
        coord_client *c = api_client();
        coord_hold *h = NULL;
        coord_lock *l = NULL;

        assert_result(coord_lock_acquire(c, NULL, 0, 0, &h), -EINVAL);
        assert_result(coord_lock_open(c, NULL, &l), -EINVAL);
        assert_result(coord_semaphore_try(c, NULL, 1, 1, 0, &h), -EINVAL);
        assert_result(coord_semaphore_configure(c, NULL, 1), -EINVAL);
        assert_result(coord_acquire_full(c, &r, &h), -EINVAL);
        assert_result(coord_acquire_full(c, NULL, &h), -EINVAL);
        assert_result(coord_release(c, NULL), -EINVAL);
        assert_result(coord_check(c, NULL), -EINVAL);
        assert_result(coord_break(c, NULL), -EINVAL);
        coord_client_unref(c);
}
END_TEST

/* ---- flags -------------------------------------------------------------------------------- */

START_TEST(unknown_client_flags_are_einval) {
        coord_client *c = NULL;

        for (int bit = 5; bit < 64; bit++)
                assert_result(coord_client_new(UINT64_C(1) << bit, &c), -EINVAL);
        assert_result(coord_client_new(UINT64_MAX, &c), -EINVAL);
        ck_assert_ptr_null(c);
}
END_TEST

START_TEST(contradicting_client_flags_are_einval) {
        coord_client *c = NULL;

        assert_result(coord_client_new(COORD_CLIENT_SYSTEM | COORD_CLIENT_USER, &c), -EINVAL);
        assert_result(coord_client_new(COORD_CLIENT_NO_DAEMON | COORD_CLIENT_DAEMON_ONLY, &c),
                        -EINVAL);
        ck_assert_ptr_null(c);
}
END_TEST

START_TEST(unknown_flags_are_einval_everywhere) {
        coord_client *c = api_client();
        coord_hold *held = api_share(c, "held"), *h = NULL, **all = NULL;
        const char *const wants[] = {"lock:a", NULL};
        struct coord_request r = COORD_REQUEST_INIT;
        coord_lock *l = NULL;

        r.name = "a";
        assert_result(coord_lock_open(c, "a", &l), 0);
        for (int bit = 3; bit < 64; bit++) {
                uint64_t flag = UINT64_C(1) << bit;

                assert_result(coord_lock_acquire(c, "a", flag, ENDLESS, &h), -EINVAL);
                assert_result(coord_lock_try(c, "a", flag | COORD_SHARED, &h), -EINVAL);
                assert_result(coord_lock_lock(l, flag, ENDLESS, &h), -EINVAL);
                assert_result(coord_semaphore_acquire(c, "s", 1, 1, flag, ENDLESS, &h), -EINVAL);
                assert_result(coord_semaphore_try(c, "s", 1, 1, flag, &h), -EINVAL);
                assert_result(coord_acquire_all(c, wants, flag, ENDLESS, &all), -EINVAL);
                assert_result(coord_hold_convert(held, flag, ENDLESS), -EINVAL);
                r.flags = flag;
                assert_result(coord_acquire_full(c, &r, &h), -EINVAL);
        }
        assert_result(coord_hold_check(held), 1);
        ck_assert(api_free("a"));
        coord_lock_unref(l);
        coord_hold_unref(held);
        coord_client_unref(c);
}
END_TEST

/* ---- requests ----------------------------------------------------------------------------- */

static void refused(coord_client *c, const struct coord_request *r) {
        coord_hold *h = NULL;

        assert_result(coord_acquire_full(c, r, &h), -EINVAL);
        ck_assert_ptr_null(h);
        ck_assert_str_ne(coord_strerror(c), "");
}

START_TEST(requests_out_of_range_are_einval) {
        struct coord_request good = COORD_REQUEST_INIT, r;
        coord_client *c = api_client();

        good.name = "a";
        r = good;
        for (int kind = -1; kind < 10; kind++) {
                r.kind = kind;
                if (kind != COORD_KIND_LOCK && kind != COORD_KIND_SEMAPHORE)
                        refused(c, &r);
        }
        r = good;
        r.mode = 2;
        refused(c, &r);
        r.mode = -1;
        refused(c, &r);
        r = good;
        r.priority = 20;
        refused(c, &r);
        r.priority = -21;
        refused(c, &r);
        r = good;
        r.kind = COORD_KIND_SEMAPHORE;
        r.capacity = 1025;
        refused(c, &r);
        r.capacity = 3;
        r.permits = 4;
        refused(c, &r);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(requests_of_a_wrong_size_are_einval) {
        static const size_t sizes[] = {0, 1, 8, sizeof(size_t) + sizeof(int), SIZE_MAX};
        struct coord_request r = COORD_REQUEST_INIT;
        coord_client *c = api_client();

        r.name = "a";
        for (size_t i = 0; i < ELEMENTS(sizes); i++) {
                r.size = sizes[i];
                refused(c, &r);
        }
        coord_client_unref(c);
}
END_TEST

START_TEST(unknown_kind_is_not_listed) {
        struct coord_entry *e = NULL;
        coord_client *c = api_client();
        size_t n = 7;

        assert_result(coord_list(c, 99, &e, &n), -EINVAL);
        assert_result(coord_list(c, -1, &e, &n), -EINVAL);
        ck_assert_ptr_null(e);
        ck_assert_uint_eq(n, 7);
        coord_client_unref(c);
}
END_TEST

START_TEST(list_of_an_unused_place_is_empty) {
        struct coord_entry *e = NULL;
        coord_client *c = api_client();
        size_t n = 7;

        assert_result(coord_list(c, COORD_KIND_ANY, &e, &n), 0);
        ck_assert_uint_eq(n, 0);
        coord_entries_free(e, n);
        coord_client_unref(c);
}
END_TEST

/* ---- nothing ------------------------------------------------------------------------------ */

START_TEST(references_to_nothing_are_nothing) {
        ck_assert_ptr_null(coord_client_ref(NULL));
        ck_assert_ptr_null(coord_client_unref(NULL));
        ck_assert_ptr_null(coord_lock_unref(NULL));
        ck_assert_ptr_null(coord_hold_ref(NULL));
        ck_assert_ptr_null(coord_hold_unref(NULL));
        ck_assert_ptr_null(coord_slot_unref(NULL));
        ck_assert_ptr_null(coord_holds_free(NULL));
        ck_assert_ptr_null(coord_entries_free(NULL, 0));
}
END_TEST

START_TEST(client_opens_nothing_before_it_is_needed) {
        coord_client *c = api_client();

        ck_assert_ptr_null(fopen(api_path("segment"), "re"));
        coord_client_unref(coord_client_ref(c));
        coord_hold_unref(api_lock(c, "a"));
        coord_client_unref(c);
}
END_TEST

/* ---- timeouts ----------------------------------------------------------------------------- */

START_TEST(timeouts_beyond_any_clock_wait) {
        static const uint64_t timeouts[] = {UINT64_MAX - 1, UINT64_MAX / 2 + 1, INT64_MAX,
                        UINT64_MAX / 1000, (uint64_t) INT64_MAX / 1000};
        struct actor *holder = api_process(), *waiter = api_process();

        for (size_t i = 0; i < ELEMENTS(timeouts); i++) {
                api_take(holder, "a");
                api_send(waiter, ORDER(.patience = timeouts[i], .text = "a"));
                api_until_waiters(LOCK, "a", 1);
                ck_assert(api_silent(waiter));
                api_drop(holder);
                assert_answer(api_answer(waiter), 0);
                api_drop(waiter);
        }
}
END_TEST

START_TEST(shortest_timeout_times_out) {
        struct actor *holder = api_process();
        coord_client *c = api_client();
        coord_hold *none = NULL;

        api_take(holder, "a");
        for (int i = 0; i < 100; i++)
                assert_result(coord_lock_acquire(c, "a", 0, 1, &none), -ETIMEDOUT);
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 0);
        coord_client_unref(c);
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------- */

START_TEST(errors_have_their_bus_names) {
        static const struct {
                int error;
                const char *name;
        } known[] = {{ETIMEDOUT, "Timeout"}, {EAGAIN, "WouldBlock"}, {EDEADLK, "Deadlock"},
                        {ERANGE, "CapacityMismatch"}, {EACCES, "AccessDenied"},
                        {EDQUOT, "QuotaExceeded"}, {EUNATCH, "Unavailable"}};
        char text[80];

        for (size_t i = 0; i < ELEMENTS(known); i++) {
                snprintf(text, sizeof(text), "org.coordd.Coord1.Error.%s", known[i].name);
                ck_assert_str_eq(coord_error_name(-known[i].error), text);
                ck_assert_str_eq(coord_error_name(known[i].error), text);
        }
        for (int error = -5000; error < 5000; error++)
                ck_assert_ptr_nonnull(coord_error_name(error));
}
END_TEST

START_TEST(message_names_what_was_refused_and_who_holds_it) {
        struct actor *holder = api_process();
        coord_client *c = api_client();
        coord_hold *none = NULL;
        char pid[16];

        ck_assert_ptr_nonnull(coord_strerror(c));
        api_take(holder, "backup");
        snprintf(pid, sizeof(pid), "%d", (int) holder->pid);
        assert_result(coord_lock_try(c, "backup", 0, &none), -EAGAIN);
        ck_assert_msg(strstr(coord_strerror(c), "backup") && strstr(coord_strerror(c), pid), "%s",
                        coord_strerror(c));
        assert_result(coord_lock_acquire(c, "backup", 0, MSEC, &none), -ETIMEDOUT);
        ck_assert_msg(strstr(coord_strerror(c), "backup") && strstr(coord_strerror(c), pid), "%s",
                        coord_strerror(c));
        coord_client_unref(c);
}
END_TEST

START_TEST(message_is_the_calling_threads_own) {
        coord_client *c = api_client();
        struct actor *other = api_thread(c);
        struct answer got;
        char mine[512];

        assert_result(api_try(c, "-mine"), -EINVAL);
        snprintf(mine, sizeof(mine), "%s", coord_strerror(c));
        got = api_do(other, ORDER(.kind = COORD_KIND_SEMAPHORE, .text = "theirs"));
        assert_answer(got, -ENOENT);
        ck_assert_msg(strstr(got.said, "theirs") != NULL, "%s", got.said);
        ck_assert_str_eq(coord_strerror(c), mine);
        coord_client_unref(c);
}
END_TEST

START_TEST(daemon_that_is_not_there_is_eunatch) {
        coord_client *c = NULL;
        coord_hold *none = NULL;

        assert_result(coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_DAEMON_ONLY, &c), 0);
        assert_result(coord_lock_try(c, "a", 0, &none), -EUNATCH);
        ck_assert_str_ne(coord_strerror(c), "");
        coord_client_unref(c);
        ck_assert(api_free("a"));
}
END_TEST

START_TEST(version_is_told) {
        ck_assert_int_ge((int) strspn(coord_version(), "0123456789."), 3);
}
END_TEST

static Suite *input_suite(void) {
        Suite *s = suite_create("input");

        api_fact(s, bad_names_are_einval_everywhere);
        api_fact(s, name_of_255_bytes_is_the_longest);
        api_fact(s, every_other_byte_is_refused);
        api_fact(s, names_that_are_missing_are_einval);
        api_fact(s, unknown_client_flags_are_einval);
        api_fact(s, contradicting_client_flags_are_einval);
        api_fact(s, unknown_flags_are_einval_everywhere);
        api_fact(s, requests_out_of_range_are_einval);
        api_fact(s, requests_of_a_wrong_size_are_einval);
        api_fact(s, unknown_kind_is_not_listed);
        api_fact(s, list_of_an_unused_place_is_empty);
        api_fact(s, references_to_nothing_are_nothing);
        api_fact(s, client_opens_nothing_before_it_is_needed);
        api_fact(s, timeouts_beyond_any_clock_wait);
        api_fact(s, shortest_timeout_times_out);
        api_fact(s, errors_have_their_bus_names);
        api_fact(s, message_names_what_was_refused_and_who_holds_it);
        api_fact(s, message_is_the_calling_threads_own);
        api_fact(s, daemon_that_is_not_there_is_eunatch);
        api_fact(s, version_is_told);
        return s;
}

int main(void) {
        return api_run(input_suite());
}
