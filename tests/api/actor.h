/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An actor: a thread or a process of its own that carries out orders on the public API, one after
 * another, and answers each. A test thus plays many parties from one thread. It must never know
 * what a test expects, nor anything of the library but its header.
 */
#ifndef COORD_TEST_ACTOR_H
#define COORD_TEST_ACTOR_H

#include <stdint.h>

#include <coord/client.h>

enum {
        ACTOR_ACQUIRE = 0,    /* text: the name; the hold is kept under its key */
        ACTOR_ALL,            /* text: wants, with blanks between */
        ACTOR_RELEASE,        /* coord_hold_release(), the object stays */
        ACTOR_UNREF,          /* coord_hold_unref() alone */
        ACTOR_DROP,           /* release, then unref */
        ACTOR_DETACH,         /* coord_hold_detach() */
        ACTOR_CONVERT,        /* flags */
        ACTOR_CHECK,          /* coord_hold_check() */
        ACTOR_TRANSFER,       /* owner */
        ACTOR_RELEASE_TOKEN,  /* text: a token or a name */
        ACTOR_CHECK_TOKEN,    /* text: a token */
        ACTOR_RENEW_TOKEN,    /* text: a token, patience: the lease */
        ACTOR_TRANSFER_TOKEN, /* text: a token, owner */
        ACTOR_BREAK,          /* text: a name */
        ACTOR_CONFIGURE,      /* text: a name, capacity */
        ACTOR_PING,
        ACTOR_GROW,   /* permits: MiB of memory to touch */
        ACTOR_LIMIT,  /* no more file descriptors than are open now */
        ACTOR_NOBODY, /* give up every privilege that root has */
        ACTOR_LEAVE,  /* drop everything, and the client */
        ACTOR_EXEC,   /* become another program that only answers pings */
        ACTOR_EXIT    /* exit() with all holds */
};

enum {
        ACTOR_KEYS = 16,
        ACTOR_TEXT = 1024
};

/* How long an order may wait: 0 without end, PATIENCE_NONE not at all, else microseconds. */
#define PATIENCE_NONE UINT64_MAX

struct order {
        int op;
        int key;  /* which hold */
        int kind; /* 0 stands for a lock */
        int mode;
        int priority;
        uint32_t permits, capacity;
        uint64_t flags, patience;
        char owner[64]; /* "" stands for process */
        char description[128];
        char text[ACTOR_TEXT];
};
#define ORDER(...) (&(struct order){__VA_ARGS__})

struct answer {
        int result;
        int abandoned;
        uint64_t epoch, counter;
        char token[352];
        char said[512]; /* coord_strerror() after a failure */
};

/* Serve orders from the socket until it closes or an order ends it. client may be NULL: one with
 * these flags is made when it is first needed, and dropped at the end. Returns an exit status. */
int actor_serve(int fd, coord_client *client, uint64_t client_flags);

#endif
