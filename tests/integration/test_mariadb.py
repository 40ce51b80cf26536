"""What only MariaDB does, beside what test_databases.py shows of every database: engines without
XA, rollbacks that a crash undoes, and a transaction with PostgreSQL.
"""

import pytest

import ctl
from banks import MariaDBBanks, PostgresBanks
from mariadb import MariaDB
from postgres import Postgres
from process import wait_until

PROTOCOLS = ["2pc", "3pc"]


@pytest.fixture(scope="module")
def shared_server():
    server = MariaDB()
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_server():
    """For tests that change its settings or its files."""
    server = MariaDB()
    yield server
    server.close()


def test_engine_without_xa_is_refused(cluster, shared_server):
    """Nothing is changed in either bank, also not in the table that cannot be rolled back."""
    banks = MariaDBBanks(cluster, shared_server).start()
    banks.sql("bank-a", "CREATE OR REPLACE TABLE log (x INT) ENGINE=Aria")
    done = cluster.ctl.run(("bank-a", "INSERT INTO log VALUES (1)"), banks.move(30)[1],
                           options=["--wait"], expect=ctl.ABORTED)
    assert "would change a table whose engine has no XA" in done.json["reason"]
    assert banks.sql("bank-a", "SELECT * FROM log") == []
    assert banks.balances() == (100, 100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_transfer_between_postgresql_and_mariadb(cluster, shared_server, protocol):
    """One transaction over both: it commits in both, and what either refuses happens in neither."""
    postgres = Postgres()
    try:
        postgres.start()
        postgres.sql("CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL"
                     " CHECK (balance >= 0)); INSERT INTO account VALUES ('a', 100)")
        banks = MariaDBBanks(cluster, shared_server)
        cluster.add_coordinator().start()
        cluster.add_agent("bank-a", [f"postgres:{postgres.conninfo()}"]).start()
        banks.add_agent("bank-b").start()
        cluster.wait_up()
        for amount, expect in ((30, ctl.DONE), (71, ctl.ABORTED), (-131, ctl.ABORTED),
                               (-30, ctl.DONE), (100, ctl.DONE)):
            cluster.ctl.run(PostgresBanks.move(amount)[0], banks.move(amount)[1],
                            protocol=protocol, options=["--wait"], expect=expect)
        assert postgres.value("SELECT balance FROM account") == "0"
        assert banks.balances()[1] == 200
        assert postgres.sql("SELECT gid FROM pg_prepared_xacts") == banks.prepared("bank-b") == []
    finally:
        postgres.close()


def test_server_that_may_not_be_written_is_refused_by_name(cluster, own_server):
    own_server.start()
    own_server.sql("SET GLOBAL read_only = ON", user="root")
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [f"mariadb:{own_server.parameters()}"]).launch()
    assert agent.process.wait_end() == 2
    assert agent.process.has_line(pattern="read_only is ON.*name the primary")


def test_server_away_or_risky_is_named(cluster, own_server):
    """An agent starts without its database and says so; once there, its risks are named."""
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [f"mariadb:{own_server.parameters()}"]).start()
    agent.process.wait_line("resource_away", pattern="2002: Can't connect")
    own_server.configure(innodb_flush_log_at_trx_commit=0, innodb_doublewrite=0, log_bin="binlog",
                         innodb_log_file_buffering=0, max_connections=20)
    own_server.start()
    own_server.sql("CREATE TABLE log (x INT) ENGINE=Aria")
    agent.restart()
    for name in ("innodb_flush_log_at_trx_commit", "innodb_doublewrite", "log_bin",
                 "innodb_log_file_buffering", "max_connections", r"1 tables .log"):
        agent.process.wait_line("resource_report", pattern=f"level=warn.*{name}")
    agent.process.wait_line("resource_report", pattern="level=info.*MariaDB.*a sync takes")


def test_rollback_survives_a_crash(cluster, own_server):
    """MariaDB answers XA ROLLBACK in another session than the one that prepared before it is on
    disk: killed then, it has the branch prepared again. Not so ours, which nobody would ask for any
    more (16)."""
    own_server.configure(innodb_flush_log_at_timeout=2700)  # by itself; not at each commit
    own_server.start()
    own_server.sql("CREATE TABLE t (k INT PRIMARY KEY) ENGINE=InnoDB")
    theirs = [f"'theirs-{n}'" for n in range(8)]
    for number, xid in enumerate(theirs):
        own_server.sql(f"SET pseudo_slave_mode = 1; XA START {xid};"
                       f"INSERT INTO t VALUES ({number}); XA END {xid}; XA PREPARE {xid}")
    own_server.sql(";".join(f"XA ROLLBACK {xid}" for xid in theirs))
    assert own_server.sql("XA RECOVER") == []
    own_server.restart()
    assert own_server.sql("XA RECOVER") != []
    for row in own_server.sql("XA RECOVER FORMAT='SQL'"):
        own_server.sql(f"XA ROLLBACK {row[3]}")

    banks = MariaDBBanks(cluster, own_server).start()
    banks.stop_in_doubt(decided=False)
    cluster.coordinator.start()
    banks.wait_obeyed()
    for database in banks.databases.values():  # by then the agents have had their answers
        wait_until(lambda d=database: own_server.value("SELECT COUNT(*) FROM assent_marker", d)
                   == "1", "the rollback is complete")
    own_server.restart()
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []
