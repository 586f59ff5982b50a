/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A private place for each test, and waiting for what coord_list() shows. It must never know the
 * library's insides.
 */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
        TEST_SECONDS = 100,
        SLICE_USEC = 200000,
        PATIENCE_SECONDS = 80
};

static char base[64];
static char place[128];
static coord_client *observer;

void api_actors_end(void);
/* Tests fork while their library has threads. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
        return "die_after_fork=0";
}

/* ---- a test ------------------------------------------------------------------------------ */

static void place_set(const char *variable, const char *name) {
        char path[sizeof(place) + 32];

        snprintf(path, sizeof(path), "%s%s", place, name);
        ck_assert_int_eq(setenv(variable, path, 1), 0);
}

static void place_new(void) {
        FILE *f;

        snprintf(place, sizeof(place), "%s/XXXXXX", base);
        ck_assert_ptr_nonnull(mkdtemp(place));
        place_set("COORD_RUNTIME_DIR", "");
        place_set("COORD_STATE_DIR", "/state");
        place_set("COORD_CONFIG", "/coordd.conf");
        f = fopen(getenv("COORD_CONFIG"), "we");
        ck_assert_ptr_nonnull(f);
        ck_assert_int_eq(fclose(f), 0);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *where) {
        (void) st;
        (void) type;
        (void) where;
        return remove(path);
}

static void place_end(void) {
        api_actors_end();
        observer = coord_client_unref(observer);
        (void) nftw(place, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* What failed tests leave behind goes with it. */
static bool base_new(void) {
        snprintf(base, sizeof(base), "/dev/shm/coord-api-XXXXXX");
        if (mkdtemp(base))
                return chmod(base, 0711) == 0;
        snprintf(base, sizeof(base), "/tmp/coord-api-XXXXXX");
        return mkdtemp(base) && chmod(base, 0711) == 0;
}

static TCase *fact_case(Suite *s, const TTest *test) {
        TCase *tc = tcase_create(test->name);

        tcase_set_timeout(tc, TEST_SECONDS);
        tcase_add_checked_fixture(tc, place_new, place_end);
        suite_add_tcase(s, tc);
        return tc;
}

void api_fact(Suite *s, const TTest *test) {
        tcase_add_test(fact_case(s, test), test);
}

void api_fact_of(Suite *s, const TTest *test, int i) {
        tcase_add_loop_test(fact_case(s, test), test, i, i + 1);
}

int api_run(Suite *s) {
        SRunner *runner = srunner_create(s);
        int failed;

        if (!base_new()) {
                perror("coord-api-XXXXXX");
                return EXIT_FAILURE;
        }
        srunner_run_all(runner, CK_ENV);
        (void) nftw(base, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

const char *api_place(void) {
        return place;
}

const char *api_path(const char *name) {
        static char path[sizeof(place) + 256];

        snprintf(path, sizeof(path), "%s/%s", place, name);
        return path;
}

coord_client *api_client(void) {
        coord_client *c = NULL;

        assert_result(coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c), 0);
        ck_assert_ptr_nonnull(c);
        return c;
}

uint64_t api_now(void) {
        struct timespec t;

        ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &t), 0);
        return (uint64_t) t.tv_sec * SEC + (uint64_t) t.tv_nsec / 1000;
}

/* ---- what is listed ----------------------------------------------------------------------- */

struct glance api_glance(int kind, const char *name) {
        struct glance g = {NULL, 0, NULL};

        if (!observer)
                observer = api_client();
        assert_result(coord_list(observer, COORD_KIND_ANY, &g.entries, &g.n), 0);
        for (size_t i = 0; i < g.n; i++)
                if (g.entries[i].kind == kind && strcmp(g.entries[i].name, name) == 0)
                        g.entry = &g.entries[i];
        return g;
}

void api_glance_end(struct glance *g) {
        g->entries = coord_entries_free(g->entries, g->n);
        g->entry = NULL;
}

static bool has_waiters(const struct coord_entry *e, size_t n) {
        return (e ? e->n_waiters : 0) == n;
}

static bool has_holders(const struct coord_entry *e, size_t n) {
        return (e ? e->n_holders : 0) == n;
}

static bool has_reserved(const struct coord_entry *e, size_t n) {
        (void) n;
        return e && e->reserved;
}

typedef bool (*condition)(const struct coord_entry *e, size_t n);

static bool glance_holds(int kind, const char *name, condition is, size_t n) {
        struct glance g = api_glance(kind, name);
        bool yes = is(g.entry, n);

        api_glance_end(&g);
        return yes;
}

/* The slice bounds what a missed bell costs; a test of coord_watch() itself is elsewhere. */
static void until(int kind, const char *name, condition is, size_t n) {
        uint64_t cursor = 0, end = api_now() + PATIENCE_SECONDS * SEC;

        if (!observer)
                observer = api_client();
        assert_result(coord_watch(observer, name, &cursor, 0), 0);
        while (!glance_holds(kind, name, is, n)) {
                int e = coord_watch(observer, name, &cursor, SLICE_USEC);

                ck_assert_msg(e == 0 || e == -ETIMEDOUT, "coord_watch: %d", e);
                ck_assert_msg(api_now() < end, "%s: never as expected (%zu)", name, n);
        }
}

void api_until_waiters(int kind, const char *name, size_t n) {
        until(kind, name, has_waiters, n);
}

void api_until_holders(int kind, const char *name, size_t n) {
        until(kind, name, has_holders, n);
}

void api_until_reserved(int kind, const char *name) {
        until(kind, name, has_reserved, 0);
}

size_t api_waiters(int kind, const char *name) {
        struct glance g = api_glance(kind, name);
        size_t n = g.entry ? g.entry->n_waiters : 0;

        api_glance_end(&g);
        return n;
}

size_t api_holders(int kind, const char *name) {
        struct glance g = api_glance(kind, name);
        size_t n = g.entry ? g.entry->n_holders : 0;

        api_glance_end(&g);
        return n;
}

/* ---- short forms -------------------------------------------------------------------------- */

coord_hold *api_lock(coord_client *c, const char *name) {
        coord_hold *h = NULL;

        assert_result(coord_lock_acquire(c, name, 0, ENDLESS, &h), 0);
        return h;
}

coord_hold *api_share(coord_client *c, const char *name) {
        coord_hold *h = NULL;

        assert_result(coord_lock_acquire(c, name, COORD_SHARED, ENDLESS, &h), 0);
        return h;
}

int api_try(coord_client *c, const char *name) {
        coord_hold *h = NULL;
        int e = coord_lock_try(c, name, 0, &h);

        coord_hold_unref(h);
        return e;
}

coord_hold *api_permits(coord_client *c, const char *name, uint32_t capacity, uint32_t permits) {
        coord_hold *h = NULL;

        assert_result(coord_semaphore_acquire(c, name, capacity, permits, 0, ENDLESS, &h), 0);
        return h;
}

int api_try_permits(coord_client *c, const char *name, uint32_t capacity, uint32_t permits) {
        coord_hold *h = NULL;
        int e = coord_semaphore_try(c, name, capacity, permits, 0, &h);

        coord_hold_unref(h);
        return e;
}

bool api_free(const char *name) {
        struct actor *a = api_process();
        struct order o = {.patience = PATIENCE_NONE};
        struct answer got;

        snprintf(o.text, sizeof(o.text), "%s", name);
        got = api_do(a, &o);
        ck_assert_msg(got.result == 0 || got.result == -EAGAIN, "%d: %s", got.result, got.said);
        api_actor_free(a);
        return got.result == 0;
}
