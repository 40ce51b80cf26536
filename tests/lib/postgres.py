#!/usr/bin/python3
"""A real PostgreSQL server of a test's own: made by initdb in a temporary directory, reached over a
unix socket in it, killed with all its processes. As a program: runs one command with a server
beside it, whose connection string is in ASSENT_TEST_POSTGRES.
"""

import signal
import subprocess
import sys

import places
from process import Process
from server import Server, as_nobody, run_beside

# The defaults otherwise: fsync is on.
SETTINGS = {
    "listen_addresses": "", "max_prepared_transactions": 100, "max_connections": 100,
    "shared_buffers": "16MB", "autovacuum": "off", "lc_messages": "C", "log_min_messages": "log",
    "jit": "off",
}
USER = "assent"


class Postgres(Server):
    stop_signal = signal.SIGINT

    def __init__(self, **settings):
        super().__init__("assent-pg-")
        self.bin = places.postgres_bin()
        subprocess.run(
            as_nobody(self.bin / "initdb", "-D", self.data, "-U", USER, "--auth=trust",
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
            as_nobody(self.bin / "postgres", "-D", self.data, "-k", self.directory),
            self.directory / "server.log")
        self.starts += 1
        self.process.wait_line(pattern="ready to accept connections")
        return self

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


if __name__ == "__main__":
    sys.exit(run_beside(Postgres(), sys.argv[1:], "ASSENT_TEST_POSTGRES", Postgres.conninfo))
