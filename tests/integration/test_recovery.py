"""Recovery while everything runs: a database that is away at the start or goes away later, and
branches that PostgreSQL holds prepared although no agent knows them. Nothing counts as absent
before a whole list was read, nothing is touched that is under way or somebody else's (19, 34, 35,
39, 40).
"""

import pytest

import ctl
from banks import PostgresBanks
import wire
from postgres import Postgres
from process import wait_until

pb = wire.pb


@pytest.fixture
def server():
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def banks(cluster, server):
    server.start()
    return PostgresBanks(cluster, server).start(recover="200ms", log_level="debug")


def participant(cluster, name):
    rows = cluster.ctl("participants", "list", expect=0).json["participants"]
    return next((row for row in rows if row["name"] == name), {"state": "unknown"})


def wait_state(cluster, state, names=("bank-a", "bank-b")):
    wait_until(lambda: all(participant(cluster, n)["state"] == state for n in names),
               f"{names} are {state}")


def wait_scans(agent, count=3):
    """Until the agent has looked through its database so many times more."""
    seen = agent.process.lines[:]
    for _ in range(count):
        line = agent.process.wait_line("scanned", after=len(seen))
        seen = agent.process.lines[:agent.process.lines.index(line) + 1]


# The database is not there.


def test_agent_starts_without_its_database(cluster, server):
    """It is listed as away, with the reason; what is asked of it is voted down and says why; it is
    in service by itself once the database is there."""
    server.start()
    banks = PostgresBanks(cluster, server)
    server.stop()
    banks.start(wait=False)
    wait_state(cluster, "away")
    assert "No such file or directory" in participant(cluster, "bank-a")["reason"]
    done = banks.run(30, expect=ctl.ABORTED)
    assert "is away" in done.json["reason"] and "No such file" in done.json["reason"]
    server.start()
    wait_state(cluster, "up")
    assert participant(cluster, "bank-a")["reason"] == ""
    banks.run(30, expect=ctl.DONE)
    assert banks.balances() == (70, 130)


def test_database_that_comes_back_unfit_stays_away(cluster, server):
    """The preflight of a server that was away refuses by name, and goes on trying."""
    server.start()
    banks = PostgresBanks(cluster, server).start(recover="300ms")
    server.stop()
    wait_state(cluster, "away")
    server.configure(max_prepared_transactions=0)
    server.start()
    wait_until(lambda: "max_prepared_transactions is 0" in participant(cluster, "bank-a")["reason"],
               "the reason names the setting")
    server.stop()
    server.configure(max_prepared_transactions=20)
    server.start()
    wait_state(cluster, "up")
    banks.run(30, expect=ctl.DONE)


@pytest.mark.parametrize("decided", [True, False])
def test_nothing_is_absent_while_the_list_cannot_be_read(cluster, server, decided):
    """Both branches are prepared; server and agents die, and the agents start alone: the
    coordinator tells, and gets no answer that says that a branch is not there (40)."""
    server.start()
    banks = PostgresBanks(cluster, server).start()
    key = banks.stop_in_doubt(decided)
    server.kill()
    for agent in cluster.agents.values():
        agent.restart()
    cluster.coordinator.start()
    wait_state(cluster, "away")
    server.start()
    if decided:
        assert banks.settle(key).outcome == pb.OUTCOME_COMMITTED
    wait_until(lambda: not banks.prepared("bank-a") and not banks.prepared("bank-b"),
               "both have obeyed")
    assert banks.balances() == ((70, 130) if decided else (100, 100))


# Branches that nobody here knows.


def log_id_of(banks):
    """Of the coordinator, as it stands in the ids of its branches."""
    gtrid = banks.cluster.ctl("tx", "begin", expect=0).json["gtrid"]
    with banks.cluster.coordinator.application() as peer:
        reply = peer.ask(enlist=pb.Enlist(gtrid=wire.gtrid_bytes(gtrid), participant="bank-a"))
    banks.cluster.ctl("tx", "rollback", gtrid, "--wait", expect=0)
    return reply.log_id


def test_orphans_are_settled_and_foreign_ones_left(banks):
    """A branch of a transaction that is over is rolled back by a scan, without a restart; one of
    another coordinator's log, and one that is not Assent's, stay (34, 35)."""
    log_id = log_id_of(banks)
    over = banks.run(1, expect=ctl.DONE).json["gtrid"]
    gtrid = banks.cluster.ctl("tx", "begin", expect=0).json["gtrid"]
    banks.cluster.ctl("tx", "rollback", gtrid, "--wait", expect=0)
    foreign = [f"assent:{bytes(16).hex()}:{over}:1", "theirs"]
    for number, text in enumerate([f"assent:{log_id.hex()}:{gtrid}:1", *foreign]):
        banks.sql("bank-a", f"BEGIN; CREATE TABLE t{number} (); PREPARE TRANSACTION '{text}'")
    wait_until(lambda: sorted(banks.prepared("bank-a")) == sorted(foreign), "the orphan is gone")
    wait_scans(banks.cluster.agents["bank-a"])
    assert sorted(banks.prepared("bank-a")) == sorted(foreign)
    banks.run(1, expect=ctl.DONE)
    for text in foreign:
        banks.sql("bank-a", f"ROLLBACK PREPARED '{text}'")


