"""The bank of bank.py over databases: accounts and the marks of transfers in two tables, and the
markers that Assent wrote beside them. A subclass says how its kind of server is spoken to.
"""

import json
import re

from bank import START, Bank
from mariadb import MariaDB
from postgres import Postgres
from process import wait_until


class DatabaseBank(Bank):
    """`places` maps each participant's name to its server and the database there."""

    def __init__(self, places, accounts):
        super().__init__(places, accounts)
        self.places = places

    def open(self, peer=None):
        for server, database in self.places.values():
            server.create(database)
            server.sql(self.TABLES % (START, self.accounts - 1), database)

    @classmethod
    def transfer(cls, ident, source, target, from_account, to_account, amount):
        """One side looks at its rows before it votes, the other has its end sent with its work."""
        def work(account, change, side):
            looks = {"rows": 1} if side == "out" else {}
            return json.dumps([
                {"sql": cls.ADD, "params": [change, account], **looks},
                {"sql": cls.MARK, "params": [ident, side]}])
        return [(source, work(from_account, -amount, "out")),
                (target, work(to_account, amount, "in"))]

    def books(self, peer):
        return {name: dict(server.sql(self.BOOKS, database))
                for name, (server, database) in self.places.items()}

    def check_tables(self):
        for server, database in self.places.values():
            self.check_database(server, database)

    def check_markers(self, transfers):
        """Every marker says what the outcome of its transaction is; nothing is prepared. How many
        markers are left."""
        committed = {t.gtrid.hex() for t in transfers if t.outcome == 1}
        left = 0
        for server, database in self.places.values():
            markers = server.sql(self.MARKERS, database)
            assert [m for m, yes in markers if (m in committed) != (yes == "1")] == []
            wait_until(lambda s=server, d=database: s.sql(self.PREPARED, d) == [],
                       "nothing is prepared")
            left += len(markers)
        return left


class PostgresBank(DatabaseBank):
    """Each mark keeps the id of PostgreSQL's transaction, so that the markers can be held against
    what was really committed with them."""

    kind = "postgres"
    Server = Postgres
    TABLES = """
        CREATE TABLE account (number int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
        CREATE TABLE transfer (id int PRIMARY KEY, side text,
            xid xid DEFAULT pg_current_xact_id()::xid);
        INSERT INTO account SELECT n, %d FROM generate_series(0, %d) n;"""
    ADD = "UPDATE account SET balance = balance + $1 WHERE number = $2"
    MARK = "INSERT INTO transfer VALUES ($1, $2)"
    BOOKS = ("SELECT 'acct/' || number, balance FROM account UNION ALL"
             " SELECT 't/' || id, 0 FROM transfer")
    MARKERS = "SELECT encode(substr(branch, 17, 16), 'hex'), committed::int FROM assent.marker"
    PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"

    @staticmethod
    def resource(server, database):
        return f"postgres:connections=16 {server.conninfo(database)}"

    @staticmethod
    def check_database(server, database):
        """Every marker stands beside the effects of the branch that wrote it."""
        assert server.sql("SELECT branch FROM assent.marker m WHERE committed AND NOT EXISTS"
                          " (SELECT FROM transfer t WHERE t.xid = m.xmin)", database) == []

    @staticmethod
    def recovered(log):
        """How many branches the server has found prepared as it came back."""
        return log.count("recovering prepared transaction")


class MariaDBBank(DatabaseBank):
    kind = "mariadb"
    Server = MariaDB
    TABLES = """
        CREATE TABLE account (number INT PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0));
        CREATE TABLE transfer (id INT PRIMARY KEY, side TEXT);
        INSERT INTO account SELECT seq, %d FROM seq_0_to_%d;"""
    ADD = "UPDATE account SET balance = balance + ? WHERE number = ?"
    MARK = "INSERT INTO transfer VALUES (?, ?)"
    BOOKS = ("SELECT CONCAT('acct/', number), balance FROM account UNION ALL"
             " SELECT CONCAT('t/', id), 0 FROM transfer")
    MARKERS = "SELECT LOWER(HEX(SUBSTR(branch, 17, 16))), committed FROM assent_marker"
    PREPARED = "XA RECOVER FORMAT='SQL'"

    @staticmethod
    def resource(server, database):
        return f"mariadb:connections=16,{server.parameters(database)}"

    @staticmethod
    def check_database(server, database):
        """A server that has damaged its own tables is not ours to judge (docs/mariadb.md)."""
        found = server.sql("CHECK TABLE account, transfer, assent_marker EXTENDED", database)
        assert [row[3] for row in found] == ["OK"] * 3, found

    @staticmethod
    def recovered(log):
        return sum(int(count) for count in re.findall(
            r"InnoDB: (\d+) transactions in prepared state after recovery", log))
