"""One program under test as a process: its log lines as they come, its end, its death by pid.

A thread reads stderr, so a test waits for a line or for the end on a condition with a deadline and
never sleeps. What the process wrote is kept in a file beside its data for whoever reads a failure.
"""

import os
import re
import shlex
import signal
import subprocess
import threading
import time

import places

DEADLINE_S = 20.0


def deadline(seconds=None):
    """A moment on the monotonic clock, later for slow builds."""
    return time.monotonic() + (DEADLINE_S if seconds is None else seconds) * places.slow_factor()


class Line:
    """One logfmt line: its text, and its fields by name."""

    def __init__(self, text):
        self.text = text
        self.fields = {}
        try:
            words = shlex.split(text)
        except ValueError:
            words = text.split()
        for word in words:
            key, equals, value = word.partition("=")
            if equals:
                self.fields[key] = value

    @property
    def event(self):
        return self.fields.get("event", "")

    def __repr__(self):
        return self.text


class Process:
    """Starts argv at once. `kill`, `stop` and `wait` act on its pid alone."""

    def __init__(self, argv, log_path, env=None, preexec=None):
        self.argv = [str(a) for a in argv]
        self.log_path = log_path
        self.lines = []
        self._changed = threading.Condition()
        self._ended = False
        environment = dict(os.environ, **(env or {}))
        # Whatever becomes of the test run itself, its processes do not outlive it.
        self.popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.argv], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
            preexec_fn=preexec, close_fds=True)
        self.pid = self.popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with open(self.log_path, "ab", buffering=0) as log, self.popen.stderr as stderr:
            for raw in stderr:
                log.write(raw)
                with self._changed:
                    self.lines.append(Line(raw.decode("utf-8", "backslashreplace").rstrip("\n")))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_line(self, event=None, pattern=None, after=0, seconds=None):
        """The first line from number `after` on with that event and matching that pattern."""
        until = deadline(seconds)
        searched = after
        with self._changed:
            while True:
                for line in self.lines[searched:]:
                    if (event is None or line.event == event) and (
                            pattern is None or re.search(pattern, line.text)):
                        return line
                searched = max(searched, len(self.lines))
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(self.complaint(
                        f"no line event={event} pattern={pattern}"
                        + (" before it ended" if self._ended else " in time")))
                self._changed.wait(left)

    def has_line(self, event=None, pattern=None):
        with self._changed:
            return any((event is None or line.event == event)
                       and (pattern is None or re.search(pattern, line.text))
                       for line in self.lines)

    def wait_end(self, seconds=None):
        """Waits for the process and for the last of its log; its exit code (negative: signal)."""
        try:
            code = self.popen.wait(max(0.0, deadline(seconds) - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(self.complaint("did not end in time")) from None
        self._reader.join(DEADLINE_S)
        return code

    def running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self.signal(signal.SIGCONT)
        return self.wait_end()

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def complaint(self, what):
        tail = "\n".join(line.text for line in self.lines[-25:])
        return f"{self.argv[0]} (pid {self.pid}) {what}; log {self.log_path}:\n{tail}"


def wait_until(condition, what, seconds=None):
    """Calls condition() until it is true. For conditions that only asking can show (a remote
    state, /proc): each call must itself wait for or cost something, or yields for a moment."""
    until = deadline(seconds)
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not so in time: {what}")
        pause.wait(0.005)
