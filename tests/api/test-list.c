/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What others see: coord_list(), coord_watch() and coord_client_get_status(). It must never know
 * the library's insides.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK
};

/* ---- who holds it ------------------------------------------------------------------------- */

START_TEST(holder_is_listed_with_its_identity) {
        struct actor *holder = api_process();
        struct answer got = api_do(holder, ORDER(.description = "nightly run", .text = "a"));
        const struct coord_party *p;
        struct glance g;

        assert_answer(got, 0);
        g = api_glance(LOCK, "a");
        ck_assert_ptr_nonnull(g.entry);
        ck_assert_int_eq(g.entry->held, 1);
        ck_assert_int_eq(g.entry->mode, COORD_MODE_EXCLUSIVE);
        ck_assert_int_eq(g.entry->reserved, 0);
        ck_assert_uint_eq(g.entry->n_holders, 1);
        p = &g.entry->holders[0];
        ck_assert_str_eq(p->token, got.token);
        ck_assert_str_eq(p->owner, "process");
        ck_assert_str_eq(p->description, "nightly run");
        ck_assert_str_eq(p->command, "api-actor");
        ck_assert_int_eq(p->pid, holder->pid);
        ck_assert_uint_eq(p->uid, getuid());
        ck_assert_int_eq(p->mode, COORD_MODE_EXCLUSIVE);
        ck_assert_uint_eq(p->permits, 1);
        ck_assert_int_eq(p->reserved, 0);
        ck_assert_uint_gt(p->since_usec, 1500000000 * SEC);
        api_glance_end(&g);
}
END_TEST

START_TEST(waiter_is_listed_with_its_identity) {
        struct actor *holder = api_process(), *waiter = api_process();
        const struct coord_party *p;
        struct glance g;

        api_take(holder, "a");
        api_send(waiter, ORDER(.description = "patient", .mode = 1, .text = "a"));
        api_until_waiters(LOCK, "a", 1);
        g = api_glance(LOCK, "a");
        p = &g.entry->waiters[0];
        ck_assert_ptr_null(p->token);
        ck_assert_int_eq(p->pid, waiter->pid);
        ck_assert_int_eq(p->mode, COORD_MODE_SHARED);
        ck_assert_str_eq(p->command, "api-actor");
        ck_assert_uint_gt(p->since_usec, 1500000000 * SEC);
        api_glance_end(&g);
}
END_TEST

START_TEST(owner_of_another_kind_is_listed_as_text) {
        struct actor *owner = api_process();
        struct order o = {.text = "a"};
        struct glance g;

        snprintf(o.owner, sizeof(o.owner), "pid:%d", (int) owner->pid);
        assert_answer(api_do(api_process(), &o), 0);
        assert_answer(api_do(api_process(), ORDER(.owner = "lease:1h", .text = "b")), 0);
        g = api_glance(LOCK, "a");
        ck_assert_str_eq(g.entry->holders[0].owner, o.owner);
        ck_assert_int_eq(g.entry->holders[0].pid, owner->pid);
        api_glance_end(&g);
        g = api_glance(LOCK, "b");
        ck_assert_int_eq(strncmp(g.entry->holders[0].owner, "lease:", 6), 0);
        api_glance_end(&g);
}
END_TEST

START_TEST(long_description_keeps_its_beginning) {
        struct actor *holder = api_process();
        struct order o = {.text = "a"};
        struct glance g;

        memset(o.description, 'x', 100);
        assert_answer(api_do(holder, &o), 0);
        g = api_glance(LOCK, "a");
        ck_assert_uint_eq(strspn(g.entry->holders[0].description, "x"), 63);
        ck_assert_uint_eq(strlen(g.entry->holders[0].description), 63);
        api_glance_end(&g);
}
END_TEST

START_TEST(free_lock_is_not_listed_as_held) {
        coord_client *c = api_client();
        struct glance g;

        coord_hold_unref(api_lock(c, "a"));
        g = api_glance(LOCK, "a");
        ck_assert(!g.entry || (!g.entry->held && g.entry->n_holders == 0));
        api_glance_end(&g);
        coord_client_unref(c);
}
END_TEST

START_TEST(list_is_sorted_by_kind_and_name) {
        static const char *const names[] = {"m", "b", "z", "a"};
        coord_hold *holds[ELEMENTS(names)], *sem;
        struct coord_entry *e = NULL;
        coord_client *c = api_client();
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTS(names); i++)
                holds[i] = api_lock(c, names[i]);
        sem = api_permits(c, "c", 1, 1);
        assert_result(coord_list(c, COORD_KIND_ANY, &e, &n), 0);
        ck_assert_uint_eq(n, 5);
        for (size_t i = 1; i < n; i++)
                ck_assert(e[i - 1].kind < e[i].kind || strcmp(e[i - 1].name, e[i].name) < 0);
        e = coord_entries_free(e, n);
        ck_assert_ptr_null(e);
        assert_result(coord_list(c, COORD_KIND_SEMAPHORE, &e, &n), 0);
        ck_assert_uint_eq(n, 1);
        ck_assert_str_eq(e[0].name, "c");
        coord_entries_free(e, n);
        coord_hold_unref(sem);
        for (size_t i = 0; i < ELEMENTS(names); i++)
                coord_hold_unref(holds[i]);
        coord_client_unref(c);
}
END_TEST

/* ---- watching ----------------------------------------------------------------------------- */

