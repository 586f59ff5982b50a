/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keyed hash of names: participants of all versions must agree on it.
 */
#include "unit.h"
#include "util/siphash.h"

static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

START_TEST(hash_is_that_of_the_published_vector_and_of_an_independent_implementation) {
        static const uint64_t zero_key[2] = {0, 0};
        static const uint64_t zeroes[8] = {0};
        static const uint64_t backup[] = {UINT64_C(0x70756b636162)};
        static const uint64_t two[] = {2, 3};

        /* SipHash-1-3 of the empty text, whose only word is its length. */
        ck_assert_uint_eq(siphash13(key, 0, NULL, 0), UINT64_C(0xabac0158050fc4dc));
        ck_assert_uint_eq(siphash13(key, UINT64_C(1) << 32 | 6, backup, 1),
                        UINT64_C(0x3eb7d18c64def75b));
        ck_assert_uint_eq(siphash13(key, 0, zeroes, 8), UINT64_C(0x7ee7ef6c291494f3));
        ck_assert_uint_eq(siphash13(zero_key, 1, two, 2), UINT64_C(0x40083774ea7e478f));
}
END_TEST

START_TEST(hash_differs_with_each_bit_of_the_key) {
        static const uint64_t words[] = {1, 2};
        uint64_t plain = siphash13(key, 0, words, 2);

        for (unsigned i = 0; i < 128; i++) {
                uint64_t other[2] = {key[0], key[1]};

                other[i / 64] ^= UINT64_C(1) << (i % 64);
                ck_assert_uint_ne(siphash13(other, 0, words, 2), plain);
        }
}
END_TEST

START_TEST(hash_differs_with_each_bit_of_the_text) {
        uint64_t words[3] = {0};
        uint64_t plain = siphash13(key, 0, words + 1, 2);

        for (unsigned i = 0; i < 192; i++) {
                words[i / 64] ^= UINT64_C(1) << (i % 64);
                ck_assert_uint_ne(siphash13(key, words[0], words + 1, 2), plain);
                words[i / 64] ^= UINT64_C(1) << (i % 64);
        }
}
END_TEST

START_TEST(low_bits_spread_similar_names) {
        uint32_t buckets[64] = {0};

        for (uint64_t i = 0; i < 64 * 64; i++)
                buckets[siphash13(key, 8, &i, 1) % 64]++;
        for (size_t i = 0; i < ELEMENTSOF(buckets); i++) {
                ck_assert_uint_gt(buckets[i], 16);
                ck_assert_uint_lt(buckets[i], 160);
        }
}
END_TEST

int main(void) {
        Suite *s = suite_create("siphash");

        unit_fact(s, hash_is_that_of_the_published_vector_and_of_an_independent_implementation);
        unit_fact(s, hash_differs_with_each_bit_of_the_key);
        unit_fact(s, hash_differs_with_each_bit_of_the_text);
        unit_fact(s, low_bits_spread_similar_names);
        return unit_run(s);
}
