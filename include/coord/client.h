/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libcoordclient: named locks and semaphores for the programs of one host.
 *
 * A function returns 0 (or 1 for yes, where it answers a question) or a negative errno. Results
 * are written last and stay untouched on failure. A timeout is in microseconds; 0 does not wait,
 * COORD_TIMEOUT_INFINITE waits without end. One client may be used by any number of threads at
 * once. It does not survive fork(): in the child every call on it is -ECHILD; make a new client
 * there. Objects are counted: _ref() and _unref() take NULL, _unref() returns NULL.
 */
#ifndef COORD_CLIENT_H
#define COORD_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coord_client coord_client;
typedef struct coord_lock coord_lock;
typedef struct coord_hold coord_hold;
typedef struct coord_slot coord_slot;
struct sd_event;

#define COORD_TIMEOUT_INFINITE UINT64_MAX

/* Flags of coord_client_new(). */
enum {
        COORD_CLIENT_SYSTEM = 1,      /* /run/coordd; the default */
        COORD_CLIENT_USER = 2,        /* $XDG_RUNTIME_DIR/coordd */
        COORD_CLIENT_NO_DAEMON = 4,   /* the shared segment alone */
        COORD_CLIENT_DAEMON_ONLY = 8, /* never the segment */
        COORD_CLIENT_THREAD_OWNED =
                        16 /* no keeper thread: a hold ends with the thread that took it */
};

/* Flags of an acquisition. */
enum {
        COORD_SHARED = 1, /* beside other shared holders */
        COORD_STRICT = 2, /* after our death the next holder waits for the whole process to be gone */
        COORD_DEADLOCK = 4 /* asynchronous waits, and cycles of permits alone, are checked too */
};

/* Kinds, for struct coord_request, struct coord_entry and coord_list(). */
enum {
        COORD_KIND_ANY = 0,
        COORD_KIND_LOCK = 1,
        COORD_KIND_SEMAPHORE = 2,
        COORD_KIND_QUEUE = 3
};

/* Modes of a lock. */
enum {
        COORD_MODE_EXCLUSIVE = 0,
        COORD_MODE_SHARED = 1
};

/*
 * A request in full. Zero it, set size to sizeof(struct coord_request), fill in what is wanted:
 *
 *     struct coord_request r = COORD_REQUEST_INIT;
 *     r.name = "backup"; r.timeout_usec = 5000000;
 */
struct coord_request {
        size_t size;
        int kind; /* COORD_KIND_LOCK or COORD_KIND_SEMAPHORE */
        int mode; /* COORD_MODE_EXCLUSIVE or COORD_MODE_SHARED, of a lock */
        const char *name;
        const char *owner;       /* NULL or "process"; "pid:N"; "pid:N+M": both gone; "lease:30s" */
        const char *description; /* shown to everybody, at most 63 bytes are kept; may be NULL */
        const char *cookie;      /* may be NULL */
        uint64_t flags;          /* COORD_SHARED, COORD_STRICT, COORD_DEADLOCK */
        uint64_t timeout_usec;   /* 0 does not wait */
        uint32_t permits;        /* of a semaphore: 0 stands for 1 */
        uint32_t capacity;       /* of a semaphore: 0 takes what is declared */
        int priority;            /* -20 (sooner) to 19; p counts as arriving p * 100 ms later */
};
#define COORD_REQUEST_INIT                                                                         \
        {                                                                                          \
                sizeof(struct coord_request), COORD_KIND_LOCK, COORD_MODE_EXCLUSIVE, NULL, NULL,   \
                                NULL, NULL, 0, COORD_TIMEOUT_INFINITE, 0, 0, 0                     \
        }

/* ---- the client ------------------------------------------------------------------------- */

/* A new client. -EINVAL for unknown or contradicting flags. Nothing is opened before it is needed. */
int coord_client_new(uint64_t flags, coord_client **ret);
coord_client *coord_client_ref(coord_client *c);
coord_client *coord_client_unref(coord_client *c);
/* The exit event: every wait on this client, now and later, ends with -ECANCELED. Holds stand.
 * May be called from any thread and from a signal handler. */
int coord_client_cancel(coord_client *c);

/* ---- locks and semaphores --------------------------------------------------------------- */

/* -EINVAL name or flags; -EAGAIN (timeout 0) or -ETIMEDOUT not granted; -EDEADLK a cycle;
 * -ECANCELED; -ECHILD; -EUNATCH nothing to talk to; -EACCES no access; -ENOSPC segment full. */
int coord_lock_acquire(coord_client *c,
                const char *name,
                uint64_t flags,
                uint64_t timeout_usec,
                coord_hold **ret);
int coord_lock_try(coord_client *c, const char *name, uint64_t flags, coord_hold **ret);

/* The fast handle: the name is looked up once. */
int coord_lock_open(coord_client *c, const char *name, coord_lock **ret);
int coord_lock_lock(coord_lock *l, uint64_t flags, uint64_t timeout_usec, coord_hold **ret);
coord_lock *coord_lock_unref(coord_lock *l);

