"""What people order by hand, and what waits for them: decisions for undecided transactions, a
coordinator's log that was restored or emptied, drift between log and participants (37, 55, 56).
Every act is kept with who and why, over restarts.
"""

import shutil

import pytest

import ctl
import wire
from process import wait_until

pb = wire.pb


def audit(cluster):
    return cluster.ctl("log", "audit", expect=0).json["audit"]


def branches(agent, gtrid):
    return ctl.Ctl(agent.address)("participants", "branches", gtrid, expect=0).json["branches"]


def outcome(cluster, gtrid):
    return cluster.ctl("tx", "show", gtrid, expect=0).json["outcome"]


def begin_with_work(cluster):
    run = cluster.ctl
    gtrid = run("tx", "begin", expect=0).json["gtrid"]
    run("tx", "work", gtrid, "--participant", "bank-a", "add a -30", expect=0)
    run("tx", "work", gtrid, "--participant", "bank-b", "add b 30", expect=0)
    return gtrid


def value(cluster, name, key):
    return cluster.ctl("kv", "get", "--participant", name, key, expect=0).json["value"]


# Deciding by hand.


def test_undecided_is_aborted_by_hand_and_stays_so(bank):
    """Nothing is decided: abort only. Then it stands, over a restart too, with who and why (55)."""
    run = bank.ctl
    gtrid = begin_with_work(bank)
    refused = run("tx", "resolve", gtrid, "--commit", "--reason", "x", expect=ctl.SERVER_ERROR)
    assert "only be aborted" in refused.err
    done = run("tx", "resolve", gtrid, "--abort", "--reason", "its owner has left", "--who", "eve",
               expect=ctl.DONE)
    assert done.json["outcome"] == "aborted"
    assert done.json["reason"] == "resolved by an operator: its owner has left"
    for way in ("--commit", "--abort"):
        refused = run("tx", "resolve", gtrid, way, "--reason", "x", expect=ctl.SERVER_ERROR)
        assert "abort" in refused.err and "stands" in refused.err
    run("tx", "commit", gtrid, expect=ctl.ABORTED)
    bank.coordinator.restart()
    bank.wait_up()
    shown = run("tx", "show", gtrid, expect=0).json
    assert shown["outcome"] == "aborted" and "owner has left" in shown["reason"]
    act = shown["by_hand"][0]
    assert (act["action"], act["who"], act["found"]) == ("abort", "eve", "active")
    assert [a["reason"] for a in audit(bank)] == ["its owner has left"]
    assert (value(bank, "bank-a", "a"), value(bank, "bank-b", "b")) == ("100", "100")


def test_what_is_decided_or_unknown_is_refused(bank):
    run = bank.ctl
    done = run.run(("bank-a", "add a -1"), ("bank-b", "add b 1"), options=["--wait"], expect=0)
    refused = run("tx", "resolve", done.json["gtrid"], "--abort", "--reason", "x",
                  expect=ctl.SERVER_ERROR)
    assert "commit" in refused.err and "stands" in refused.err
    run("tx", "resolve", "0" * 26, "--abort", "--reason", "x", expect=ctl.NO_SUCH_OBJECT)
    run("tx", "resolve", done.json["gtrid"], "--abort", "--reason", "", expect=ctl.USAGE)
    run("tx", "resolve", done.json["gtrid"], "--abort", expect=ctl.USAGE)
    run("tx", "acknowledge", done.json["gtrid"], "--reason", "x", expect=ctl.SERVER_ERROR)
    run("log", "accept", "--reason", "x", expect=ctl.SERVER_ERROR)
    assert audit(bank) == []


def test_decision_that_waits_for_its_branches_is_refused(bank):
    """Committed and told to nobody: a decision stands, however long its branches are away."""
    agent = bank.agents["bank-b"]
    agent.stop()
    agent.start(crash_at="agent_before_rm_commit")
    bank.wait_up()
    with bank.coordinator.application() as peer:
        gtrid = wire.gtrid_text(peer.ask(run=wire.run(
            [("bank-a", "add a -30"), ("bank-b", "add b 30")])).gtrid)
    agent.process.wait_end()
    refused = bank.ctl("tx", "resolve", gtrid, "--abort", "--reason", "x", "--force",
                       expect=ctl.SERVER_ERROR)
    assert "decided: commit" in refused.err
    agent.start()
    bank.ctl("tx", "wait", gtrid, expect=0)


