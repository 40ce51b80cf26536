"""Resource managers behind XA switches, for agents: the double of xa_switch_double.c in a directory
of its own, told what to answer and looked at from outside; and Berkeley DB's environment.
"""

import os
import pathlib
import signal

import places
from process import wait_until

HOST = places.BUILD / "participant" / "xa" / "assent-xa-host"
DOUBLE = places.BUILD / "tests" / "lib" / "libxa_switch_double.so"
BERKELEY_DB = places.BUILD / "docs" / "examples" / "xa-berkeley-db.so"


def helpers(agent):
    """The pids of the agent's helper processes."""
    try:
        tasks = list(pathlib.Path(f"/proc/{agent.process.popen.pid}/task").iterdir())
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def gone(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def kill_helper(agent):
    """kill -9, and waits until it is gone."""
    (pid,) = wait_until(lambda: helpers(agent), "a helper process runs")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid), f"helper process {pid} is gone")


class Double:
    def __init__(self, directory, symbol="double_switch"):
        self.directory = directory
        self.symbol = symbol
        directory.mkdir()

    def resource(self, *more):
        words = [f"host={places.program(HOST)}", f"switch={DOUBLE}:{self.symbol}",
                 f"work={DOUBLE}", *more, f"open={self.directory}"]
        return ["xa:" + " ".join(words)]

    def script(self, *lines):
        """What the next calls answer: "commit 7 heur"."""
        (self.directory / "script").write_text("".join(line + "\n" for line in lines))

    def trace(self):
        path = self.directory / "trace"
        return path.read_text() if path.exists() else ""

    def _journal(self):
        """Committed rows, and the branches that are prepared."""
        rows, writes, prepared = {}, {}, set()
        path = self.directory / "journal"
        text = path.read_text() if path.exists() else ""
        for line in text[:text.rfind("\n") + 1].splitlines():  # the last may be half written
            what, xid, key, value = line.split(" ")
            if what == "write":
                writes.setdefault(xid, {})[key] = value
            elif what == "prepare":
                prepared.add(xid)
            else:
                prepared.discard(xid)
                if what == "commit":
                    rows.update(writes.get(xid, {}))
                writes.pop(xid, None)
        return rows, prepared

    def rows(self):
        """Without marks."""
        return {k: v for k, v in self._journal()[0].items() if not k.startswith("mark:")}

    def marks(self):
        return [k for k, v in self._journal()[0].items() if k.startswith("mark:") and v != "-"]

    def prepared(self):
        return len(self._journal()[1])


class BerkeleyDb:
    QUIRKS = "quirks=shared-rmid+recover-zeroed-xid+end-by-plugin"

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()

    def resource(self, *more):
        words = [f"host={places.program(HOST)}", "switch=libdb-5.3.so:db_xa_switch",
                 f"work={BERKELEY_DB}", *(more or [self.QUIRKS]), f"open={self.directory}"]
        return ["xa:" + " ".join(words)]
