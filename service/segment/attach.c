/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attaching to the segment of a runtime directory.
 *
 * Every user holds a shared flock on the directory for as long as it is attached. Whoever finds no
 * segment takes the file "lock", so that one at a time looks closer, and then needs the directory's
 * exclusive flock: if it isn't to be had, somebody is inside a segment whose file was deleted, and a second
 * one beside it would mean two truths. A segment of an earlier boot is replaced, for nobody can be in it.
 */
#include "segment/segment.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "segment/create.h"

static int open_error(const Place *place, int r, char *message) {
        const char *dir = place->runtime_dir;

        if (r == -EACCES || r == -EPERM) {
                if (place->system)
                        (void) snprintf(message, SEGMENT_MESSAGE_MAX,
                                        "no access to %s/segment: become a member of the group "
                                        "'%s' (as root: "
                                        "usermod -aG %s USER, then log in anew), or use the user "
                                        "scope (--user)",
                                        dir, place->group, place->group);
                else
                        (void) snprintf(message, SEGMENT_MESSAGE_MAX,
                                        "no access to %s/segment: it belongs to another user", dir);
                return -EACCES;
        }
        (void) snprintf(message, SEGMENT_MESSAGE_MAX, "can't open %s/segment: %s", dir,
                        strerror(-r));
        return r;
}

static int message_prefix(const Place *place, int r, char *message) {
        char text[SEGMENT_MESSAGE_MAX];

        (void) snprintf(text, sizeof(text), "can't use %.200s/segment: %.290s", place->runtime_dir,
                        message);
        strcpy(message, text);
        return r;
}

