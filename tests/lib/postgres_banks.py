"""Two agents over two databases of one PostgreSQL server, with two accounts in each."""

import json

import wire
from process import wait_until

ACCOUNTS = """DROP SCHEMA IF EXISTS assent CASCADE;
    DROP TABLE IF EXISTS account;
    CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL,
    CONSTRAINT not_overdrawn CHECK (balance >= 0));
    INSERT INTO account VALUES ('a', 100), ('b', 100);"""


class Banks:
    """The agent bank-a with one database and bank-b with another, each with two accounts of 100;
    `a` is looked at in the one, `b` in the other."""

    def __init__(self, cluster, server):
        self.cluster = cluster
        self.server = server
        self.databases = {"bank-a": "left_bank", "bank-b": "right_bank"}
        for name, database in self.databases.items():
            server.create(database)
            for gid in self.prepared(name):  # a test that failed may have left them
                self.sql(name, f"ROLLBACK PREPARED '{gid}'")
            self.sql(name, ACCOUNTS)

    def start(self, wait=True, **agent):
        self.cluster.add_coordinator(prepare_timeout="5s", precommit_timeout="10m").start()
        for name in self.databases:
            self.add_agent(name, **agent).start()
        if wait:
            self.cluster.wait_up()
        return self

    def add_agent(self, name, **agent):
        resource = f"postgres:{self.server.conninfo(self.databases[name])}"
        return self.cluster.add_agent(name, [resource], work_timeout="2s", **agent)

    def run(self, amount, **how):
        options = ["--wait", *how.pop("options", [])]
        return self.cluster.ctl.run(*move(amount), options=options, **how)

    def sql(self, name, statement):
        return self.server.sql(statement, self.databases[name])

    def prepared(self, name):
        """The ids of the branches that PostgreSQL holds prepared in this bank's database."""
        return [gid for (gid,) in self.sql(
            name, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")]

    def balances(self):
        return tuple(int(self.sql(bank, f"SELECT balance FROM account WHERE name = '{name}'")[0][0])
                     for bank, name in (("bank-a", "a"), ("bank-b", "b")))

    def settle(self, key):
        """The final result of the transaction with that key."""
        with self.cluster.coordinator.application() as peer:
            def ended():
                result = peer.status(key=key, wait=True, seconds=30)
                return result if result.ended else None
            return wait_until(ended, f"{key} has ended")

    def stop_in_doubt(self, decided):
        """A transfer of 30 whose coordinator dies right before or after its decision to commit is
        durable; both branches are prepared and nobody has told them. Its key."""
        coordinator = self.cluster.coordinator
        coordinator.stop()
        coordinator.start(crash_at="coord_after_log_commit" if decided
                          else "coord_before_log_commit")
        self.cluster.wait_up()
        with coordinator.application() as peer:
            peer.submit(run=wire.run(move(30), key="in-doubt"))
            coordinator.process.wait_end()
        assert [len(self.prepared(name)) for name in self.databases] == [1, 1]
        return "in-doubt"


def add(name, amount):
    return json.dumps({"sql": "UPDATE account SET balance = balance + $1 WHERE name = $2",
                       "params": [amount, name], "rows": 1})


def move(amount):
    return [("bank-a", add("a", -amount)), ("bank-b", add("b", amount))]
