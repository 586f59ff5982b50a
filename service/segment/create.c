/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a segment, and deciding whether one may be used. A new file is filled in before it has a
 * name, and is allocated in full, so that nobody ever sees half a segment and a full disk shows here
 * and not as a SIGBUS later. Of a file found, nothing is believed that was not checked.
 */
#include "segment/segment.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "segment/create.h"
#include "util/siphash.h"

#define DEFAULT_SLOTS 8192u
#define DEFAULT_CELLS 32768u
#define DEFAULT_EXTENTS 6144u
#define DEFAULT_RECORDS 16384u
#define NAMES_MAX 1000000u

static uint64_t namespace_inode(const char *path) {
        struct stat st;

        return stat(path, &st) < 0 ? 0 : (uint64_t) st.st_ino;
}

static void boot_id_read(uint8_t ret[16]) {
        char text[64] = "";
        size_t n = 0;
        _cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

        memset(ret, 0, 16);
        if (fd < 0 || read(fd, text, sizeof(text) - 1) < 36)
                return;
        for (const char *p = text; *p && n < 32; p++) {
                int d = *p >= '0' && *p <= '9'   ? *p - '0'
                        : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
                                                 : -1;

                if (d >= 0) {
                        ret[n / 2] |= (uint8_t) (d << (n % 2 ? 0 : 4));
                        n++;
                }
        }
}

uint64_t header_check(const Header *h) {
        static const uint64_t key[2] = {UINT64_C(0x636f6f7264640001), UINT64_C(0x7365676d656e7400)};
        uint64_t words[offsetof(Header, check) / sizeof(uint64_t)];

        memcpy(words, h, sizeof(words));
        return siphash13(key, sizeof(Slot), words, ELEMENTSOF(words));
}

/* Sizes and offsets follow from the four counts alone. */
static void header_layout(Header *h, const Geometry *g) {
        uint64_t at = SEG_PAGE;

        h->n_slots = g->slots ? g->slots : DEFAULT_SLOTS;
        h->n_cells = g->cells ? g->cells : DEFAULT_CELLS;
        h->n_extents = g->extents ? g->extents : DEFAULT_EXTENTS;
        h->n_records = g->records ? g->records : DEFAULT_RECORDS;
        for (h->n_buckets = 64; h->n_buckets < h->n_slots * 2;)
                h->n_buckets *= 2;
#define PLACE(member, n, type)                                                                     \
        h->member = at;                                                                            \
        at += (((uint64_t) (n) * sizeof(type)) + SEG_PAGE - 1) / SEG_PAGE * SEG_PAGE
        PLACE(off_buckets, h->n_buckets, Word);
        PLACE(off_slots, h->n_slots, Slot);
        PLACE(off_cells, h->n_cells, Cell);
        PLACE(off_extents, h->n_extents, Extent);
        PLACE(off_records, h->n_records, Record);
#undef PLACE
        h->size = at;
}

static void header_init(Header *h, const Place *place, uint64_t epoch) {
        memcpy(h->magic, SEG_MAGIC, sizeof(h->magic));
        h->layout = SEG_LAYOUT;
        header_layout(h, &place->geometry);
        h->pid_ns = namespace_inode("/proc/self/ns/pid");
        h->time_ns = namespace_inode("/proc/self/ns/time");
        boot_id_read(h->boot_id);
        h->epoch = epoch;
        if (getrandom(h->hash_key, sizeof(h->hash_key), GRND_NONBLOCK) != sizeof(h->hash_key)) {
                h->hash_key[0] = clock_usec(CLOCK_REALTIME) * UINT64_C(0x9e3779b97f4a7c15);
                h->hash_key[1] = (uint64_t) getpid() ^ clock_usec(CLOCK_MONOTONIC);
        }
        h->check = header_check(h);
}

