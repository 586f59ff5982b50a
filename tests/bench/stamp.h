/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file in which bench-stamp notes when it ran. It must never change size while in use.
 */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdatomic.h>
#include <stdint.h>

#define STAMPS_MAX 8
#define STAMP_WORK_NSEC 300000

typedef struct StampFile {
        _Atomic uint32_t n;
        struct {
                uint64_t start_nsec, end_nsec; /* CLOCK_MONOTONIC */
        } stamps[STAMPS_MAX];
} StampFile;

#endif
