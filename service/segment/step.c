/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of the instrumented steps; empty in ordinary builds.
 */
#include "segment/step.h"

#ifdef COORD_STEPS
void (*coord_step_hook)(unsigned step);

const char *coord_step_name(unsigned step) {
#define STEP_NAME(name) #name,
        static const char *const names[] = {COORD_STEP_LIST(STEP_NAME)};

        return step < COORD_STEP_MAX ? names[step] : "?";
}
#endif
