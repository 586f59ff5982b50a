/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All descendants of coordctl, for `run --scope`. It knows nothing of holds.
 *
 * coordctl becomes a subreaper: a process whose parent ends becomes coordctl's child, however it
 * detached itself, so waiting until there is no child waits for every descendant. Where the kernel's
 * control groups (version 2) are writable, the command also gets a group of its own beneath ours: it
 * can be killed in one stroke, which no fork can outrun, and is waited for until it is empty. A process
 * that moved itself to another group is still a descendant, one that was adopted by another subreaper
 * among the descendants still is in the group.
 */
#include "ctl-run.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

typedef struct Process {
        pid_t pid, parent;
        bool ours;
} Process;

static void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* Of a line of mountinfo: the mount point of a version 2 hierarchy, with the root that is mounted. */
static bool parse_cgroup_mount(char *line, char **ret_root, char **ret_point) {
        char *rest = strstr(line, " - cgroup2 "), *fields[5], *p = line;
        size_t i;

        if (!rest)
                return false;
        *rest = '\0';
        for (i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = strsep(&p, " ");
                if (!fields[i])
                        return false;
        }
        *ret_root = fields[3];
        *ret_point = fields[4];
        return !strchr(*ret_point, '\\');
}

/* The directory of our own group, to be freed, or NULL. */
static char *own_cgroup(void) {
        _cleanup_(fclosep) FILE *groups = fopen("/proc/self/cgroup", "re");
        _cleanup_(fclosep) FILE *mounts = fopen("/proc/self/mountinfo", "re");
        _cleanup_(freep) char *group = NULL, *line = NULL;
        size_t group_size = 0, line_size = 0;
        char *root, *point, *path, *inside;

        if (!groups || !mounts)
                return NULL;
        do
                if (getline(&group, &group_size, groups) < 0)
                        return NULL;
        while (strncmp(group, "0::", 3) != 0);
        group[strcspn(group, "\n")] = '\0';
        while (getline(&line, &line_size, mounts) >= 0) {
                if (!parse_cgroup_mount(line, &root, &point))
                        continue;
                inside = group + 3;
                if (strcmp(root, "/") != 0) {
                        if (strncmp(inside, root, strlen(root)) != 0)
                                continue;
                        inside += strlen(root);
                }
                return asprintf(&path, "%s%s", point, inside) < 0 ? NULL : path;
        }
        return NULL;
}

