/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What people get to see: the table of deaths a step, and, when something is wrong, the state of the
 * segment twice: as the library lists it, and its words as they are.
 */
#include "torture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/layout.h"

#define TRACES_SHOWN 4000u

static const char *const count_names[COUNTS] = {
                [COUNT_GRANTS] = "grants",
                [COUNT_ROUNDS] = "rounds",
                [COUNT_TIMEOUTS] = "timeouts",
                [COUNT_BUSY] = "tries that failed",
                [COUNT_CANCELLED] = "cancelled",
                [COUNT_DEADLOCKS] = "upgrades refused",
                [COUNT_ABANDONED] = "abandoned seen",
                [COUNT_LOST] = "lost holds",
                [COUNT_BREAKS] = "breaks",
                [COUNT_CONVERTED] = "converted",
                [COUNT_ASYNC] = "asynchronous",
                [COUNT_LISTED] = "lists",
};

/**
 * report_table() - hits, kills and stops of each step, and the counters
 */
void report_table(void) {
        printf("%-24s %12s %8s %8s\n", "step", "hits", "kills", "stops");
        for (unsigned i = 0; i < STEPS; i++)
                if (atomic_load(&shared->hits[i]) > 0)
                        printf("%-24s %12" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n",
                                        inject_step_name(i), atomic_load(&shared->hits[i]),
                                        atomic_load(&shared->kills[i]),
                                        atomic_load(&shared->stops[i]));
        for (unsigned i = 0; i < COUNTS; i++)
                printf("%s%s %" PRIu64, i > 0 ? ", " : "torture: ", count_names[i],
                                atomic_load(&shared->counts[i]));
        printf("\n");
}

static void show_entry(const char *what, uint32_t i, const Entry *e) {
        if (e->word == 0)
                return;
        fprintf(stderr, "    %s %u: word 0x%08x flags 0x%x fence %" PRIx64 " info %" PRIx64 "\n",
                        what, i, e->word, e->flags, e->fence, e->info);
}

/* Is anything going on in it? What is free and has no queue tells nothing. */
static bool worth_showing(const Header *h, const uint8_t *base, const Slot *slot, uint32_t i) {
        const Extent *extents = (const Extent *) (base + h->off_extents);

        if (slot->kind == 0)
                return false;
        if (slot->gate.word != 0 || slot->qlock != 0 || slot->tail != 0)
                return true;
        for (uint32_t k = 1; slot->extent != 0 && k < h->n_extents; k++)
                for (uint32_t e = 0; extents[k].slot == i + 1 && e < EXTENT_ENTRIES; e++)
                        if (extents[k].entries[e].word != 0)
                                return true;
        return false;
}

/* Who waits, and whom somebody waits for. */
static bool cell_matters(const Header *h, const uint8_t *base, uint32_t slot, uint32_t at) {
        const Cell *cells = (const Cell *) (base + h->off_cells);

        if (cells[at].slot == slot + 1 && (cells[at].own & WORD_TID) != 0)
                return true;
        for (uint32_t i = 1; i < h->n_cells; i++)
                if (cells[i].slot == slot + 1 && (cells[i].own & WORD_TID) != 0 &&
                                (cells[i].pred & PRED_INDEX) == at)
                        return true;
        return false;
}

static void show_slot(const Header *h, const uint8_t *base, uint32_t i) {
        const Slot *slot = (const Slot *) (base + h->off_slots) + i;
        char name[sizeof(slot->name)];

        if (!worth_showing(h, base, slot, i))
                return;
        memcpy(name, (const void *) slot->name, sizeof(name));
        name[sizeof(name) - 1] = 0;
        fprintf(stderr,
                        "  slot %u %s: kind %u gen %u qlock 0x%08x tail %u capacity %u counter "
                        "%" PRIu64 " flags 0x%x extent %u upgrader %u\n",
                        i, name, slot->kind, slot->gen, slot->qlock, slot->tail, slot->capacity,
                        slot->counter, slot->flags, slot->extent, slot->upgrader);
        show_entry("gate", 0, &slot->gate);
        for (uint32_t k = 1; k < h->n_extents; k++) {
                const Extent *x = (const Extent *) (base + h->off_extents) + k;

                if (x->slot != i + 1)
                        continue;
                for (uint32_t e = 0; e < EXTENT_ENTRIES; e++)
                        show_entry("word", x->number * EXTENT_ENTRIES + e, &x->entries[e]);
        }
        for (uint32_t k = 1; k < h->n_cells; k++) {
                const Cell *c = (const Cell *) (base + h->off_cells) + k;

                if (!cell_matters(h, base, i, k))
                        continue;
                fprintf(stderr,
                                "    cell %u: own 0x%08x pred 0x%" PRIx64
                                " seen %u poke %u flags 0x%x permits %u "
                                "arrival %" PRIu64 " gen %u\n",
                                k, c->own, c->pred, c->seen, c->poke, c->flags, c->permits,
                                c->arrival, c->gen);
        }
}

