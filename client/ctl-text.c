/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text for people: aligned tables, ages, and the escaping of what others wrote. Whatever comes from
 * another process (a description, the name of a program) may hold bytes that steer a terminal; none
 * gets through here.
 */
#include "ctl.h"

#include <string.h>

/* The length of the valid UTF-8 sequence at s (its code point in *ret), or 0. */
static size_t utf8_decode(const unsigned char *s, uint32_t *ret) {
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t n = s[0] < 0x80       ? 1
                   : s[0] >> 5 == 6  ? 2
                   : s[0] >> 4 == 14 ? 3
                   : s[0] >> 3 == 30 ? 4
                                     : 0;
        uint32_t c;
        size_t i;

        if (n < 2) {
                *ret = s[0];
                return n;
        }
        c = s[0] & (0xffU >> (n + 1));
        for (i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 0;
        *ret = c;
        return n;
}

/* Characters that move the cursor, end a line, or turn the order of those around them. */
static bool is_unsafe(uint32_t c) {
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
               (c >= 0xfff0 && c <= 0xfffb) || c >= 0xe0000;
}

/**
 * text_escape() - @text with everything that could steer a terminal as \xNN or \u{N}
 *
 * What is no UTF-8 becomes \xNN, a backslash is doubled.
 *
 * Return: the text, to be freed; NULL without memory.
 */
char *text_escape(const char *text) {
        const unsigned char *p = (const unsigned char *) text;
        char *escaped = malloc(strlen(text) * 4 + 1), *out = escaped;

        if (!escaped)
                return NULL;
        while (*p) {
                uint32_t c;
                size_t n = utf8_decode(p, &c);

                if (n == 0 || (n == 1 && is_unsafe(c)))
                        out += sprintf(out, "\\x%02x", *p++);
                else if (is_unsafe(c)) {
                        /* At most ten bytes for at least two; four times that many are there. */
                        out += sprintf(out, "\\u{%x}", c);
                        p += n;
                } else {
                        if (c == '\\')
                                *out++ = '\\';
                        memcpy(out, p, n);
                        out += n;
                        p += n;
                }
        }
        *out = '\0';
        return escaped;
}

/** text_width() - how many characters @text has, which is what it takes on a terminal, nearly always. */
size_t text_width(const char *text) {
        size_t width = 0;

        for (; *text; text++)
                width += ((unsigned char) *text & 0xc0) != 0x80;
        return width;
}

/**
 * text_age() - a length of time as people say it: "0.3s", "12s", "3min 5s", "2d 4h"
 *
 * Return: the text, to be freed; NULL without memory.
 */
char *text_age(uint64_t usec) {
        uint64_t s = usec / USEC_PER_SEC;
        char *text;
        int n;

        if (s < 10)
                n = asprintf(&text, "%u.%us", (unsigned) s, (unsigned) (usec / 100000 % 10));
        else if (s < 60)
                n = asprintf(&text, "%us", (unsigned) s);
        else if (s < 3600)
                n = asprintf(&text, "%umin %us", (unsigned) (s / 60), (unsigned) (s % 60));
        else if (s < 86400)
                n = asprintf(&text, "%uh %umin", (unsigned) (s / 3600), (unsigned) (s / 60 % 60));
        else
                n = asprintf(&text, "%llud %lluh", (unsigned long long) (s / 86400),
                                (unsigned long long) (s / 3600 % 24));
        return n < 0 ? NULL : text;
}

/**
 * text_time() - a CLOCK_REALTIME time, local, to the second or to the microsecond
 *
 * Return: the text, to be freed; NULL without memory.
 */
char *text_time(uint64_t realtime_usec, bool with_usec) {
        time_t seconds = (time_t) (realtime_usec / USEC_PER_SEC);
        char day[64], zone[16], *text;
        struct tm tm;
        int n;

        if (!localtime_r(&seconds, &tm) ||
                        strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm) == 0 ||
                        strftime(zone, sizeof(zone), "%z", &tm) == 0)
                return strdup("unknown");
        if (with_usec)
                n = asprintf(&text, "%s.%06u%s", day, (unsigned) (realtime_usec % USEC_PER_SEC),
                                zone);
        else
                n = asprintf(&text, "%s %s", day, zone);
        return n < 0 ? NULL : text;
}

/**
 * text_party() - who it is: "1234 (rsync)", not yet escaped
 *
 * Return: the text, to be freed; NULL without memory.
 */
char *text_party(const struct coord_party *p) {
        const char *command = p->command && *p->command ? p->command : NULL;
        char *text;
        int n;

        if (p->pid > 0)
                n = asprintf(&text, "%d (%s)", (int) p->pid, command ? command : "?");
        else
                n = asprintf(&text, "%s", command ? command : "-");
        return n < 0 ? NULL : text;
}

/** text_kind() - "lock", "semaphore" or "queue". */
const char *text_kind(int kind) {
        return kind == COORD_KIND_LOCK        ? "lock"
               : kind == COORD_KIND_SEMAPHORE ? "semaphore"
               : kind == COORD_KIND_QUEUE     ? "queue"
                                              : "unknown";
}

/** text_mode() - "shared" or "exclusive". */
const char *text_mode(int mode) {
        return mode == COORD_MODE_SHARED ? "shared" : "exclusive";
}

/**
 * table_add() - add a row
 * @cells: what it holds; each is escaped and copied, NULL or empty shows as "-"
 *
 * Return: 0 or -ENOMEM.
 */
int table_add(Table *t, char *const cells[static TABLE_COLUMNS]) {
        size_t i;

        if (t->n_rows == t->n_allocated) {
                size_t n = t->n_allocated ? t->n_allocated * 2 : 16;
                void *rows = reallocarray(t->rows, n, sizeof(*t->rows));

                if (!rows)
                        return -ENOMEM;
                t->rows = rows;
                t->n_allocated = n;
        }
        for (i = 0; i < TABLE_COLUMNS; i++) {
                t->rows[t->n_rows][i] = text_escape(cells[i] && *cells[i] ? cells[i] : "-");
                if (!t->rows[t->n_rows][i]) {
                        while (i > 0)
                                free(t->rows[t->n_rows][--i]);
                        return -ENOMEM;
                }
        }
        t->n_rows++;
        return 0;
}

/** table_print() - print it, each column as wide as its widest cell. */
void table_print(const Table *t, FILE *f) {
        size_t width[TABLE_COLUMNS] = {0}, row, i;

        for (row = 0; row < t->n_rows; row++)
                for (i = 0; i < TABLE_COLUMNS; i++)
                        width[i] = MAX_OF(width[i], text_width(t->rows[row][i]));
        for (row = 0; row < t->n_rows; row++) {
                for (i = 0; i + 1 < TABLE_COLUMNS; i++)
                        (void) fprintf(f, "%s%*s", t->rows[row][i],
                                        (int) (width[i] - text_width(t->rows[row][i]) + 2), "");
                (void) fprintf(f, "%s\n", t->rows[row][i]);
        }
}

/** table_deinit() - free its rows. */
void table_deinit(Table *t) {
        size_t row, i;

        for (row = 0; row < t->n_rows; row++)
                for (i = 0; i < TABLE_COLUMNS; i++)
                        free(t->rows[row][i]);
        free(t->rows);
        *t = (Table){0};
}
