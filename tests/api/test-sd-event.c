/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client in an sd-event loop: waits, timeouts and losses come from the loop. It must never know
 * the library's insides.
 */
#include <errno.h>

#include <systemd/sd-event.h>

#include "api.h"

struct wait {
        coord_slot *slot;
        coord_hold *hold;
        int result;
        unsigned *calls;
};

static void on_acquired(coord_slot *slot, int result, coord_hold *hold, void *userdata) {
        struct wait *w = userdata;

        (void) slot;
        w->result = result;
        w->hold = hold;
        ++*w->calls;
}

static void wait_for(coord_client *c, uint64_t timeout, struct wait *w) {
        struct coord_request r = COORD_REQUEST_INIT;

        r.name = "a";
        r.timeout_usec = timeout;
        assert_result(coord_acquire_async(c, &w->slot, &r, on_acquired, w), 0);
}

static void wait_end(struct wait *w) {
        w->slot = coord_slot_unref(w->slot);
        w->hold = coord_hold_unref(w->hold);
}

static void on_lost(coord_hold *h, void *userdata) {
        ck_assert_int_eq(coord_hold_check(h), 0);
        ++*(unsigned *) userdata;
}

static void spin_until(sd_event *event, const unsigned *calls, unsigned n) {
        while (*calls < n)
                ck_assert_int_gt(sd_event_run(event, 60 * SEC), 0);
}

START_TEST(sd_event_loop_drives_waits_timeouts_and_losses) {
        struct actor *holder = api_process();
        unsigned calls = 0, lost = 0;
        struct wait w = {.calls = &calls}, late = {.calls = &calls};
        coord_client *c = api_client();
        sd_event *event = NULL;

        ck_assert_int_ge(sd_event_new(&event), 0);
        assert_result(coord_client_attach_event(c, event, SD_EVENT_PRIORITY_NORMAL), 0);
        api_take(holder, "a");
        wait_for(c, 20 * MSEC, &late);
        spin_until(event, &calls, 1);
        ck_assert_int_eq(late.result, -ETIMEDOUT);
        wait_for(c, ENDLESS, &w);
        api_drop(holder);
        spin_until(event, &calls, 2);
        ck_assert_int_eq(w.result, 0);
        assert_result(coord_hold_set_lost_callback(w.hold, on_lost, &lost), 0);
        assert_answer(api_do(holder, ORDER(.op = ACTOR_BREAK, .text = "a")), 0);
        spin_until(event, &lost, 1);
        assert_result(coord_client_attach_event(c, NULL, 0), 0);
        wait_end(&w);
        wait_end(&late);
        coord_client_unref(c);
        sd_event_unref(event);
}
END_TEST

START_TEST(client_may_go_while_attached) {
        unsigned calls = 0;
        struct wait w = {.calls = &calls};
        coord_client *c = api_client();
        sd_event *event = NULL;

        ck_assert_int_ge(sd_event_new(&event), 0);
        assert_result(coord_client_attach_event(c, event, 0), 0);
        wait_for(c, ENDLESS, &w);
        wait_end(&w);
        coord_client_unref(c);
        ck_assert_int_ge(sd_event_run(event, 0), 0);
        sd_event_unref(event);
        ck_assert(api_free("a"));
}
END_TEST

static Suite *event_suite(void) {
        Suite *s = suite_create("sd-event");

        api_fact(s, sd_event_loop_drives_waits_timeouts_and_losses);
        api_fact(s, client_may_go_while_attached);
        return s;
}

int main(void) {
        return api_run(event_suite());
}
