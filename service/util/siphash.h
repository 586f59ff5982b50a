/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SipHash-1-3 over whole 64-bit words: a keyed hash, because names come from callers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SIP_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND(v0, v1, v2, v3)                                                                  \
        do {                                                                                       \
                v0 += v1;                                                                          \
                v1 = SIP_ROTL(v1, 13) ^ v0;                                                        \
                v0 = SIP_ROTL(v0, 32);                                                             \
                v2 += v3;                                                                          \
                v3 = SIP_ROTL(v3, 16) ^ v2;                                                        \
                v0 += v3;                                                                          \
                v3 = SIP_ROTL(v3, 21) ^ v0;                                                        \
                v2 += v1;                                                                          \
                v1 = SIP_ROTL(v1, 17) ^ v2;                                                        \
                v2 = SIP_ROTL(v2, 32);                                                             \
        } while (0)

static inline uint64_t siphash13(
                const uint64_t key[2], uint64_t first, const uint64_t *words, size_t n) {
        uint64_t v0 = UINT64_C(0x736f6d6570736575) ^ key[0],
                 v1 = UINT64_C(0x646f72616e646f6d) ^ key[1],
                 v2 = UINT64_C(0x6c7967656e657261) ^ key[0],
                 v3 = UINT64_C(0x7465646279746573) ^ key[1];

        for (size_t i = 0; i <= n; i++) {
                uint64_t m = i == 0 ? first : words[i - 1];

                v3 ^= m;
                SIP_ROUND(v0, v1, v2, v3);
                v0 ^= m;
        }
        v2 ^= 0xff;
        SIP_ROUND(v0, v1, v2, v3);
        SIP_ROUND(v0, v1, v2, v3);
        SIP_ROUND(v0, v1, v2, v3);
        return v0 ^ v1 ^ v2 ^ v3;
}
