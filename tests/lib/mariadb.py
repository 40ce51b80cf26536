#!/usr/bin/python3
"""A real MariaDB server of a test's own: made by mariadb-install-db in a temporary directory, and
reached over a unix socket in it. As a program: runs one command with a server beside it, whose
parameters for the resource are in ASSENT_TEST_MARIADB.
"""

import subprocess
import sys

from process import Process
from server import Server, as_nobody, run_beside

# The defaults otherwise: each commit and each XA PREPARE is synced. The log is written through the
# file system's buffers and in small blocks, so that fewer crashes leave it without an end, which
# 10.11.19 recovers wrongly (docs/mariadb.md).
SETTINGS = {
    "skip-networking": "1", "innodb-buffer-pool-size": "16M", "innodb-log-file-size": "16M",
    "max-connections": 100, "skip-name-resolve": "1", "performance-schema": "0",
    "innodb-log-file-buffering": "1", "innodb-log-write-ahead-size": "512",
    "character-set-server": "latin1",  # not the client's: nothing may depend on it
}
USER = "assent"


class MariaDB(Server):
    """Its temporary files are in a directory of its own: a server that starts deletes what others
    have in the same one."""

    def __init__(self, **settings):
        super().__init__("assent-maria-")
        self.socket = self.directory / "socket"
        self.settings = dict(SETTINGS)
        self.configure(**settings)
        subprocess.run(
            as_nobody("env", f"TMPDIR={self.directory}", "mariadb-install-db", "--no-defaults",
                      f"--datadir={self.data}",
                      "--auth-root-authentication-method=normal", "--skip-test-db",
                      "--skip-name-resolve", "--innodb-log-file-size=16M"),
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd="/")

    def configure(self, **settings):
        """From the next start on; underscores stand for dashes."""
        self.settings.update((key.replace("_", "-"), value) for key, value in settings.items())

    def start(self):
        assert self.process is None or not self.process.running()
        self.process = Process(
            as_nobody("mariadbd", "--no-defaults", f"--datadir={self.data}",
                      f"--tmpdir={self.directory}",
                      f"--socket={self.socket}", f"--pid-file={self.directory / 'pid'}",
                      *(f"--{key}={value}" for key, value in self.settings.items())),
            self.directory / "server.log")
        self.starts += 1
        self.process.wait_line(pattern="ready for connections", seconds=60)
        if self.starts == 1:
            self.sql(f"CREATE USER {USER}@localhost; CREATE DATABASE test;"
                     f"GRANT ALL ON *.* TO {USER}@localhost WITH GRANT OPTION",
                     database="", user="root")
        return self

    def parameters(self, database="test", user=USER, **more):
        """As the resource takes them; one word: lists of options are cut at blanks in tests."""
        words = {"socket": self.socket, "user": user, "database": database, **more}
        return ",".join(f"{key}={value}" for key, value in words.items())

    def sql(self, statement, database="test", check=True, user=USER):
        """Runs it in a session of its own: the rows as lists of text, or with check=False what the
        client says of the error."""
        done = subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self.socket}", f"--user={user}", "--batch",
             "--raw", "--skip-column-names", "--default-character-set=utf8mb4", database],
            input=statement, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stderr
            return [line.split("\t") for line in done.stdout.splitlines()]
        return done.stderr

    def value(self, statement, database="test"):
        return self.sql(statement, database)[0][0]

    def create(self, database):
        """Unless it is there."""
        self.sql(f"CREATE DATABASE IF NOT EXISTS {database}", "")


if __name__ == "__main__":
    sys.exit(run_beside(MariaDB(), sys.argv[1:], "ASSENT_TEST_MARIADB", MariaDB.parameters))