def test_orphan_of_a_session_that_outlived_the_agent(cluster, server):
    """What a session of the agent's last life prepares after the first list of this one is found
    soon, however seldom scans are (26, 34)."""
    server.start()
    banks = PostgresBanks(cluster, server).start(recover="10m")
    gtrid = banks.cluster.ctl("tx", "begin", expect=0).json["gtrid"]
    banks.cluster.ctl("tx", "rollback", gtrid, "--wait", expect=0)
    cluster.agents["bank-a"].restart()
    cluster.wait_up()
    banks.sql("bank-a", "BEGIN; UPDATE account SET balance = 0 WHERE name = 'a';"
                        f" PREPARE TRANSACTION 'assent:{log_id_of(banks).hex()}:{gtrid}:1'")
    wait_until(lambda: banks.prepared("bank-a") == [], "the orphan is gone")
    banks.run(1, expect=ctl.DONE)


@pytest.mark.parametrize("commit", [True, False])
def test_scans_leave_what_is_under_way(banks, commit):
    """A branch of a transaction that is not decided may be prepared by a session that the agent
    does not own: scans find it, its coordinator is silent, it lives until the decision (34)."""
    log_id = log_id_of(banks)
    run = banks.cluster.ctl
    gtrid = run("tx", "begin", expect=0).json["gtrid"]
    with banks.cluster.coordinator.application() as peer:
        branch = peer.ask(enlist=pb.Enlist(gtrid=wire.gtrid_bytes(gtrid),
                                           participant="bank-a")).branch
    run("tx", "work", gtrid, "--participant", "bank-b", PostgresBanks.move(7)[1][1], expect=0)
    marker = log_id.hex() + wire.gtrid_bytes(gtrid).hex() + f"{branch:08x}"
    banks.sql("bank-a", "BEGIN; UPDATE account SET balance = balance + 7 WHERE name = 'a';"
                        f" INSERT INTO assent.marker (branch) VALUES ('\\x{marker}');"
                        f" PREPARE TRANSACTION 'assent:{log_id.hex()}:{gtrid}:{branch}'")
    banks.cluster.agents["bank-a"].process.wait_line("orphan_found", pattern=gtrid)
    wait_scans(banks.cluster.agents["bank-a"])
    assert len(banks.prepared("bank-a")) == 1
    run("tx", "commit" if commit else "rollback", gtrid, "--wait", expect=0)
    assert banks.prepared("bank-a") == []
    assert banks.balances() == ((107, 107) if commit else (100, 100))


def test_verify_finds_drift_and_fixes_what_the_log_decides(cluster, server):
    """An orphan of a transaction that is over is settled by --fix; a branch of another log is
    counted and left; one that the log waits for and nobody has is missing (56)."""
    server.start()
    banks = PostgresBanks(cluster, server).start(recover="10m")
    log_id = log_id_of(banks)
    run = cluster.ctl
    gtrid = run("tx", "begin", expect=0).json["gtrid"]
    run("tx", "rollback", gtrid, "--wait", expect=0)
    foreign = f"assent:{bytes(16).hex()}:{gtrid}:1"
    for number, text in enumerate([f"assent:{log_id.hex()}:{gtrid}:1", foreign]):
        banks.sql("bank-a", f"BEGIN; CREATE TABLE t{number} (); PREPARE TRANSACTION '{text}'")
    done = run("verify", expect=ctl.UNHEALTHY).json
    row = done["participants"][0]
    assert (row["prepared"], row["match"], row["orphan"], row["missing"], row["foreign"]) \
        == (2, 0, 1, 0, 1)
    assert done["drift"] == [{"participant": "bank-a/postgres", "gtrid": gtrid, "branch": 1,
                              "kind": "orphan"}]
    assert banks.prepared("bank-a") != [foreign]
    assert run("verify", "--fix", expect=0).json["clean"]
    assert banks.prepared("bank-a") == [foreign]
    banks.sql("bank-a", f"ROLLBACK PREPARED '{foreign}'")


def test_preflight_is_shown_and_refuses_by_name(cluster, server):
    server.configure(fsync="off")
    server.start()
    PostgresBanks(cluster, server).start(recover="10m")
    run = cluster.ctl
    found = run("participants", "test", "bank-a", expect=0).json["findings"]
    assert any(f["level"] == "warning" and "fsync" in f["text"] for f in found)
    assert any("assent.marker can be used, a sync takes" in f["text"] for f in found)
    server.configure(max_prepared_transactions=0)
    server.restart()
    done = run("participants", "test", "bank-b", expect=ctl.UNHEALTHY).json
    assert done["refused"] and "max_prepared_transactions is 0" in done["findings"][-1]["text"]


def test_scans_under_load_find_nothing(banks):
    """Branches come and go while lists are read: none is taken for an orphan."""
    for _ in range(40):
        banks.run(1, expect=ctl.DONE)
    wait_scans(banks.cluster.agents["bank-a"])
    for agent in banks.cluster.agents.values():
        assert not agent.process.has_line("orphan_found")
        assert not agent.process.has_line("alarm")
    assert banks.balances() == (60, 140)
