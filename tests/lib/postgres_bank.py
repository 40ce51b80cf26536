"""The bank of bank.py over PostgreSQL databases: accounts and the marks of transfers in two tables.
Each mark keeps the id of PostgreSQL's transaction, so that the markers that Assent wrote can be
held against what was really committed with them.
"""

import json

from bank import START, Bank

TABLES = """
    CREATE TABLE account (number int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    CREATE TABLE transfer (id int PRIMARY KEY, side text,
        xid xid DEFAULT pg_current_xact_id()::xid);
    INSERT INTO account SELECT n, %d FROM generate_series(0, %d) n;"""


class PostgresBank(Bank):
    """`places` maps each participant's name to its server and the database there."""

    def __init__(self, places, accounts):
        super().__init__(places, accounts)
        self.places = places

    def open(self, peer=None):
        for server, database in self.places.values():
            server.create(database)
            server.sql(TABLES % (START, self.accounts - 1), database)

    @staticmethod
    def transfer(ident, source, target, from_account, to_account, amount):
        def work(account, change, side):
            return json.dumps([
                {"sql": "UPDATE account SET balance = balance + $1 WHERE number = $2",
                 "params": [change, account], "rows": 1},
                {"sql": "INSERT INTO transfer VALUES ($1, $2)", "params": [ident, side]}])
        return [(source, work(from_account, -amount, "out")),
                (target, work(to_account, amount, "in"))]

    def books(self, peer):
        books = {}
        for name, (server, database) in self.places.items():
            rows = server.sql("SELECT 'acct/' || number, balance FROM account UNION ALL"
                              " SELECT 't/' || id, 0 FROM transfer", database)
            books[name] = dict(rows)
        return books

    def check_markers(self, transfers):
        """Every marker stands beside the effects of the branch that wrote it, and that branch is of
        a transaction that committed; nothing of ours is prepared. How many markers are left."""
        committed = {t.gtrid.hex() for t in transfers if t.outcome == 1}
        left = 0
        for server, database in self.places.values():
            alone = server.sql(
                "SELECT branch FROM assent.marker m WHERE committed AND NOT EXISTS"
                " (SELECT FROM transfer t WHERE t.xid = m.xmin)", database)
            assert alone == []
            markers = server.sql("SELECT encode(substr(branch, 17, 16), 'hex'), committed"
                                 " FROM assent.marker", database)
            assert [m for m, yes in markers if (m in committed) != (yes == "t")] == []
            assert server.sql("SELECT gid FROM pg_prepared_xacts"
                              " WHERE database = current_database()", database) == []
            left += len(markers)
        return left
