#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""coordctl run under job control: this program is the shell, on a terminal of its own.

It leads a session with a pseudo terminal as its controlling one, holds the other end too, and so types
Ctrl-C and Ctrl-Z itself. Each case starts in a child of its own and prints "ok NAME" or "FAIL NAME: why".
"""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import traceback

COORDCTL = os.environ["COORDCTL"]

# Writes what it gets of the signals argv[2:] to descriptor argv[1]; exits with 9 when told by SIGTERM.
CATCHER = """
import os, signal, sys
fd = int(sys.argv[1])
wanted = {signal.SIGTERM, *map(int, sys.argv[2:])}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
os.write(fd, b"ready %d\\n" % os.getpid())
while True:
    number = signal.sigwait(wanted)
    os.write(fd, b"%d\\n" % number)
    if number == signal.SIGTERM:
        sys.exit(9)
"""


class Terminal:
    """A controlling terminal, with a pipe on which commands report."""

    def __init__(self):
        self.master, self.slave = os.openpty()
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        # Out of the way of descriptor 9; a shell may know no two digits.
        reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in os.pipe())
        self.report = os.dup2(writer, 9)
        os.set_inheritable(self.report, True)
        self.reports = os.fdopen(reader)

    def type(self, text):
        """Type on the keyboard."""
        os.write(self.master, text)

    def foreground(self, pgrp):
        os.tcsetpgrp(self.slave, pgrp)

    def start(self, *args, foreground=True):
        """Start a job as a shell does; returns its pid."""
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                if foreground:
                    self.foreground(os.getpid())
                signal.signal(signal.SIGTTOU, signal.SIG_DFL)
                for fd in (0, 1):
                    os.dup2(self.slave, fd)
                os.execv(args[0], args)
            finally:
                os._exit(99)
        return pid

    def catcher(self, *numbers, options=(), foreground=True):
        """Start coordctl with the catcher; returns the pids of both."""
        pid = self.start(COORDCTL, "run", *options, "x", sys.executable, "-c", CATCHER, str(self.report),
                         *(str(int(n)) for n in numbers), foreground=foreground)
        word, child = self.reports.readline().split()
        assert word == "ready"
        return pid, int(child)

    def expect(self, number):
        line = self.reports.readline().strip()
        assert line == str(int(number)), f"{line} was reported, not {int(number)}"


def wait_stopped(pid):
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"ended with {status:#x} instead of stopping"
    return os.WSTOPSIG(status)


def wait_exit(pid):
    while True:
        _, status = os.waitpid(pid, 0)
        assert os.WIFEXITED(status), f"killed: {status:#x}"
        return os.WEXITSTATUS(status)


def state(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0]


def is_free():
    return subprocess.run([COORDCTL, "-q", "run", "-n", "x", "true"]).returncode == 0


def ctrl_c_reaches_the_command_once(t):
    pid, _ = t.catcher(signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)
    t.type(b"\x03")
    t.expect(signal.SIGINT)
    # What coordctl would have passed on too would come before what it passes on now.
    os.kill(pid, signal.SIGUSR1)
    t.expect(signal.SIGUSR1)
    t.type(b"\x1c")
    t.expect(signal.SIGQUIT)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9
    assert is_free()


def signal_by_hand_is_passed_on(t):
    pid, _ = t.catcher(signal.SIGINT)
    os.kill(pid, signal.SIGINT)
    t.expect(signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert wait_exit(pid) == 9


def ctrl_c_ends_a_plain_command(t):
    pid = t.start(COORDCTL, "run", "x", "sh", "-c", f"echo ready >&{t.report}; exec cat")
    assert t.reports.readline() == "ready\n"
    t.type(b"\x03")
    assert wait_exit(pid) == 130
    assert is_free()


def ctrl_z_stops_both_and_fg_continues_both(t):
    pid, child = t.catcher(signal.SIGUSR1)
    for _ in range(10):
        t.type(b"\x1a")
        assert wait_stopped(pid) == signal.SIGTSTP
        assert state(child) == "T", state(child)
        t.foreground(os.getpgrp())
        assert not is_free()
        t.foreground(pid)
        os.killpg(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGUSR1)
        t.expect(signal.SIGUSR1)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9


def ctrl_z_and_fg_work_with_scope(t):
    pid, child = t.catcher(signal.SIGINT, signal.SIGUSR1, options=("--scope",))
    for _ in range(10):
        t.type(b"\x1a")
        assert wait_stopped(pid) == signal.SIGTSTP
        assert state(child) == "T", state(child)
        t.foreground(pid)
        os.killpg(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGUSR1)
        t.expect(signal.SIGUSR1)
    t.type(b"\x03")
    t.expect(signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9
    assert is_free()


def cont_to_coordctl_alone_continues_the_command(t):
    pid, child = t.catcher(signal.SIGUSR1)
    t.type(b"\x1a")
    wait_stopped(pid)
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGUSR1)
    t.expect(signal.SIGUSR1)
    # Stopped by hand, the command is continued through coordctl.
    os.kill(child, signal.SIGTSTP)
    assert wait_stopped(pid) == signal.SIGTSTP
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9


def command_that_does_not_stop_keeps_coordctl_going(t):
    pid, _ = t.catcher(signal.SIGTSTP, signal.SIGUSR1)
    t.type(b"\x1a")
    t.expect(signal.SIGTSTP)
    os.kill(pid, signal.SIGUSR1)
    t.expect(signal.SIGUSR1)
    assert os.waitpid(pid, os.WUNTRACED | os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9


def command_that_stops_itself_stops_coordctl(t):
    script = f"echo ready >&{t.report}; kill -STOP $$; exit 5"
    pid = t.start(COORDCTL, "run", "x", "sh", "-c", script)
    assert t.reports.readline() == "ready\n"
    wait_stopped(pid)
    os.killpg(pid, signal.SIGCONT)
    assert wait_exit(pid) == 5


def background_reader_is_stopped_until_fg(t):
    t.foreground(os.getpgrp())
    script = f"echo ready >&{t.report}; read -r line; echo $line >&{t.report}"
    pid = t.start(COORDCTL, "run", "x", "sh", "-c", script, foreground=False)
    assert t.reports.readline() == "ready\n"
    assert wait_stopped(pid) == signal.SIGTTIN
    t.foreground(pid)
    os.killpg(pid, signal.SIGCONT)
    t.type(b"typed\n")
    assert t.reports.readline() == "typed\n"
    assert wait_exit(pid) == 0


def ctrl_z_and_ctrl_c_while_it_waits(t):
    holder, _ = t.catcher(foreground=False)
    pid = t.start(COORDCTL, "run", "x", "true")
    with subprocess.Popen([COORDCTL, "--json", "watch", "x"], stdout=subprocess.PIPE, text=True) as watch:
        assert any('"Waiting"' in line and f'"pid":{pid},' in line for line in watch.stdout)
        watch.terminate()
    t.type(b"\x1a")
    assert wait_stopped(pid) == signal.SIGTSTP
    os.killpg(pid, signal.SIGCONT)
    t.type(b"\x03")
    assert wait_exit(pid) == 130
    os.kill(holder, signal.SIGTERM)
    assert wait_exit(holder) == 9


def hangup_reaches_the_command(t):
    pid, _ = t.catcher(signal.SIGHUP)
    os.close(t.slave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCONT, signal.SIG_IGN)
    os.close(t.master)
    # We lead the session and would pass it on to our jobs, as a shell does.
    os.killpg(pid, signal.SIGHUP)
    t.expect(signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    while t.reports.readline().strip() != str(int(signal.SIGTERM)):
        pass
    assert wait_exit(pid) == 9


def hangup_of_a_session_led_by_coordctl(t):
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        os.close(master)
        os.close(t.master)
        os.execv(COORDCTL, [COORDCTL, "run", "x", sys.executable, "-c", CATCHER, str(t.report),
                            str(int(signal.SIGHUP))])
    assert t.reports.readline().startswith("ready")
    os.close(slave)
    os.close(master)
    t.expect(signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    while t.reports.readline().strip() != str(int(signal.SIGTERM)):
        pass
    assert wait_exit(pid) == 9


def window_change_reaches_the_command_once(t):
    pid, _ = t.catcher(signal.SIGWINCH, signal.SIGUSR1)
    fcntl.ioctl(t.slave, termios.TIOCSWINSZ, b"\x11\x00\x22\x00\x00\x00\x00\x00")
    t.expect(signal.SIGWINCH)
    os.kill(pid, signal.SIGUSR1)
    t.expect(signal.SIGUSR1)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9


def orphaned_group_is_not_stopped(t):
    """Nobody would continue it: the kernel doesn't stop it, and coordctl must not spin or end."""
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        os.execv(COORDCTL, [COORDCTL, "run", "x", sys.executable, "-c", CATCHER, str(t.report),
                            str(int(signal.SIGUSR1))])
    child = int(t.reports.readline().split()[1])
    os.kill(child, signal.SIGSTOP)
    os.kill(pid, signal.SIGUSR1)
    os.kill(child, signal.SIGCONT)
    t.expect(signal.SIGUSR1)
    os.kill(pid, signal.SIGTERM)
    t.expect(signal.SIGTERM)
    assert wait_exit(pid) == 9


