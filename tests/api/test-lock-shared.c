/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared holds and conversion: readers together, writers alone, in order of arrival. It must never
 * know the library's insides.
 */
#include <errno.h>
#include <stdatomic.h>

#include "api.h"

enum {
        LOCK = COORD_KIND_LOCK,
        SHARED = COORD_MODE_SHARED,
        READERS = 1024
};

START_TEST(readers_hold_together) {
        coord_client *c = api_client();
        struct actor *actors[] = {api_process(), api_thread(c), api_process(), api_thread(c)};
        struct glance g;

        for (size_t i = 0; i < ELEMENTS(actors); i++)
                assert_answer(api_do(actors[i], ORDER(.mode = SHARED, .patience = PATIENCE_NONE,
                                                                .text = "a")),
                                0);
        g = api_glance(LOCK, "a");
        ck_assert_ptr_nonnull(g.entry);
        ck_assert_uint_eq(g.entry->n_holders, ELEMENTS(actors));
        ck_assert_int_eq(g.entry->mode, SHARED);
        api_glance_end(&g);
        for (size_t i = 0; i < ELEMENTS(actors); i++)
                api_drop(actors[i]);
        ck_assert(api_free("a"));
        coord_client_unref(c);
}
END_TEST

START_TEST(shared_by_flag_and_by_mode_are_the_same) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");
        struct actor *a = api_process();

        assert_answer(api_do(a, ORDER(.mode = SHARED, .patience = PATIENCE_NONE, .text = "a")), 0);
        api_drop(a);
        assert_answer(api_do(a, ORDER(.flags = COORD_SHARED, .patience = PATIENCE_NONE,
                                                .text = "a")),
                        0);
        api_drop(a);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(each_reader_has_a_token_of_its_own) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *first = api_share(c, "a"), *second = api_share(other, "a");

        ck_assert_str_ne(coord_hold_token(first), coord_hold_token(second));
        coord_hold_unref(second);
        assert_result(coord_hold_check(first), 1);
        coord_hold_unref(first);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(writer_waits_for_the_last_reader) {
        coord_client *c = api_client(), *other = api_client();
        coord_hold *first = api_share(c, "a"), *second = api_share(other, "a");
        struct actor *writer = api_process();

        assert_answer(api_do(writer, ORDER(.patience = PATIENCE_NONE, .text = "a")), -EAGAIN);
        api_send(writer, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        coord_hold_unref(first);
        ck_assert_uint_eq(api_waiters(LOCK, "a"), 1);
        ck_assert(api_silent(writer));
        coord_hold_unref(second);
        assert_answer(api_answer(writer), 0);
        coord_client_unref(other);
        coord_client_unref(c);
}
END_TEST

START_TEST(reader_waits_for_a_writer) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        struct actor *reader = api_process();

        assert_answer(api_do(reader, ORDER(.mode = SHARED, .patience = PATIENCE_NONE, .text = "a")),
                        -EAGAIN);
        api_send(reader, ORDER(.mode = SHARED, .text = "a"));
        api_until_waiters(LOCK, "a", 1);
        coord_hold_unref(h);
        assert_answer(api_answer(reader), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(reader_does_not_pass_a_waiting_writer) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");
        struct actor *writer = api_process(), *reader = api_process(), *hasty = api_process();

        api_send(writer, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_answer(api_do(hasty, ORDER(.mode = SHARED, .patience = PATIENCE_NONE, .text = "a")),
                        -EAGAIN);
        api_send(reader, ORDER(.mode = SHARED, .text = "a"));
        api_until_waiters(LOCK, "a", 2);
        coord_hold_unref(h);
        assert_answer(api_answer(writer), 0);
        ck_assert(api_silent(reader));
        api_drop(writer);
        assert_answer(api_answer(reader), 0);
        coord_client_unref(c);
}
END_TEST

START_TEST(readers_behind_a_writer_enter_together) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        struct actor *readers[] = {api_process(), api_process(), api_thread(c), api_process()};

        for (size_t i = 0; i < ELEMENTS(readers); i++) {
                api_send(readers[i], ORDER(.mode = SHARED, .text = "a"));
                api_until_waiters(LOCK, "a", i + 1);
        }
        coord_hold_unref(h);
        for (size_t i = 0; i < ELEMENTS(readers); i++)
                assert_answer(api_answer(readers[i]), 0);
        ck_assert_uint_eq(api_holders(LOCK, "a"), ELEMENTS(readers));
        for (size_t i = 0; i < ELEMENTS(readers); i++)
                api_drop(readers[i]);
        coord_client_unref(c);
}
END_TEST

START_TEST(writer_that_gives_up_lets_readers_pass) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");
        struct actor *writer = api_process(), *reader = api_process();

        api_send(writer, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        api_send(reader, ORDER(.mode = SHARED, .text = "a"));
        api_until_waiters(LOCK, "a", 2);
        api_kill(writer);
        assert_answer(api_answer(reader), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(killed_readers_make_room_for_the_writer) {
        struct actor *readers[] = {api_process(), api_process()}, *writer = api_process();
        struct answer got;

        for (size_t i = 0; i < ELEMENTS(readers); i++)
                assert_answer(api_do(readers[i], ORDER(.mode = SHARED, .text = "a")), 0);
        api_send(writer, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        for (size_t i = 0; i < ELEMENTS(readers); i++)
                api_kill(readers[i]);
        got = api_answer(writer);
        assert_answer(got, 0);
        ck_assert_int_eq(got.abandoned, 1);
}
END_TEST

struct crowd {
        coord_client *c;
        pthread_barrier_t in, out;
        atomic_int failed;
};

static void *crowd_read(void *argument) {
        struct crowd *all = argument;
        coord_hold *h = NULL;

        if (coord_lock_try(all->c, "a", COORD_SHARED, &h) < 0)
                atomic_fetch_add(&all->failed, 1);
        (void) pthread_barrier_wait(&all->in);
        (void) pthread_barrier_wait(&all->out);
        coord_hold_unref(h);
        return NULL;
}

START_TEST(a_thousand_and_twenty_four_readers_and_no_more) {
        static pthread_t threads[READERS];
        struct crowd all = {.c = api_client()};
        coord_hold *more = NULL;
        pthread_attr_t small;

        ck_assert_int_eq(pthread_attr_init(&small), 0);
        ck_assert_int_eq(pthread_attr_setstacksize(&small, 128 * 1024), 0);
        ck_assert_int_eq(pthread_barrier_init(&all.in, NULL, READERS + 1), 0);
        ck_assert_int_eq(pthread_barrier_init(&all.out, NULL, READERS + 1), 0);
        for (int i = 0; i < READERS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], &small, crowd_read, &all), 0);
        (void) pthread_barrier_wait(&all.in);
        ck_assert_int_eq(all.failed, 0);
        ck_assert_uint_eq(api_holders(LOCK, "a"), READERS);
        ck_assert_int_lt(coord_lock_try(all.c, "a", COORD_SHARED, &more), 0);
        (void) pthread_barrier_wait(&all.out);
        for (int i = 0; i < READERS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        assert_result(coord_lock_try(all.c, "a", 0, &more), 0);
        coord_hold_unref(more);
        coord_client_unref(all.c);
}
END_TEST

/* ---- conversion --------------------------------------------------------------------------- */

START_TEST(convert_down_lets_readers_in) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");
        struct actor *reader = api_process();

        api_send(reader, ORDER(.mode = SHARED, .text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_hold_convert(h, COORD_SHARED, 0), 0);
        assert_answer(api_answer(reader), 0);
        assert_result(coord_hold_check(h), 1);
        ck_assert_uint_eq(api_holders(LOCK, "a"), 2);
        assert_result(coord_hold_release(h), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(convert_up_alone_does_not_wait) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");
        struct actor *reader = api_process();

        assert_result(coord_hold_convert(h, 0, 0), 0);
        assert_answer(api_do(reader, ORDER(.mode = SHARED, .patience = PATIENCE_NONE, .text = "a")),
                        -EAGAIN);
        assert_result(coord_hold_check(h), 1);
        assert_result(coord_hold_release(h), 0);
        ck_assert(api_free("a"));
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(convert_to_the_present_mode_is_nothing) {
        coord_client *c = api_client();
        coord_hold *h = api_lock(c, "a");

        assert_result(coord_hold_convert(h, 0, 0), 0);
        assert_result(coord_hold_convert(h, COORD_SHARED, 0), 0);
        assert_result(coord_hold_convert(h, COORD_SHARED, 0), 0);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(convert_up_beside_a_reader_fails_and_the_hold_stands) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");
        struct actor *reader = api_process();
        struct glance g;

        assert_answer(api_do(reader, ORDER(.mode = SHARED, .text = "a")), 0);
        assert_result(coord_hold_convert(h, 0, 0), -EAGAIN);
        assert_result(coord_hold_convert(h, 0, 10 * MSEC), -ETIMEDOUT);
        assert_result(coord_hold_check(h), 1);
        g = api_glance(LOCK, "a");
        ck_assert_int_eq(g.entry->mode, SHARED);
        ck_assert_uint_eq(g.entry->n_holders, 2);
        ck_assert_uint_eq(g.entry->n_waiters, 0);
        api_glance_end(&g);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(convert_up_waits_for_the_other_reader) {
        struct actor *first = api_process(), *second = api_process();

        assert_answer(api_do(first, ORDER(.mode = SHARED, .text = "a")), 0);
        assert_answer(api_do(second, ORDER(.mode = SHARED, .text = "a")), 0);
        api_send(first, ORDER(.op = ACTOR_CONVERT));
        api_until_waiters(LOCK, "a", 1);
        api_drop(second);
        assert_answer(api_answer(first), 0);
        ck_assert(!api_free("a"));
        api_drop(first);
        ck_assert(api_free("a"));
}
END_TEST

START_TEST(convert_up_gets_it_when_the_other_reader_is_killed) {
        struct actor *first = api_process(), *second = api_process();

        assert_answer(api_do(first, ORDER(.mode = SHARED, .text = "a")), 0);
        assert_answer(api_do(second, ORDER(.mode = SHARED, .text = "a")), 0);
        api_send(first, ORDER(.op = ACTOR_CONVERT));
        api_until_waiters(LOCK, "a", 1);
        api_kill(second);
        assert_answer(api_answer(first), 0);
}
END_TEST

START_TEST(second_upgrader_gets_edeadlk) {
        struct actor *first = api_process(), *second = api_process();

        assert_answer(api_do(first, ORDER(.mode = SHARED, .text = "a")), 0);
        assert_answer(api_do(second, ORDER(.mode = SHARED, .text = "a")), 0);
        api_send(first, ORDER(.op = ACTOR_CONVERT));
        api_until_waiters(LOCK, "a", 1);
        assert_answer(api_do(second, ORDER(.op = ACTOR_CONVERT)), -EDEADLK);
        assert_answer(api_do(second, ORDER(.op = ACTOR_CHECK)), 1);
        ck_assert(api_silent(first));
        api_drop(second);
        assert_answer(api_answer(first), 0);
}
END_TEST

START_TEST(upgrade_passes_a_waiting_writer) {
        coord_client *c = api_client();
        coord_hold *h = api_share(c, "a");
        struct actor *writer = api_process();

        api_send(writer, ORDER(.text = "a"));
        api_until_waiters(LOCK, "a", 1);
        assert_result(coord_hold_convert(h, 0, ENDLESS), 0);
        ck_assert(api_silent(writer));
        assert_result(coord_hold_release(h), 0);
        assert_answer(api_answer(writer), 0);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

START_TEST(killed_upgrader_leaves_the_way_free) {
        struct actor *first = api_process(), *second = api_process();

        assert_answer(api_do(first, ORDER(.mode = SHARED, .text = "a")), 0);
        assert_answer(api_do(second, ORDER(.mode = SHARED, .text = "a")), 0);
        api_send(first, ORDER(.op = ACTOR_CONVERT));
        api_until_waiters(LOCK, "a", 1);
        api_kill(first);
        assert_answer(api_do(second, ORDER(.op = ACTOR_CONVERT)), 0);
        api_drop(second);
        ck_assert(api_free("a"));
}
END_TEST

START_TEST(permits_do_not_convert) {
        coord_client *c = api_client();
        coord_hold *h = api_permits(c, "s", 2, 1);

        assert_result(coord_hold_convert(h, COORD_SHARED, 0), -EINVAL);
        assert_result(coord_hold_check(h), 1);
        coord_hold_unref(h);
        coord_client_unref(c);
}
END_TEST

static Suite *shared_suite(void) {
        Suite *s = suite_create("lock-shared");

        api_fact(s, readers_hold_together);
        api_fact(s, shared_by_flag_and_by_mode_are_the_same);
        api_fact(s, each_reader_has_a_token_of_its_own);
        api_fact(s, writer_waits_for_the_last_reader);
        api_fact(s, reader_waits_for_a_writer);
        api_fact(s, reader_does_not_pass_a_waiting_writer);
        api_fact(s, readers_behind_a_writer_enter_together);
        api_fact(s, writer_that_gives_up_lets_readers_pass);
        api_fact(s, killed_readers_make_room_for_the_writer);
        api_fact(s, a_thousand_and_twenty_four_readers_and_no_more);
        api_fact(s, convert_down_lets_readers_in);
        api_fact(s, convert_up_alone_does_not_wait);
        api_fact(s, convert_to_the_present_mode_is_nothing);
        api_fact(s, convert_up_beside_a_reader_fails_and_the_hold_stands);
        api_fact(s, convert_up_waits_for_the_other_reader);
        api_fact(s, convert_up_gets_it_when_the_other_reader_is_killed);
        api_fact(s, second_upgrader_gets_edeadlk);
        api_fact(s, upgrade_passes_a_waiting_writer);
        api_fact(s, killed_upgrader_leaves_the_way_free);
        api_fact(s, permits_do_not_convert);
        return s;
}

int main(void) {
        return api_run(shared_suite());
}
