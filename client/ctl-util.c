/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages, exit codes and the parsing of what stands on a command line. It runs on the way of every
 * command, `run` too, so it calls nothing that is dear to start: no locale, no users' database.
 */
#include "ctl.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

/**
 * ctl_exit_code() - the exit status that a failure of the library stands for
 * @error: a negative errno
 */
int ctl_exit_code(int error) {
        switch (error < 0 ? -error : error) {
        case EAGAIN:
        case ETIMEDOUT:
        case EDEADLK:
        case ESTALE:
        case ENOENT:
        case ESRCH:
                return EXIT_NOT_GRANTED;
        case EINVAL:
        case ENAMETOOLONG:
        case EOVERFLOW:
                return EX_USAGE;
        case ERANGE:
                return EX_DATAERR;
        case EUNATCH:
        case EOPNOTSUPP:
        case ECONNREFUSED:
        case ENOTDIR:
        case ELOOP:
                return EX_UNAVAILABLE;
        case EACCES:
        case EPERM:
        case EROFS:
                return EX_NOPERM;
        case ENOSPC:
        case EDQUOT:
                return EX_CANTCREAT;
        default:
                return EX_OSERR;
        }
}

/**
 * ctl_is_refusal() - whether a failure says that others hold what was asked for
 *
 * These are what -E and -q are about.
 */
bool ctl_is_refusal(int error) {
        return error == -EAGAIN || error == -ETIMEDOUT || error == -EDEADLK;
}

static void message_write(const char *format, va_list ap) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(freep) char *escaped = NULL;

        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                return;
        }
        escaped = text_escape(text);
        (void) dprintf(STDERR_FILENO, "coordctl: %s\n", escaped ? escaped : format);
}

/**
 * ctl_message() - one line on standard error
 *
 * The line is written at once, and what others put into it (names of programs, descriptions) can't
 * move the cursor or end the line.
 */
void ctl_message(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        message_write(format, ap);
        va_end(ap);
}

/**
 * ctl_usage() - complain about the command line
 *
 * Return: EX_USAGE, to be returned.
 */
int ctl_usage(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        message_write(format, ap);
        va_end(ap);
        return EX_USAGE;
}

/**
 * ctl_fail() - say why the library's last call failed
 * @error: what it returned
 *
 * Return: the exit status for it.
 */
int ctl_fail(const Ctl *ctl, int error) {
        if (!(ctl->quiet && ctl_is_refusal(error)))
                ctl_message("%s", coord_strerror(ctl->client));
        return ctl_exit_code(error);
}

/** ctl_out_of_memory() - say so; returns EX_OSERR. */
int ctl_out_of_memory(void) {
        ctl_message("out of memory");
        return EX_OSERR;
}

/**
 * ctl_close_stdout() - make sure that what was printed arrived
 *
 * Return: 0, or EX_IOERR after a message.
 */
int ctl_close_stdout(void) {
        if (!ferror(stdout) && fflush(stdout) == 0)
                return 0;
        ctl_message("cannot write the output: %s", strerror(errno));
        return EX_IOERR;
}

/**
 * ctl_hold_standard_fds() - let no file that is opened later become descriptor 0, 1 or 2
 *
 * Called with one of them closed, the segment could be opened as standard error, and a message be
 * written into it. What takes their place is closed again in a command that is run.
 *
 * Return: 0 or a negative errno.
 */
int ctl_hold_standard_fds(void) {
        int fd;

        for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
                if (fcntl(fd, F_GETFD) >= 0)
                        continue;
                /* Reading from a standard output, writing to a standard input: both fail, as on a
                 * closed one. */
                if (open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC) < 0)
                        return -errno;
        }
        return 0;
}

/* Digits with at most one point in or around them, times unit_usec. What is finer than a microsecond
 * rounds up: a wait is never shorter than was said. *end is left behind them. */
static int parse_decimal(const char *text, const char **end, uint64_t unit_usec, uint64_t *ret) {
        uint64_t whole = 0, fraction = 0, weight = unit_usec;
        unsigned digits = 0;
        bool rest = false;
        const char *p = text;

        for (; *p >= '0' && *p <= '9'; p++, digits++)
                if (__builtin_mul_overflow(whole, 10, &whole) ||
                                __builtin_add_overflow(whole, (uint64_t) (*p - '0'), &whole))
                        return -ERANGE;
        if (*p == '.')
                for (p++; *p >= '0' && *p <= '9'; p++, digits++) {
                        rest = rest || (*p != '0' && (weight == 0 || weight % 10 != 0));
                        fraction += weight / 10 * (uint64_t) (*p - '0');
                        weight /= 10;
                }
        if (digits == 0)
                return -EINVAL;
        if (__builtin_mul_overflow(whole, unit_usec, &whole) ||
                        __builtin_add_overflow(whole, fraction + rest, &whole) ||
                        whole == USEC_INFINITE)
                return -ERANGE;
        *end = p;
        *ret = whole;
        return 0;
}

