"""The example service of docs/examples as a process of a test: started, killed, started again on
its port, and its database read from outside.
"""

import sqlite3
import sys

import places
from process import Process

SERVICE = places.ROOT / "docs" / "examples" / "http_service.py"


class Stock:
    def __init__(self, directory, name="shop", stock=("apple=10",), token=None):
        self.database = directory / f"{name}.db"
        self.log = directory / f"{name}.log"
        self.stock = stock
        self.token_file = None
        if token:
            self.token_file = directory / f"{name}.token"
            self.token_file.write_text(token)
        self.url = None
        self.process = None

    def start(self):
        port = self.url.rpartition(":")[2] if self.url else "0"
        argv = [sys.executable, SERVICE, "--database", self.database, "--port", port]
        argv += ["--token-file", self.token_file] if self.token_file else []
        self.process = Process([*argv, "--stock", *self.stock], self.log)
        self.url = self.process.wait_line(pattern="ready").fields["url"]
        return self

    def kill(self):
        if self.process is not None and self.process.running():
            self.process.kill()

    def restart(self):
        self.kill()
        return self.start()

    def resource(self, **more):
        """For --resource."""
        words = [f"{phase}={self.url}/{phase}" for phase in ("try", "confirm", "cancel")]
        words.append(f"query={self.url}/stock")
        return "http:" + ",".join(words + [f"{key}={value}" for key, value in more.items()])

    def sql(self, statement):
        """Each call its own connection: the service may be down."""
        db = sqlite3.connect(self.database, timeout=20)
        try:
            return db.execute(statement).fetchall()
        finally:
            db.close()

    def item(self, name="apple"):
        """(free, held)"""
        return self.sql(f"SELECT free, held FROM item WHERE name = '{name}'")[0]

    def branches(self):
        """How many are in each state."""
        return dict(self.sql("SELECT state, count(*) FROM branch GROUP BY state"))

    def states(self):
        """The state of each branch by its gtrid."""
        return {ident.split(":")[2]: state
                for ident, state in self.sql("SELECT id, state FROM branch")}
