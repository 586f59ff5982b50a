/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of `coordctl run` share: the run itself, its child, the watch over it, and the scope
 * of all its descendants.
 */
#pragma once

#include "ctl.h"

#include <sys/types.h>

/* ---- ctl-scope.c: all descendants of coordctl --------------------------------------------- */

typedef struct Scope {
        bool active;
        char *cgroup;  /* the directory, NULL without a cgroup of our own */
        int cgroup_fd; /* that directory, or -EBADF */
        int events_fd; /* its cgroup.events, or -EBADF */
} Scope;

#define SCOPE_INIT                                                                                 \
        { .cgroup_fd = -EBADF, .events_fd = -EBADF }

int scope_open(Scope *s);
int scope_inherit(Scope *s);
void scope_add(Scope *s, pid_t pid);
bool scope_is_populated(Scope *s);
void scope_signal(Scope *s, int signo);
void scope_close(Scope *s);

/* ---- the run ------------------------------------------------------------------------------ */

typedef struct Run {
        Ctl *ctl;
        Want want;
        char **names;
        size_t n_names;
        char **command;
        int on_loss; /* 0 if not given */
        bool exec, scoped, verbose;
        Scope scope;
        bool is_guard; /* of --scope: the outer process, whose child is the inner one */
        pid_t guard;   /* in the inner one */
        pid_t child;
        sigset_t mask;   /* of signals, for the command */
        int go_fd;       /* a byte written here lets the child exec */
        int report_fd;   /* end of file when it did, or the errno of why it could not */
        int exec_status; /* 126 or 127 if it could not */
        int signal_fd;   /* the signals of supervise_signals() */
} Run;

/* ---- ctl-child.c: the process that becomes the command ------------------------------------- */

int child_start(Run *run);
int child_go(Run *run);
void child_abandon(Run *run);
bool child_report(Run *run);
int command_exec(char **command);

/* ---- ctl-supervise.c: from the go to the end ------------------------------------------------ */

int supervise_signals(Run *run);
int supervise(Run *run);
