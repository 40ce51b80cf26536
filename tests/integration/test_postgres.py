"""Transactions over two real PostgreSQL databases of one server, behind two agents: whatever one
side refuses, loses or does by itself, the outcome says it and both databases agree with it.
"""

import json

import pytest

import ctl
import wire
from postgres import Postgres
from postgres_banks import Banks, add, move
from process import wait_until

pb = wire.pb
PROTOCOLS = ["2pc", "3pc"]


@pytest.fixture(scope="module")
def shared_server():
    server = Postgres()
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_server():
    """For tests that change its settings or its files."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def banks(cluster, shared_server):
    return Banks(cluster, shared_server).start()


# Ordinary life.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_transfer_commits(banks, protocol):
    banks.run(30, protocol=protocol, expect=ctl.DONE)
    assert banks.balances() == (70, 130)
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusal_carries_the_sqlstate(banks, protocol):
    """The work of one branch breaks a constraint: its reason reaches the caller, nothing moves."""
    done = banks.run(101, protocol=protocol, expect=ctl.ABORTED)
    assert "23514" in done.json["reason"] and "not_overdrawn" in done.json["reason"]
    assert banks.balances() == (100, 100)
    banks.run(100, protocol=protocol, expect=ctl.DONE)
    assert banks.balances() == (0, 200)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refused_prepare_carries_the_sqlstate(banks, protocol):
    """PREPARE TRANSACTION itself refuses: that branch is gone, the other is rolled back (13)."""
    done = banks.cluster.ctl.run(("bank-a", "CREATE TEMP TABLE t (x int)"), move(30)[1],
                                 protocol=protocol, options=["--wait"], expect=ctl.ABORTED)
    assert "0A000" in done.json["reason"] and "temporary objects" in done.json["reason"]
    assert banks.balances() == (100, 100)
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []


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
    assert {row["participant"]: row["vote"] for row in shown["branches"]}["bank-a/postgres"] \
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
        wait_until(lambda name=name: banks.sql(name, "SELECT count(*) FROM assent.marker")
                   == [["0"]], f"no marker is left at {name}")


# Crashes of the agent.


@pytest.mark.parametrize("point", ["agent_before_rm_prepare", "agent_after_rm_prepare",
                                   "agent_before_rm_commit", "agent_after_rm_commit",
                                   "agent_before_rm_one_phase", "agent_after_rm_one_phase"])
def test_agent_dies_beside_the_database(banks, point):
    """What was prepared without a vote is found in PostgreSQL's list and asked about (17); what was
    committed without an answer gives a second COMMIT PREPARED, and the marker tells (20, 21)."""
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
    ("COMMIT", True, "committed"), ("ROLLBACK", True, "mixed"), ("ROLLBACK", False, "aborted")])
def test_what_a_person_does_by_hand(banks, command, decided, outcome):
    """A prepared branch ended behind our back: with the decision it is the same as ours, against it
    the outcome is mixed and stays so (20, 22)."""
    key = banks.stop_in_doubt(decided)
    banks.sql("bank-a", f"{command} PREPARED '{banks.prepared('bank-a')[0]}'")
    banks.cluster.coordinator.start()
    if outcome != "aborted":
        result = banks.settle(key)
        assert pb.Outcome.Name(result.outcome) == f"OUTCOME_{outcome.upper()}"
    wait_until(lambda: not banks.prepared("bank-b"), "bank-b has obeyed")
    assert banks.balances() == (70 if command == "COMMIT" else 100, 130 if decided else 100)


def test_commit_by_hand_against_an_abort_is_seen(banks):
    """Nothing was decided, so the transaction is presumed aborted; the branch that a person has
    committed is proven by its marker. It is mixed from then on, with that evidence, over restarts,
    until somebody says that it was seen to (22, 23)."""
    coordinator, run = banks.cluster.coordinator, banks.cluster.ctl
    banks.stop_in_doubt(decided=False)
    gid = banks.prepared("bank-a")[0]
    gtrid = gid.split(":")[2]
    banks.sql("bank-a", f"COMMIT PREPARED '{gid}'")
    coordinator.start()
    banks.cluster.agents["bank-a"].process.wait_line("alarm", pattern="heuristically committed")
    wait_until(lambda: not banks.prepared("bank-b"), "bank-b has obeyed")
    assert banks.balances() == (70, 100)
    coordinator.process.wait_line("branch_contradicts", pattern=gtrid)
    coordinator.restart()
    coordinator.process.wait_line("unacknowledged", pattern=gtrid)
    shown = run("tx", "show", gtrid, expect=0).json
    assert shown["outcome"] == "mixed" and "its marker is here" in shown["reason"]
    assert [b["result"] for b in shown["branches"]] == ["heuristically committed"]
    assert "acknowledge" in run("health", expect=ctl.UNHEALTHY).err
    banks.cluster.wait_up()
    run("tx", "acknowledge", gtrid, "--reason", "alice was paid back", expect=0)
    run("tx", "acknowledge", gtrid, "--reason", "again", expect=ctl.SERVER_ERROR)
    run("health", expect=0)
    shown = run("tx", "show", gtrid, expect=0).json
    assert shown["acknowledged"] and shown["by_hand"][0]["reason"] == "alice was paid back"
    agent = ctl.Ctl(banks.cluster.agents["bank-a"].address)
    wait_until(lambda: agent("participants", "branches", expect=0).json["branches"] == [],
               "the agent keeps nothing of it")

def test_foreign_prepared_transactions_stay(banks):
    """Also over a restart of the agent (35)."""
    banks.sql("bank-a", "BEGIN; INSERT INTO account VALUES ('x', 1); PREPARE TRANSACTION 'theirs'")
    banks.cluster.agents["bank-a"].restart()
    banks.cluster.wait_up()
    banks.run(1, expect=ctl.DONE)
    assert banks.prepared("bank-a") == ["theirs"]
    banks.sql("bank-a", "ROLLBACK PREPARED 'theirs'")


# The server.


def test_server_that_cannot_prepare_is_refused_by_name(cluster, own_server):
    own_server.configure(max_prepared_transactions=0)
    own_server.start()
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [f"postgres:{own_server.conninfo()}"]).launch()
    assert agent.process.wait_end() == 2
    assert agent.process.has_line(pattern="max_prepared_transactions is 0.*restart it")


def test_risks_of_a_server_are_named(cluster, own_server):
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [f"postgres:{own_server.conninfo()}"])
    own_server.configure(fsync="off", synchronous_commit="off", full_page_writes="off",
                         max_connections=20)
    own_server.start()
    agent.start()
    for name in ("fsync", "synchronous_commit", "full_page_writes", "max_connections"):
        agent.process.wait_line("resource_report", pattern=f"level=warn.*{name}")
    agent.process.wait_line("resource_report", pattern="level=info.*PostgreSQL.*a sync takes")


def test_full_list_of_prepared_transactions_refuses_by_name(cluster, own_server):
    """max_prepared_transactions is reached: a vote of no that says so."""
    own_server.configure(max_prepared_transactions=1)
    own_server.start()
    banks = Banks(cluster, own_server).start()
    done = banks.run(30, expect=ctl.ABORTED)
    assert "maximum number of prepared transactions reached" in done.json["reason"]
    assert banks.balances() == (100, 100)


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
    neither branch nor marker, and PostgreSQL knows nothing of its transaction. That is not taken
    for success, nor for a rollback: a hazard, with what was found (20, 39)."""
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