def bash_stops_and_continues_it(t):
    """The same with a real shell."""
    env = dict(os.environ, PS1="<prompt>", HISTFILE="/dev/null", TERM="dumb", INPUTRC="/dev/null")
    script = f"echo ready >&{t.report}; trap 'exit 7' USR1; while read -r line; do echo \"got $line\"; done"
    os.environ["SCRIPT"] = env["SCRIPT"] = script
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.execvpe("bash", ["bash", "--noprofile", "--norc", "--noediting", "-i"], env)
    os.close(slave)
    seen = b""

    def until(text):
        nonlocal seen
        try:
            while text not in seen:
                seen += os.read(master, 4096)
        except TimeoutError as error:
            raise TimeoutError(f"no {text!r} in {seen!r}: {error}") from None
        seen = seen[seen.index(text) + len(text):]

    until(b"<prompt>")
    os.write(master, b'"$COORDCTL" run x sh -c "$SCRIPT"\n')
    assert t.reports.readline() == "ready\n"
    os.write(master, b"first\n")
    until(b"got first")
    for word in (b"second", b"third"):
        os.write(master, b"\x1a")
        until(b"Stopped")
        until(b"<prompt>")
        os.write(master, b'"$COORDCTL" -q run -n x true; echo status-$?\n')
        until(b"status-1")
        until(b"<prompt>")
        os.write(master, b"fg\n")
        until(b"SCRIPT")
        os.write(master, word + b"\n")
        until(b"got " + word)
    os.write(master, b"\x03")
    until(b"<prompt>")
    os.write(master, b'echo status-$?\n')
    until(b"status-130")
    until(b"<prompt>")
    os.write(master, b'"$COORDCTL" run -n x true; echo status-$?\n')
    until(b"status-0")
    os.write(master, b"exit 0\n")
    os.waitpid(pid, 0)


