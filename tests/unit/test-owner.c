/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts that callers write, strictly. It must never know the segment.
 */
#include <string.h>

#include "unit.h"
#include "util/owner.h"

/* ---- numbers ---- */

START_TEST(number_of_digits_is_read) {
        uint64_t v = 7;

        assert_result(number_parse("0", 1, 0, &v), 0);
        ck_assert_uint_eq(v, 0);
        assert_result(number_parse("1024rest", 4, 1024, &v), 0);
        ck_assert_uint_eq(v, 1024);
        assert_result(number_parse("18446744073709551615", 20, UINT64_MAX, &v), 0);
        ck_assert_uint_eq(v, UINT64_MAX);
}
END_TEST

START_TEST(number_beyond_its_limit_is_refused_and_leaves_ret_alone) {
        static const struct {
                const char *text;
                uint64_t max;
        } cases[] = {
                        {"1025", 1024},
                        {"9", 8},
                        {"4294967296", UINT32_MAX},
                        {"18446744073709551616", UINT64_MAX},
                        {"99999999999999999999999", UINT64_MAX},
        };
        uint64_t v = 7;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_result(number_parse(cases[i].text, strlen(cases[i].text), cases[i].max, &v),
                                -EINVAL);
        ck_assert_uint_eq(v, 7);
}
END_TEST

START_TEST(number_with_anything_but_digits_is_refused) {
        static const char *const cases[] = {
                        "", " 1", "1 ", "+1", "-1", "1.", "0x1", "a", "1\n", "\xb2"};
        uint64_t v = 7;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_result(number_parse(cases[i], strlen(cases[i]), UINT64_MAX, &v), -EINVAL);
        ck_assert_uint_eq(v, 7);
}
END_TEST

/* ---- tokens ---- */

START_TEST(token_survives_the_round_trip) {
        static const uint64_t counters[] = {0, 1, 4294967296, UINT64_MAX};
        char name[TOKEN_NAME_MAX + 1], text[TOKEN_TEXT_MAX];
        Token t;

        memset(name, 'x', TOKEN_NAME_MAX);
        name[TOKEN_NAME_MAX] = '\0';
        for (int kind = TOKEN_LOCK; kind <= TOKEN_QUEUE; kind++)
                for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
                        token_format(kind, name, UINT32_MAX, counters[i], text);
                        assert_result(token_parse(text, &t), 0);
                        assert_result(t.kind, kind);
                        ck_assert_str_eq(t.name, name);
                        ck_assert_uint_eq(t.epoch, UINT32_MAX);
                        ck_assert_uint_eq(t.counter, counters[i]);
                }
}
END_TEST

START_TEST(token_reads_as_kind_name_epoch_counter) {
        char text[TOKEN_TEXT_MAX];

        token_format(TOKEN_LOCK, "backup", 12, 34, text);
        ck_assert_str_eq(text, "lock:backup:12.34");
        token_format(TOKEN_SEMAPHORE, "a/b@c", 1, 2, text);
        ck_assert_str_eq(text, "sem:a/b@c:1.2");
}
END_TEST

START_TEST(token_that_is_none_is_refused_and_leaves_ret_alone) {
        static const char *const cases[] = {"", "lock", "lock:", "lock:a", "lock:a:", "lock:a:1",
                        "lock:a:1.", "lock:a:.1", "lock::1.1", "lock:a:1.1x", "lock:a:1.1.1",
                        "lock:a:x.1", "lock:a:4294967296.1", "lock:a:1.18446744073709551616",
                        "lock:a:-1.1", "lock:a:1:1.1", " lock:a:1.1", "Lock:a:1.1", "mutex:a:1.1",
                        "lock:a:1 .1", "lock:a.1:1"};
        char longest[TOKEN_TEXT_MAX + 8] = "lock:";
        Token t = {.kind = 99};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                ck_assert_msg(token_parse(cases[i], &t) == -EINVAL, "%s", cases[i]);
        memset(longest + 5, 'x', TOKEN_NAME_MAX + 1);
        strcpy(longest + 5 + TOKEN_NAME_MAX + 1, ":1.1");
        assert_result(token_parse(longest, &t), -EINVAL);
        assert_result(token_parse(NULL, &t), -EINVAL);
        assert_result(t.kind, 99);
}
END_TEST

START_TEST(token_cut_anywhere_is_never_read_beyond_its_end) {
        const char *whole = "queue:name:4294967295.18446744073709551615";
        Token t;

        for (size_t n = 0; n < strlen(whole); n++) {
                char *cut = strndup(whole, n);

                if (token_parse(cut, &t) == 0)
                        ck_assert_ptr_nonnull(strchr(cut, '.'));
                free(cut);
        }
}
END_TEST

/* ---- wants ---- */

