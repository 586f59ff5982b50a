/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Death at the instrumented steps. The parent says how often each step should have killed by now;
 * a step that lags behind kills (or stops) its own process with a chance of one in eight, so that
 * rare steps get their share. The death is written down before it is dealt. Nothing here may call
 * the library: it runs in the midst of it.
 */
#include "torture.h"

#include <signal.h>
#include <unistd.h>

_Thread_local struct actor *current_actor;

static _Thread_local uint64_t stranger_random;
static unsigned seat_index;
static uint32_t own_incarnation;

/**
 * inject_step_name() - the name of a step, the library's or ours
 */
const char *inject_step_name(unsigned step) {
        if (step == STEP_HOLDING)
                return "(holding)";
        if (step == STEP_IDLE)
                return "(idle)";
        return coord_step_name(step);
}

static uint64_t *random_state(void) {
        if (current_actor)
                return &current_actor->random;
        if (stranger_random == 0)
                stranger_random = shared->options.seed ^ (uintptr_t) &stranger_random ^
                                  ((uint64_t) own_incarnation << 32) ^ now_ns();
        return &stranger_random;
}

static void trace(unsigned step) {
        uint64_t i = atomic_fetch_add_explicit(&shared->n_traces, 1, memory_order_relaxed);
        struct trace *t = &shared->traces[i % TRACE_LENGTH];

        atomic_store_explicit(&t->at, now_ns(), memory_order_relaxed);
        atomic_store_explicit(&t->incarnation, own_incarnation, memory_order_relaxed);
        atomic_store_explicit(&t->step, (uint16_t) step, memory_order_relaxed);
        atomic_store_explicit(&t->thread,
                        (uint16_t) (current_actor ? current_actor->thread : THREADS_MAX),
                        memory_order_relaxed);
}

static void note(unsigned step) {
        struct seat *seat = &shared->seats[seat_index];

        trace(step);
        atomic_fetch_add_explicit(&shared->hits[step], 1, memory_order_relaxed);
        if (current_actor)
                atomic_store_explicit(&current_actor->state->step, step + 1, memory_order_relaxed);
        else
                atomic_store_explicit(&seat->library_step, step + 1, memory_order_relaxed);
        if (current_actor && step == COORD_STEP_GATE_CLOSED && current_actor->linked == 0)
                current_actor->linked = now_ns();
}

static bool lags(_Atomic uint64_t *done, _Atomic uint64_t *wanted) {
        return atomic_load_explicit(done, memory_order_relaxed) <
               atomic_load_explicit(wanted, memory_order_relaxed);
}

static void die(unsigned step) {
        uint64_t none = 0;

        atomic_fetch_add(&shared->kills[step], 1);
        atomic_compare_exchange_strong(&shared->died[own_incarnation], &none, now_ns());
        kill(getpid(), SIGKILL);
        for (;;)
                pause();
}

/**
 * inject_step() - the hook: pass on, stop or die
 */
void inject_step(unsigned step) {
        uint64_t dice;

        if (step >= STEPS)
                return;
        note(step);
        if (!atomic_load_explicit(&shared->armed, memory_order_relaxed))
                return;

        dice = random_next(random_state());
        if (dice % 1000000 < shared->options.rate ||
                        ((dice >> 32) % 8 == 0 &&
                                        lags(&shared->kills[step], &shared->wanted_kills)))
                die(step);
        if ((dice >> 40) % 8 == 0 && lags(&shared->stops[step], &shared->wanted_stops)) {
                atomic_fetch_add(&shared->stops[step], 1);
                kill(getpid(), SIGSTOP);
        }
}

/**
 * inject_init() - arm this process, which has just been forked
 */
void inject_init(unsigned worker, uint32_t incarnation) {
        seat_index = worker;
        own_incarnation = incarnation;
        coord_step_hook = inject_step;
}

/**
 * inject_vanish() - end this process without releasing anything
 * @how:    even: by exit, odd: by becoming another program
 */
void inject_vanish(uint64_t how) {
        uint64_t none = 0;

        atomic_compare_exchange_strong(&shared->died[own_incarnation], &none, now_ns());
        if (how % 2 == 1)
                (void) execl("/bin/true", "true", (char *) NULL);
        _exit(0);
}

/**
 * inject_condemned() - has the death of this process been written down already?
 */
bool inject_condemned(void) {
        return own_incarnation > 0 && atomic_load(&shared->died[own_incarnation]) != 0;
}
