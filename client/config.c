/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the configuration says about names: [Semaphore NAME] Capacity=, [Lock PATTERN] LockDelay= and MaxHold=.
 * Both doors read the same files, so both agree. What else stands there is coordd's and is passed over;
 * a wrong value counts as not there. The INI library in Debian cuts sections at 50 bytes, names here
 * have up to 255.
 */
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "internal.h"

#define FILE_MAX (1024u * 1024u)

typedef struct Section {
        struct Section *next; /* later ones first */
        bool semaphore;
        char *name;
        uint32_t capacity;
        uint64_t delay_usec, max_hold_usec;
        bool has_delay, has_max_hold;
} Section;

struct Config {
        Section *sections;
};

static char *strip(char *text) {
        size_t n;

        text += strspn(text, " \t\r");
        for (n = strlen(text); n > 0 && strchr(" \t\r\n", text[n - 1]); n--)
                text[n - 1] = '\0';
        return text;
}

static Section *section_begin(Config *c, char *text) {
        char *end = strrchr(text, ']'), *space;
        Section *s;

        if (!end)
                return NULL;
        *end = '\0';
        text = strip(text + 1);
        space = strchr(text, ' ');
        if (!space)
                return NULL;
        *space = '\0';
        if (strcmp(text, "Semaphore") != 0 && strcmp(text, "Lock") != 0)
                return NULL;
        s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->semaphore = strcmp(text, "Semaphore") == 0;
        s->name = strdup(strip(space + 1));
        s->next = c->sections;
        c->sections = s;
        return s;
}

static void section_set(Section *s, const char *key, const char *value) {
        uint64_t v;

        if (s->semaphore && strcmp(key, "Capacity") == 0) {
                if (number_parse(value, strlen(value), SEG_PERMITS_MAX, &v) >= 0 && v > 0)
                        s->capacity = (uint32_t) v;
        } else if (!s->semaphore && strcmp(key, "LockDelay") == 0) {
                if (duration_parse(value, &v) >= 0) {
                        s->delay_usec = v;
                        s->has_delay = true;
                }
        } else if (!s->semaphore && strcmp(key, "MaxHold") == 0) {
                if (duration_parse(value, &v) >= 0) {
                        s->max_hold_usec = v;
                        s->has_max_hold = true;
                }
        }
}

static void config_parse(Config *c, char *text) {
        Section *section = NULL;
        char *save, *equals;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                line = strip(line);
                if (*line == '[')
                        section = section_begin(c, line);
                equals = strchr(line, '=');
                if (!section || !equals || *line == '[' || *line == '#' || *line == ';')
                        continue;
                *equals = '\0';
                section_set(section, strip(line), strip(equals + 1));
        }
}

static void config_read(Config *c, const char *path) {
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
                return;
        text = malloc((size_t) st.st_size + 1);
        n = text ? read(fd, text, (size_t) st.st_size) : -1;
        if (n < 0)
                return;
        text[n] = '\0';
        config_parse(c, text);
}

static int is_conf(const struct dirent *d) {
        size_t n = strlen(d->d_name);

        return n > 5 && d->d_name[0] != '.' && strcmp(d->d_name + n - 5, ".conf") == 0;
}

/* Drop-ins of several directories are one row, sorted by name; of one name, the first directory's counts. */
typedef struct DropIn {
        char *name;
        unsigned dir;
} DropIn;

static int drop_in_compare(const void *a, const void *b) {
        const DropIn *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        return r != 0 ? r : (int) x->dir - (int) y->dir;
}

static size_t drop_ins_of(const char *dir, unsigned index, DropIn **list, size_t n) {
        struct dirent **names;
        char path[PATH_MAX];
        DropIn *more;
        int found;

        (void) snprintf(path, sizeof(path), "%s/coordd.conf.d", dir);
        found = scandir(path, &names, is_conf, NULL);
        if (found < 0)
                return n;
        more = realloc(*list, (n + (size_t) found + 1) * sizeof(*more));
        for (int i = 0; i < found; i++) {
                if (more)
                        more[n++] = (DropIn){.name = strdup(names[i]->d_name), .dir = index};
                free(names[i]);
        }
        free(names);
        if (more)
                *list = more;
        return n;
}

static void config_read_dirs(Config *c, const char *const *dirs, unsigned n_dirs) {
        _cleanup_(freep) DropIn *list = NULL;
        const char *last = "";
        char path[PATH_MAX];
        size_t n = 0;

        for (unsigned i = 0; i < n_dirs; i++) {
                (void) snprintf(path, sizeof(path), "%s/coordd.conf", dirs[i]);
                if (access(path, F_OK) >= 0) {
                        config_read(c, path);
                        break;
                }
        }
        for (unsigned i = 0; i < n_dirs; i++)
                n = drop_ins_of(dirs[i], i, &list, n);
        if (n > 1)
                qsort(list, n, sizeof(*list), drop_in_compare);
        for (size_t i = 0; i < n; i++) {
                if (list[i].name && strcmp(list[i].name, last) != 0) {
                        (void) snprintf(path, sizeof(path), "%s/coordd.conf.d/%s",
                                        dirs[list[i].dir], list[i].name);
                        config_read(c, path);
                        last = list[i].name;
                }
        }
        for (size_t i = 0; i < n; i++)
                free(list[i].name);
}

Config *config_load(bool system) {
        static const char *const system_dirs[] = {"/etc/coordd", "/run/coordd", "/usr/lib/coordd"};
        const char *file = secure_getenv("COORD_CONFIG"), *base = secure_getenv("XDG_CONFIG_HOME"),
                   *home = secure_getenv("HOME"), *dir;
        Config *c = calloc(1, sizeof(*c));
        char path[PATH_MAX];

        if (!c)
                return NULL;
        if (file)
                config_read(c, file);
        else if (system)
                config_read_dirs(c, system_dirs, ELEMENTSOF(system_dirs));
        else if (base || home) {
                (void) snprintf(path, sizeof(path), "%s/coordd", base ? base : home);
                if (!base)
                        (void) snprintf(path, sizeof(path), "%s/.config/coordd", home);
                dir = path;
                config_read_dirs(c, &dir, 1);
        }
        return c->sections ? c : config_free(c);
}

Config *config_free(Config *c) {
        if (!c)
                return NULL;
        while (c->sections) {
                Section *s = c->sections;

                c->sections = s->next;
                free(s->name);
                free(s);
        }
        free(c);
        return NULL;
}

uint32_t config_capacity(const Config *c, const char *name) {
        for (const Section *s = c ? c->sections : NULL; s; s = s->next)
                if (s->semaphore && s->capacity && s->name && strcmp(s->name, name) == 0)
                        return s->capacity;
        return 0;
}

void config_lock(const Config *c, const char *name, uint64_t *ret_delay, uint64_t *ret_max_hold) {
        bool delay = false, max_hold = false;

        *ret_delay = *ret_max_hold = 0;
        for (const Section *s = c ? c->sections : NULL; s; s = s->next) {
                if (s->semaphore || !s->name || fnmatch(s->name, name, 0) != 0)
                        continue;
                if (s->has_delay && !delay)
                        *ret_delay = s->delay_usec;
                if (s->has_max_hold && !max_hold)
                        *ret_max_hold = s->max_hold_usec;
                delay |= s->has_delay;
                max_hold |= s->has_max_hold;
        }
}

bool config_has_locks(const Config *c) {
        for (const Section *s = c ? c->sections : NULL; s; s = s->next)
                if (!s->semaphore)
                        return true;
        return false;
}
