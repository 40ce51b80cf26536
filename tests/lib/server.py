"""What real database servers of a test's own have in common: a temporary directory, an unprivileged
user (neither PostgreSQL nor MariaDB runs as root), the death of the whole server by kill -9, copies
of its files. As a program, run_beside: one command with a server beside it.

The directory is not in pytest's, which that user cannot enter.
"""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile

from process import wait_until


def as_nobody(*argv):
    if os.getuid() != 0:
        return [str(a) for a in argv]
    # A change of user clears the signal that ends a process with its parent: it is asked for anew.
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL",
            *(str(a) for a in argv)]


def _children(pid):
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
        return [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _state(pid):
    """As /proc has it; X: it is not there."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return stat.rpartition(")")[2].split()[0]


def _gone(pid):
    """Not there, or a zombie that holds nothing."""
    return _state(pid) in "ZX"


class Server:
    """A subclass makes `data` and starts `process`; `stop_signal` ends it in good order."""

    stop_signal = signal.SIGTERM

    def __init__(self, prefix):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.data = self.directory / "data"
        self.process = None
        self.starts = 0
        if os.getuid() == 0:
            os.chown(self.directory, pwd.getpwnam("nobody").pw_uid, -1)

    def _signal(self, number):
        """To every process of it; the first is stopped first, so that none is born meanwhile and
        none cleans up. The others."""
        os.kill(self.process.pid, signal.SIGSTOP)
        wait_until(lambda: _state(self.process.pid) in "TZX", "the server's first process stands")
        children = _children(self.process.pid)
        for pid in [self.process.pid, *children]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        return children

    def pause(self):
        """It is silent, and its connections stand."""
        self._signal(signal.SIGSTOP)

    def go_on(self):
        self._signal(signal.SIGCONT)

    def kill(self):
        """kill -9 of every process of it, as a crash of the whole server."""
        if not self.process.running():
            return
        children = self._signal(signal.SIGKILL)
        self.process.wait_end()
        for pid in children:
            wait_until(lambda pid=pid: _gone(pid), f"server process {pid} is gone")

    def stop(self):
        """An orderly end, with everything on disk."""
        self.process.signal(self.stop_signal)
        assert self.process.wait_end() == 0

    def copy_to(self, name):
        """The files of the stopped server, to be put back later."""
        copy = self.directory / name
        subprocess.run(as_nobody("cp", "-a", self.data, copy), check=True, cwd="/")
        return copy

    def put_back(self, copy):
        shutil.rmtree(self.data)
        copy.rename(self.data)

    def restart(self):
        self.kill()
        return self.start()

    def close(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def run_beside(server, argv, variable, value):
    """Runs the command with the server's address in that variable of its environment."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a test that takes too long
    try:
        server.start()
        return subprocess.run(argv, check=False,
                              env={**os.environ, variable: value(server)}).returncode
    finally:
        server.close()
