"""Two agents over two databases of one server, with two accounts in each, for each kind of server.
"""

import json

import wire
from mariadb import MariaDB
from postgres import Postgres
from process import wait_until


class Banks:
    """The agent bank-a with one database and bank-b with another, each with two accounts of 100;
    `a` is looked at in the one, `b` in the other. A subclass says how its servers are spoken to."""

    def __init__(self, cluster, server):
        self.cluster = cluster
        self.server = server
        self.databases = {"bank-a": "left_bank", "bank-b": "right_bank"}
        for name, database in self.databases.items():
            server.create(database)
            for ident in self.prepared(name):  # a test that failed may have left them
                self.end_by_hand(name, "ROLLBACK", ident)
            self.sql(name, self.ACCOUNTS)

    def start(self, wait=True, **agent):
        self.cluster.add_coordinator(prepare_timeout="5s", precommit_timeout="10m").start()
        for name in self.databases:
            self.add_agent(name, **agent).start()
        if wait:
            self.cluster.wait_up()
        return self

    def add_agent(self, name, **agent):
        resource = f"{self.kind}:{self.address(self.server, self.databases[name])}"
        return self.cluster.add_agent(name, [resource], work_timeout="2s", **agent)

    @classmethod
    def add(cls, name, amount):
        return json.dumps({"sql": cls.ADD, "params": [amount, name], "rows": 1})

    @classmethod
    def move(cls, amount):
        return [("bank-a", cls.add("a", -amount)), ("bank-b", cls.add("b", amount))]

    def run(self, amount, **how):
        options = ["--wait", *how.pop("options", [])]
        return self.cluster.ctl.run(*self.move(amount), options=options, **how)

    @staticmethod
    def bare(amount):
        """As move; but nothing has to be known before the vote, so it goes out with the work."""
        return [("bank-a", f"UPDATE account SET balance = balance - {amount} WHERE name = 'a'"),
                ("bank-b", f"UPDATE account SET balance = balance + {amount} WHERE name = 'b'")]

    def run_bare(self, amount, **how):
        return self.cluster.ctl.run(*self.bare(amount), options=["--wait"], **how)

    def sql(self, name, statement):
        return self.server.sql(statement, self.databases[name])

    def balances(self):
        return tuple(int(self.sql(bank, f"SELECT balance FROM account WHERE name = '{name}'")[0][0])
                     for bank, name in (("bank-a", "a"), ("bank-b", "b")))

    def settle(self, key):
        return self.cluster.settle(key)

    def stop_in_doubt(self, decided):
        """A transfer of 30, in doubt in both databases. Its key."""
        key = self.cluster.stop_in_doubt(self.move(30), decided)
        assert [len(self.prepared(name)) for name in self.databases] == [1, 1]
        return key

    def wait_obeyed(self):
        wait_until(lambda: not any(self.prepared(name) for name in self.databases),
                   "nothing is prepared")


class PostgresBanks(Banks):
    kind = "postgres"
    Server = Postgres
    ACCOUNTS = """DROP SCHEMA IF EXISTS assent CASCADE;
        DROP TABLE IF EXISTS account;
        CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL,
        CONSTRAINT not_overdrawn CHECK (balance >= 0));
        INSERT INTO account VALUES ('a', 100), ('b', 100);"""
    ADD = "UPDATE account SET balance = balance + $1 WHERE name = $2"
    MARKER = "assent.marker"
    OVERDRAWN = "23514"  # the server's number for it
    ROLLED_BACK = "mixed"  # a commit whose branch a person has rolled back
    FOREIGN = "BEGIN; INSERT INTO account VALUES ('x', 1); PREPARE TRANSACTION 'theirs'"

    @staticmethod
    def address(server, database):
        return server.conninfo(database)

    def prepared(self, name):
        """The ids of the branches that PostgreSQL holds prepared in this bank's database."""
        return [gid for (gid,) in self.sql(
            name, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")]

    def foreign(self, name):
        return [gid for gid in self.prepared(name) if not gid.startswith("assent:")]

    def end_by_hand(self, name, command, ident):
        self.sql(name, f"{command} PREPARED '{ident}'")

    @staticmethod
    def gtrid_of(ident):
        return ident.split(":")[2]


class MariaDBBanks(Banks):
    kind = "mariadb"
    Server = MariaDB
    ACCOUNTS = """DROP TABLE IF EXISTS account, assent_marker;
        CREATE TABLE account (name VARCHAR(20) PRIMARY KEY, balance BIGINT NOT NULL,
        CONSTRAINT not_overdrawn CHECK (balance >= 0));
        INSERT INTO account VALUES ('a', 100), ('b', 100);"""
    ADD = "UPDATE account SET balance = balance + ? WHERE name = ?"
    MARKER = "assent_marker"
    OVERDRAWN = "4025"
    ROLLED_BACK = "hazard"  # it could as well have been lost
    FOREIGN = ("SET pseudo_slave_mode = 1; XA START 'theirs'; INSERT INTO account VALUES ('x', 1);"
               "XA END 'theirs'; XA PREPARE 'theirs'")

    @staticmethod
    def address(server, database):
        return server.parameters(database)

    def listed(self):
        return [row[3] for row in self.server.sql("XA RECOVER FORMAT='SQL'")]

    def prepared(self, name):
        """The ids of our branches that MariaDB holds prepared for this bank's database."""
        end = self.databases[name].encode().hex() + "',1095978580"
        return [xid for xid in self.listed() if xid.endswith(end)]

    def foreign(self, _name):
        return [xid.strip("'") for xid in self.listed() if not xid.endswith(",1095978580")]

    def end_by_hand(self, _name, command, ident):
        self.server.sql(f"XA {command} {ident if ident.startswith('X') else repr(ident)}")

    @staticmethod
    def gtrid_of(ident):
        return wire.gtrid_text(bytes.fromhex(ident[2 + 32:2 + 64]))


KINDS = [PostgresBanks, MariaDBBanks]