static void cgroup_open(Scope *s) {
        s->cgroup_fd = open(s->cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
        s->events_fd = openat(s->cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
}

static void cgroup_new(Scope *s) {
        _cleanup_(freep) char *parent = own_cgroup();
        char *path;

        if (!parent || asprintf(&path, "%s/coordctl-%d", parent, (int) getpid()) < 0)
                return;
        /* One that is left over from a process with our pid is as good as a new one, if it is empty. */
        if (mkdir(path, 0755) < 0 &&
                        (errno != EEXIST || rmdir(path) < 0 || mkdir(path, 0755) < 0)) {
                free(path);
                return;
        }
        s->cgroup = path;
        cgroup_open(s);
}

/**
 * scope_open() - from here on every descendant stays ours
 *
 * A control group is made where that is allowed; without one nothing fails.
 *
 * Return: 0 or a negative errno.
 */
int scope_open(Scope *s) {
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        s->active = true;
        cgroup_new(s);
        return 0;
}

/**
 * scope_inherit() - the same in a forked child, with the same control group
 *
 * Return: 0 or a negative errno.
 */
int scope_inherit(Scope *s) {
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        /* Its news come once to each open file. */
        safe_close(s->cgroup_fd);
        safe_close(s->events_fd);
        s->cgroup_fd = s->events_fd = -EBADF;
        if (s->cgroup)
                cgroup_open(s);
        return 0;
}

static int cgroup_write(Scope *s, const char *file, const char *text) {
        _cleanup_(closep) int fd = openat(s->cgroup_fd, file, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                return -errno;
        return 0;
}

/** scope_add() - put a child, which hasn't any of its own yet, into the group. */
void scope_add(Scope *s, pid_t pid) {
        char text[16];

        if (!s->cgroup)
                return;
        (void) snprintf(text, sizeof(text), "%d", (int) pid);
        if (cgroup_write(s, "cgroup.procs", text) < 0)
                scope_close(s);
}

/** scope_is_populated() - whether anybody is in the group; without a group nobody is. */
bool scope_is_populated(Scope *s) {
        char text[256];
        ssize_t n;

        if (s->events_fd < 0)
                return false;
        n = pread(s->events_fd, text, sizeof(text) - 1, 0);
        if (n < 0) {
                s->events_fd = safe_close(s->events_fd);
                return false;
        }
        text[n] = '\0';
        return strstr(text, "populated 1") != NULL;
}

/* Parent of a process from its /proc/PID/stat; -1 if it is gone. */
static pid_t parent_of(int proc_fd, const char *pid) {
        char path[32], text[512], *p;
        _cleanup_(closep) int fd = -EBADF;
        ssize_t n;
        int parent;

        (void) snprintf(path, sizeof(path), "%.10s/stat", pid);
        fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return -1;
        text[n] = '\0';
        /* The name in brackets may hold anything, brackets too; nothing behind it does. */
        p = strrchr(text, ')');
        return p && sscanf(p + 1, " %*c %d", &parent) == 1 ? (pid_t) parent : -1;
}

static size_t list_processes(Process **ret) {
        _cleanup_(closedirp) DIR *proc = opendir("/proc");
        _cleanup_(freep) Process *processes = NULL;
        size_t n = 0, allocated = 0;
        struct dirent *d;

        while (proc && (d = readdir(proc))) {
                uint32_t pid;

                if (parse_unsigned(d->d_name, INT32_MAX, &pid) < 0)
                        continue;
                if (n == allocated) {
                        size_t more = allocated ? allocated * 2 : 256;
                        Process *p = reallocarray(processes, more, sizeof(*p));

                        if (!p)
                                break;
                        (void) TAKE_PTR(processes);
                        processes = p;
                        allocated = more;
                }
                processes[n++] = (Process){
                                .pid = (pid_t) pid,
                                .parent = parent_of(dirfd(proc), d->d_name),
                };
        }
        *ret = TAKE_PTR(processes);
        return n;
}

/* Mark the descendants of root: generation by generation, until nothing is added. */
static void mark_descendants(Process *processes, size_t n, pid_t root) {
        bool more = true;
        size_t i, k;

        while (more) {
                more = false;
                for (i = 0; i < n; i++) {
                        if (processes[i].ours)
                                continue;
                        processes[i].ours = processes[i].parent == root;
                        for (k = 0; k < n && !processes[i].ours; k++)
                                processes[i].ours = processes[k].ours &&
                                                    processes[k].pid == processes[i].parent;
                        more = more || processes[i].ours;
                }
        }
}

/**
 * scope_signal() - send a signal to every descendant
 *
 * SIGKILL goes to the group in one stroke, too. Without a group a process that forks all the time may
 * have to be killed more than once: the caller calls again until nobody is left.
 */
void scope_signal(Scope *s, int signo) {
        _cleanup_(freep) Process *processes = NULL;
        size_t n, i;

        if (signo == SIGKILL && s->cgroup)
                (void) cgroup_write(s, "cgroup.kill", "1");
        n = list_processes(&processes);
        mark_descendants(processes, n, getpid());
        for (i = 0; i < n; i++)
                if (processes[i].ours)
                        (void) kill(processes[i].pid, signo);
}

static int remove_directory(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        if (type == FTW_DP)
                (void) rmdir(path);
        return 0;
}

/** scope_close() - remove the group, and those that were made beneath it. */
void scope_close(Scope *s) {
        s->events_fd = safe_close(s->events_fd);
        s->cgroup_fd = safe_close(s->cgroup_fd);
        if (s->cgroup && rmdir(s->cgroup) < 0)
                (void) nftw(s->cgroup, remove_directory, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        free(s->cgroup);
        s->cgroup = NULL;
}
