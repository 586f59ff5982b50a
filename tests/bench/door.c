/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The doors: ours, pthread's robust mutex, OFD locks, and the pidfd, which excludes nobody but
 * tells of a death. It must never know what the times are used for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "door.h"

/** door_client_new() - a client of this run's segment, or die */
coord_client *door_client_new(void) {
        coord_client *c;
        int r;

        r = coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c);
        if (r < 0)
                die("coord_client_new: %s", strerror(-r));
        return c;
}

/** door_file_open() - the file of a rival that locks files: a new open file description */
int door_file_open(const char *dir, const char *name) {
        char path[PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                die("%s: %m", path);
        return fd;
}

/** door_robust_init() - make a robust, process-shared mutex */
void door_robust_init(pthread_mutex_t *m) {
        pthread_mutexattr_t a;

        if (pthread_mutexattr_init(&a) != 0 ||
                        pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) != 0 ||
                        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) != 0 ||
                        pthread_mutex_init(m, &a) != 0)
                die("cannot make a robust mutex");
        (void) pthread_mutexattr_destroy(&a);
}

/** door_ofd_lock() - set an OFD lock of the whole file, waiting as long as it takes */
void door_ofd_lock(int fd, short type) {
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

        if (fcntl(fd, F_OFD_SETLKW, &lock) < 0)
                die("F_OFD_SETLKW: %m");
}

/** door_shared_new() - what the processes of a row share, made before they fork */
DoorShared *door_shared_new(void) {
        DoorShared *shared = measure_shared_new(sizeof(*shared));

        door_robust_init(&shared->robust);
        return shared;
}

/** door_init() - a door, not yet attached: each process attaches for itself */
void door_init(Door *d, const DoorOps *ops, const Bench *b, DoorShared *shared) {
        *d = (Door){.ops = ops, .dir = b->dir, .shared = shared, .fd = -1};
}

static void nothing(Door *d) {
        (void) d;
}

static void ours_attach_name(Door *d, const char *name) {
        int r;

        d->client = door_client_new();
        r = coord_lock_open(d->client, name, &d->lock);
        if (r < 0)
                die("coord_lock_open: %s: %s", strerror(-r), coord_strerror(d->client));
}

static void ours_attach(Door *d) {
        ours_attach_name(d, "bench/door");
}

static void ours_attach_strict(Door *d) {
        ours_attach_name(d, "bench/strict");
}

static void ours_lock(Door *d, uint64_t flags) {
        int r = coord_lock_lock(d->lock, flags, COORD_TIMEOUT_INFINITE, &d->hold);

        if (r < 0)
                die("coord_lock_lock: %s: %s", strerror(-r), coord_strerror(d->client));
}

static void ours_take(Door *d) {
        ours_lock(d, 0);
}

static void ours_take_strict(Door *d) {
        ours_lock(d, COORD_STRICT);
}

static bool ours_wait(Door *d) {
        ours_lock(d, 0);
        return coord_hold_was_abandoned(d->hold) == 1;
}

static void ours_give(Door *d) {
        int r = coord_hold_release(d->hold);

        if (r < 0)
                die("coord_hold_release: %s: %s", strerror(-r), coord_strerror(d->client));
        d->hold = coord_hold_unref(d->hold);
}

static void ours_detach(Door *d) {
        d->lock = coord_lock_unref(d->lock);
        d->client = coord_client_unref(d->client);
}

/* The holder holds a lock for which nobody waits; its death is learned of through the pidfd. */
static void twin_attach(Door *d) {
        ours_attach_name(d, "bench/twin");
}

static bool robust_wait(Door *d) {
        int r = pthread_mutex_lock(&d->shared->robust);

        if (r == EOWNERDEAD)
                return pthread_mutex_consistent(&d->shared->robust) == 0;
        if (r != 0)
                die("pthread_mutex_lock: %s", strerror(r));
        return false;
}

static void robust_take(Door *d) {
        (void) robust_wait(d);
}

static void robust_give(Door *d) {
        (void) pthread_mutex_unlock(&d->shared->robust);
}

static void ofd_attach(Door *d) {
        d->fd = door_file_open(d->dir, "ofd");
}

static void ofd_take(Door *d) {
        door_ofd_lock(d->fd, F_WRLCK);
}

/* The kernel frees an OFD lock silently; that it was free at all says that the holder is gone. */
static bool ofd_wait(Door *d) {
        door_ofd_lock(d->fd, F_WRLCK);
        return true;
}

static void ofd_give(Door *d) {
        door_ofd_lock(d->fd, F_UNLCK);
}

static void ofd_detach(Door *d) {
        (void) close(d->fd);
        d->fd = -1;
}

static bool pidfd_wait(Door *d) {
        struct pollfd p = {.events = POLLIN};
        int n;

        p.fd = (int) syscall(SYS_pidfd_open, atomic_load(&d->shared->holder), 0);
        if (p.fd < 0)
                die("pidfd_open: %m");
        do
                n = poll(&p, 1, -1);
        while (n < 0 && errno == EINTR);
        d->fd = p.fd;
        return n == 1;
}

static void pidfd_give(Door *d) {
        (void) close(d->fd);
        d->fd = -1;
}

#define OURS_REST ours_wait, ours_give, ours_detach

const DoorOps door_ours = {"coord", ours_attach, ours_take, OURS_REST};
const DoorOps door_ours_strict = {"coord strict", ours_attach_strict, ours_take_strict, OURS_REST};
const DoorOps door_robust = {
                "robust mutex", nothing, robust_take, robust_wait, robust_give, nothing};
const DoorOps door_ofd = {"OFD lock", ofd_attach, ofd_take, ofd_wait, ofd_give, ofd_detach};
const DoorOps door_pidfd = {"pidfd", nothing, nothing, pidfd_wait, pidfd_give, nothing};
const DoorOps door_pidfd_twin = {"pidfd of a twin", twin_attach, ours_take_strict, pidfd_wait,
                pidfd_give, ours_detach};
