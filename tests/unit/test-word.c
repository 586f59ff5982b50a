/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sleeping on words. A sleeper is known to sleep by nothing but being woken, so wakes are repeated
 * until it says that it was.
 */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "unit.h"

typedef struct Sleeper {
        pthread_t thread;
        WordSleep sleeps[WORD_SLEEP_MAX];
        size_t n;
        Word awake;
        int result;
} Sleeper;

static Word words[WORD_SLEEP_MAX];

static void *sleeper_main(void *arg) {
        Sleeper *me = arg;

        me->result = word_sleep(me->sleeps, me->n, USEC_INFINITE);
        atomic_store(&me->awake, 1);
        return NULL;
}

static void sleeper_start(Sleeper *me, size_t n, bool private) {
        *me = (Sleeper){.n = n};
        for (size_t i = 0; i < n; i++)
                me->sleeps[i] = (WordSleep){&words[i], atomic_load(&words[i]), private};
        ck_assert_int_eq(pthread_create(&me->thread, NULL, sleeper_main, me), 0);
}

static void sleeper_woken_by(Sleeper *me, Word *word, bool private) {
        while (!atomic_load(&me->awake)) {
                if (private)
                        word_wake_private(word, 1);
                else
                        word_wake(word, 1);
                (void) sched_yield();
        }
        ck_assert_int_eq(pthread_join(me->thread, NULL), 0);
        assert_result(me->result, 0);
}

START_TEST(sleep_on_one_word_ends_with_a_wake) {
        Sleeper me;

        sleeper_start(&me, 1, false);
        sleeper_woken_by(&me, &words[0], false);
        sleeper_start(&me, 1, true);
        sleeper_woken_by(&me, &words[0], true);
}
END_TEST

START_TEST(sleep_on_many_words_ends_with_a_wake_of_any) {
        static const size_t woken[] = {0, 1, 63, 126, 127};
        Sleeper me;

        for (size_t i = 0; i < ELEMENTSOF(woken); i++) {
                sleeper_start(&me, WORD_SLEEP_MAX, false);
                sleeper_woken_by(&me, &words[woken[i]], false);
        }
}
END_TEST

START_TEST(sleep_on_shared_and_private_words_together) {
        Sleeper me = {.n = 2};

        me.sleeps[0] = (WordSleep){&words[0], 0, false};
        me.sleeps[1] = (WordSleep){&words[1], 0, true};
        ck_assert_int_eq(pthread_create(&me.thread, NULL, sleeper_main, &me), 0);
        sleeper_woken_by(&me, &words[1], true);
}
END_TEST

START_TEST(word_that_differs_already_is_not_slept_on) {
        WordSleep sleeps[WORD_SLEEP_MAX];

        for (size_t i = 0; i < WORD_SLEEP_MAX; i++)
                sleeps[i] = (WordSleep){&words[i], i == WORD_SLEEP_MAX - 1, false};
        assert_result(word_sleep(&sleeps[WORD_SLEEP_MAX - 1], 1, USEC_INFINITE), 0);
        assert_result(word_sleep(sleeps, WORD_SLEEP_MAX, USEC_INFINITE), 0);
        assert_result(word_sleep(&sleeps[WORD_SLEEP_MAX - 2], 2, USEC_INFINITE), 0);
}
END_TEST

START_TEST(deadline_ends_the_sleep_and_not_early) {
        for (size_t n = 1; n <= WORD_SLEEP_MAX; n += WORD_SLEEP_MAX - 1) {
                uint64_t deadline = clock_usec(CLOCK_MONOTONIC) + 2000;
                WordSleep sleeps[WORD_SLEEP_MAX];
                int r;

                for (size_t i = 0; i < n; i++)
                        sleeps[i] = (WordSleep){&words[i], 0, false};
                do
                        r = word_sleep(sleeps, n, deadline);
                while (r == 0);
                assert_result(r, -ETIMEDOUT);
                ck_assert_uint_ge(clock_usec(CLOCK_MONOTONIC), deadline);
                assert_result(word_sleep(sleeps, n, 1), -ETIMEDOUT);
        }
}
END_TEST

static void wake_parent(Peer *me, void *data) {
        Word *word = data;

        atomic_store(word, 1);
        word_wake(word, INT_MAX);
        (void) me;
}

START_TEST(wake_reaches_another_process) {
        Word *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        Peer p;

        ck_assert_ptr_ne(word, MAP_FAILED);
        peer_start(&p, wake_parent, word);
        while (atomic_load(word) == 0)
                assert_result(word_sleep(&(WordSleep){word, 0, false}, 1, USEC_INFINITE), 0);
        peer_end(&p);
}
END_TEST

START_TEST(owner_exists_while_its_process_does) {
        Peer p;

        peer_idle(&p);
        ck_assert(word_owner_exists((uint32_t) getpid()));
        ck_assert(word_owner_exists((uint32_t) syscall(SYS_gettid)));
        ck_assert(word_owner_exists((uint32_t) p.pid));
        peer_kill(&p);
        ck_assert(!word_owner_exists((uint32_t) p.pid));
        ck_assert(!word_owner_exists(WORD_TID));
}
END_TEST

START_TEST(sentinel_is_no_thread_id) {
        uint32_t v = WORD_SENTINEL | 77 | WORD_WAITERS;

        ck_assert(word_is_sentinel(v));
        ck_assert_uint_eq(word_record(v), 77);
        ck_assert(!word_is_sentinel(4194304)); /* the largest thread id there is */
        ck_assert_uint_eq(word_tid(WORD_WAITERS | WORD_DIED), 0);
}
END_TEST

int main(void) {
        Suite *s = suite_create("word");

        unit_fact(s, sleep_on_one_word_ends_with_a_wake);
        unit_fact(s, sleep_on_many_words_ends_with_a_wake_of_any);
        unit_fact(s, sleep_on_shared_and_private_words_together);
        unit_fact(s, word_that_differs_already_is_not_slept_on);
        unit_fact(s, deadline_ends_the_sleep_and_not_early);
        unit_fact(s, wake_reaches_another_process);
        unit_fact(s, owner_exists_while_its_process_does);
        unit_fact(s, sentinel_is_no_thread_id);
        return unit_run(s);
}
