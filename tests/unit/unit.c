/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A private place for each test, requests, and processes to talk to. It must never know the library
 * above the segment.
 */
#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
        TEST_SECONDS = 100,
        ATTACHMENTS_MAX = 32
};

static char base[64], place[96];
static Segment *attachments[ATTACHMENTS_MAX];

/* Tests fork while there are keepers. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
        return "die_after_fork=0";
}

/* ---- a test ---- */

static void place_new(void) {
        (void) snprintf(place, sizeof(place), "%s/XXXXXX", base);
        ck_assert_ptr_nonnull(mkdtemp(place));
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *where) {
        (void) st;
        (void) type;
        (void) where;
        return remove(path);
}

static void place_end(void) {
        for (size_t i = 0; i < ATTACHMENTS_MAX; i++)
                attachments[i] = segment_detach(attachments[i]);
        (void) nftw(place, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

void unit_fact(Suite *s, const TTest *test) {
        TCase *tc = tcase_create(test->name);

        tcase_set_timeout(tc, TEST_SECONDS);
        tcase_add_checked_fixture(tc, place_new, place_end);
        tcase_add_test(tc, test);
        suite_add_tcase(s, tc);
}

static bool base_new(void) {
        const char *tmp = getenv("TMPDIR");

        (void) snprintf(base, sizeof(base), "/dev/shm/coord-unit-XXXXXX");
        if (mkdtemp(base))
                return true;
        (void) snprintf(base, sizeof(base), "%.40s/coord-unit-XXXXXX", tmp ? tmp : "/tmp");
        return mkdtemp(base) != NULL;
}

int unit_run(Suite *s) {
        SRunner *runner = srunner_create(s);
        int failed;

        if (!base_new()) {
                perror("coord-unit-XXXXXX");
                return EXIT_FAILURE;
        }
        srunner_run_all(runner, CK_ENV);
        /* What failed tests left behind. */
        (void) nftw(base, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

const char *unit_path(const char *name) {
        static char path[sizeof(place) + 256];

        (void) snprintf(path, sizeof(path), "%s/%s", place, name);
        return path;
}

void unit_write(const char *name, const char *text) {
        FILE *f = fopen(unit_path(name), "we");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_ge(fputs(text, f), 0);
        ck_assert_int_eq(fclose(f), 0);
}

/* ---- attachments ---- */

Place unit_place(Geometry g) {
        static char state[sizeof(place) + 8];

        (void) snprintf(state, sizeof(state), "%s/state", place);
        return (Place){.runtime_dir = place, .state_dir = state, .geometry = g};
}

static Segment *attach(Geometry g, bool thread_owned) {
        char message[SEGMENT_MESSAGE_MAX];
        Place p = unit_place(g);
        size_t at = 0;
        uint64_t info;
        Segment *s;

        while (at < ATTACHMENTS_MAX && attachments[at])
                at++;
        ck_assert_uint_lt(at, ATTACHMENTS_MAX);
        ck_assert_msg(segment_attach(&p, thread_owned, &s, message) == 0, "%s", message);
        attachments[at] = s;
        assert_result(keeper_start(s), 0);
        assert_result(record_new_process(s, &info), 0);
        atomic_store(&s->info, info);
        return s;
}

Segment *unit_attach(Geometry g) {
        return attach(g, false);
}

Segment *unit_attach_threaded(void) {
        return attach((Geometry){32, 256, 128, 128}, true);
}

Segment *unit_segment(void) {
        return attach((Geometry){32, 256, 128, 128}, false);
}

void unit_detach(Segment *s) {
        for (size_t i = 0; i < ATTACHMENTS_MAX; i++)
                if (attachments[i] == s)
                        attachments[i] = NULL;
        segment_detach(s);
}

/* ---- requests ---- */

static Slot *slot_get(Segment *s, uint32_t kind, const char *name) {
        uint32_t gen;
        Slot *slot;
        Key key;

        assert_result(key_init(s, &key, kind, name), 0);
        assert_result(table_get(s, &key, USEC_INFINITE, &slot, &gen), 0);
        return slot;
}

Slot *unit_lock(Segment *s, const char *name) {
        return slot_get(s, KIND_LOCK, name);
}

Slot *unit_semaphore(Segment *s, const char *name, uint32_t capacity) {
        Slot *slot = slot_get(s, KIND_SEMAPHORE, name);

        assert_result(structure_lock(s, &slot->qlock, USEC_INFINITE), 0);
        assert_result(extent_reserve(s, slot, capacity), 0);
        atomic_store(&slot->capacity, capacity);
        structure_unlock(s, &slot->qlock);
        return slot;
}

void unit_resize(Segment *s, Slot *slot, uint32_t capacity) {
        assert_result(structure_lock(s, &slot->qlock, USEC_INFINITE), 0);
        assert_result(extent_reserve(s, slot, capacity), 0);
        if (capacity < atomic_load(&slot->capacity))
                (void) atomic_fetch_or(&slot->flags, SLOT_OVER);
        atomic_store(&slot->capacity, capacity);
        queue_poke_head(s, slot);
        structure_unlock(s, &slot->qlock);
}

void ask_init(Ask *a, Segment *s, Slot *slot) {
        memset(a, 0, sizeof(*a));
        a->wait = (Wait){
                        .s = s,
                        .slot = slot,
                        .gen = atomic_load(&slot->gen),
                        .grant = &a->grant,
                        .info = atomic_load(&s->info),
                        .permits = 1,
        };
}

int ask_try(Ask *a) {
        return wait_start(&a->wait, true, 0);
}

int ask_start(Ask *a) {
        return wait_start(&a->wait, false, USEC_INFINITE);
}

int ask_step(Ask *a) {
        return wait_step(&a->wait);
}

void ask_queue(Ask *a) {
        assert_result(ask_start(a), 0);
        do
                assert_result(ask_step(a), 0);
        while (a->wait.look_at == 0);
}

void ask_abandon(Ask *a) {
        wait_abandon(&a->wait);
}

int ask_acquire(Ask *a) {
        int r = ask_start(a);

        while (r == 0) {
                r = ask_step(a);
                if (r == 0)
                        (void) wait_sleep(&a->wait, NULL, USEC_INFINITE);
        }
        if (r < 0)
                wait_abandon(&a->wait);
        return r;
}

int ask_release(Ask *a) {
        return hold_release(a->wait.s, &a->grant);
}

bool ask_is_awake(const Ask *a) {
        const Wait *w = &a->wait;

        if (w->look_at <= clock_usec(CLOCK_BOOTTIME) ||
                        atomic_load(&w->s->cells[w->cell].poke) != w->poke)
                return true;
        for (size_t i = 0; i < w->n_words; i++)
                if (atomic_load(w->words[i].word) != w->words[i].value)
                        return true;
        return false;
}

void assert_granted(Ask *a) {
        int r = 0;

        while (r == 0 && ask_is_awake(a))
                r = ask_step(a);
        assert_result(r, 1);
}

void assert_slot_is_idle(Segment *s, Slot *slot) {
        EntryWalk w;

        assert_result(structure_lock(s, &slot->qlock, USEC_INFINITE), 0);
        queue_trim(s, slot);
        structure_unlock(s, &slot->qlock);
        ck_assert_uint_eq(atomic_load(&slot->tail), 0);
        ck_assert_uint_eq(word_tid(atomic_load(&slot->gate.word)), 0);
        for (Entry *e = entry_first(s, slot, SEG_PERMITS_MAX, &w); e; e = entry_next(s, &w))
                ck_assert_uint_eq(word_tid(atomic_load(&e->word)), 0);
        for (uint32_t i = 1; i < s->n_cells; i++)
                ck_assert_uint_ne(atomic_load(&s->cells[i].slot), slot_index(s, slot) + 1);
}

uint32_t unit_cells_used(Segment *s) {
        uint32_t n = 0;

        for (uint32_t i = 1; i < s->n_cells; i++)
                n += atomic_load(&s->cells[i].slot) != 0;
        return n;
}

uint32_t unit_extents_used(Segment *s) {
        uint32_t n = 0;

        for (uint32_t i = 1; i < s->n_extents; i++)
                n += atomic_load(&s->extents[i].slot) != 0;
        return n;
}

uint32_t unit_records_used(Segment *s) {
        uint32_t n = 0;

        for (uint32_t i = 1; i < s->n_records; i++)
                n += atomic_load(&s->records[i].kind) != RECORD_FREE;
        return n;
}

/* ---- processes ---- */

void peer_start(Peer *p, void (*body)(Peer *me, void *data), void *data) {
        int to[2], from[2];

        ck_assert_int_eq(pipe2(to, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(from, O_CLOEXEC), 0);
        p->pid = fork();
        ck_assert_int_ge(p->pid, 0);
        if (p->pid == 0) {
                Peer me = {.pid = getpid(), .in = to[0], .out = from[1]};

                safe_close(to[1]);
                safe_close(from[0]);
                memset(attachments, 0, sizeof(attachments)); /* they are the parent's */
                body(&me, data);
                _exit(0);
        }
        safe_close(to[0]);
        safe_close(from[1]);
        p->in = from[0];
        p->out = to[1];
}

void peer_say(Peer *p, uint64_t v) {
        ck_assert_int_eq(write(p->out, &v, sizeof(v)), sizeof(v));
}

uint64_t peer_hear(Peer *p) {
        uint64_t v = 0;

        ck_assert_int_eq(read(p->in, &v, sizeof(v)), sizeof(v));
        return v;
}

static int peer_reap(Peer *p) {
        int status;

        ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
        p->in = safe_close(p->in);
        p->out = safe_close(p->out);
        return status;
}

void peer_kill(Peer *p) {
        ck_assert_int_eq(kill(p->pid, SIGKILL), 0);
        (void) peer_reap(p);
}

void peer_end(Peer *p) {
        ck_assert_int_eq(peer_reap(p), 0);
}

static void idle(Peer *me, void *data) {
        (void) data;
        peer_say(me, 1);
        for (;;)
                (void) pause();
}

void peer_idle(Peer *p) {
        peer_start(p, idle, NULL);
        (void) peer_hear(p);
}