int segment_verify(const Header *h, size_t size, char *message) {
        Header want = {0};
        uint8_t boot[16];

#define REFUSE(...)                                                                                \
        do {                                                                                       \
                (void) snprintf(message, SEGMENT_MESSAGE_MAX, __VA_ARGS__);                        \
                return -EUNATCH;                                                                   \
        } while (0)
        if (size < SEG_PAGE || memcmp(h->magic, SEG_MAGIC, sizeof(h->magic)) != 0)
                REFUSE("it is not a segment of coordd; move the file away and try again");
        if (h->layout != SEG_LAYOUT)
                REFUSE("it has layout %u, this program knows layout %u; use programs of one "
                       "version, "
                       "or end all its users and remove it",
                                h->layout, SEG_LAYOUT);
        if (h->check != header_check(h) || h->n_slots == 0 || h->n_slots > NAMES_MAX ||
                        h->n_cells == 0 || h->n_cells > PRED_INDEX || h->n_extents > NAMES_MAX ||
                        h->n_records > NAMES_MAX)
                REFUSE("its header is damaged; end all its users, remove the file and try again");
        header_layout(&want, &(Geometry){h->n_slots, h->n_cells, h->n_extents, h->n_records});
        if (want.size != h->size || want.n_buckets != h->n_buckets || size < h->size ||
                        want.off_buckets != h->off_buckets || want.off_slots != h->off_slots ||
                        want.off_cells != h->off_cells || want.off_extents != h->off_extents ||
                        want.off_records != h->off_records)
                REFUSE("it is truncated or damaged; end all its users, remove the file and try "
                       "again");
        if (h->pid_ns != namespace_inode("/proc/self/ns/pid"))
                REFUSE("it belongs to another pid namespace, where process ids mean other "
                       "processes; "
                       "use a runtime directory of your own or talk to coordd");
        if (h->time_ns != namespace_inode("/proc/self/ns/time"))
                REFUSE("it belongs to another time namespace; use a runtime directory of your own "
                       "or "
                       "talk to coordd");
        boot_id_read(boot);
        if (memcmp(boot, h->boot_id, sizeof(boot)) != 0)
                return -ESTALE;
#undef REFUSE
        return 0;
}

/* ---- the epoch: rises with each new segment, whatever was lost ---- */

