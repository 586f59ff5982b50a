/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The test's side of actors: starting and ending them, orders and answers. It must never assert
 * outside the thread of the test.
 */
#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"

void api_actors_end(void);

enum {
        ANSWER_MSEC = 80000,
        ACTOR_FD = 3
};

static struct actor *actors;

static struct actor *actor_new(int pair[2]) {
        struct actor *a = calloc(1, sizeof(*a));

        ck_assert_ptr_nonnull(a);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        a->fd = pair[0];
        a->pidfd = -1;
        a->next = actors;
        actors = a;
        return a;
}

struct part {
        int fd;
        coord_client *client;
};

static void *part_play(void *argument) {
        struct part *p = argument;

        (void) actor_serve(p->fd, p->client, 0);
        (void) close(p->fd);
        free(p);
        return NULL;
}

struct actor *api_thread(coord_client *c) {
        struct part *p = malloc(sizeof(*p));
        struct actor *a;
        int pair[2];

        ck_assert_ptr_nonnull(p);
        a = actor_new(pair);
        a->client = coord_client_ref(c);
        *p = (struct part){pair[1], c};
        ck_assert_int_eq(pthread_create(&a->thread, NULL, part_play, p), 0);
        return a;
}

static void actor_path(char *path, size_t size) {
        ssize_t n = readlink("/proc/self/exe", path, size - sizeof("api-actor"));
        char *slash;

        ck_assert_int_gt(n, 0);
        path[n] = 0;
        slash = strrchr(path, '/');
        ck_assert_ptr_nonnull(slash);
        strcpy(slash + 1, "api-actor");
}

struct actor *api_process_with(uint64_t client_flags) {
        posix_spawn_file_actions_t actions;
        char path[4096], flags[24], fd[8];
        char *argv[] = {path, flags, fd, NULL};
        struct actor *a;
        int pair[2];

        a = actor_new(pair);
        actor_path(path, sizeof(path));
        snprintf(flags, sizeof(flags), "%llu", (unsigned long long) client_flags);
        snprintf(fd, sizeof(fd), "%d", ACTOR_FD);
        ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
        ck_assert_int_eq(posix_spawn_file_actions_adddup2(&actions, pair[1], ACTOR_FD), 0);
        ck_assert_int_eq(posix_spawn(&a->pid, path, &actions, NULL, argv, environ), 0);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) close(pair[1]);
        a->pidfd = (int) syscall(SYS_pidfd_open, a->pid, 0);
        ck_assert_int_ge(a->pidfd, 0);
        return a;
}

struct actor *api_process(void) {
        return api_process_with(COORD_CLIENT_USER | COORD_CLIENT_NO_DAEMON);
}

static void actor_unlink(struct actor *a) {
        for (struct actor **p = &actors; *p; p = &(*p)->next)
                if (*p == a) {
                        *p = a->next;
                        return;
                }
}

struct actor *api_actor_free(struct actor *a) {
        if (!a)
                return NULL;
        actor_unlink(a);
        (void) close(a->fd);
        if (a->pid > 0) {
                if (a->stopped)
                        (void) kill(a->pid, SIGCONT);
                (void) waitpid(a->pid, NULL, 0);
        } else if (a->pidfd < 0) {
                (void) pthread_join(a->thread, NULL);
        }
        if (a->pidfd >= 0)
                (void) close(a->pidfd);
        coord_client_unref(a->client);
        free(a);
        return NULL;
}

/* One that still waits would never see its socket close. */
void api_actors_end(void) {
        for (struct actor *a = actors; a; a = a->next)
                if (a->pid > 0)
                        (void) kill(a->pid, SIGKILL);
        while (actors)
                api_actor_free(actors);
}

void api_send(struct actor *a, const struct order *o) {
        ck_assert_int_eq(send(a->fd, o, sizeof(*o), MSG_NOSIGNAL), (ssize_t) sizeof(*o));
}

struct answer api_answer(struct actor *a) {
        struct pollfd p = {a->fd, POLLIN, 0};
        struct answer got;

        ck_assert_msg(poll(&p, 1, ANSWER_MSEC) == 1, "an actor never answered");
        ck_assert_msg(recv(a->fd, &got, sizeof(got), 0) == (ssize_t) sizeof(got),
                        "an actor ended without an answer");
        return got;
}

struct answer api_do(struct actor *a, const struct order *o) {
        api_send(a, o);
        return api_answer(a);
}

bool api_silent(struct actor *a) {
        struct pollfd p = {a->fd, POLLIN, 0};

        return poll(&p, 1, 0) == 0;
}

size_t api_next(struct actor *const *list, size_t n) {
        struct pollfd p[64];

        ck_assert_uint_le(n, ELEMENTS(p));
        for (size_t i = 0; i < n; i++)
                p[i] = (struct pollfd){list[i]->fd, POLLIN, 0};
        ck_assert_msg(poll(p, n, ANSWER_MSEC) >= 1, "no actor ever answered");
        for (size_t i = 0; i < n; i++)
                if (p[i].revents)
                        return i;
        return n;
}

struct answer api_take(struct actor *a, const char *name) {
        struct order o = {.op = ACTOR_ACQUIRE};
        struct answer got;

        snprintf(o.text, sizeof(o.text), "%s", name);
        got = api_do(a, &o);
        assert_answer(got, 0);
        return got;
}

void api_drop(struct actor *a) {
        assert_answer(api_do(a, ORDER(.op = ACTOR_DROP)), 0);
}

void api_gone(struct actor *a) {
        ck_assert_int_eq(waitpid(a->pid, NULL, 0), a->pid);
        a->pid = 0;
}

void api_kill(struct actor *a) {
        ck_assert_int_eq(kill(a->pid, SIGKILL), 0);
        api_gone(a);
}

void api_stop(struct actor *a) {
        int status;

        ck_assert_int_eq(kill(a->pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(a->pid, &status, WUNTRACED), a->pid);
        ck_assert(WIFSTOPPED(status));
        a->stopped = true;
}

void api_continue(struct actor *a) {
        ck_assert_int_eq(kill(a->pid, SIGCONT), 0);
        a->stopped = false;
}

pid_t api_fork(void) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        return pid;
}

int api_status(pid_t pid) {
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
        return WEXITSTATUS(status);
}
