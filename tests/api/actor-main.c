/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An actor as a process: serves orders on the socket that it was started with. It must never
 * outlive the test that started it.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "actor.h"

/* What ACTOR_EXEC becomes: a program that holds nothing and knows no library. */
static int idle(int fd) {
        struct answer a;
        struct order o;

        memset(&a, 0, sizeof(a));
        do {
                if (send(fd, &a, sizeof(a), MSG_NOSIGNAL) < 0)
                        return 1;
        } while (recv(fd, &o, sizeof(o), 0) == (ssize_t) sizeof(o));
        return 0;
}

int main(int argc, char **argv) {
        if (argc != 3)
                return 64;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (strcmp(argv[1], "idle") == 0)
                return idle(atoi(argv[2]));
        return actor_serve(atoi(argv[2]), NULL, strtoull(argv[1], NULL, 10));
}
