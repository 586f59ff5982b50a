/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A door is one way to exclude others, ours or a rival's, behind one face, for the rows in which
 * processes wait for one another. It must never be used where nanoseconds count: see pairs.c.
 */
#ifndef BENCH_DOOR_H
#define BENCH_DOOR_H

#include <coord/client.h>
#include <pthread.h>

#include "bench.h"

/* What every process that uses a door must see. */
typedef struct DoorShared {
        pthread_mutex_t robust;
        _Atomic pid_t holder; /* whose death the pidfd door watches */
} DoorShared;

typedef struct Door Door;

typedef struct DoorOps {
        const char *name;
        void (*attach)(Door *d);
        void (*take)(Door *d); /* by the process that is to hand over or to die */
        bool (*wait)(Door *d); /* by the one that waits: whether the last holder died */
        void (*give)(Door *d);
        void (*detach)(Door *d);
} DoorOps;

struct Door {
        const DoorOps *ops;
        const char *dir;
        DoorShared *shared;
        coord_client *client;
        coord_lock *lock;
        coord_hold *hold;
        int fd;
};

extern const DoorOps door_ours, door_ours_strict, door_robust, door_ofd, door_pidfd,
                door_pidfd_twin;

DoorShared *door_shared_new(void);
void door_init(Door *d, const DoorOps *ops, const Bench *b, DoorShared *shared);

/* The parts that pairs.c and run.c use too. */
coord_client *door_client_new(void);
int door_file_open(const char *dir, const char *name);
void door_robust_init(pthread_mutex_t *m);
void door_ofd_lock(int fd, short type);

#endif
