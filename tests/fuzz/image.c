/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments to begin with, made through the public API by helpers: one that holds a bit of everything,
 * and one whose threads wait. The helpers live as long as the fuzzer, so that owners in the live image
 * exist. Nothing here knows the layout.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAITERS 4u

static struct image images[IMAGES];
static _Atomic uint32_t *holder_ready; /* shared with the helpers */

static const struct coord_request waits[WAITERS] = {
                {.size = sizeof(struct coord_request),
                                .kind = COORD_KIND_LOCK,
                                .name = "held",
                                .timeout_usec = UINT64_MAX},
                {.size = sizeof(struct coord_request),
                                .kind = COORD_KIND_LOCK,
                                .name = "held",
                                .flags = COORD_SHARED,
                                .timeout_usec = UINT64_MAX},
                {.size = sizeof(struct coord_request),
                                .kind = COORD_KIND_LOCK,
                                .name = "shared",
                                .timeout_usec = UINT64_MAX},
                {.size = sizeof(struct coord_request),
                                .kind = COORD_KIND_SEMAPHORE,
                                .name = "pool",
                                .permits = 2,
                                .capacity = 3,
                                .timeout_usec = UINT64_MAX},
};

static _Noreturn void give_up(const char *what, int r) {
        fprintf(stderr, "fuzz: no image: %s: %s\n", what, strerror(-r));
        exit(1);
}

static char *path_of(char *buffer, size_t size, const char *name) {
        snprintf(buffer, size, "%s/%s", sandbox_directory(), name);
        return buffer;
}

/* The helpers have a directory to themselves: who lives in it would keep others from making a segment. */
static coord_client *cast_client(void) {
        coord_client *c = NULL;
        char path[96];

        (void) setenv("COORD_RUNTIME_DIR", path_of(path, sizeof(path), "cast"), 1);
        if (coord_client_new(CLIENT_FLAGS, &c) < 0)
                _exit(1);
        return c;
}

static void hold_something(coord_client *c) {
        struct coord_request r = COORD_REQUEST_INIT;
        char owner[32];
        coord_hold *h;

        r.name = "leased";
        r.owner = "lease:1h";
        r.description = "an hour of it";
        if (coord_acquire_full(c, &r, &h) < 0 || coord_lock_acquire(c, "held", 0, 0, &h) < 0 ||
                        coord_lock_acquire(c, "shared", COORD_SHARED, 0, &h) < 0 ||
                        coord_semaphore_acquire(c, "pool", 3, 2, 0, 0, &h) < 0 ||
                        coord_semaphore_acquire(c, "wide", 40, 17, COORD_STRICT, 0, &h) < 0)
                _exit(1);
        snprintf(owner, sizeof(owner), "pid:%d", (int) getpid());
        r.name = "pidded";
        r.owner = owner;
        if (coord_acquire_full(c, &r, &h) < 0)
                _exit(1);
}

static _Noreturn void helper_hold(void) {
        hold_something(cast_client());
        *holder_ready = 1;
        for (;;)
                pause();
}

static coord_client *waiting_client;

static void *helper_wait_one(void *userdata) {
        const size_t i = (size_t) userdata;
        coord_hold *h = NULL;

        (void) coord_acquire_full(waiting_client, &waits[i], &h);
        return NULL;
}

static _Noreturn void helper_wait(void) {
        waiting_client = cast_client();
        for (size_t i = 0; i < WAITERS; i++) {
                pthread_t thread;

                if (pthread_create(&thread, NULL, helper_wait_one, (void *) i) != 0)
                        _exit(1);
        }
        for (;;)
                pause();
}

static pid_t helper_start(void (*run)(void)) {
        pid_t parent = getpid(), pid = fork();

        if (pid < 0)
                give_up("fork", -errno);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() == parent)
                        run();
                _exit(1);
        }
        return pid;
}

/* In a child, as the fuzzer itself must stay no client. */
static void await_waiters(void) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                coord_client *c = cast_client();
                size_t n_waiters = 0;

                (void) alarm(20);
                while (n_waiters < WAITERS) {
                        struct coord_entry *e = NULL;
                        size_t n = 0;

                        if (coord_list(c, COORD_KIND_ANY, &e, &n) < 0)
                                _exit(1);
                        n_waiters = 0;
                        for (size_t i = 0; i < n; i++)
                                n_waiters += e[i].n_waiters;
                        coord_entries_free(e, n);
                        (void) sched_yield();
                }
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
                give_up("waiters don't queue", -EIO);
}

