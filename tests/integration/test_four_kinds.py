"""One transaction over four kinds of participant: a PostgreSQL and a MariaDB database, a kv store
and an HTTP service, all real. docs/examples/order.c is the application: the order, its payment, the
customer's points and the goods commit together or not at all.
"""

import subprocess

import pytest

import ctl
import places
from mariadb import MariaDB
from postgres import Postgres
from process import wait_until
from stock import Stock

ORDER = places.BUILD / "docs" / "examples" / "order"
PROTOCOLS = ["2pc", "3pc"]


@pytest.fixture(scope="module")
def servers():
    made = [Postgres(), MariaDB()]
    for server in made:
        server.start()
    yield made
    for server in made:
        server.close()


class Shop:
    """alice has 20 in her account, the shop has 10 apples."""

    def __init__(self, cluster, directory, servers):
        self.cluster = cluster
        self.postgres, self.mariadb = servers
        self.stock = Stock(directory).start()
        self.postgres.sql("DROP SCHEMA IF EXISTS assent CASCADE; DROP TABLE IF EXISTS orders;"
                          "CREATE TABLE orders (number text PRIMARY KEY, customer text NOT NULL,"
                          " item text NOT NULL, count int NOT NULL)")
        self.mariadb.sql("DROP TABLE IF EXISTS assent_marker; DROP TABLE IF EXISTS account;"
                         "CREATE TABLE account (name VARCHAR(20) PRIMARY KEY,"
                         " balance BIGINT NOT NULL CHECK (balance >= 0));"
                         "INSERT INTO account VALUES ('alice', 20)")
        cluster.add_coordinator(prepare_timeout="10s").start()
        for name, resource in (("orders", f"postgres:{self.postgres.conninfo()}"),
                               ("accounts", f"mariadb:{self.mariadb.parameters()}"),
                               ("stock", self.stock.resource()), ("points", "kv")):
            cluster.add_agent(name, [resource]).start()
        cluster.wait_up()

    def order(self, count, amount, key):
        """The example: its exit code and what it says."""
        done = subprocess.run(
            [ORDER, self.cluster.coordinator.address, "alice", "apple", str(count), str(amount),
             key], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def run(self, count, amount, number, protocol):
        """The same order from the command line, by either protocol."""
        return self.cluster.ctl.run(
            ("orders", f"INSERT INTO orders VALUES ('{number}', 'alice', 'apple', {count})"),
            ("accounts", f"UPDATE account SET balance = balance - {amount} WHERE name = 'alice'"),
            ("stock", f'{{"take": "apple", "count": {count}}}'), ("points", f"add alice {count}"),
            protocol=protocol, options=["--wait"])

    def points(self):
        said = self.cluster.ctl("kv", "get", "--participant", "points", "alice", output="table")
        return int(said.out) if said.code == ctl.DONE else 0

    def books(self):
        """(orders, balance, free apples, held apples, points)"""
        orders = self.postgres.value("SELECT count(*) FROM orders")
        balance = self.mariadb.value("SELECT balance FROM account")
        return (int(orders), int(balance), *self.stock.item(), self.points())

    def nothing_is_left(self):
        assert self.postgres.sql("SELECT gid FROM pg_prepared_xacts") == []
        assert self.mariadb.sql("XA RECOVER") == []


@pytest.fixture
def shop(cluster, tmp_path, servers):
    made = Shop(cluster, tmp_path, servers)
    yield made
    made.stock.kill()


def test_the_example(shop):
    """docs/examples/order.c: an order; the same again, which orders nothing; one that the account
    cannot pay, and one that the stock cannot serve."""
    assert shop.order(2, 7, "order-1") == (0, "committed\n")
    assert shop.order(2, 7, "order-1") == (0, "committed\n")
    assert shop.books() == (1, 13, 8, 0, 2)
    code, said = shop.order(1, 14, "order-2")
    assert code == 7 and said.startswith("aborted: "), said
    code, said = shop.order(9, 1, "order-3")
    assert code == 7 and "apple" in said, said
    wait_until(lambda: shop.books() == (1, 13, 8, 0, 2), "nothing else has happened")
    shop.nothing_is_left()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_or_none(shop, protocol):
    """Each of the four refuses once; the other three show nothing of it."""
    assert shop.run(2, 7, "a", protocol).code == ctl.DONE
    books = (1, 13, 8, 0, 2)
    assert shop.books() == books
    assert shop.run(1, 1, "a", protocol).code == ctl.ABORTED  # PostgreSQL: the number is taken
    assert shop.run(1, 14, "b", protocol).code == ctl.ABORTED  # MariaDB: no money
    assert shop.run(9, 1, "c", protocol).code == ctl.ABORTED  # HTTP: not enough apples
    refused = shop.cluster.ctl.run(
        ("orders", "INSERT INTO orders VALUES ('d', 'alice', 'apple', 1)"),
        ("accounts", "UPDATE account SET balance = balance - 1 WHERE name = 'alice'"),
        ("stock", '{"take": "apple", "count": 1}'), ("points", "add alice 1 max 2"),
        protocol=protocol, options=["--wait"])
    assert refused.code == ctl.ABORTED  # kv: its guard
    wait_until(lambda: shop.books() == books, "nothing else has happened")
    shop.nothing_is_left()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("victim", ["coordinator", "orders", "accounts", "stock", "points"])
def test_killed_in_the_second_phase(shop, victim, protocol):
    """kill -9 of any one after the decision is on disk: all four have it in the end."""
    daemon = shop.cluster.daemon(victim)
    daemon.restart(crash_at="coord_after_log_commit" if victim == "coordinator"
                   else "agent_before_rm_commit")
    shop.cluster.wait_up()
    shop.cluster.ctl("--timeout", "2s", "tx", "run", "--protocol", protocol, "--key", "k",
                     "--branch", "orders=INSERT INTO orders VALUES ('k', 'alice', 'apple', 2)",
                     "--branch", "accounts=UPDATE account SET balance = balance - 7",
                     "--branch", 'stock={"take": "apple", "count": 2}',
                     "--branch", "points=add alice 2")
    assert daemon.process.wait_end() == -9
    daemon.start()
    shop.cluster.wait_up()
    shop.cluster.ctl("tx", "wait", "--key", "k", expect=ctl.DONE)
    assert shop.books() == (1, 13, 8, 0, 2)
    shop.nothing_is_left()