/**
 * parse_seconds() - seconds as a plain decimal number: "3", "0.25", ".5"
 *
 * Return: 0; -EINVAL for anything else (a sign, an exponent, a name of no number); -ERANGE for more
 * than can be counted.
 */
int parse_seconds(const char *text, uint64_t *ret_usec) {
        uint64_t usec;
        const char *end;
        int r = parse_decimal(text, &end, USEC_PER_SEC, &usec);

        if (r < 0)
                return r;
        if (*end)
                return -EINVAL;
        *ret_usec = usec;
        return 0;
}

/**
 * parse_duration() - one number with one unit: "30s", "500ms", "5min", "1.5h"; without one seconds
 *
 * Return: as parse_seconds().
 */
int parse_duration(const char *text, uint64_t *ret_usec) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                        {"us", 1},
                        {"ms", 1000},
                        {"", USEC_PER_SEC},
                        {"s", USEC_PER_SEC},
                        {"sec", USEC_PER_SEC},
                        {"min", 60 * USEC_PER_SEC},
                        {"h", 3600 * USEC_PER_SEC},
                        {"d", 86400 * USEC_PER_SEC},
        };
        const char *unit = text + strspn(text, "0123456789.");
        size_t i;

        for (i = 0; i < ELEMENTSOF(units); i++)
                if (strcmp(unit, units[i].name) == 0) {
                        const char *end;
                        uint64_t usec;
                        int r = parse_decimal(text, &end, units[i].usec, &usec);

                        if (r < 0)
                                return r;
                        if (end != unit)
                                return -EINVAL;
                        *ret_usec = usec;
                        return 0;
                }
        return -EINVAL;
}

/**
 * parse_unsigned() - a whole number from 0 to @most, in decimal digits alone
 *
 * Return: 0, -EINVAL, or -ERANGE.
 */
int parse_unsigned(const char *text, uint32_t most, uint32_t *ret) {
        uint64_t value = 0;
        const char *p;

        if (!*text)
                return -EINVAL;
        for (p = text; *p; p++) {
                if (*p < '0' || *p > '9')
                        return -EINVAL;
                value = MIN_OF(value * 10 + (uint64_t) (*p - '0'), UINT64_C(1) << 40);
        }
        if (value > most)
                return -ERANGE;
        *ret = (uint32_t) value;
        return 0;
}

/**
 * parse_integer() - a whole number from @least to @most, with or without a sign
 *
 * Return: 0, -EINVAL, or -ERANGE.
 */
int parse_integer(const char *text, int least, int most, int *ret) {
        bool negative = *text == '-';
        uint32_t size;
        int64_t value;
        int r;

        r = parse_unsigned(text + (*text == '-' || *text == '+'), INT32_MAX, &size);
        if (r < 0)
                return r;
        value = negative ? -(int64_t) size : (int64_t) size;
        if (value < least || value > most)
                return -ERANGE;
        *ret = (int) value;
        return 0;
}

/** parse_boolean() - yes, no and their like; 0 or -EINVAL. */
int parse_boolean(const char *text, bool *ret) {
        static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
        size_t i;

        for (i = 0; i < ELEMENTSOF(words); i++)
                if (strcasecmp(text, words[i]) == 0) {
                        *ret = i % 2;
                        return 0;
                }
        return -EINVAL;
}

/**
 * parse_signal() - a signal by name, with or without SIG, or by number
 *
 * Return: 0 or -EINVAL.
 */
int parse_signal(const char *text, int *ret) {
        const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
        int signo, offset = 0;

        if (parse_integer(text, 1, SIGRTMAX, &signo) == 0) {
                *ret = signo;
                return 0;
        }
        if (strncasecmp(name, "RTMIN", 5) == 0 &&
                        (!name[5] || parse_integer(name + 5, 0, SIGRTMAX - SIGRTMIN, &offset) ==
                                                        0)) {
                *ret = SIGRTMIN + offset;
                return 0;
        }
        for (signo = 1; signo < SIGRTMIN; signo++) {
                const char *known = sigabbrev_np(signo);

                if (known && strcasecmp(name, known) == 0) {
                        *ret = signo;
                        return 0;
                }
        }
        return -EINVAL;
}

/** signal_name() - "SIGTERM", or "signal 40" for one without a name. */
const char *signal_name(int signo, char buffer[static 16]) {
        const char *known = sigabbrev_np(signo);

        if (known)
                (void) snprintf(buffer, 16, "SIG%s", known);
        else
                (void) snprintf(buffer, 16, "signal %d", signo);
        return buffer;
}

/** name_is_valid() - 1 to 255 bytes of A-Z a-z 0-9 . _ / @ % + -, not beginning with - */
bool name_is_valid(const char *name) {
        size_t length = strlen(name);

        return length >= 1 && length <= 255 && *name != '-' &&
               strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/"
                            "@%+-") == length;
}
