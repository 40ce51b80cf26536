"""Transactions over two real PostgreSQL databases of one server, behind two agents: whatever one
side refuses, loses or does by itself, the outcome says it and both databases agree with it.
"""

import json

import pytest

import ctl
from postgres import Postgres

PROTOCOLS = ["2pc", "3pc"]
ACCOUNTS = """CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL,
    CONSTRAINT not_overdrawn CHECK (balance >= 0));
    INSERT INTO account VALUES ('a', 100), ('b', 100);"""


@pytest.fixture(scope="module")
def shared_server():
    server = Postgres()
    server.start()
    yield server
    server.close()


@pytest.fixture
def server(shared_server):
    """Two databases with two accounts of 100 each, `a` and `b`; dropped afterwards."""
    if not shared_server.process.running():
        shared_server.start()
    shared_server.create("left_bank", "right_bank")
    for database in ("left_bank", "right_bank"):
        shared_server.sql(ACCOUNTS, database)
    yield shared_server
    if not shared_server.process.running():
        shared_server.start()
    for database in ("left_bank", "right_bank"):
        for (gid,) in prepared(shared_server, database):
            shared_server.sql(f"ROLLBACK PREPARED '{gid}'", database)
        shared_server.sql(f"DROP DATABASE {database} WITH (FORCE)")


@pytest.fixture
def banks(cluster, server):
    """The agent bank-a with the database left_bank, bank-b with right_bank."""
    cluster.add_coordinator(prepare_timeout="5s", precommit_timeout="10m").start()
    add_bank(cluster, server, "bank-a", "left_bank")
    add_bank(cluster, server, "bank-b", "right_bank")
    cluster.wait_up()
    return cluster


def add_bank(cluster, server, name, database, **options):
    resource = [f"postgres:{server.conninfo(database)}"]
    return cluster.add_agent(name, resource, work_timeout="2s", **options).start()


def prepared(server, database):
    return server.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()",
                      database)


def balances(server):
    return tuple(int(server.value(f"SELECT balance FROM account WHERE name = '{name}'", database))
                 for name, database in (("a", "left_bank"), ("b", "right_bank")))


def add(name, amount):
    return json.dumps({"sql": "UPDATE account SET balance = balance + $1 WHERE name = $2",
                       "params": [amount, name], "rows": 1})


def move(amount):
    return [("bank-a", add("a", -amount)), ("bank-b", add("b", amount))]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_transfer_commits(banks, server, protocol):
    banks.ctl.run(*move(30), protocol=protocol, options=["--wait"], expect=ctl.DONE)
    assert balances(server) == (70, 130)
    for database in ("left_bank", "right_bank"):
        assert prepared(server, database) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusal_carries_the_sqlstate(banks, server, protocol):
    """The work of one branch breaks a constraint: its reason reaches the caller, nothing moves."""
    done = banks.ctl.run(*move(101), protocol=protocol, options=["--wait"], expect=ctl.ABORTED)
    assert "23514" in done.json["reason"] and "not_overdrawn" in done.json["reason"]
    assert balances(server) == (100, 100)
    banks.ctl.run(*move(100), protocol=protocol, options=["--wait"], expect=ctl.DONE)
    assert balances(server) == (0, 200)
