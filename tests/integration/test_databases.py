"""Transactions over two real databases of one server, of each kind: whatever the database refuses,
loses or does by itself, the outcome says it and both banks agree with it.
"""

import json

import pytest

import ctl
import wire
from banks import KINDS
from process import wait_until

pb = wire.pb
PROTOCOLS = ["2pc", "3pc"]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.kind, scope="module")
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def server(kind):
    made = kind.Server()
    made.start()
    yield made
    made.close()


@pytest.fixture
def own_server(kind):
    """For tests that kill it or change its files."""
    made = kind.Server()
    made.start()
    yield made
    made.close()


@pytest.fixture
def banks(cluster, kind, server):
    return kind(cluster, server).start()


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
    assert banks.OVERDRAWN in done.json["reason"] and "not_overdrawn" in done.json["reason"]
    assert banks.balances() == (100, 100)
    banks.run(100, protocol=protocol, expect=ctl.DONE)
    assert banks.balances() == (0, 200)


def test_interactive_work_shows_rows(banks):
    run = banks.cluster.ctl
    gtrid = run("tx", "begin", expect=0).json["gtrid"]
    run("tx", "work", gtrid, "--participant", "bank-a", banks.add("a", -5), expect=0)
    answer = run("tx", "work", gtrid, "--participant", "bank-a",
                 "SELECT balance FROM account WHERE name = 'a'", output="table", expect=0)
    assert json.loads(answer.out)["results"][0]["rows"] == [[95]]
    run("tx", "work", gtrid, "--participant", "bank-b", banks.add("b", 5), expect=0)
    assert run("tx", "commit", "--wait", gtrid, expect=0).json["outcome"] == "committed"
    assert banks.balances() == (95, 105)


def test_single_branch_and_read_only_leave_nothing_prepared(banks):
    """One branch commits in one phase; one that only read has no second phase (14)."""
    banks.cluster.ctl.run(("bank-a", banks.add("a", 1)), options=["--wait"], expect=ctl.DONE)
    done = banks.cluster.ctl.run(("bank-a", "SELECT * FROM account"), banks.move(1)[1],
                                 options=["--wait"], expect=ctl.DONE).json
    shown = banks.cluster.ctl("tx", "show", done["gtrid"], expect=0).json
    votes = {row["participant"]: row["vote"] for row in shown["branches"]}
    assert votes[f"bank-a/{banks.kind}"] == "read-only"
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
        wait_until(lambda name=name: banks.sql(name, f"SELECT COUNT(*) FROM {banks.MARKER}")
                   == [["0"]], f"no marker is left at {name}")


# Crashes of the agent.


@pytest.mark.parametrize("point", ["agent_before_rm_prepare", "agent_after_rm_prepare",
                                   "agent_before_rm_commit", "agent_after_rm_commit",
                                   "agent_before_rm_one_phase", "agent_after_rm_one_phase"])
def test_agent_dies_beside_the_database(banks, point):
    """What was prepared without a vote is found in the server's list and asked about (17); what was
    committed without an answer is not known to the server any more, and the marker tells (20,
    21)."""
    expected = {"agent_before_rm_prepare": [pb.OUTCOME_ABORTED],
                "agent_after_rm_prepare": [pb.OUTCOME_ABORTED, pb.OUTCOME_COMMITTED],
                "agent_before_rm_one_phase": [pb.OUTCOME_ABORTED]}
    agent = banks.cluster.agents["bank-a"]
    agent.stop()
    agent.start(crash_at=point)
    banks.cluster.wait_up()
    one_phase = "one_phase" in point
    with banks.cluster.coordinator.application() as peer:
        peer.submit(run=wire.run(banks.move(30)[:1] if one_phase else banks.move(30), key="k"))
        agent.process.wait_end()
    agent.start()
    result = banks.settle("k")
    assert result.outcome in expected.get(point, [pb.OUTCOME_COMMITTED])
    moved = 30 if result.outcome == pb.OUTCOME_COMMITTED else 0
    assert banks.balances() == (100 - moved, 100 + (0 if one_phase else moved))
    banks.wait_obeyed()


# People at the database.


@pytest.mark.parametrize("command, decided", [
    ("COMMIT", True), ("ROLLBACK", True), ("ROLLBACK", False)])
