"""Transactions over two real MariaDB databases of one server, and over PostgreSQL and MariaDB:
whatever one side refuses, loses or does by itself, the outcome says it and both agree with it.
"""

import json

import pytest

import ctl
import wire
from mariadb import MariaDB
from postgres import Postgres
from process import wait_until

pb = wire.pb
PROTOCOLS = ["2pc", "3pc"]
ACCOUNTS = """DROP TABLE IF EXISTS account, assent_marker;
    CREATE TABLE account (name VARCHAR(20) PRIMARY KEY, balance BIGINT NOT NULL,
    CONSTRAINT not_overdrawn CHECK (balance >= 0));
    INSERT INTO account VALUES ('a', 100), ('b', 100);"""
SIDES = {"bank-a": "a", "bank-b": "b"}


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


class Banks:
    """The agent bank-a with one database and bank-b with another, each with two accounts of 100;
    `a` is looked at in the one, `b` in the other."""

    def __init__(self, cluster, server):
        self.cluster = cluster
        self.server = server
        self.databases = {"bank-a": "left_bank", "bank-b": "right_bank"}
        for name, database in self.databases.items():
            server.create(database)
            for xid in self.prepared(name):  # a test that failed may have left them
                self.end_by_hand("ROLLBACK", xid)
            self.sql(name, ACCOUNTS)

    def start(self, **agent):
        self.cluster.add_coordinator(prepare_timeout="5s", precommit_timeout="10m").start()
        for name in self.databases:
            self.add_agent(name, **agent).start()
        self.cluster.wait_up()
        return self

    def add_agent(self, name, **agent):
        resource = f"mariadb:{self.server.parameters(self.databases[name])}"
        return self.cluster.add_agent(name, [resource], work_timeout="2s", **agent)

    def run(self, amount, **how):
        options = ["--wait", *how.pop("options", [])]
        return self.cluster.ctl.run(*move(amount), options=options, **how)

    def sql(self, name, statement):
        return self.server.sql(statement, self.databases[name])

    def prepared(self, name):
        """The ids of the branches that MariaDB holds prepared for this bank's database."""
        end = self.databases[name].encode().hex() + "',1095978580"
        return [row[3] for row in self.sql(name, "XA RECOVER FORMAT='SQL'") if row[3].endswith(end)]

    def end_by_hand(self, command, xid):
        self.server.sql(f"XA {command} {xid}")

    def balances(self):
        return tuple(int(self.sql(bank, f"SELECT balance FROM account WHERE name = '{name}'")[0][0])
                     for bank, name in SIDES.items())

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


@pytest.fixture
def banks(cluster, shared_server):
    return Banks(cluster, shared_server).start()


def add(name, amount):
    return json.dumps({"sql": "UPDATE account SET balance = balance + ? WHERE name = ?",
                       "params": [amount, name], "rows": 1})


def move(amount):
    return [("bank-a", add("a", -amount)), ("bank-b", add("b", amount))]


# Ordinary life.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_transfer_commits(banks, protocol):
    banks.run(30, protocol=protocol, expect=ctl.DONE)
    assert banks.balances() == (70, 130)
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusal_carries_the_number(banks, protocol):
    """The work of one branch breaks a constraint: its reason reaches the caller, nothing moves."""
    done = banks.run(101, protocol=protocol, expect=ctl.ABORTED)
    assert "4025" in done.json["reason"] and "not_overdrawn" in done.json["reason"]
    assert banks.balances() == (100, 100)
    banks.run(100, protocol=protocol, expect=ctl.DONE)
    assert banks.balances() == (0, 200)


def test_engine_without_xa_is_refused(banks):
    """Nothing is changed in either bank, also not in the table that cannot be rolled back."""
    banks.sql("bank-a", "CREATE OR REPLACE TABLE log (x INT) ENGINE=Aria")
    done = banks.cluster.ctl.run(("bank-a", "INSERT INTO log VALUES (1)"), move(30)[1],
                                 options=["--wait"], expect=ctl.ABORTED)
    assert "would change a table whose engine has no XA" in done.json["reason"]
    assert banks.sql("bank-a", "SELECT * FROM log") == []
    assert banks.balances() == (100, 100)


