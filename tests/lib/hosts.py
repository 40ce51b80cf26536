"""Hosts of their own for real processes: network namespaces on one bridge, with links to cut.

Unlike tests/lib/network.py nothing stands between the processes, and what is lost is lost by the
kernel: a host that is cut off hears no reset and no refusal, as behind a switch that lost power.
Needs root, for `ip netns`.
"""

import contextlib
import ctypes
import itertools
import os
import pathlib
import re
import subprocess
import threading

CLONE_NEWNET = 0x40000000
RUN = pathlib.Path("/run/netns")
_counter = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why hosts cannot be had here, or None."""
    return None if os.geteuid() == 0 else "network namespaces need root"


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _sweep():
    """Deletes what test runs that were killed have left behind."""
    for left in RUN.glob("assent-*"):
        made_by = re.match(r"assent-(\d+)-", left.name)
        if made_by and not pathlib.Path(f"/proc/{made_by[1]}").exists():
            subprocess.run(["ip", "netns", "del", left.name], stderr=subprocess.DEVNULL,
                           check=False)


class Hosts:
    """Each name gets an address on one network; `on(name)` puts the calling thread there."""

    def __init__(self, names):
        _sweep()
        self._prefix = f"assent-{os.getpid()}-{next(_counter)}"
        self.names = list(names)
        self._add("switch")
        self._switch("link", "add", "bridge", "type", "bridge")
        self._switch("link", "set", "bridge", "up")
        for number, name in enumerate(self.names, 1):
            space = self._add(name)
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{number}",
                "netns", self._space("switch"))
            _ip("-n", space, "addr", "add", f"{self.ip(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "set", "eth0", "up")
            self._switch("link", "set", f"port{number}", "up")
        self.heal()

    def _space(self, name):
        return f"{self._prefix}-{name}"

    def _add(self, name):
        _ip("netns", "add", self._space(name))
        return self._space(name)

    def _switch(self, *words):
        _ip("-n", self._space("switch"), *words)

    def _number(self, name):
        return self.names.index(name) + 1

    def ip(self, name):
        return f"10.77.0.{self._number(name)}"

    @contextlib.contextmanager
    def on(self, name):
        """Sockets that this thread makes meanwhile, and processes that it starts, are there."""
        with open(f"/proc/self/task/{threading.get_native_id()}/ns/net", "rb") as home:
            with open(RUN / self._space(name), "rb") as there:
                self._enter(there)
            try:
                yield
            finally:
                self._enter(home)

    @staticmethod
    def _enter(file):
        if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def cut(self, *names):
        """Nothing passes between each of these and any other host, and nobody is told."""
        for name in names:
            self._switch("link", "set", f"port{self._number(name)}", "nomaster")

    def heal(self, *names):
        for name in names or self.names:
            self._switch("link", "set", f"port{self._number(name)}", "master", "bridge")

    def close(self):
        for name in ["switch", *self.names]:
            if (RUN / self._space(name)).exists():
                _ip("netns", "del", self._space(name))
