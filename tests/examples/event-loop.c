/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event-loop [NAME]: waits for a lock inside a poll() loop that goes on serving standard input.
 *
 * Each line read is answered at once, with the lock or without it; the end of the input ends the
 * program. The loop knows the client as one more descriptor with a deadline, and nothing else.
 */
#define _GNU_SOURCE /* ppoll */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <coord/client.h>

struct app {
        coord_client *client;
        coord_slot *slot;
        coord_hold *hold;
        int result;
        bool end;
};

static void app_done(struct app *app) {
        /* In this order: a hold and a slot use their client. */
        coord_hold_unref(app->hold);
        coord_slot_unref(app->slot); /* cancels a wait that still goes on */
        coord_client_unref(app->client);
}

static void on_acquired(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        struct app *app = userdata;

        (void) slot;

        app->result = result;
        app->hold = hold; /* ours from here on */

        if (result >= 0)
                printf("granted %s\n", coord_hold_token(hold));
        fflush(stdout);
}

static int on_input(struct app *app) {
        char line[256];
        ssize_t n;

        n = read(STDIN_FILENO, line, sizeof(line) - 1);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0) {
                app->end = true;
                return 0;
        }

        line[n] = '\0';
        line[strcspn(line, "\n")] = '\0';
        printf("heard %s while %s\n", line, app->hold ? "holding" : "waiting");
        fflush(stdout);
        return 0;
}

/* The deadline of the client as ppoll() wants it: NULL for none. */
static struct timespec *time_left(coord_client *client, struct timespec *ts) {
        uint64_t deadline, now;

        if (coord_client_get_timeout(client, &deadline) < 0 || deadline == UINT64_MAX)
                return NULL;

        clock_gettime(CLOCK_MONOTONIC, ts);
        now = (uint64_t) ts->tv_sec * 1000000 + (uint64_t) ts->tv_nsec / 1000;

        deadline = deadline > now ? deadline - now : 0;
        ts->tv_sec = (time_t) (deadline / 1000000);
        ts->tv_nsec = (long) (deadline % 1000000 * 1000);
        return ts;
}

static int loop_once(struct app *app) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}};
        struct timespec ts;
        int fd, r;

        fd = coord_client_get_fd(app->client);
        if (fd < 0)
                return fd;

        fds[1].fd = fd;
        fds[1].events = (short) coord_client_get_events(app->client);

        if (ppoll(fds, 2, time_left(app->client, &ts), NULL) < 0)
                return errno == EINTR ? 0 : -errno;

        /* Asked in every round: a deadline has no event of its own. 0 says that all is done. */
        do
                r = coord_client_process(app->client);
        while (r > 0);

        if (r >= 0 && fds[0].revents)
                r = on_input(app);
        if (r >= 0)
                r = app->result;

        return r;
}

static int run(struct app *app, const char *name) {
        struct coord_request request = COORD_REQUEST_INIT;
        int r;

        r = coord_client_new(COORD_CLIENT_USER, &app->client);
        if (r < 0)
                return r;

        request.name = name;
        request.description = "event-loop";
        request.timeout_usec = 60 * UINT64_C(1000000);

        r = coord_acquire_async(app->client, &app->slot, &request, on_acquired, app);
        if (r < 0)
                return r;

        printf("started\n");
        fflush(stdout);

        while (r >= 0 && !app->end)
                r = loop_once(app);
        if (r < 0)
                return r;

        return app->hold ? coord_hold_release(app->hold) : 0;
}

int main(int argc, char **argv) {
        struct app app = {.client = NULL};
        int r;

        if (argc > 2) {
                fprintf(stderr, "usage: event-loop [NAME]\n");
                return 64;
        }

        r = run(&app, argc > 1 ? argv[1] : "example/event-loop");
        if (r < 0)
                fprintf(stderr, "event-loop: %s\n", strerror(-r));
        else
                printf("ended\n");

        app_done(&app);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
