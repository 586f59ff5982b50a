/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records: who a keeper's process is, and what a hold stands on that shall outlive its process. Whoever
 * waits for such a hold judges the record; nothing in it is believed without asking the kernel.
 */
#include "segment/segment.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#define PIDFS_MAGIC 0x50494446

void text_store(Word64 *words, size_t n, const char *text) {
        uint64_t copy[16] = {0};

        (void) snprintf((char *) copy, n * sizeof(uint64_t), "%s", text ? text : "");
        for (size_t i = 0; i < n; i++)
                atomic_store_explicit(&words[i], copy[i], memory_order_relaxed);
}

void text_load(const Word64 *words, size_t n, char *ret) {
        for (size_t i = 0; i < n; i++) {
                uint64_t v = atomic_load_explicit(&words[i], memory_order_relaxed);

                memcpy(ret + i * sizeof(v), &v, sizeof(v));
        }
        ret[n * sizeof(uint64_t) - 1] = '\0';
}

/* ---- processes ---- */

int pidfd_open_checked(uint32_t pid) {
        int fd = (int) syscall(SYS_pidfd_open, (pid_t) pid, 0);

        return fd < 0 ? -errno : fd;
}

/* Only pidfs (Linux 6.9) gives each process an inode of its own. */
static uint64_t pidfd_inode(int fd) {
        struct statfs fs;
        struct stat st;

        if (fstatfs(fd, &fs) < 0 || fs.f_type != PIDFS_MAGIC || fstat(fd, &st) < 0)
                return 0;
        return (uint64_t) st.st_ino;
}

static uint64_t start_time(uint32_t pid) {
        char path[40], text[1024];
        _cleanup_(closep) int fd = -EBADF;
        ssize_t n;
        char *p;

        (void) snprintf(path, sizeof(path), "/proc/%u/stat", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return 0;
        text[n] = '\0';
        p = strrchr(text, ')'); /* the command's name may hold anything */
        for (unsigned field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        return p ? strtoull(p + 1, NULL, 10) : 0;
}

int ident_read(uint32_t pid, Ident *ret) {
        _cleanup_(closep) int fd = -EBADF;

        if (pid == 0 || pid > INT32_MAX)
                return -ESRCH;
        fd = pidfd_open_checked(pid);
        if (fd == -ESRCH || fd == -EINVAL)
                return -ESRCH;
        atomic_store(&ret->pid, pid);
        atomic_store(&ret->inode, fd >= 0 ? pidfd_inode(fd) : 0);
        atomic_store(&ret->start, atomic_load(&ret->inode) != 0 ? 0 : start_time(pid));
        /* It may have ended, and its id be another's, between the two looks. */
        if (fd >= 0 && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) > 0)
                return -ESRCH;
        return 0;
}

int ident_open(const Ident *ident) {
        uint32_t pid = (uint32_t) atomic_load(&ident->pid);
        _cleanup_(closep) int fd = -EBADF;
        uint64_t inode, start;

        if (pid == 0 || pid > INT32_MAX)
                return -ESRCH;
        fd = pidfd_open_checked(pid);
        if (fd == -EINVAL)
                return -ESRCH; /* the id is a thread's by now */
        if (fd < 0)
                return fd;
        inode = pidfd_inode(fd);
        if (inode != 0 && atomic_load(&ident->inode) != 0) {
                if (inode != atomic_load(&ident->inode))
                        return -ESRCH;
        } else if (atomic_load(&ident->start) != 0) {
                start = start_time(pid);
                if (start != 0 && start != atomic_load(&ident->start))
                        return -ESRCH;
        }
        return TAKE_FD(fd);
}

int ident_gone(const Ident *ident) {
        _cleanup_(closep) int fd = ident_open(ident);

        if (fd == -ESRCH)
                return 1;
        if (fd < 0) /* no descriptor to be had: ask in a way that needs none */
                return !word_owner_exists((uint32_t) atomic_load(&ident->pid));
        return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) > 0;
}