static uint64_t epoch_read(int dir_fd) {
        char text[32] = "";
        _cleanup_(closep) int fd = openat(dir_fd, "epoch", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
                return 0;
        return strtoull(text, NULL, 10);
}

static int epoch_write(int dir_fd, uint64_t epoch) {
        _cleanup_(closep) int fd =
                        openat(dir_fd, "epoch.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0)
                return -errno;
        if (dprintf(fd, "%llu\n", (unsigned long long) epoch) < 0 || fsync(fd) < 0 ||
                        renameat(dir_fd, "epoch.new", dir_fd, "epoch") < 0 || fsync(dir_fd) < 0) {
                int r = -errno;

                (void) unlinkat(dir_fd, "epoch.new", 0);
                return r;
        }
        return 0;
}

/* Makes path and what leads to it. */
static int directories_make(const char *path, mode_t mode) {
        char part[PATH_MAX];

        if (strlen(path) >= sizeof(part))
                return -ENAMETOOLONG;
        strcpy(part, path);
        for (char *p = part + 1; *p; p++)
                if (*p == '/') {
                        *p = '\0';
                        if (mkdir(part, mode) < 0 && errno != EEXIST && errno != EROFS &&
                                        errno != EACCES)
                                return -errno;
                        *p = '/';
                }
        return mkdir(part, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* Where the state directory can't be written (a member of the group, a full disk) the clock alone must do. */
static uint64_t epoch_next(const Place *place, uint64_t old_epoch) {
        uint64_t epoch = clock_usec(CLOCK_REALTIME) / USEC_PER_SEC, stored;
        _cleanup_(closep) int fd = -EBADF;

        epoch = MAX_OF(epoch, old_epoch + 1);
        if (place->state_dir && directories_make(place->state_dir, 0755) >= 0)
                fd = open(place->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
                stored = epoch_read(fd);
                epoch = MIN_OF(MAX_OF(epoch, stored + 1), (uint64_t) UINT32_MAX);
                (void) epoch_write(fd, epoch);
        }
        return epoch;
}

/* ---- the file ---- */

static int segment_fill(int fd, const Place *place, uint64_t old_epoch) {
        Header h = {0};
        gid_t gid = (gid_t) -1;
        int r;

        header_init(&h, place, epoch_next(place, old_epoch));
        r = posix_fallocate(fd, 0, (off_t) h.size);
        if (r != 0)
                return -r;
        if (pwrite(fd, &h, sizeof(h), 0) != (ssize_t) sizeof(h))
                return -EIO;
        if (place->system && place->group) {
                struct group *g = getgrnam(place->group);

                gid = g ? g->gr_gid : (gid_t) -1;
        }
        if (fchown(fd, (uid_t) -1, gid) < 0)
                return -errno;
        return fchmod(fd, gid != (gid_t) -1 ? 0660 : 0600) < 0 ? -errno : 0;
}

static int link_named(int fd, int dir_fd) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, dir_fd, "segment", AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* File systems without unnamed files, and machines without /proc. */
static int create_by_rename(int dir_fd, const Place *place, uint64_t old_epoch) {
        _cleanup_(closep) int fd = -EBADF;
        char name[64];
        int r;

        (void) snprintf(name, sizeof(name), "segment.%d", (int) getpid());
        (void) unlinkat(dir_fd, name, 0);
        fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = segment_fill(fd, place, old_epoch);
        if (r >= 0 && linkat(dir_fd, name, dir_fd, "segment", 0) < 0)
                r = -errno;
        (void) unlinkat(dir_fd, name, 0);
        return r;
}

int segment_create(int dir_fd, const Place *place, uint64_t old_epoch, char *message) {
        _cleanup_(closep) int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        int r;

        if (fd >= 0) {
                r = segment_fill(fd, place, old_epoch);
                if (r >= 0)
                        r = link_named(fd, dir_fd);
                if (r == -ENOENT)
                        r = create_by_rename(dir_fd, place, old_epoch);
        } else
                r = create_by_rename(dir_fd, place, old_epoch);
        if (r == -ENOSPC || r == -EDQUOT)
                (void) snprintf(message, SEGMENT_MESSAGE_MAX,
                                "no room for the segment in %s; free some space there",
                                place->runtime_dir);
        else if (r < 0 && r != -EEXIST)
                (void) snprintf(message, SEGMENT_MESSAGE_MAX, "can't create the segment in %s: %s",
                                place->runtime_dir, strerror(-r));
        return r;
}

int runtime_directory_open(const Place *place, char *message) {
        int fd, r = 0;
        struct stat st;

        if (access(place->runtime_dir, F_OK) < 0)
                r = directories_make(place->runtime_dir, place->system ? 0755 : 0700);
        fd = r < 0 ? r : open(place->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = r < 0 ? r : -errno;
                (void) snprintf(message, SEGMENT_MESSAGE_MAX,
                                "can't use the runtime directory %s: %s%s", place->runtime_dir,
                                strerror(-r),
                                place->system && (r == -EACCES || r == -EPERM)
                                                ? "; let an administrator create it, use --user, "
                                                  "or start coordd"
                                                : "");
                return r;
        }
        /* In a directory that anybody may write (/dev/shm) the name may be somebody else's trap. */
        if (place->shared_parent && (fstat(fd, &st) < 0 || st.st_uid != geteuid())) {
                (void) snprintf(message, SEGMENT_MESSAGE_MAX,
                                "the runtime directory %s belongs to another user (uid %u)",
                                place->runtime_dir, (unsigned) st.st_uid);
                safe_close(fd);
                return -EACCES;
        }
        return fd;
}