CASES = [
    ctrl_c_reaches_the_command_once,
    signal_by_hand_is_passed_on,
    ctrl_c_ends_a_plain_command,
    ctrl_z_stops_both_and_fg_continues_both,
    ctrl_z_and_fg_work_with_scope,
    cont_to_coordctl_alone_continues_the_command,
    command_that_does_not_stop_keeps_coordctl_going,
    command_that_stops_itself_stops_coordctl,
    background_reader_is_stopped_until_fg,
    ctrl_z_and_ctrl_c_while_it_waits,
    hangup_reaches_the_command,
    hangup_of_a_session_led_by_coordctl,
    window_change_reaches_the_command_once,
    orphaned_group_is_not_stopped,
    bash_stops_and_continues_it,
]


def family_of(leader):
    """The processes of a case: those in its session, and its descendants."""
    found = {leader}
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
        try:
            with open(f"/proc/{pid}/stat") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
            if os.getsid(pid) in found or parent in found:
                found.add(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def end_family(leader):
    """Kill what a case that failed left running."""
    for pid in family_of(leader) - {leader}:
        os.kill(pid, signal.SIGKILL)


def hang(number, frame):
    """Tell where everybody stands."""
    states = []
    for pid in family_of(os.getpid()):
        with open(f"/proc/{pid}/cmdline") as f:
            states.append(f"{pid} {state(pid)} {f.read()[:60]!r}")
    raise TimeoutError(f"hangs; processes: " + ", ".join(states))


def run_case(case):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Nothing here waits for time; a case that hangs shall only not hang for ever.
        signal.signal(signal.SIGALRM, hang)
        signal.alarm(100)
        try:
            case(Terminal())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    os.set_blocking(reader, False)
    try:
        why = os.read(reader, 65536).decode() or f"status {status:#x}"
    except BlockingIOError:
        why = f"status {status:#x}"
    os.close(reader)
    end_family(pid)
    if status == 0:
        print(f"ok {case.__name__}", flush=True)
    else:
        why = " | ".join(why.strip().splitlines()[-8:])
        print(f"FAIL {case.__name__}: {why}", flush=True)
    return status == 0


if __name__ == "__main__":
    wanted = sys.argv[1:]
    sys.exit(not all([run_case(c) for c in CASES if not wanted or c.__name__ in wanted]))