/* ---- records ---- */

static bool record_is_stale(Segment *s, Record *r) {
        uint32_t kind = atomic_load(&r->kind), slot, me = (uint32_t) (r - s->records);
        EntryWalk w;

        if (word_tid(atomic_load(&r->own)) != 0 &&
                        word_owner_exists(word_tid(atomic_load(&r->own))))
                return false;
        if (kind == RECORD_PROCESS)
                return ident_gone(&r->who[0]);
        /* Its maker died on the way, or nobody cleared it away: does a word still point here? */
        slot = atomic_load(&r->slot);
        if (slot == 0 || slot > s->n_slots)
                return true;
        if (atomic_load(&s->slots[slot - 1].gate.word) & WORD_SENTINEL &&
                        word_record(word_tid(atomic_load(&s->slots[slot - 1].gate.word))) == me)
                return false;
        SLOT_EACH_MEMBER (e, s, &s->slots[slot - 1], w) {
                uint32_t v = word_tid(atomic_load(&e->word));

                if (word_is_sentinel(v) && word_record(v) == me)
                        return false;
        }
        return true;
}

static bool record_claim(Segment *s, uint32_t i, bool thorough) {
        Record *r = &s->records[i];
        uint32_t kind = atomic_load(&r->kind), own = atomic_load(&r->own);
        Keeper *k;

        if (kind != RECORD_FREE && !(thorough && record_is_stale(s, r)))
                return false;
        if (word_tid(own) != 0 && (kind == RECORD_FREE || word_owner_exists(word_tid(own))))
                return false; /* somebody is writing it */
        k = keeper_for(s, &r->own);
        if (!k)
                return false;
        if (!atomic_compare_exchange_strong(&r->own, &own, k->tid)) {
                keeper_disclaim(s, &r->own);
                return false;
        }
        if (atomic_load(&r->kind) == kind)
                return true;
        (void) keeper_give_up(s, &r->own);
        return false;
}

int record_new(Segment *s, uint32_t kind, const char *description, uint64_t *ret_info) {
        uint32_t hint = atomic_load(&s->header->record_hint), at = 0, gen;
        Record *r;

        lite_lock(&s->record_lock);
        for (unsigned round = 0; round < 2 && at == 0; round++)
                for (uint32_t i = 0; i < s->n_records && at == 0; i++) {
                        uint32_t j = (hint + i) % s->n_records;

                        if (j != 0 && record_claim(s, j, round == 1))
                                at = j;
                }
        lite_unlock(&s->record_lock);
        if (at == 0)
                return -ENOSPC;
        atomic_store(&s->header->record_hint, at + 1);
        r = &s->records[at];
        gen = atomic_fetch_add(&r->gen, 1) + 1;
        atomic_store(&r->slot, 0);
        atomic_store(&r->fence, 0);
        atomic_store(&r->deadline, 0);
        atomic_store(&r->who[1].pid, 0);
        atomic_store(&r->uid, (uint32_t) geteuid());
        atomic_store(&r->maker, atomic_load(&s->info));
        text_store(r->description, ELEMENTSOF(r->description), description);
        atomic_store(&r->kind, kind);
        *ret_info = (uint64_t) gen << 32 | at;
        return 0;
}

int record_new_process(Segment *s, uint64_t *ret_info) {
        uint64_t info;
        int r;

        r = record_new(s, RECORD_PROCESS, NULL, &info);
        if (r < 0)
                return r;
        text_store(s->records[(uint32_t) info].command, 2, program_invocation_short_name);
        (void) ident_read((uint32_t) getpid(), &s->records[(uint32_t) info].who[0]);
        *ret_info = info;
        return 0;
}