@pytest.mark.parametrize("commit", [True, False])
def test_blocked_3pc_needs_force(cluster, commit):
    """Every vote is yes and the others cannot be reached: without force it is refused with 6."""
    cluster.start(agents=3, coordinator={"precommit_timeout": "300ms"})
    for name in ("bank-b", "bank-c"):
        cluster.agents[name].stop()
        cluster.agents[name].start(crash_at="agent_before_log_precommitted")
    cluster.wait_up()
    with cluster.coordinator.application() as peer:
        peer.submit(run=wire.run([(f"bank-{x}", f"put {x} 1") for x in "abc"], protocol="3pc",
                                 key="k"))
        for name in ("bank-b", "bank-c"):
            cluster.agents[name].process.wait_end()
        cluster.agents["bank-a"].kill()
        gtrid = wire.gtrid_text(peer.status(key="k").gtrid)

    def blocked():
        return cluster.ctl("tx", "show", gtrid, expect=0).json["phase"] == "terminating"
    wait_until(blocked, "the coordinator is one member among others")
    way = "--commit" if commit else "--abort"
    refused = cluster.ctl("tx", "resolve", gtrid, way, "--reason", "all three burnt",
                          expect=ctl.NEEDS_FORCE)
    assert "--force" in refused.err

    def resolved():
        done = cluster.ctl("tx", "resolve", gtrid, way, "--reason", "all three burnt", "--force")
        return done if done.code != ctl.SERVER_ERROR else None  # a record is being written
    done = wait_until(resolved, "it is resolved")
    assert done.code == 0 and done.json["outcome"] == ("committed" if commit else "aborted")
    for agent in cluster.agents.values():
        agent.start()
    cluster.ctl("tx", "wait", gtrid)
    assert outcome(cluster, gtrid) == ("committed" if commit else "aborted")
    assert audit(cluster)[0]["forced"]


# A restored log.


def lose_a_commit(cluster):
    """A transfer that bank-a has committed and bank-b has not heard of, and the coordinator's log
    as it was before: the gtrid and the copy. The coordinator and bank-b are down."""
    coordinator = cluster.coordinator
    cluster.ctl.run(("bank-a", "put a 100"), ("bank-b", "put b 100"), options=["--wait"], expect=0)
    coordinator.stop()
    copy = cluster.directory / "copy"
    shutil.copytree(coordinator.data, copy)
    coordinator.start()
    agent = cluster.agents["bank-b"]
    agent.stop()
    agent.start(crash_at="agent_before_rm_commit")
    cluster.wait_up()
    with coordinator.application() as peer:
        gtrid = wire.gtrid_text(peer.ask(run=wire.run(
            [("bank-a", "add a -30"), ("bank-b", "add b 30")])).gtrid)
    agent.process.wait_end()
    wait_until(lambda: branches(cluster.agents["bank-a"], gtrid)[0]["phase"] == "committed",
               "bank-a has committed")
    coordinator.kill()
    shutil.rmtree(coordinator.data)
    return gtrid, copy


@pytest.fixture
def fast(cluster):
    return cluster.start(coordinator={"heartbeat": "50ms", "map_size": "4M"},
                         agent={"heartbeat": "50ms"})


def start_restored(cluster, copy):
    """As the operator has to: above every incarnation that was seen."""
    copy.rename(cluster.coordinator.data)
    cluster.coordinator.start(incarnation_min=20)
    cluster.agents["bank-b"].start()

    def held():
        rows = cluster.ctl("participants", "list", expect=0).json["participants"]
        return [row["state"] for row in rows] == ["holds", "holds"]
    wait_until(held, "both hold aborts back")


def test_restored_log_presumes_nothing(fast):
    """The log has lost a commit: nobody is told abort, the outcome is unknown, health says why, new
    transactions run. The operator looks at the branches and resolves it as it was (37)."""
    gtrid, copy = lose_a_commit(fast)
    start_restored(fast, copy)
    run = fast.ctl
    assert "older copy" in run("health", expect=ctl.UNHEALTHY).err
    run("tx", "wait", gtrid, expect=ctl.UNKNOWN)
    run.run(("bank-a", "put x 1"), ("bank-b", "put x 1"), options=["--wait"], expect=0)
    assert branches(fast.agents["bank-b"], gtrid)[0]["phase"] == "prepared"
    fast.agents["bank-b"].restart()  # it remembers
    done = run("tx", "resolve", gtrid, "--commit", "--reason", "bank-a has committed it", expect=0)
    assert done.json["outcome"] == "committed"
    wait_until(lambda: branches(fast.agents["bank-b"], gtrid)[0]["phase"] == "committed",
               "bank-b has obeyed")
    run("log", "accept", "--reason", "restored from the copy of noon", expect=0)
    wait_until(lambda: all(row["state"] == "up" for row in
                           run("participants", "list", expect=0).json["participants"]),
               "nobody holds back")
    run("health", expect=0)
    assert (value(fast, "bank-a", "a"), value(fast, "bank-b", "b")) == ("70", "130")
    assert [a["action"] for a in audit(fast)] == ["commit", "accept"]