/* capacity 0 takes what is declared (-ENOENT where nothing is); another than the declared one is
 * -ERANGE. permits of 0 or above the capacity are -EINVAL. Permits never nest. */
int coord_semaphore_acquire(coord_client *c,
                const char *name,
                uint32_t capacity,
                uint32_t permits,
                uint64_t flags,
                uint64_t timeout_usec,
                coord_hold **ret);
int coord_semaphore_try(coord_client *c,
                const char *name,
                uint32_t capacity,
                uint32_t permits,
                uint64_t flags,
                coord_hold **ret);
/* Declare the capacity of a semaphore, or change it. */
int coord_semaphore_configure(coord_client *c, const char *name, uint32_t capacity);

/* All or none. wants is a NULL-terminated array of lock:NAME, lock:NAME:shared, sem:NAME:PERMITS and
 * sem:NAME:PERMITS:CAPACITY. The result is a NULL-terminated array in the order of wants, to be
 * freed with coord_holds_free() (which drops each hold that is still in it). */
int coord_acquire_all(coord_client *c,
                const char *const *wants,
                uint64_t flags,
                uint64_t timeout_usec,
                coord_hold ***ret);
/* The same with owner and description of one request for all (its kind, name, permits are unused). */
int coord_acquire_all_full(coord_client *c,
                const char *const *wants,
                const struct coord_request *request,
                coord_hold ***ret);
coord_hold **coord_holds_free(coord_hold **holds);

int coord_acquire_full(coord_client *c, const struct coord_request *request, coord_hold **ret);

/* ---- holds ------------------------------------------------------------------------------ */

/* KIND:NAME:EPOCH.COUNTER, valid as long as the hold object. */
const char *coord_hold_token(coord_hold *h);
const char *coord_hold_name(coord_hold *h);
int coord_hold_fence(coord_hold *h, uint64_t *epoch, uint64_t *counter);
/* 1 if the previous hold of this name (or of these permits) ended without a release. */
int coord_hold_was_abandoned(coord_hold *h);
/* 1 the hold still stands, 0 it is lost or released. */
int coord_hold_check(coord_hold *h);
/* flags 0 makes it exclusive, COORD_SHARED shared. On failure the hold stands as it was. -EDEADLK:
 * another holder is already waiting to make its shared hold exclusive. */
int coord_hold_convert(coord_hold *h, uint64_t flags, uint64_t timeout_usec);
/* Of a lease: it ends lease_usec from now. -ESTALE when it is over, -EINVAL when it is no lease. */
int coord_hold_renew(coord_hold *h, uint64_t lease_usec);
/* Give the hold another owner: "pid:N", "pid:N+M", "lease:DURATION". The token stays. */
int coord_hold_transfer(coord_hold *h, const char *owner);
/* Called once when the hold ends by anything but its own release (broken, lease over). It comes from
 * coord_client_process() if the client's descriptor was asked for or an event loop is attached, else
 * from a thread of the library. NULL takes it back. */
int coord_hold_set_lost_callback(
                coord_hold *h, void (*cb)(coord_hold *h, void *userdata), void *userdata);
/* End the hold; the object stays until its last unref. -ESTALE: it had been lost, or was released
 * already. A hold acquired n times by one thread needs n releases. */
int coord_hold_release(coord_hold *h);
coord_hold *coord_hold_ref(coord_hold *h);
/* The last unref releases, whatever the owner. */
coord_hold *coord_hold_unref(coord_hold *h);
/* Drop the object and let the hold stand for as long as its owner (pid:, lease:) does. -EINVAL for a
 * hold of this process, which can't be left alone; the object is then still the caller's. */
int coord_hold_detach(coord_hold *h);

/* By token, or by name where this user holds it exactly once. -ESTALE not held (any more); -EPERM
 * somebody else's; -EINVAL neither a token nor a name. */
int coord_release(coord_client *c, const char *token_or_name);
int coord_check(coord_client *c, const char *token); /* 1 current, 0 not */
int coord_renew(coord_client *c, const char *token, uint64_t lease_usec);
int coord_transfer(coord_client *c, const char *token, const char *owner);
/* End every hold of the lock (or semaphore, as sem:NAME), by force: its holders lose it. */
int coord_break(coord_client *c, const char *name);

/* ---- asynchronous ----------------------------------------------------------------------- */

/* result is 0 and hold the caller's, or a negative errno and hold NULL. */
typedef void (*coord_acquired_t)(coord_slot *slot, int result, coord_hold *hold, void *userdata);

/* The callback comes from coord_client_process(), exactly once unless the slot was dropped before. A
 * wait keeps its client alive. ret_slot may be NULL: it then ends with its outcome only, of which
 * coord_client_cancel() is one. */
int coord_acquire_async(coord_client *c,
                coord_slot **ret_slot,
                const struct coord_request *request,
                coord_acquired_t cb,
                void *userdata);
