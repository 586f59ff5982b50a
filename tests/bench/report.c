/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The report: a table for people, JSON for programs. It must never judge a run by its times: a
 * missed bar is printed, and that is all.
 */
#include <coord/client.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

typedef struct Machine {
        struct utsname uts;
        char cpu[96];
        long cpus;
} Machine;

/** report_add() - append a copy of the row */
void report_add(Report *report, const Row *row) {
        if (report->n_rows == ROWS_MAX)
                die("too many rows");
        report->rows[report->n_rows++] = *row;
}

static void machine_read(Machine *m) {
        char line[256];
        FILE *f;

        memset(m, 0, sizeof(*m));
        (void) uname(&m->uts);
        m->cpus = sysconf(_SC_NPROCESSORS_ONLN);
        snprintf(m->cpu, sizeof(m->cpu), "unknown processor");
        f = fopen("/proc/cpuinfo", "re");
        if (!f)
                return;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "model name : %95[^\n]", m->cpu) == 1)
                        break;
        fclose(f);
}

static double row_ratio(const Row *row) {
        return row->theirs > 0 ? row->ours / row->theirs : 0;
}

static bool row_met(const Row *row) {
        if (row->kind == BAR_COUNT)
                return row->ours <= row->bar;
        return row_ratio(row) <= row->bar;
}

static void format_value(char *s, size_t size, Unit unit, double v) {
        if (unit == UNIT_COUNT)
                snprintf(s, size, "%.0f", v);
        else if (v < 1e3)
                snprintf(s, size, "%.1f ns", v);
        else if (v < 1e6)
                snprintf(s, size, "%.1f us", v / 1e3);
        else
                snprintf(s, size, "%.2f ms", v / 1e6);
}

static void format_ratio(char *s, size_t size, const Row *row) {
        double ratio = row_ratio(row);

        if (row->theirs <= 0)
                snprintf(s, size, "-");
        else if (ratio >= 0.5 || ratio <= 0)
                snprintf(s, size, "%.2fx", ratio);
        else
                snprintf(s, size, "1/%.1f", 1 / ratio);
}

static void format_bar(char *s, size_t size, const Row *row) {
        if (row->kind == BAR_NONE)
                snprintf(s, size, "-");
        else if (row->kind == BAR_COUNT)
                snprintf(s, size, "<= %.0f", row->bar);
        else if (row->bar < 1)
                snprintf(s, size, "<= 1/%.0f", 1 / row->bar);
        else
                snprintf(s, size, "<= %.4gx", row->bar);
}

static void row_print(const Row *row) {
        char ours[32], theirs[32], ratio[32], bar[32];

        if (row->skipped[0]) {
                printf("%-3s %-42s skipped: %s\n", row->id, row->what, row->skipped);
                return;
        }
        format_value(ours, sizeof(ours), row->unit, row->ours);
        format_value(theirs, sizeof(theirs), row->unit, row->theirs);
        format_ratio(ratio, sizeof(ratio), row);
        format_bar(bar, sizeof(bar), row);
        printf("%-3s %-42s %10s  %-14s %10s  %8s  %-9s %s\n", row->id, row->what, ours,
                        row->rival[0] ? row->rival : "-", row->rival[0] ? theirs : "-", ratio, bar,
                        row->kind == BAR_NONE ? ""
                        : row_met(row)        ? "yes"
                                              : "NO");
}

/** report_print_table() - for people */
void report_print_table(const Report *report) {
        Machine m;

        machine_read(&m);
        printf("%s %s %s, %ld x %s, glibc %s, coord %s\n", m.uts.sysname, m.uts.release,
                        m.uts.machine, m.cpus, m.cpu, gnu_get_libc_version(), coord_version());
        printf("%-3s %-42s %10s  %-14s %10s  %8s  %-9s %s\n", "#", "what", "ours", "rival",
                        "rival's", "ratio", "bar", "met");
        for (size_t i = 0; i < report->n_rows; i++)
                row_print(&report->rows[i]);
}

static void json_string(const char *key, const char *value) {
        printf("\"%s\":\"", key);
        for (; *value; value++) {
                if (*value == '"' || *value == '\\')
                        putchar('\\');
                if ((unsigned char) *value >= 0x20)
                        putchar(*value);
        }
        putchar('"');
}

static void row_print_json(const Row *row) {
        printf("{");
        json_string("id", row->id);
        printf(",");
        json_string("what", row->what);
        if (row->skipped[0]) {
                printf(",");
                json_string("skipped", row->skipped);
                printf("}");
                return;
        }
        printf(",\"unit\":\"%s\",\"n\":%zu,\"ours\":%.1f", row->unit == UNIT_NSEC ? "ns" : "count",
                        row->n, row->ours);
        if (row->rival[0]) {
                printf(",");
                json_string("rival", row->rival);
                printf(",\"theirs\":%.1f", row->theirs);
        }
        if (row->rival[0] && row->theirs > 0)
                printf(",\"ratio\":%.5f", row_ratio(row));
        if (row->kind != BAR_NONE)
                printf(",\"bar\":%.5f,\"bar_of\":\"%s\",\"met\":%s", row->bar,
                                row->kind == BAR_RATIO ? "ratio" : "ours",
                                row_met(row) ? "true" : "false");
        printf("}");
}

/** report_print_json() - for programs: one object */
void report_print_json(const Report *report) {
        Machine m;

        machine_read(&m);
        printf("{\"machine\":{");
        json_string("system", m.uts.sysname);
        printf(",");
        json_string("kernel", m.uts.release);
        printf(",");
        json_string("architecture", m.uts.machine);
        printf(",");
        json_string("cpu", m.cpu);
        printf(",\"cpus\":%ld,", m.cpus);
        json_string("glibc", gnu_get_libc_version());
        printf(",");
        json_string("coord", coord_version());
        printf("},\"rows\":[");
        for (size_t i = 0; i < report->n_rows; i++) {
                printf("%s", i ? ",\n" : "\n");
                row_print_json(&report->rows[i]);
        }
        printf("\n]}\n");
}
