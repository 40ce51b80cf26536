"""Where things are: the source tree, the build under test, its programs.

ASSENT_BUILD names the build directory (default: build). Nothing here starts or builds anything.
"""

import itertools
import os
import pathlib
import socket

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("ASSENT_BUILD", "build")).resolve()

ASSENTD = BUILD / "coordinator" / "assentd"
AGENT = BUILD / "participant" / "agent" / "assent-agent"
CTL = BUILD / "coordinator" / "ctl" / "assentctl"


def slow_factor():
    """How much longer this build may take for everything (sanitizers): deadlines grow by it."""
    return float(os.environ.get("ASSENT_SLOW", "1"))


_ports = itertools.count(os.getpid())


def address():
    """On loopback, for a daemon that is dialled again after a restart: its port lies below those
    that the kernel gives to whoever connects, and apart from other workers' of this run."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        where = "127.0.0.1", 10000 + worker % 10 * 2000 + next(_ports) % 2000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(where)
            except OSError:
                continue
        return "%s:%d" % where


def postgres_bin():
    """Debian keeps each version's programs in a directory of its own."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"),
                   key=lambda p: int(p.parent.parent.name))
    assert found, "PostgreSQL is not installed"
    return found[-1].parent


def program(path):
    """The program, or an error that says what to do about its absence."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built (ASSENT_BUILD names the build directory)")
    return str(path)


def sources(*suffixes, under=""):
    """Every file of the tree with one of the suffixes, without build directories and the like."""
    found = []
    for top, directories, files in os.walk(ROOT / under):
        if pathlib.Path(top) == ROOT:
            directories[:] = [d for d in directories if not d.startswith("build")]
        directories[:] = sorted(d for d in directories if d not in (".git", "__pycache__"))
        directories[:] = [d for d in directories if d == ".ci" or not d.startswith(".")]
        found += [pathlib.Path(top) / f for f in sorted(files) if f.endswith(suffixes)]
    return found
