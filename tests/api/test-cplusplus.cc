/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header is clean C++17 under -Wall -Wextra -Werror, its functions have C linkage and are all
 * exported, and a lock works. It must never know the library's insides.
 */
#include <coord/client.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dirent.h>
#include <unistd.h>

namespace {

using function = void (*)();

template <typename F> function address(F *f) {
        return reinterpret_cast<function>(f);
}

const function functions[] = {
                address(coord_client_new),
                address(coord_client_ref),
                address(coord_client_unref),
                address(coord_client_cancel),
                address(coord_lock_acquire),
                address(coord_lock_try),
                address(coord_lock_open),
                address(coord_lock_lock),
                address(coord_lock_unref),
                address(coord_semaphore_acquire),
                address(coord_semaphore_try),
                address(coord_semaphore_configure),
                address(coord_acquire_all),
                address(coord_acquire_all_full),
                address(coord_holds_free),
                address(coord_acquire_full),
                address(coord_hold_token),
                address(coord_hold_name),
                address(coord_hold_fence),
                address(coord_hold_was_abandoned),
                address(coord_hold_check),
                address(coord_hold_convert),
                address(coord_hold_renew),
                address(coord_hold_transfer),
                address(coord_hold_set_lost_callback),
                address(coord_hold_release),
                address(coord_hold_ref),
                address(coord_hold_unref),
                address(coord_hold_detach),
                address(coord_release),
                address(coord_check),
                address(coord_renew),
                address(coord_transfer),
                address(coord_break),
                address(coord_acquire_async),
                address(coord_slot_unref),
                address(coord_client_get_fd),
                address(coord_client_get_events),
                address(coord_client_get_timeout),
                address(coord_client_process),
                address(coord_client_attach_event),
                address(coord_list),
                address(coord_entries_free),
                address(coord_watch),
                address(coord_client_get_status),
                address(coord_error_name),
                address(coord_strerror),
                address(coord_version),
};

int works() {
        coord_client *c COORD_CLIENT_CLEANUP = nullptr;
        coord_hold *h COORD_HOLD_CLEANUP = nullptr;
        coord_hold *permits COORD_HOLD_CLEANUP = nullptr;
        coord_request r = COORD_REQUEST_INIT;

        if (coord_client_new(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON, &c) != 0)
                return 1;
        if (coord_lock_acquire(c, "cplusplus", COORD_STRICT, COORD_TIMEOUT_INFINITE, &h) != 0)
                return 2;
        r.kind = COORD_KIND_SEMAPHORE;
        r.name = "cplusplus";
        r.capacity = 2;
        if (coord_acquire_full(c, &r, &permits) != 0)
                return 3;
        return coord_hold_check(h) == 1 && coord_hold_check(permits) == 1 ? 0 : 4;
}

void sweep(const char *path) {
        DIR *d = opendir(path);

        if (!d)
                return;
        while (const dirent *e = readdir(d))
                (void) unlinkat(dirfd(d), e->d_name, 0);
        (void) closedir(d);
        (void) rmdir(path);
}

} // namespace

int main() {
        char place[] = "/tmp/coord-api-XXXXXX";
        char state[sizeof(place) + 8];

        for (function f : functions)
                if (!f)
                        return 10;
        if (!mkdtemp(place))
                return 11;
        std::snprintf(state, sizeof(state), "%s/state", place);
        (void) setenv("COORD_RUNTIME_DIR", place, 1);
        (void) setenv("COORD_STATE_DIR", state, 1);
        const int result = works();
        if (result != 0)
                std::fprintf(stderr, "step %d failed\n", result);
        sweep(state);
        sweep(place);
        return result;
}