/* Ourselves we know already. */
static int ident_of(const Record *mine, uint32_t pid, Ident *ret) {
        if (!mine || atomic_load(&mine->who[0].pid) != pid)
                return ident_read(pid, ret);
        atomic_store(&ret->pid, pid);
        atomic_store(&ret->inode, atomic_load(&mine->who[0].inode));
        atomic_store(&ret->start, atomic_load(&mine->who[0].start));
        return 0;
}

int record_new_owner(Segment *s, const Owner *owner, const char *description, uint64_t *ret_info) {
        uint64_t info;
        Record *rec, *mine = record_of(s, atomic_load(&s->info));
        int r;

        r = record_new(s, owner->kind, description, &info);
        if (r < 0)
                return r;
        rec = &s->records[(uint32_t) info];
        for (unsigned i = 0; r >= 0 && i < 2 && owner->pids[i] != 0; i++)
                r = ident_of(mine, owner->pids[i], &rec->who[i]);
        if (r < 0) {
                record_free(s, info);
                return r;
        }
        if (owner->kind == RECORD_LEASE)
                atomic_store(&rec->deadline,
                                usec_add(clock_usec(CLOCK_BOOTTIME), owner->lease_usec));
        /* Of a lease it only tells who asked for it. */
        if (owner->kind != RECORD_PID)
                (void) ident_of(mine, (uint32_t) getpid(), &rec->who[0]);
        for (unsigned i = 0; mine && i < 2; i++)
                atomic_store(&rec->command[i], atomic_load(&mine->command[i]));
        *ret_info = info;
        return 0;
}

void record_free(Segment *s, uint64_t info) {
        Record *r = record_of(s, info);
        uint32_t own;

        if (!r)
                return;
        own = atomic_load(&r->own);
        if (word_tid(own) != 0 && !s->thread_owned && !keeper_by_tid(s, word_tid(own)))
                return; /* another process is writing it */
        (void) atomic_fetch_add(&r->gen, 1);
        atomic_store(&r->kind, RECORD_FREE);
        record_disown(s, info);
}

void record_disown(Segment *s, uint64_t info) {
        (void) keeper_give_up(s, &s->records[(uint32_t) info % s->n_records].own);
}

static int lease_is_over(Record *r) {
        uint64_t deadline = atomic_load(&r->deadline);

        /* Marking it decides against a renewal that comes at the same moment. */
        while (deadline != 0 && deadline <= clock_usec(CLOCK_BOOTTIME))
                if (atomic_compare_exchange_strong(&r->deadline, &deadline, 0))
                        return 1;
        return deadline == 0;
}

int record_judge(Record *r) {
        switch (atomic_load(&r->kind)) {
        case RECORD_PROCESS:
        case RECORD_PID:
                return ident_gone(&r->who[0]) &&
                       (atomic_load(&r->who[1].pid) == 0 || ident_gone(&r->who[1]));
        case RECORD_LEASE:
                return lease_is_over(r);
        case RECORD_FD:
        case RECORD_CONNECTION:
        case RECORD_UNIT:
                return 0; /* for coordd to say */
        default:
                return 1;
        }
}

int record_renew(Segment *s, Record *r, uint64_t lease_usec) {
        uint64_t old = atomic_load(&r->deadline), now, end;
        uint32_t slot = atomic_load(&r->slot);

        if (atomic_load(&r->kind) != RECORD_LEASE)
                return -EINVAL;
        do {
                now = clock_usec(CLOCK_BOOTTIME);
                end = usec_add(now, lease_usec);
                if (old == 0 || old <= now)
                        return -ESTALE;
        } while (!atomic_compare_exchange_strong(&r->deadline, &old, end));
        /* Later is noticed when the timer for the old end fires; sooner has to be told. */
        if (end < old && slot != 0 && slot <= s->n_slots &&
                        structure_lock(s, &s->slots[slot - 1].qlock, USEC_INFINITE) >= 0) {
                queue_poke_head(s, &s->slots[slot - 1]);
                structure_unlock(s, &s->slots[slot - 1].qlock);
        }
        return 0;
}