/* Opens the segment that is there: 0, -ENOENT, or why not. */
static int segment_open(int dir_fd, const Place *place, int *ret_fd, char *message) {
        _cleanup_(closep) int fd = openat(dir_fd, "segment", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0)
                return errno == ENOENT ? -ENOENT : open_error(place, -errno, message);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int header_read(int fd, const Place *place, Header *h, char *message) {
        struct stat st;
        ssize_t n;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        n = pread(fd, h, sizeof(*h), 0);
        if (n < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || n < (ssize_t) sizeof(*h))
                st.st_size = 0;
        r = segment_verify(h, (size_t) st.st_size, message);
        return r == -EUNATCH ? message_prefix(place, r, message) : r;
}

/* Nobody is attached, for we have the exclusive lock: put away what is left of an earlier boot. */
static int segment_replace(int dir_fd, const Place *place, char *message) {
        _cleanup_(closep) int fd = -EBADF;
        uint64_t old_epoch = 0;
        Header h;
        int r;

        r = segment_open(dir_fd, place, &fd, message);
        if (r >= 0) {
                r = header_read(fd, place, &h, message);
                if (r != -ESTALE)
                        return r;
                old_epoch = h.epoch;
                if (unlinkat(dir_fd, "segment", 0) < 0)
                        return open_error(place, -errno, message);
        } else if (r != -ENOENT)
                return r;
        r = segment_create(dir_fd, place, old_epoch, message);
        return r == -EEXIST ? 0 : r;
}

static int segment_make(int dir_fd, const Place *place, char *message) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        _cleanup_(closep) int lock_fd = openat(dir_fd, "lock",
                        O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, place->system ? 0660 : 0600);
        int r;

        if (lock_fd < 0)
                return open_error(place, -errno, message);
        while (fcntl(lock_fd, F_OFD_SETLKW, &lock) < 0)
                if (errno != EINTR)
                        return -errno;
        if (flock(dir_fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                if (faccessat(dir_fd, "segment", F_OK, 0) >= 0)
                        return 0; /* made meanwhile: its users are the ones who hold the lock */
                (void) snprintf(message, SEGMENT_MESSAGE_MAX,
                                "%s/segment was deleted while programs were using it; they go on "
                                "among "
                                "themselves. End them (fuser -v %s shows who they are), then try "
                                "again",
                                place->runtime_dir, place->runtime_dir);
                return -EUNATCH;
        }
        r = segment_replace(dir_fd, place, message);
        (void) flock(dir_fd, LOCK_UN);
        return r;
}

static bool same_file(int dir_fd, int fd) {
        struct stat a, b;

        return fstat(fd, &a) >= 0 && fstatat(dir_fd, "segment", &b, AT_SYMLINK_NOFOLLOW) >= 0 &&
               a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int segment_join(int dir_fd, const Place *place, int *ret_fd, Header *h, char *message) {
        int r;

        for (unsigned i = 0; i < 1000; i++) {
                _cleanup_(closep) int fd = -EBADF;

                r = segment_open(dir_fd, place, &fd, message);
                if (r >= 0) {
                        r = header_read(fd, place, h, message);
                        if (r >= 0 && flock(dir_fd, LOCK_SH) < 0)
                                r = -errno;
                        if (r >= 0 && same_file(dir_fd, fd)) {
                                *ret_fd = TAKE_FD(fd);
                                return 0;
                        }
                        if (r >= 0)
                                (void) flock(dir_fd, LOCK_UN);
                }
                if (r < 0 && r != -ENOENT && r != -ESTALE)
                        return r;
                r = segment_make(dir_fd, place, message);
                if (r < 0)
                        return r;
        }
        (void) snprintf(message, SEGMENT_MESSAGE_MAX, "%s/segment comes and goes",
                        place->runtime_dir);
        return -EUNATCH;
}

static int segment_map(Segment *s, const Header *h) {
        size_t size = h->size;
        uint8_t *base = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0);

        if (base == MAP_FAILED)
                return -errno;
        s->base = base;
        s->size = size;
        s->distance = size;
        if (mmap(base, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                            0) == MAP_FAILED ||
                        mmap(base + size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                                        s->fd, 0) == MAP_FAILED ||
                        madvise(base, 2 * size, MADV_DONTFORK) < 0)
                return -errno;
        s->header = (Header *) (base + size);
        s->buckets = (Word *) (base + size + h->off_buckets);
        s->slots = (Slot *) (base + size + h->off_slots);
        s->cells = (Cell *) (base + size + h->off_cells);
        s->extents = (Extent *) (base + size + h->off_extents);
        s->records = (Record *) (base + size + h->off_records);
        s->n_buckets = h->n_buckets;
        s->n_slots = h->n_slots;
        s->n_cells = h->n_cells;
        s->n_extents = h->n_extents;
        s->n_records = h->n_records;
        s->epoch = h->epoch;
        return 0;
}

static void segment_free(Segment *s) {
        if (!s)
                return;
        if (s->base)
                (void) munmap(s->base, 2 * s->size);
        safe_close(s->fd);
        safe_close(s->dir_fd);
        free(s->path);
        free(s);
}

static void segment_freep(Segment **s) {
        segment_free(*s);
}

int segment_attach(const Place *place, bool thread_owned, Segment **ret, char *message) {
        _cleanup_(segment_freep) Segment *s = calloc(1, sizeof(*s));
        static _Atomic uint64_t last;
        Header h;
        int r;

        message[0] = '\0';
        if (!s)
                return -ENOMEM;
        s->fd = -EBADF;
        s->thread_owned = thread_owned;
        s->serial = atomic_fetch_add(&last, 1) + 1;
        s->dir_fd = runtime_directory_open(place, message);
        if (s->dir_fd < 0)
                return s->dir_fd;
        if (asprintf(&s->path, "%s/segment", place->runtime_dir) < 0) {
                s->path = NULL;
                return -ENOMEM;
        }
        r = segment_join(s->dir_fd, place, &s->fd, &h, message);
        if (r >= 0)
                r = segment_map(s, &h);
        if (r < 0) {
                if (!message[0])
                        (void) snprintf(message, SEGMENT_MESSAGE_MAX, "can't use %s: %s", s->path,
                                        strerror(-r));
                return r;
        }
        *ret = TAKE_PTR(s);
        return 0;
}

Segment *segment_detach(Segment *s) {
        if (!s)
                return NULL;
        watcher_stop(s);
        if (atomic_load(&s->info) != 0)
                record_free(s, atomic_load(&s->info));
        keeper_stop_all(s);
        segment_free(s);
        return NULL;
}

bool segment_deleted(Segment *s) {
        return !same_file(s->dir_fd, s->fd);
}
