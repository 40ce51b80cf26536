"""The bank of bank.py over MariaDB databases: accounts and the marks of transfers in two tables,
and the markers that Assent wrote beside them.
"""

import json

from bank import START, Bank
from process import wait_until

TABLES = """
    CREATE TABLE account (number INT PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0));
    CREATE TABLE transfer (id INT PRIMARY KEY, side TEXT);
    INSERT INTO account SELECT seq, %d FROM seq_0_to_%d;"""


class MariaDBBank(Bank):
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
                {"sql": "UPDATE account SET balance = balance + ? WHERE number = ?",
                 "params": [change, account], "rows": 1},
                {"sql": "INSERT INTO transfer VALUES (?, ?)", "params": [ident, side]}])
        return [(source, work(from_account, -amount, "out")),
                (target, work(to_account, amount, "in"))]

    def books(self, peer):
        books = {}
        for name, (server, database) in self.places.items():
            rows = server.sql("SELECT CONCAT('acct/', number), balance FROM account UNION ALL"
                              " SELECT CONCAT('t/', id), 0 FROM transfer", database)
            books[name] = dict(rows)
        return books

    def check_tables(self):
        """A server that has damaged its own tables is not ours to judge."""
        for name, (server, database) in self.places.items():
            found = server.sql("CHECK TABLE account, transfer, assent_marker EXTENDED", database)
            assert [row[3] for row in found] == ["OK"] * 3, (name, found)

    def check_markers(self, transfers):
        """Every marker says what the outcome of its transaction is; nothing is prepared. How many
        markers are left."""
        committed = {t.gtrid.hex() for t in transfers if t.outcome == 1}
        left = 0
        for server, database in self.places.values():
            markers = server.sql("SELECT LOWER(HEX(SUBSTR(branch, 17, 16))), committed"
                                 " FROM assent_marker", database)
            assert [m for m, yes in markers if (m in committed) != (yes == "1")] == []
            wait_until(lambda s=server: s.sql("XA RECOVER FORMAT='SQL'") == [],
                       "nothing is prepared")
            left += len(markers)
        return left