coord_slot *coord_slot_unref(coord_slot *s); /* cancels */

int coord_client_get_fd(coord_client *c);     /* readable when coord_client_process() has work */
int coord_client_get_events(coord_client *c); /* what to poll it for */
/* When to call coord_client_process() at the latest, in CLOCK_MONOTONIC microseconds; UINT64_MAX never. */
int coord_client_get_timeout(coord_client *c, uint64_t *ret_usec);
int coord_client_process(coord_client *c); /* 1 something was done, 0 nothing */
/* Run the client in an sd-event loop; event NULL detaches. libsystemd is looked for at run time:
 * -EOPNOTSUPP where the program has none. */
int coord_client_attach_event(coord_client *c, struct sd_event *event, int64_t priority);

/* ---- who holds what --------------------------------------------------------------------- */

struct coord_party {
        const char *token;       /* NULL of a waiter */
        const char *owner;       /* "process", "pid:12", "lease:29s", … */
        const char *command;     /* name of the program, "" if unknown */
        const char *unit;        /* NULL if none */
        const char *description; /* "" if none */
        pid_t pid;               /* 0 if unknown */
        uid_t uid;               /* (uid_t) -1 if unknown */
        int mode;                /* COORD_MODE_… */
        uint32_t permits;        /* of a semaphore, else 1 */
        int priority;
        int reserved;        /* gathered for a request that still waits: taken, no token yet */
        uint64_t since_usec; /* CLOCK_REALTIME: granted, or began to wait */
};

struct coord_entry {
        int kind;
        const char *name;
        int held, mode;    /* mode of its holders */
        int reserved;      /* some of it is gathered for a request that still waits */
        uint32_t capacity; /* of a semaphore, else 0 */
        uint32_t free;     /* permits that nobody holds */
        size_t n_holders, n_waiters;
        struct coord_party *holders; /* oldest grant first */
        struct coord_party *waiters; /* in queue order */
};

/* Everything held or waited for, of one kind or all, sorted by kind and name; semaphores with a
 * capacity too. Free it with coord_entries_free(). */
int coord_list(coord_client *c, int kind, struct coord_entry **ret, size_t *ret_n);
struct coord_entry *coord_entries_free(struct coord_entry *entries, size_t n);

/* Wait until something about a name matching glob changed since *cursor (0 returns the present
 * cursor at once). -ETIMEDOUT, -ECANCELED. While a caller watches, holders tell of each change. */
int coord_watch(coord_client *c, const char *glob, uint64_t *cursor, uint64_t timeout_usec);

struct coord_status {
        size_t size; /* set before the call */
        const char *path;
        uint64_t epoch;
        uint64_t bytes;
        uint32_t names, names_max;     /* locks and semaphores known */
        uint32_t waiters, waiters_max; /* queue cells in use */
        uint32_t records, records_max; /* processes attached, holds with another owner */
        uint32_t permits, permits_max; /* words for shared holds and permits */
        uint32_t processes;            /* attached now */
        int daemon;                    /* 1 a coordd serves this scope */
        int deleted;                   /* 1 the segment's file is gone: new callers get nowhere */
};
/* path is valid as long as the client. */
int coord_client_get_status(coord_client *c, struct coord_status *status);

/* ---- errors ----------------------------------------------------------------------------- */

/* "org.coordd.Coord1.Error.Timeout" and so on, for a negative (or positive) errno of this library. */
const char *coord_error_name(int error);
/* Why the calling thread's last call on c failed: what was refused, who holds it, what to do. Never
 * NULL; valid until the thread's next call. */
const char *coord_strerror(coord_client *c);
const char *coord_version(void);

/* ---- cleanup on leaving a scope (GCC, clang) --------------------------------------------- */

#if defined(__GNUC__) || defined(__clang__)
static inline void coord_client_unrefp(coord_client **c) {
        coord_client_unref(*c);
}
static inline void coord_lock_unrefp(coord_lock **l) {
        coord_lock_unref(*l);
}
static inline void coord_hold_unrefp(coord_hold **h) {
        coord_hold_unref(*h);
}
static inline void coord_slot_unrefp(coord_slot **s) {
        coord_slot_unref(*s);
}
static inline void coord_holds_freep(coord_hold ***h) {
        coord_holds_free(*h);
}
#define COORD_CLEANUP(func) __attribute__((cleanup(func)))
#define COORD_CLIENT_CLEANUP COORD_CLEANUP(coord_client_unrefp)
#define COORD_LOCK_CLEANUP COORD_CLEANUP(coord_lock_unrefp)
#define COORD_HOLD_CLEANUP COORD_CLEANUP(coord_hold_unrefp)
#define COORD_SLOT_CLEANUP COORD_CLEANUP(coord_slot_unrefp)
#define COORD_HOLDS_CLEANUP COORD_CLEANUP(coord_holds_freep)
#endif

#ifdef __cplusplus
}
#endif
#endif