def test_interactive_work_shows_rows(banks):
    run = banks.cluster.ctl
    gtrid = run("tx", "begin", expect=0).json["gtrid"]
    run("tx", "work", gtrid, "--participant", "bank-a", add("a", -5), expect=0)
    answer = run("tx", "work", gtrid, "--participant", "bank-a",
                 "SELECT balance FROM account WHERE name = 'a'", output="table", expect=0)
    assert json.loads(answer.out)["results"][0]["rows"] == [[95]]
    run("tx", "work", gtrid, "--participant", "bank-b", add("b", 5), expect=0)
    assert run("tx", "commit", "--wait", gtrid, expect=0).json["outcome"] == "committed"
    assert banks.balances() == (95, 105)


def test_single_branch_and_read_only_leave_nothing_prepared(banks):
    """One branch commits in one phase; one that only read has no second phase (14)."""
    banks.cluster.ctl.run(("bank-a", add("a", 1)), options=["--wait"], expect=ctl.DONE)
    done = banks.cluster.ctl.run(("bank-a", "SELECT * FROM account"), move(1)[1],
                                 options=["--wait"], expect=ctl.DONE).json
    shown = banks.cluster.ctl("tx", "show", done["gtrid"], expect=0).json
    assert {row["participant"]: row["vote"] for row in shown["branches"]}["bank-a/mariadb"] \
        == "read-only"
    assert banks.balances() == (101, 101)