static void show_words(void) {
        char path[96];
        struct stat st;
        uint8_t *base;
        Header *h;
        int fd;

        snprintf(path, sizeof(path), "%s/segment", shared->directory);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        base = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        if (base == MAP_FAILED)
                return;
        h = (Header *) base;
        fprintf(stderr, "  table lock 0x%08x\n", h->table_lock);
        for (uint32_t i = 0; i < h->n_slots; i++)
                show_slot(h, base, i);
        (void) munmap(base, (size_t) st.st_size);
}

static void show_list(void) {
        struct coord_entry *entries = NULL;
        coord_client *c = NULL;
        size_t n = 0;

        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) < 0 ||
                        coord_list(c, COORD_KIND_ANY, &entries, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                if (entries[i].n_holders + entries[i].n_waiters == 0)
                        continue;
                fprintf(stderr, "  %s: held %d free %u of %u\n", entries[i].name, entries[i].held,
                                entries[i].free, entries[i].capacity);
                for (size_t k = 0; k < entries[i].n_holders; k++)
                        fprintf(stderr, "    holder %s process %d %s\n",
                                        entries[i].holders[k].token,
                                        (int) entries[i].holders[k].pid,
                                        entries[i].holders[k].owner);
                for (size_t k = 0; k < entries[i].n_waiters; k++)
                        fprintf(stderr, "    waiter process %d mode %d permits %u\n",
                                        (int) entries[i].waiters[k].pid, entries[i].waiters[k].mode,
                                        entries[i].waiters[k].permits);
        }
        coord_entries_free(entries, n);
        coord_client_unref(c);
}

static void show_seats(void) {
        for (unsigned i = 0; i < shared->options.procs; i++)
                for (unsigned t = 0; t < THREADS_MAX; t++) {
                        struct seat *seat = &shared->seats[i];
                        struct thread_state *s = &seat->threads[t];
                        const char *doing = atomic_load(&s->doing);
                        uint32_t step = atomic_load(&s->step);

                        if (!doing)
                                continue;
                        fprintf(stderr, "  seat %u.%u process %d: %s, %s, subjects 0x%x, step %s\n",
                                        i, t, (int) atomic_load(&seat->pid), doing,
                                        atomic_load(&s->since) > 0 ? "waits" : "runs",
                                        atomic_load(&s->subjects),
                                        step > 0 ? inject_step_name(step - 1) : "-");
                }
}

/* The last steps, the oldest first. */
static void show_traces(void) {
        uint64_t n = atomic_load(&shared->n_traces);
        uint64_t from = n > TRACES_SHOWN ? n - TRACES_SHOWN : 0;

        for (uint64_t i = from; i < n; i++) {
                const struct trace *t = &shared->traces[i % TRACE_LENGTH];

                fprintf(stderr, "  %" PRIu64 " process %d thread %u %s\n", t->at,
                                (int) shared->pids[t->incarnation], t->thread,
                                inject_step_name(t->step));
        }
}

/**
 * report_state() - who does what, what the library lists, and the words as they are
 */
void report_state(void) {
        pid_t pid;

        fprintf(stderr, "torture: the state:\n");
        if (shared->options.verbose)
                show_traces();
        show_seats();
        show_words();
        pid = fork();
        if (pid == 0) {
                (void) alarm(5);
                coord_step_hook = NULL;
                show_list();
                _exit(0);
        }
        if (pid > 0)
                (void) waitpid(pid, NULL, 0);
}
