#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Count the test cases of one or more `meson test` runs and print "N passed, N failed" last.

A program of the check library counts by its line "100%: Checks: N, Failures: F, Errors: E", a script
by its lines that begin with "ok " and "FAIL " (or "not ok "), anything else as one case. A test that
did not succeed, yet shows no failed case, was cut short: that is one failure more.
"""

import argparse
import json
import os
import re
import sys

CHECK_LINE = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.M)
OK_LINE = re.compile(r"^\s*ok\b(?!.*# SKIP)", re.M)
FAIL_LINE = re.compile(r"^\s*(?:FAIL|not ok)\b", re.M)
GOOD = ("OK", "EXPECTEDFAIL")
SKIPPED = ("SKIP",)


def count(entry):
    """Return (passed, failed, skipped) of one line of testlog.json."""
    if entry["result"] in SKIPPED:
        return 0, 0, 1
    output = entry.get("stdout") or ""
    passed = failed = 0
    for checks, failures, errors in CHECK_LINE.findall(output):
        bad = int(failures) + int(errors)
        passed += int(checks) - bad
        failed += bad
    passed += len(OK_LINE.findall(output))
    failed += len(FAIL_LINE.findall(output))
    if entry["result"] not in GOOD:
        return passed, max(failed, 1), 0
    if passed + failed == 0:
        passed = 1
    return passed, failed, 0


def split_name(name):
    """Take apart "project:suite / test", which is what the log calls a test."""
    where, slash, test = name.partition(" / ")
    if not slash:
        return "-", name
    return where.split("+")[0].split(":")[-1], test


def read_log(build):
    """Return the entries of a build directory's last test run; none if nothing ran."""
    path = os.path.join(build, "meson-logs", "testlog.json")
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return [json.loads(line) for line in log if line.strip()]
    except FileNotFoundError:
        return []


class Table:
    """Totals, by row, in the order of their coming."""

    def __init__(self):
        self.rows = {}
        self.broken = []

    def add(self, row, name, counts, duration):
        total = self.rows.setdefault(row, [0, 0, 0, 0.0])
        for i, number in enumerate((*counts, duration)):
            total[i] += number
        if counts[1]:
            self.broken.append(f"{row}: {name}")

    def show(self):
        print()
        print(f"{'suite':<28} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
        for row, (passed, failed, skipped, seconds) in self.rows.items():
            print(f"{row:<28} {passed:>7} {failed:>7} {skipped:>8} {seconds:>8.1f}")
        for name in self.broken:
            print(f"failed in {name}")
        passed = sum(r[0] for r in self.rows.values())
        failed = sum(r[1] for r in self.rows.values())
        print(f"\n{passed} passed, {failed} failed", flush=True)
        return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="*", help="build directories after `meson test`")
    parser.add_argument("--step", action="append", default=[], metavar="NAME=STATUS",
                        help="a step beside them: one case, passed if STATUS is 0")
    args = parser.parse_args()

    table = Table()
    for build in args.build:
        prefix = os.path.basename(os.path.abspath(build)) + "/" if len(args.build) > 1 else ""
        for entry in read_log(build):
            suite, name = split_name(entry["name"])
            table.add(prefix + suite, name, count(entry), entry["duration"])
    for step in args.step:
        name, _, status = step.rpartition("=")
        table.add("steps", name, (1, 0, 0) if status == "0" else (0, 1, 0), 0.0)

    passed, failed = table.show()
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
