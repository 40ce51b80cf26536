#!/usr/bin/python3
"""A real PostgreSQL server of a test's own: made by initdb in a temporary directory, reached over a
unix socket in it, killed with all its processes. As a program: runs one command with a server
beside it, whose connection string is in ASSENT_TEST_POSTGRES.

PostgreSQL refuses to run as root, so root hands it to an unprivileged user. The directory is not in
pytest's, which that user cannot enter.
"""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile

import places
from process import Process, wait_until

# The defaults otherwise: fsync is on.
SETTINGS = {
    "listen_addresses": "", "max_prepared_transactions": 100, "max_connections": 100,
    "shared_buffers": "16MB", "autovacuum": "off", "lc_messages": "C", "log_min_messages": "log",
    "jit": "off",
}
USER = "assent"


def _as_nobody(*argv):
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


def _gone(pid):
    """Not there, or a zombie that holds nothing."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


class Postgres:
    def __init__(self, **settings):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="assent-pg-", dir="/tmp"))
        self.data = self.directory / "data"
        self.bin = places.postgres_bin()
        self.process = None
        self.starts = 0
        if os.getuid() == 0:
            os.chown(self.directory, pwd.getpwnam("nobody").pw_uid, -1)
        subprocess.run(
            _as_nobody(self.bin / "initdb", "-D", self.data, "-U", USER, "--auth=trust",
                       "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
        self.configure(**{**SETTINGS, **settings})

    def configure(self, **settings):
        """Appends to postgresql.conf; the last value counts, from the next start on."""
        with open(self.data / "postgresql.conf", "a", encoding="ascii") as conf:
            for key, value in settings.items():
                conf.write(f"{key} = '{value}'\n")

    def start(self):
        assert self.process is None or not self.process.running()
        self.process = Process(
            _as_nobody(self.bin / "postgres", "-D", self.data, "-k", self.directory),
            self.directory / "server.log")
        self.starts += 1
        self.process.wait_line(pattern="ready to accept connections")
        return self

    def kill(self):
        """kill -9 of every process of it, as a crash of the whole server: stopped first, so that
        none is born meanwhile and none cleans up."""
        if not self.process.running():
            return
        os.kill(self.process.pid, signal.SIGSTOP)
        children = _children(self.process.pid)
        for pid in [self.process.pid, *children]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait_end()
        for pid in children:
            wait_until(lambda pid=pid: _gone(pid), f"server process {pid} is gone")

    def stop(self):
        """An orderly end, with everything on disk."""
        self.process.signal(signal.SIGINT)
        assert self.process.wait_end() == 0

    def copy_to(self, name):
        """The files of the stopped server, to be put back later."""
        copy = self.directory / name
        subprocess.run(_as_nobody("cp", "-a", self.data, copy), check=True, cwd="/")
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

    def conninfo(self, database="postgres", **more):
        """As libpq takes it; one word, since lists of options are cut at blanks in tests."""
        words = [f"host={self.directory}", f"dbname={database}", f"user={more.pop('user', USER)}"]
        return " ".join(words + [f"{key}={value}" for key, value in more.items()])

    def sql(self, statement, database="postgres", check=True, user=USER):
        """Runs it in a session of its own: the rows as lists of text, or with check=False what
        psql says of the error."""
        done = subprocess.run(
            ["psql", "-XAtq", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose",
             "-d", self.conninfo(database, user=user)],
            input=statement, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stderr
            return [line.split("\x1f") for line in done.stdout.splitlines()]
        return done.stderr

    def value(self, statement, database="postgres"):
        return self.sql(statement, database)[0][0]

    def create(self, database):
        """Unless it is there."""
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            self.sql(f"CREATE DATABASE {database}")


def main(argv):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a test that takes too long
    server = Postgres()
    try:
        server.start()
        return subprocess.run(
            argv, check=False,
            env={**os.environ, "ASSENT_TEST_POSTGRES": server.conninfo()}).returncode
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
