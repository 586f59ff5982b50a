/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parsing of tokens, wants and durations, strictly: what is not said to be allowed is refused.
 */
#include "util/owner.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/util.h"

int number_parse(const char *text, size_t len, uint64_t max, uint64_t *ret) {
        uint64_t v = 0;

        if (len == 0)
                return -EINVAL;
        for (size_t i = 0; i < len; i++) {
                uint64_t d = (uint64_t) (text[i] - '0');

                if (text[i] < '0' || text[i] > '9' || v > (max - d) / 10 || d > max)
                        return -EINVAL;
                v = v * 10 + d;
        }
        *ret = v;
        return 0;
}

static int kind_parse(const char *text, const char **ret_rest) {
        static const struct {
                const char *prefix;
                int kind;
        } kinds[] = {{"lock:", TOKEN_LOCK}, {"sem:", TOKEN_SEMAPHORE}, {"queue:", TOKEN_QUEUE}};

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strncmp(text, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
                        *ret_rest = text + strlen(kinds[i].prefix);
                        return kinds[i].kind;
                }
        return -EINVAL;
}

static int name_copy(const char *from, size_t len, char *ret) {
        if (len == 0 || len > TOKEN_NAME_MAX)
                return -EINVAL;
        memcpy(ret, from, len);
        ret[len] = '\0';
        return 0;
}

int token_parse(const char *text, Token *ret) {
        const char *name, *colon, *dot;
        Token t = {0};

        if (!text)
                return -EINVAL;
        t.kind = kind_parse(text, &name);
        if (t.kind < 0)
                return -EINVAL;
        colon = strchr(name, ':');
        dot = colon ? strchr(colon, '.') : NULL;
        if (!dot || name_copy(name, (size_t) (colon - name), t.name) < 0 ||
                        number_parse(colon + 1, (size_t) (dot - colon - 1), UINT32_MAX, &t.epoch) <
                                        0 ||
                        number_parse(dot + 1, strlen(dot + 1), UINT64_MAX, &t.counter) < 0)
                return -EINVAL;
        *ret = t;
        return 0;
}

void token_format(int kind, const char *name, uint64_t epoch, uint64_t counter, char *ret) {
        static const char *const kinds[] = {"?", "lock", "sem", "queue"};

        (void) snprintf(ret, TOKEN_TEXT_MAX, "%s:%s:%llu.%llu",
                        kinds[kind >= 1 && kind <= 3 ? kind : 0], name, (unsigned long long) epoch,
                        (unsigned long long) counter);
}

int want_parse(const char *text, WantText *ret) {
        WantText w = {.permits = 1};
        const char *name, *end, *more;
        uint64_t v;

        if (!text)
                return -EINVAL;
        w.kind = kind_parse(text, &name);
        if (w.kind != TOKEN_LOCK && w.kind != TOKEN_SEMAPHORE)
                return -EINVAL;
        end = name + strcspn(name, ":");
        if (name_copy(name, (size_t) (end - name), w.name) < 0)
                return -EINVAL;
        if (w.kind == TOKEN_LOCK) {
                w.shared = strcmp(end, ":shared") == 0;
                if (*end && !w.shared && strcmp(end, ":exclusive") != 0)
                        return -EINVAL;
                *ret = w;
                return 0;
        }
        if (!*end)
                return -EINVAL;
        more = end + 1 + strcspn(end + 1, ":");
        if (number_parse(end + 1, (size_t) (more - end - 1), UINT32_MAX, &v) < 0 || v == 0)
                return -EINVAL;
        w.permits = (uint32_t) v;
        if (*more) {
                if (number_parse(more + 1, strlen(more + 1), UINT32_MAX, &v) < 0 || v == 0)
                        return -EINVAL;
                w.capacity = (uint32_t) v;
        }
        *ret = w;
        return 0;
}

static int unit_usec(const char *unit, size_t len, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                        {"us", 1},
                        {"usec", 1},
                        {"ms", 1000},
                        {"msec", 1000},
                        {"s", USEC_PER_SEC},
                        {"sec", USEC_PER_SEC},
                        {"", USEC_PER_SEC},
                        {"min", 60 * USEC_PER_SEC},
                        {"m", 60 * USEC_PER_SEC},
                        {"h", 3600 * USEC_PER_SEC},
                        {"hr", 3600 * USEC_PER_SEC},
                        {"d", 86400 * USEC_PER_SEC},
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strlen(units[i].name) == len && strncmp(unit, units[i].name, len) == 0) {
                        *ret = units[i].usec;
                        return 0;
                }
        return -EINVAL;
}

/* One number with its unit; *p moves behind it. */
static int duration_part(const char **p, uint64_t *ret) {
        uint64_t whole = 0, unit, usec;
        const char *digits = *p, *fraction = NULL, *at = *p;
        double part = 0, scale = 1;

        while (*at >= '0' && *at <= '9')
                at++;
        if (at == digits ||
                        number_parse(digits, (size_t) (at - digits), UINT64_MAX / 2, &whole) < 0)
                return -EINVAL;
        if (*at == '.') {
                fraction = ++at;
                for (; *at >= '0' && *at <= '9'; at++) {
                        scale /= 10;
                        part += (*at - '0') * scale;
                }
                if (at == fraction)
                        return -EINVAL;
        }
        for (digits = at; isalpha((unsigned char) *at);)
                at++;
        if (unit_usec(digits, (size_t) (at - digits), &unit) < 0)
                return -EINVAL;
        if (__builtin_mul_overflow(whole, unit, &usec) ||
                        __builtin_add_overflow(
                                        usec, (uint64_t) (part * (double) unit + 0.5), &usec))
                return -ERANGE;
        *p = at;
        *ret = usec;
        return 0;
}

int duration_parse(const char *text, uint64_t *ret_usec) {
        uint64_t sum = 0, part;
        const char *p = text;
        int r;

        if (!text || !*text)
                return -EINVAL;
        while (*p) {
                while (*p == ' ')
                        p++;
                r = duration_part(&p, &part);
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, part, &sum) || sum > INT64_MAX)
                        return -ERANGE;
        }
        *ret_usec = sum;
        return 0;
}