START_TEST(want_says_what_is_wanted) {
        static const struct {
                const char *text;
                WantText want;
        } cases[] = {
                        {"lock:a", {TOKEN_LOCK, "a", false, 1, 0}},
                        {"lock:a:shared", {TOKEN_LOCK, "a", true, 1, 0}},
                        {"lock:a:exclusive", {TOKEN_LOCK, "a", false, 1, 0}},
                        {"sem:a:2", {TOKEN_SEMAPHORE, "a", false, 2, 0}},
                        {"sem:a:2:5", {TOKEN_SEMAPHORE, "a", false, 2, 5}},
                        {"sem:a/b:4294967295:4294967295",
                                        {TOKEN_SEMAPHORE, "a/b", false, UINT32_MAX, UINT32_MAX}},
        };
        WantText w;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_result(want_parse(cases[i].text, &w), 0);
                assert_result(w.kind, cases[i].want.kind);
                ck_assert_str_eq(w.name, cases[i].want.name);
                ck_assert_int_eq(w.shared, cases[i].want.shared);
                ck_assert_uint_eq(w.permits, cases[i].want.permits);
                ck_assert_uint_eq(w.capacity, cases[i].want.capacity);
        }
}
END_TEST

START_TEST(want_that_is_none_is_refused_and_leaves_ret_alone) {
        static const char *const cases[] = {"", "a", "lock:", "lock::shared",
                        "lock:a:", "lock:a:Shared", "lock:a:shared:", "lock:a:1", "sem:a",
                        "sem:a:", "sem:a:0", "sem:a:x", "sem:a:1:", "sem:a:1:0", "sem:a:1:2:3",
                        "sem:a:-1", "sem:a:4294967296", "sem::1", "queue:a", "sem:a:1:x", "sem: a"};
        WantText w = {.kind = 99};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                ck_assert_msg(want_parse(cases[i], &w) == -EINVAL, "%s", cases[i]);
        assert_result(want_parse(NULL, &w), -EINVAL);
        assert_result(w.kind, 99);
}
END_TEST

/* ---- durations ---- */

START_TEST(duration_is_a_sum_of_numbers_with_units) {
        static const struct {
                const char *text;
                uint64_t usec;
        } cases[] = {
                        {"0", 0},
                        {"30", 30 * USEC_PER_SEC},
                        {"30s", 30 * USEC_PER_SEC},
                        {"30sec", 30 * USEC_PER_SEC},
                        {"500ms", 500000},
                        {"500msec", 500000},
                        {"7us", 7},
                        {"7usec", 7},
                        {"1min30s", 90 * USEC_PER_SEC},
                        {"1min 30s", 90 * USEC_PER_SEC},
                        {"  2h", 7200 * USEC_PER_SEC},
                        {"1hr1m", 3660 * USEC_PER_SEC},
                        {"2d", 172800 * USEC_PER_SEC},
                        {"0.5", 500000},
                        {"1.5min", 90 * USEC_PER_SEC},
                        {"0.1s", 100000},
                        {"0.000001", 1},
                        {"0.0000001", 0},
                        {"9223372036854775807us", INT64_MAX},
        };
        uint64_t v;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ck_assert_msg(duration_parse(cases[i].text, &v) == 0, "%s", cases[i].text);
                ck_assert_uint_eq(v, cases[i].usec);
        }
}
END_TEST

START_TEST(duration_that_is_none_is_refused_and_leaves_ret_alone) {
        static const char *const cases[] = {"", " ", "s", "-1", "+1", "1x", "1.s", ".5", "1..5",
                        "1,5", "1S", "30 s", "1sms", "1e3", "0x10", "inf", "infinity", "nan", "1s;",
                        "1s\n", "\xff"};
        uint64_t v = 7;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                ck_assert_msg(duration_parse(cases[i], &v) == -EINVAL, "%s", cases[i]);
        assert_result(duration_parse(NULL, &v), -EINVAL);
        ck_assert_uint_eq(v, 7);
}
END_TEST

START_TEST(duration_too_long_is_refused_and_leaves_ret_alone) {
        static const char *const cases[] = {"9223372036854775807", "106751992d", "9223372036855s",
                        "9223372036854775807us 1us", "9223372036854775807us 0.9us",
                        "106751991d 106751991d"};
        uint64_t v = 7;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                ck_assert_msg(duration_parse(cases[i], &v) == -ERANGE, "%s", cases[i]);
        ck_assert_int_lt(duration_parse("99999999999999999999999999s", &v), 0);
        ck_assert_uint_eq(v, 7);
}
END_TEST

static Suite *owner_suite(void) {
        Suite *s = suite_create("owner");

        unit_fact(s, number_of_digits_is_read);
        unit_fact(s, number_beyond_its_limit_is_refused_and_leaves_ret_alone);
        unit_fact(s, number_with_anything_but_digits_is_refused);
        unit_fact(s, token_survives_the_round_trip);
        unit_fact(s, token_reads_as_kind_name_epoch_counter);
        unit_fact(s, token_that_is_none_is_refused_and_leaves_ret_alone);
        unit_fact(s, token_cut_anywhere_is_never_read_beyond_its_end);
        unit_fact(s, want_says_what_is_wanted);
        unit_fact(s, want_that_is_none_is_refused_and_leaves_ret_alone);
        unit_fact(s, duration_is_a_sum_of_numbers_with_units);
        unit_fact(s, duration_that_is_none_is_refused_and_leaves_ret_alone);
        unit_fact(s, duration_too_long_is_refused_and_leaves_ret_alone);
        return s;
}

int main(void) {
        return unit_run(owner_suite());
}
