/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the configuration says about names: which line counts, and what is passed over.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "internal.h"
#include "unit.h"

static Config *config(const char *text) {
        unit_write("coordd.conf", text);
        ck_assert_int_eq(setenv("COORD_CONFIG", unit_path("coordd.conf"), 1), 0);
        return config_load(false);
}

static void assert_capacity(const char *text, const char *name, uint32_t want) {
        Config *c = config(text);

        ck_assert_msg(config_capacity(c, name) == want, "%s: %u", text, config_capacity(c, name));
        config_free(c);
}

static void assert_lock(const char *text, const char *name, uint64_t delay, uint64_t max_hold) {
        Config *c = config(text);
        uint64_t got_delay, got_max_hold;

        config_lock(c, name, &got_delay, &got_max_hold);
        ck_assert_msg(got_delay == delay && got_max_hold == max_hold, "%s", text);
        config_free(c);
}

START_TEST(capacity_is_that_of_the_section_of_that_name) {
        const char *text = "[Semaphore db]\nCapacity=5\n[Semaphore web]\nCapacity = 7 \n";

        assert_capacity(text, "db", 5);
        assert_capacity(text, "web", 7);
        assert_capacity(text, "other", 0);
        assert_capacity(text, "d", 0);
}
END_TEST

START_TEST(last_value_counts) {
        assert_capacity("[Semaphore a]\nCapacity=1\nCapacity=2\n", "a", 2);
        assert_capacity("[Semaphore a]\nCapacity=1\n[Semaphore a]\nCapacity=3\n", "a", 3);
        assert_capacity("[Semaphore a]\nCapacity=1\n[Semaphore a]\n", "a", 1);
}
END_TEST

START_TEST(wrong_value_counts_as_not_there) {
        static const char *const wrong[] = {
                        "", "0", "-1", "1025", "x", "1x", "1 2", "99999999999999999999"};
        char text[128];

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                (void) snprintf(text, sizeof(text), "[Semaphore a]\nCapacity=%s\n", wrong[i]);
                assert_capacity(text, "a", 0);
                (void) snprintf(text, sizeof(text), "[Semaphore a]\nCapacity=9\nCapacity=%s\n",
                                wrong[i]);
                assert_capacity(text, "a", 9);
        }
        assert_capacity("[Semaphore a]\nCapacity=1024\n", "a", 1024);
}
END_TEST

START_TEST(comments_blanks_and_strangers_are_passed_over) {
        assert_capacity("# [Semaphore a]\n; x\n\n  [Semaphore a]  "
                        "\n#Capacity=1\n;Capacity=2\n\tCapacity\t=\t3\r\n",
                        "a", 3);
        assert_capacity("Capacity=4\n[Semaphore a]\nColour=red\n", "a", 0);
        assert_capacity("[Semaphore a]\nCapacity=4\n[Daemon]\nCapacity=5\n", "a", 4);
        assert_capacity("[Semaphore a]\nCapacity=4\n[Lock a]\nCapacity=5\n", "a", 4);
        assert_capacity("[Semaphore a]\ncapacity=4\n", "a", 0);
}
END_TEST

START_TEST(section_that_is_none_ends_the_one_before) {
        assert_capacity("[Semaphore a]\nCapacity=4\n[Semaphore\nCapacity=5\n", "a", 4);
        assert_capacity("[Semaphore a]\nCapacity=4\n[]\nCapacity=5\n", "a", 4);
        assert_capacity("[Semaphore a]\nCapacity=4\n[Semaphore]\nCapacity=5\n", "a", 4);
}
END_TEST

START_TEST(name_may_be_as_long_as_names_are) {
        char name[SEG_NAME_MAX + 1], text[SEG_NAME_MAX + 64];

        memset(name, 'n', SEG_NAME_MAX);
        name[SEG_NAME_MAX] = '\0';
        (void) snprintf(text, sizeof(text), "[Semaphore %s]\nCapacity=6\n", name);
        assert_capacity(text, name, 6);
}
END_TEST