START_TEST(watch_with_no_cursor_returns_at_once) {
        coord_client *c = api_client();
        uint64_t cursor = 0;

        assert_result(coord_watch(c, "*", &cursor, ENDLESS), 0);
        ck_assert_uint_ne(cursor, 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(watch_without_a_change_times_out) {
        coord_client *c = api_client();
        uint64_t cursor = 0, began;

        assert_result(coord_watch(c, "a", &cursor, ENDLESS), 0);
        began = api_now();
        assert_result(coord_watch(c, "a", &cursor, 30 * MSEC), -ETIMEDOUT);
        ck_assert_uint_ge(api_now() - began, 30 * MSEC);
        coord_client_unref(c);
}
END_TEST

START_TEST(watch_sees_uncontended_grant_and_release_of_another_process) {
        coord_client *c = api_client();
        struct actor *a = api_process();
        uint64_t cursor = 0;

        assert_result(coord_watch(c, "a", &cursor, 0), 0);
        api_take(a, "a");
        assert_result(coord_watch(c, "a", &cursor, 60 * SEC), 0);
        while (api_holders(LOCK, "a") != 1)
                assert_result(coord_watch(c, "a", &cursor, 60 * SEC), 0);
        api_drop(a);
        while (api_holders(LOCK, "a") != 0)
                assert_result(coord_watch(c, "a", &cursor, 60 * SEC), 0);
        coord_client_unref(c);
}
END_TEST

struct spell {
        coord_client *c;
        const char *glob;
        uint64_t cursor, timeout;
        int result;
};

static void *spell_watch(void *argument) {
        struct spell *s = argument;

        s->result = coord_watch(s->c, s->glob, &s->cursor, s->timeout);
        return NULL;
}

START_TEST(sleeping_watcher_is_woken) {
        struct spell s = {.c = api_client(), .glob = "back*", .timeout = 60 * SEC};
        struct actor *a = api_process();
        pthread_t thread;

        assert_result(coord_watch(s.c, s.glob, &s.cursor, 0), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, spell_watch, &s), 0);
        api_take(a, "backup");
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(s.result, 0);
        coord_client_unref(s.c);
}
END_TEST

START_TEST(watch_ends_with_cancel) {
        struct spell s = {.c = api_client(), .glob = "*", .timeout = ENDLESS};
        pthread_t thread;

        assert_result(coord_watch(s.c, s.glob, &s.cursor, 0), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, spell_watch, &s), 0);
        assert_result(coord_client_cancel(s.c), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(s.result, -ECANCELED);
        coord_client_unref(s.c);
}
END_TEST

START_TEST(watch_of_one_name_sleeps_through_another) {
        coord_client *c = api_client();
        struct actor *a = api_process();
        uint64_t cursor = 0;

        api_take(a, "z");
        api_drop(a);
        assert_result(coord_watch(c, "a", &cursor, 0), 0);
        api_take(a, "z");
        api_drop(a);
        assert_result(coord_watch(c, "a", &cursor, 30 * MSEC), -ETIMEDOUT);
        coord_client_unref(c);
}
END_TEST

/* ---- status ------------------------------------------------------------------------------- */

START_TEST(status_tells_where_and_how_much) {
        struct coord_status status = {.size = sizeof(status)};
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        uint64_t epoch, counter;

        assert_result(coord_client_get_status(c, &status), 0);
        assert_result(coord_hold_fence(h, &epoch, &counter), 0);
        ck_assert_str_eq(status.path, api_path("segment"));
        ck_assert_uint_eq(status.epoch, epoch);
        ck_assert_uint_gt(status.bytes, 0);
        ck_assert_uint_ge(status.names, 1);
        ck_assert_uint_ge(status.names_max, 1024);
        ck_assert_uint_gt(status.waiters_max, status.waiters);
        ck_assert_uint_gt(status.records_max, status.records);
        ck_assert_uint_ge(status.permits_max, 1024);
        ck_assert_uint_ge(status.processes, 1);
        ck_assert_int_eq(status.daemon, 0);
        ck_assert_int_eq(status.deleted, 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(status_counts_waiters) {
        struct coord_status status = {.size = sizeof(status)};
        struct actor *waiter = api_process();
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        api_send(waiter, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_client_get_status(c, &status), 0);
        ck_assert_uint_ge(status.waiters, 1);
        ck_assert_uint_ge(status.processes, 2);
        coord_hold_unref(h);
        assert_answer(api_answer(waiter), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(status_of_no_size_is_einval) {
        struct coord_status status = {.size = 0};
        coord_client *c = api_client();

        assert_result(coord_client_get_status(c, &status), -EINVAL);
        coord_client_unref(c);
}
END_TEST

static Suite *list_suite(void) {
        Suite *s = suite_create("list");

        api_fact(s, holder_is_listed_with_its_identity);
        api_fact(s, waiter_is_listed_with_its_identity);
        api_fact(s, owner_of_another_kind_is_listed_as_text);
        api_fact(s, long_description_keeps_its_beginning);
        api_fact(s, free_lock_is_not_listed_as_held);
        api_fact(s, list_is_sorted_by_kind_and_name);
        api_fact(s, watch_with_no_cursor_returns_at_once);
        api_fact(s, watch_without_a_change_times_out);
        api_fact(s, watch_sees_uncontended_grant_and_release_of_another_process);
        api_fact(s, sleeping_watcher_is_woken);
        api_fact(s, watch_ends_with_cancel);
        api_fact(s, watch_of_one_name_sleeps_through_another);
        api_fact(s, status_tells_where_and_how_much);
        api_fact(s, status_counts_waiters);
        api_fact(s, status_of_no_size_is_einval);
        return s;
}

int main(void) {
        return api_run(list_suite());
}
