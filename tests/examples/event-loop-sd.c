/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event-loop-sd [NAME]: event-loop with sd-event. It waits for a lock and goes on serving standard
 * input. The loop belongs to the program; the client is attached to it and needs no more care.
 *
 *     gcc event-loop-sd.c $(pkg-config --cflags --libs coordclient libsystemd) -o event-loop-sd
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include <coord/client.h>

struct app {
        sd_event *event;
        coord_client *client;
        coord_slot *slot;
        coord_hold *hold;
};

static void app_done(struct app *app) {
        coord_hold_unref(app->hold);
        coord_slot_unref(app->slot); /* cancels a wait that still goes on */
        if (app->client)
                (void) coord_client_attach_event(app->client, NULL, 0);
        coord_client_unref(app->client);
        sd_event_unref(app->event);
}

static void on_acquired(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        struct app *app = userdata;

        (void) slot;

        if (result < 0) {
                (void) sd_event_exit(app->event, result);
                return;
        }

        app->hold = hold; /* ours from here on */
        printf("granted %s\n", coord_hold_token(hold));
        fflush(stdout);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct app *app = userdata;
        char line[256];
        ssize_t n;

        (void) source;
        (void) revents;

        n = read(fd, line, sizeof(line) - 1);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0)
                return sd_event_exit(app->event, 0);

        line[n] = '\0';
        line[strcspn(line, "\n")] = '\0';
        printf("heard %s while %s\n", line, app->hold ? "holding" : "waiting");
        fflush(stdout);
        return 0;
}

static int run(struct app *app, const char *name) {
        struct coord_request request = COORD_REQUEST_INIT;
        int r;

        r = sd_event_default(&app->event);
        if (r >= 0)
                r = sd_event_add_io(app->event, NULL, STDIN_FILENO, EPOLLIN, on_input, app);
        if (r >= 0)
                r = coord_client_new(COORD_CLIENT_USER, &app->client);
        if (r >= 0)
                r = coord_client_attach_event(app->client, app->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;

        request.name = name;
        request.description = "event-loop-sd";
        request.timeout_usec = 60 * UINT64_C(1000000);

        r = coord_acquire_async(app->client, &app->slot, &request, on_acquired, app);
        if (r < 0)
                return r;

        printf("started\n");
        fflush(stdout);

        r = sd_event_loop(app->event);
        if (r < 0)
                return r;

        return app->hold ? coord_hold_release(app->hold) : 0;
}

int main(int argc, char **argv) {
        struct app app = {.event = NULL};
        int r;

        if (argc > 2) {
                fprintf(stderr, "usage: event-loop-sd [NAME]\n");
                return 64;
        }

        r = run(&app, argc > 1 ? argv[1] : "example/event-loop");
        if (r < 0)
                fprintf(stderr, "event-loop-sd: %s\n", strerror(-r));
        else
                printf("ended\n");

        app_done(&app);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