/* Only the pages with something in them are kept: most of a segment is empty. */
static void pages_find(struct image *image) {
        static const uint8_t zeroes[IMAGE_PAGE];

        image->pages = calloc(image->size / IMAGE_PAGE + 1, sizeof(*image->pages));
        if (!image->pages)
                give_up("memory", -ENOMEM);
        for (size_t at = 0; at + IMAGE_PAGE <= image->size; at += IMAGE_PAGE)
                if (memcmp(image->bytes + at, zeroes, IMAGE_PAGE) != 0)
                        image->pages[image->n_pages++] = at;
}

static void segment_load(struct image *image) {
        char path[96];
        struct stat st;
        int fd;

        fd = open(path_of(path, sizeof(path), "cast/segment"), O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                give_up(path, -errno);
        image->size = (size_t) st.st_size;
        image->bytes = malloc(image->size);
        if (!image->bytes || read(fd, image->bytes, image->size) != st.st_size)
                give_up(path, -EIO);
        close(fd);
        pages_find(image);
}

static void create_empty(void) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                struct coord_status s = {.size = sizeof(s)};
                coord_client *c = cast_client();
                coord_hold *h = NULL;

                if (coord_client_get_status(c, &s) < 0 || coord_lock_try(c, "first", 0, &h) < 0 ||
                                coord_hold_release(h) < 0)
                        _exit(1);
                coord_hold_unref(h);
                coord_client_unref(c);
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
                give_up("the library makes no segment", -EIO);
}

static void file_install(const struct image *image, const char *name) {
        char path[96];
        int fd;

        (void) unlink(path_of(path, sizeof(path), name));
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t) image->size) < 0)
                sandbox_fail("fuzz: cannot make %s: %s", path, strerror(errno));
        for (size_t i = 0; i < image->n_pages; i++)
                if (pwrite(fd, image->bytes + image->pages[i], IMAGE_PAGE,
                                    (off_t) image->pages[i]) != IMAGE_PAGE)
                        sandbox_fail("fuzz: cannot write %s: %s", path, strerror(errno));
        close(fd);
}

struct cast {
        pid_t holder, waiter;
};

static struct cast cast_start(void) {
        struct cast c;

        *holder_ready = 0;
        c.holder = helper_start(helper_hold);
        while (!*holder_ready)
                if (waitpid(c.holder, NULL, WNOHANG) != 0)
                        give_up("the holder died", -EIO);
        c.waiter = helper_start(helper_wait);
        await_waiters();
        return c;
}

static void cast_kill(const struct cast *c) {
        (void) kill(c->holder, SIGKILL);
        (void) waitpid(c->holder, NULL, 0);
        (void) kill(c->waiter, SIGKILL);
        (void) waitpid(c->waiter, NULL, 0);
}

/* Those of the live image live on in a segment that nobody else sees any more. */
static void images_make(void) {
        struct cast first;

        (void) sandbox_directory(); /* before any child would make one of its own */
        holder_ready = mmap(NULL, sizeof(*holder_ready), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (holder_ready == MAP_FAILED)
                give_up("mmap", -errno);
        create_empty();
        segment_load(&images[IMAGE_EMPTY]);

        first = cast_start();
        cast_kill(&first);
        segment_load(&images[IMAGE_ABANDONED]);

        file_install(&images[IMAGE_EMPTY], "cast/segment");
        (void) cast_start();
        segment_load(&images[IMAGE_LIVE]);
}

/**
 * image_get() - a segment to begin with
 * @which:      IMAGE_…
 *
 * Return: it; the process ends when the library can't make one.
 */
const struct image *image_get(unsigned which) {
        if (!images[IMAGE_EMPTY].bytes)
                images_make();
        return &images[which % IMAGES];
}

/**
 * image_install() - make an image the segment of the sandbox
 *
 * The file is a new one each time: nobody has it mapped yet.
 */
void image_install(const struct image *image) {
        file_install(image, "segment");
}