def test_markers_are_forgotten(banks):
    """Each branch leaves a marker, which goes when the transaction has ended everywhere, also if
    the agent was started anew meanwhile and remembers nothing."""
    for restart in (True, False):
        for _ in range(3):
            banks.run(1, expect=ctl.DONE)
        if restart:
            banks.cluster.agents["bank-a"].restart()
            banks.cluster.wait_up()
    for name in banks.databases:
        wait_until(lambda name=name: banks.sql(name, "SELECT COUNT(*) FROM assent_marker")
                   == [["0"]], f"no marker is left at {name}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_transfer_between_postgresql_and_mariadb(cluster, shared_server, protocol):
    """One transaction over both: it commits in both, and what either refuses happens in neither."""
    postgres = Postgres()
    try:
        postgres.start()
        postgres.sql("CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL"
                     " CHECK (balance >= 0)); INSERT INTO account VALUES ('a', 100)")
        banks = Banks(cluster, shared_server)
        cluster.add_coordinator().start()
        cluster.add_agent("bank-a", [f"postgres:{postgres.conninfo()}"]).start()
        banks.add_agent("bank-b").start()
        cluster.wait_up()
        for amount, expect in ((30, ctl.DONE), (71, ctl.ABORTED), (-131, ctl.ABORTED),
                               (-30, ctl.DONE), (100, ctl.DONE)):
            work = add("a", -amount).replace("+ ?", "+ $1").replace("= ?", "= $2")
            cluster.ctl.run(("bank-a", work), move(amount)[1], protocol=protocol,
                            options=["--wait"], expect=expect)
        assert postgres.value("SELECT balance FROM account") == "0"
        assert banks.balances()[1] == 200
        assert postgres.sql("SELECT gid FROM pg_prepared_xacts") == banks.prepared("bank-b") == []
    finally:
        postgres.close()


# Crashes of the agent.


@pytest.mark.parametrize("point", ["agent_before_rm_prepare", "agent_after_rm_prepare",
                                   "agent_before_rm_commit", "agent_after_rm_commit",
                                   "agent_before_rm_one_phase", "agent_after_rm_one_phase"])
def test_agent_dies_beside_the_database(banks, point):
    """What was prepared without a vote is found in MariaDB's list and asked about (17); what was
    committed without an answer gives XAER_NOTA, and the marker tells (20, 21)."""
    expected = {"agent_before_rm_prepare": [pb.OUTCOME_ABORTED],
                "agent_after_rm_prepare": [pb.OUTCOME_ABORTED, pb.OUTCOME_COMMITTED],
                "agent_before_rm_one_phase": [pb.OUTCOME_ABORTED]}
    agent = banks.cluster.agents["bank-a"]
    agent.stop()
    agent.start(crash_at=point)
    banks.cluster.wait_up()
    one_phase = "one_phase" in point
    with banks.cluster.coordinator.application() as peer:
        peer.submit(run=wire.run(move(30)[:1] if one_phase else move(30), key="k"))
        agent.process.wait_end()
    agent.start()
    result = banks.settle("k")
    assert result.outcome in expected.get(point, [pb.OUTCOME_COMMITTED])
    moved = 30 if result.outcome == pb.OUTCOME_COMMITTED else 0
    assert banks.balances() == (100 - moved, 100 + (0 if one_phase else moved))
    wait_until(lambda: not banks.prepared("bank-a") and not banks.prepared("bank-b"),
               "nothing is prepared")


# People at the database.


@pytest.mark.parametrize("command,decided,outcome", [
    ("COMMIT", True, "committed"), ("ROLLBACK", True, "hazard"), ("ROLLBACK", False, "aborted")])
def test_what_a_person_does_by_hand(banks, command, decided, outcome):
    """A prepared branch ended behind our back: with the decision it is the same as ours. A rollback
    against it leaves nothing in MariaDB that would tell it from a loss: a hazard (20, 22)."""
    key = banks.stop_in_doubt(decided)
    banks.end_by_hand(command, banks.prepared("bank-a")[0])
    banks.cluster.coordinator.start()
    if outcome != "aborted":
        result = banks.settle(key)
        assert pb.Outcome.Name(result.outcome) == f"OUTCOME_{outcome.upper()}"
    wait_until(lambda: not banks.prepared("bank-b"), "bank-b has obeyed")
    assert banks.balances() == (70 if command == "COMMIT" else 100, 130 if decided else 100)


def test_commit_by_hand_against_an_abort_is_seen(banks):
    """Nothing was decided, so the transaction is presumed aborted; the branch that a person has
    committed is proven by its marker, and the agent keeps it as heuristic (22)."""
    banks.stop_in_doubt(decided=False)
    banks.end_by_hand("COMMIT", banks.prepared("bank-a")[0])
    banks.cluster.coordinator.start()
    banks.cluster.agents["bank-a"].process.wait_line("alarm", pattern="heuristically committed")
    wait_until(lambda: not banks.prepared("bank-b"), "bank-b has obeyed")
    assert banks.balances() == (70, 100)


def test_foreign_prepared_transactions_stay(banks):
    """Also over a restart of the agent (35)."""
    banks.sql("bank-a", "SET pseudo_slave_mode = 1; XA START 'theirs';"
                        "INSERT INTO account VALUES ('x', 1); XA END 'theirs'; XA PREPARE 'theirs'")
    banks.cluster.agents["bank-a"].restart()
    banks.cluster.wait_up()
    banks.run(1, expect=ctl.DONE)
    assert [row[3] for row in banks.sql("bank-a", "XA RECOVER FORMAT='SQL'")] == ["'theirs'"]
    banks.sql("bank-a", "XA ROLLBACK 'theirs'")


# The server.


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

    banks = Banks(cluster, own_server).start()
    banks.stop_in_doubt(decided=False)
    cluster.coordinator.start()
    wait_until(lambda: not banks.prepared("bank-a") and not banks.prepared("bank-b"),
               "both are rolled back")
    for database in banks.databases.values():  # by then the agents have had their answers
        wait_until(lambda d=database: own_server.value("SELECT COUNT(*) FROM assent_marker", d)
                   == "1", "the rollback is complete")
    own_server.restart()
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []


@pytest.mark.parametrize("decided", [True, False])
def test_server_away_in_doubt_then_back(cluster, own_server, decided):
    """Both branches are prepared and the server dies before it is told: they are there when it
    comes back, and obey (16, 19, 39)."""
    own_server.start()
    banks = Banks(cluster, own_server).start()
    key = banks.stop_in_doubt(decided)
    own_server.kill()
    cluster.coordinator.start()
    cluster.agents["bank-a"].process.wait_line("resource_call", pattern="unavailable")
    own_server.start()
    if decided:
        assert banks.settle(key).outcome == pb.OUTCOME_COMMITTED
    wait_until(lambda: not banks.prepared("bank-a") and not banks.prepared("bank-b"),
               "both have obeyed")
    assert banks.balances() == ((70, 130) if decided else (100, 100))


def test_branch_lost_in_a_restore_is_seen(cluster, own_server):
    """The database is put back to a copy from before the branch was prepared: its commit finds
    neither branch nor marker. That is not taken for success, nor for a rollback: a hazard, with
    what was found (20, 39)."""
    own_server.start()
    banks = Banks(cluster, own_server).start()
    own_server.stop()
    copy = own_server.copy_to("copy")
    own_server.start()
    key = banks.stop_in_doubt(decided=True)
    own_server.kill()
    own_server.put_back(copy)
    own_server.start()
    cluster.coordinator.start()
    result = banks.settle(key)
    assert result.outcome == pb.OUTCOME_HAZARD
    assert "lost in a restore" in result.reason
    assert banks.balances() == (100, 100)