def test_what_a_person_does_by_hand(banks, command, decided):
    """A prepared branch ended behind our back: with the decision it is the same as ours. Against it
    the outcome says so, as far as the server can tell a rollback from a loss (20, 22)."""
    key = banks.stop_in_doubt(decided)
    banks.end_by_hand("bank-a", command, banks.prepared("bank-a")[0])
    banks.cluster.coordinator.start()
    if decided:
        outcome = "committed" if command == "COMMIT" else banks.ROLLED_BACK
        assert pb.Outcome.Name(banks.settle(key).outcome) == f"OUTCOME_{outcome.upper()}"
    banks.wait_obeyed()
    assert banks.balances() == (70 if command == "COMMIT" else 100, 130 if decided else 100)


def test_commit_by_hand_against_an_abort_is_seen(banks):
    """Nothing was decided, so the transaction is presumed aborted; the branch that a person has
    committed is proven by its marker. It is mixed from then on, with that evidence, over restarts,
    until somebody says that it was seen to (22, 23)."""
    coordinator, run = banks.cluster.coordinator, banks.cluster.ctl
    banks.stop_in_doubt(decided=False)
    ident = banks.prepared("bank-a")[0]
    gtrid = banks.gtrid_of(ident)
    banks.end_by_hand("bank-a", "COMMIT", ident)
    coordinator.start()
    banks.cluster.agents["bank-a"].process.wait_line("alarm", pattern="heuristically committed")
    banks.wait_obeyed()
    assert banks.balances() == (70, 100)
    coordinator.process.wait_line("branch_contradicts", pattern=gtrid)
    coordinator.stop()  # not killed: the outcome is written lazily
    coordinator.start()
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
    banks.sql("bank-a", banks.FOREIGN)
    banks.cluster.agents["bank-a"].restart()
    banks.cluster.wait_up()
    banks.run(1, expect=ctl.DONE)
    assert banks.foreign("bank-a") == ["theirs"]
    banks.end_by_hand("bank-a", "ROLLBACK", "theirs")


# The server.


@pytest.mark.parametrize("decided", [True, False])
def test_server_away_in_doubt_then_back(cluster, kind, own_server, decided):
    """Both branches are prepared and the server dies before it is told: they are there when it
    comes back, and obey (16, 19, 39)."""
    banks = kind(cluster, own_server).start()
    key = banks.stop_in_doubt(decided)
    own_server.kill()
    cluster.coordinator.start()
    cluster.agents["bank-a"].process.wait_line("resource_call", pattern="unavailable")
    own_server.start()
    if decided:
        assert banks.settle(key).outcome == pb.OUTCOME_COMMITTED
    banks.wait_obeyed()
    assert banks.balances() == ((70, 130) if decided else (100, 100))


def test_silent_server_aborts_at_the_deadline(cluster, kind, own_server):
    """Both branches are under way, with their end, when the server stops answering, its connections
    whole: the transaction aborts at its deadline, the agents go on with what needs no server, and
    once it answers again, whatever it has prepared meanwhile is rolled back (13, 16)."""
    banks = kind(cluster, own_server).start()
    banks.run_bare(30, expect=ctl.DONE)  # sessions are there
    own_server.pause()
    cluster.ctl.run(*banks.bare(30), expect=ctl.ABORTED)
    for agent in cluster.agents.values():
        under_way = ctl.Ctl(agent.address)("participants", "branches", expect=0).json["branches"]
        assert len(under_way) == 1
    own_server.go_on()
    banks.run_bare(30, expect=ctl.DONE)
    banks.wait_obeyed()
    assert banks.balances() == (40, 160)


def test_branch_lost_in_a_restore_is_seen(cluster, kind, own_server):
    """The database is put back to a copy from before the branch was prepared: its commit finds
    neither branch nor marker, and nobody knows what became of it. That is not taken for success,
    nor for a rollback: a hazard, with what was found (20, 39)."""
    banks = kind(cluster, own_server).start()
    own_server.stop()
    copy = own_server.copy_to("copy")
    own_server.start()
    for agent in cluster.agents.values():  # none of them has a session that it takes for alive
        agent.restart()
    key = banks.stop_in_doubt(decided=True)
    own_server.kill()
    own_server.put_back(copy)
    own_server.start()
    cluster.coordinator.start()
    result = banks.settle(key)
    assert result.outcome == pb.OUTCOME_HAZARD
    assert "lost in a restore" in result.reason
    assert banks.balances() == (100, 100)