def test_accepted_restore_is_presumed_aborted(fast):
    """An operator who accepts without resolving gets what presumed abort says; and who has
    committed what the log has lost says so then, so that it is seen."""
    gtrid, copy = lose_a_commit(fast)
    start_restored(fast, copy)
    fast.ctl("log", "accept", "--reason", "nobody needs it", expect=0)
    agent = ctl.Ctl(fast.agents["bank-b"].address)
    wait_until(lambda: gtrid not in agent("participants", "branches", expect=0).out,
               "bank-b has rolled back and forgotten")
    assert value(fast, "bank-b", "b") == "100"
    shown = wait_until(lambda: outcome(fast, gtrid) == "mixed" and
                       fast.ctl("tx", "show", gtrid, expect=0).json, "bank-a contradicts it")
    assert "bank-a/kv" in shown["reason"] and "committed" in shown["reason"]
    assert "mixed" in fast.ctl("health", expect=ctl.UNHEALTHY).err
    fast.ctl("tx", "acknowledge", gtrid, "--reason", "bank-a is mended", expect=0)
    fast.coordinator.restart()  # above the accepted one: nobody holds back again
    fast.wait_up()
    fast.ctl("health", expect=0)


def test_restored_log_with_an_incarnation_that_was_seen_is_refused(fast):
    gtrid, copy = lose_a_commit(fast)
    copy.rename(fast.coordinator.data)
    fast.coordinator.start()
    fast.agents["bank-a"].process.wait_line("coordinator_refused", pattern="restored")
    fast.agents["bank-b"].start()
    fast.agents["bank-b"].process.wait_line("coordinator_refused", pattern="incarnation_min")
    assert branches(fast.agents["bank-b"], gtrid)[0]["phase"] == "prepared"


def test_emptied_log_aborts_nothing(fast):
    """A new log has another id: the branch of the old one is nobody's, and is left alone (37)."""
    gtrid, _ = lose_a_commit(fast)
    fast.coordinator.start()
    fast.agents["bank-b"].start(recover="100ms", log_level="debug")
    fast.wait_up()
    fast.ctl.run(("bank-a", "put x 1"), ("bank-b", "put x 1"), options=["--wait"], expect=0)
    fast.agents["bank-b"].process.wait_line("scanned")
    row = branches(fast.agents["bank-b"], gtrid)[0]
    assert row["phase"] == "prepared" and row["coordinator"] == "down"
    fast.ctl("tx", "resolve", gtrid, "--abort", "--reason", "x", expect=ctl.NO_SUCH_OBJECT)


# Verify and test.


def test_verify_is_clean_while_everything_runs(bank):
    """Branches under way are matched; nothing is drift before, during and after (56)."""
    run = bank.ctl
    begin_with_work(bank)
    for n in range(5):
        run.run(("bank-a", f"put x{n} 1"), ("bank-b", f"put x{n} 1"), expect=0)
        done = run("verify", expect=0).json
        assert done["clean"] and done["drift"] == []
    row = done["participants"][0]
    assert set(row) == {"participant", "state", "prepared", "match", "orphan", "missing", "markers",
                        "contradicted", "unproved", "foreign"}


def test_verify_names_what_is_not_reached_or_waits(bank):
    agent = bank.agents["bank-b"]
    agent.stop()
    agent.start(crash_at="agent_before_rm_commit")
    bank.wait_up()
    with bank.coordinator.application() as peer:
        peer.ask(run=wire.run([("bank-a", "add a -30"), ("bank-b", "add b 30")]))
    agent.process.wait_end()
    done = bank.ctl("verify", expect=ctl.UNHEALTHY).json
    assert {row["participant"]: row["state"] for row in done["participants"]} \
        == {"bank-a/kv": "up", "bank-b/kv": "down"}
    agent.start()
    bank.wait_up()
    wait_until(lambda: bank.ctl("verify").code == 0, "all is settled")


def test_participant_is_tested(bank):
    done = bank.ctl("participants", "test", "bank-a", expect=0).json
    assert not done["refused"] and done["findings"]
    assert "LEVEL" in bank.ctl("participants", "test", "bank-a", output="table", expect=0).out
    bank.ctl("participants", "test", "nobody", expect=ctl.NO_SUCH_OBJECT)
