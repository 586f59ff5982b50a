/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-stamp FILE: note in FILE when this command began and ended, with a little work between:
 * what the contenders of L5 run under their lock. It must never know which lock that is.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stamp.h"

static uint64_t now_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

int main(int argc, char **argv) {
        uint64_t start_nsec = now_nsec();
        StampFile *f;
        uint32_t i;
        int fd;

        if (argc != 2)
                return EXIT_FAILURE;
        fd = open(argv[1], O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return EXIT_FAILURE;
        f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (f == MAP_FAILED)
                return EXIT_FAILURE;
        i = atomic_fetch_add(&f->n, 1);
        if (i >= STAMPS_MAX)
                return EXIT_FAILURE;
        f->stamps[i].start_nsec = start_nsec;
        while (now_nsec() - start_nsec < STAMP_WORK_NSEC)
                ;
        f->stamps[i].end_nsec = now_nsec();
        _exit(EXIT_SUCCESS);
}