START_TEST(lock_sections_match_by_pattern_and_each_value_by_itself) {
        const char *text = "[Lock *]\nLockDelay=1s\nMaxHold=10min\n[Lock db/*]\nLockDelay=500ms\n"
                           "[Lock db/main]\nMaxHold=1h\n";

        assert_lock(text, "web", 1000000, 600000000);
        assert_lock(text, "db/x", 500000, 600000000);
        assert_lock(text, "db/main", 500000, UINT64_C(3600000000));
}
END_TEST

START_TEST(later_zero_takes_an_earlier_value_back) {
        assert_lock("[Lock *]\nLockDelay=5s\nMaxHold=5s\n[Lock a]\nLockDelay=0\nMaxHold=0\n", "a",
                        0, 0);
        assert_lock("[Lock *]\nLockDelay=5s\n[Lock a]\nLockDelay=nonsense\n", "a", 5000000, 0);
}
END_TEST

START_TEST(nothing_configured_is_null_and_zeroes) {
        uint64_t delay = 1, max_hold = 1;

        ck_assert_ptr_null(config(""));
        ck_assert_ptr_null(config("[Daemon]\nX=1\n"));
        ck_assert_int_eq(setenv("COORD_CONFIG", unit_path("missing"), 1), 0);
        ck_assert_ptr_null(config_load(false));
        ck_assert_int_eq(setenv("COORD_CONFIG", unit_path("."), 1), 0);
        ck_assert_ptr_null(config_load(false));
        ck_assert_uint_eq(config_capacity(NULL, "a"), 0);
        config_lock(NULL, "a", &delay, &max_hold);
        ck_assert_uint_eq(delay, 0);
        ck_assert_uint_eq(max_hold, 0);
        ck_assert(!config_has_locks(NULL));
        ck_assert_ptr_null(config_free(NULL));
}
END_TEST

START_TEST(only_lock_sections_are_about_locks) {
        Config *c = config("[Semaphore a]\nCapacity=1\n");

        ck_assert(!config_has_locks(c));
        config_free(c);
        c = config("[Semaphore a]\nCapacity=1\n[Lock a]\n");
        ck_assert(config_has_locks(c));
        config_free(c);
}
END_TEST

START_TEST(drop_ins_follow_the_file_in_the_order_of_their_names) {
        Config *c;

        ck_assert_int_eq(unsetenv("COORD_CONFIG"), 0);
        ck_assert_int_eq(mkdir(unit_path("coordd"), 0700), 0);
        ck_assert_int_eq(mkdir(unit_path("coordd/coordd.conf.d"), 0700), 0);
        ck_assert_int_eq(setenv("XDG_CONFIG_HOME", unit_place((Geometry){0}).runtime_dir, 1), 0);
        unit_write("coordd/coordd.conf", "[Semaphore a]\nCapacity=1\n[Semaphore b]\nCapacity=1\n");
        unit_write("coordd/coordd.conf.d/20.conf", "[Semaphore a]\nCapacity=20\n");
        unit_write("coordd/coordd.conf.d/10.conf", "[Semaphore a]\nCapacity=10\n");
        unit_write("coordd/coordd.conf.d/30.conf~", "[Semaphore a]\nCapacity=30\n");
        unit_write("coordd/coordd.conf.d/.40.conf", "[Semaphore a]\nCapacity=40\n");
        c = config_load(false);
        ck_assert_uint_eq(config_capacity(c, "a"), 20);
        ck_assert_uint_eq(config_capacity(c, "b"), 1);
        config_free(c);
}
END_TEST

int main(void) {
        Suite *s = suite_create("config");

        unit_fact(s, capacity_is_that_of_the_section_of_that_name);
        unit_fact(s, last_value_counts);
        unit_fact(s, wrong_value_counts_as_not_there);
        unit_fact(s, comments_blanks_and_strangers_are_passed_over);
        unit_fact(s, section_that_is_none_ends_the_one_before);
        unit_fact(s, name_may_be_as_long_as_names_are);
        unit_fact(s, lock_sections_match_by_pattern_and_each_value_by_itself);
        unit_fact(s, later_zero_takes_an_earlier_value_back);
        unit_fact(s, nothing_configured_is_null_and_zeroes);
        unit_fact(s, only_lock_sections_are_about_locks);
        unit_fact(s, drop_ins_follow_the_file_in_the_order_of_their_names);
        return unit_run(s);
}
