"""Transactions over resource managers behind XA switches, with real coordinators and agents: two of
our own that answer, hang and die as they are told, and Berkeley DB.
"""

import pytest

import ctl
import wire
import xa
from process import wait_until

pb = wire.pb
PROTOCOLS = ["2pc", "3pc"]
SWITCHES = ["double_switch", "double_registering"]


class Shops:
    """The agents shop-a and shop-b, each with a resource manager of its own."""

    def __init__(self, cluster, made, *parameters):
        self.cluster = cluster
        self.rms = {name: made(cluster.directory / f"{name}.rm") for name in ("shop-a", "shop-b")}
        self.cluster.add_coordinator(prepare_timeout="10s", precommit_timeout="10m").start()
        for name, rm in self.rms.items():
            cluster.add_agent(name, rm.resource(*parameters), work_timeout="2s").start()
        cluster.wait_up()
        self.a, self.b = self.rms.values()
        self.agent = cluster.agents["shop-a"]

    def put(self, key, **how):
        return self.cluster.ctl.run(*self.branches(key), options=["--wait"], **how)

    def branches(self, key):
        return [(name, f"put {key} 1") for name in self.rms]

    def submit(self, key, protocol="2pc"):
        """Begins, and does not wait for anything."""
        with self.cluster.coordinator.application() as peer:
            peer.submit(run=wire.run(self.branches(key), protocol=protocol, key=key))

    def settle(self, key):
        return self.cluster.settle(key)

    def stop_in_doubt(self, decided):
        return self.cluster.stop_in_doubt(self.branches("doubt"), decided)

    def value(self, name, key):
        """What its resource manager answers to get."""
        run = self.cluster.ctl
        gtrid = run("tx", "begin", expect=0).json["gtrid"]
        answer = run("tx", "work", gtrid, "--participant", name, f"get {key}", output="table",
                     expect=0)
        run("tx", "rollback", "--wait", gtrid, expect=0)
        return answer.out.strip()


@pytest.fixture
def shops(cluster):
    return Shops(cluster, xa.Double)


# Ordinary life.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("symbol", SWITCHES)
def test_commits_and_refuses(cluster, protocol, symbol):
    shops = Shops(cluster, lambda directory: xa.Double(directory, symbol))
    shops.put("x", protocol=protocol, expect=ctl.DONE)
    assert shops.a.rows() == shops.b.rows() == {"x": "1"}
    done = cluster.ctl.run(("shop-a", "fail the shop is closed"), ("shop-b", "put y 1"),
                           protocol=protocol, options=["--wait"], expect=ctl.ABORTED)
    assert "the shop is closed" in done.json["reason"]
    assert shops.b.rows() == {"x": "1"}
    assert shops.value("shop-a", "x") == "1"
    cluster.ctl.run(("shop-a", "put z 1"), options=["--wait"], expect=ctl.DONE)  # one phase
    assert shops.a.rows() == {"x": "1", "z": "1"}
    for rm in shops.rms.values():
        assert rm.prepared() == 0
        wait_until(lambda rm=rm: rm.marks() == [], "the marks are forgotten")


def test_refusal_of_a_prepare_carries_its_code(shops):
    """XA_RB* from prepare: no rollback is sent to that branch, the code reaches the caller (13)."""
    shops.a.script("prepare 103 drop")
    done = shops.put("x", expect=ctl.ABORTED)
    assert "XA_RBINTEGRITY (103)" in done.json["reason"]
    assert "rollback" not in shops.a.trace()
    assert shops.a.rows() == shops.b.rows() == {}


@pytest.mark.parametrize("code", ["-3", "-7"])
def test_error_of_a_prepare_is_rolled_back(shops, code):
    """XAER_RMERR or XAER_RMFAIL from prepare: unknown, and rolled back until it is gone (15)."""
    shops.a.script(f"prepare {code} done", "rollback -7", "rollback -3")
    shops.put("x", expect=ctl.ABORTED)
    wait_until(lambda: shops.a.trace().count("rollback ") >= 3, "it is tried until it is done")
    wait_until(lambda: shops.a.prepared() == shops.b.prepared() == 0, "both are rolled back")
    assert shops.a.rows() == shops.b.rows() == {}


@pytest.mark.parametrize("code", ["-3", "4", "-6", "-7", "42"])
def test_error_of_a_commit_is_never_success_and_never_the_end(shops, code):
    """XAER_RMERR, XA_RETRY, XAER_PROTO, XAER_RMFAIL, and a code that nobody knows (19, 24, 25)."""
    shops.a.script(f"commit {code}", f"commit {code} done")
    shops.put("x", expect=ctl.DONE)
    assert shops.a.rows() == shops.b.rows() == {"x": "1"}
    assert shops.a.trace().count("commit ") >= 2


def test_lost_branch_is_no_success(shops):
    """The branch is gone at its first commit, and no mark is there (20)."""
    shops.a.script("commit -4 drop")
    done = shops.put("x")
    assert done.json["outcome"] == "mixed"
    assert shops.a.rows() == {} and shops.b.rows() == {"x": "1"}


@pytest.mark.parametrize("code,outcome", [(7, "committed"), (6, "mixed"), (5, "mixed"),
                                          (8, "hazard")])
def test_heuristics_are_seen(shops, code, outcome):
    """With the decision it is committed and the switch is told to forget; against it the outcome
    says so and stays. Either is counted (22, 23)."""
    shops.a.script(f"commit {code} heur")
    assert shops.put("x").json["outcome"] == outcome
    shops.agent.process.wait_line("ended_alone", pattern="decision=commit.*count=1$")
    if outcome == "committed":
        wait_until(lambda: "forget " in shops.a.trace(), "xa_forget was called")
    shops.a.script(f"commit {code} heur")
    assert shops.put("y").json["outcome"] == outcome
    shops.agent.process.wait_line("ended_alone", pattern="decision=commit.*count=2$")


def test_failing_forget_is_tried_again(shops):
    """Until the switch has forgotten that it had committed alone (23)."""
    shops.a.script("commit 7 heur", "forget -3", "forget -7")
    assert shops.put("x").json["outcome"] == "committed"
    wait_until(lambda: shops.a.trace().count("forget ") >= 3, "xa_forget was called again")


# The helper process.


def test_helper_ends_with_its_agent(shops):
    """Also if that is killed; stopped in good order, it closes what it has opened."""
    (helper,) = xa.helpers(shops.agent)
    shops.agent.kill()
    wait_until(lambda: xa.gone(helper), "the helper process is gone")
    shops.agent.start()
    shops.cluster.wait_up()
    shops.put("x", expect=ctl.DONE)
    (helper,) = xa.helpers(shops.agent)
    (shops.a.directory / "trace").unlink()
    assert shops.agent.stop() == 0
    assert xa.gone(helper)
    assert "close rmid" in shops.a.trace()


@pytest.mark.parametrize("way", ["crash", "kill", "exit"])
@pytest.mark.parametrize("function", ["prepare", "commit", "rollback"])
def test_vendor_code_that_dies_costs_its_calls_alone(shops, way, function):
    if function == "rollback":
        shops.b.script("prepare 106 drop")
    shops.a.script(f"{function} {way}")
    shops.put("x", expect=ctl.DONE if function == "commit" else ctl.ABORTED)
    assert shops.agent.process.running()
    rows = {"x": "1"} if function == "commit" else {}
    assert shops.a.rows() == shops.b.rows() == rows
    wait_until(lambda: shops.a.prepared() == 0, "nothing is prepared")
    shops.agent.process.wait_line("resource_report", pattern="level=warn.*helper process")
    wait_until(lambda: shops.put("y").json["outcome"] == "committed", "it works again")


def test_vendor_code_that_hangs_blocks_nobody(cluster):
    """A commit that does not return is unavailable until it is done; the agent goes on (49)."""
    shops = Shops(cluster, xa.Double, "call_timeout=1s")
    shops.a.script("commit hang")
    shops.submit("x")
    wait_until(lambda: shops.b.rows() == {"x": "1"}, "the other branch has committed")
    assert shops.agent.process.running()
    assert shops.settle("x").outcome == pb.OUTCOME_COMMITTED
    assert shops.a.rows() == {"x": "1"}
    shops.agent.process.wait_line("resource_report", pattern="has not returned in time")


@pytest.mark.parametrize("decided", [True, False])
def test_helper_killed_in_doubt(shops, decided):
    """What it had prepared is found by its follower, and obeys."""
    key = shops.stop_in_doubt(decided)
    assert shops.a.prepared() == 1
    xa.kill_helper(shops.agent)
    shops.cluster.coordinator.start()
    if decided:
        assert shops.settle(key).outcome == pb.OUTCOME_COMMITTED
    wait_until(lambda: shops.a.prepared() == shops.b.prepared() == 0, "both have obeyed")
    assert shops.a.rows() == shops.b.rows() == ({"doubt": "1"} if decided else {})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_helpers_killed_under_load(shops, protocol):
    """Ten times in the middle of transactions: each has one outcome, and both sides agree."""
    expected = set()
    for cycle in range(10):
        keys = [f"k{cycle}-{n}" for n in range(5)]
        for key in keys:
            shops.submit(key, protocol)
        xa.kill_helper(shops.cluster.agents["shop-a" if cycle % 2 else "shop-b"])
        expected |= {key for key in keys if shops.settle(key).outcome == pb.OUTCOME_COMMITTED}
        wait_until(lambda: shops.a.prepared() == shops.b.prepared() == 0, "nothing is prepared")
        assert set(shops.a.rows()) == set(shops.b.rows()) == expected
        wait_until(lambda: shops.put("after").json["outcome"] == "committed", "it works again")
        expected.add("after")


# Crashes of the agent.


@pytest.mark.parametrize("point", ["agent_before_rm_prepare", "agent_after_rm_prepare",
                                   "agent_before_rm_commit", "agent_after_rm_commit",
                                   "agent_before_rm_one_phase", "agent_after_rm_one_phase"])
def test_agent_dies_beside_the_switch(shops, point):
    """What was prepared without a vote is listed and asked about (17); what was committed without
    an answer is proven by its mark (21)."""
    one_phase = "one_phase" in point
    shops.agent.stop()
    shops.agent.start(crash_at=point)
    shops.cluster.wait_up()
    with shops.cluster.coordinator.application() as peer:
        branches = shops.branches("x")
        peer.submit(run=wire.run(branches[:1] if one_phase else branches, key="x"))
        shops.agent.process.wait_end()
    shops.agent.start()
    outcome = shops.settle("x").outcome
    wait_until(lambda: shops.a.prepared() == shops.b.prepared() == 0, "nothing is prepared")
    rows = {"x": "1"} if outcome == pb.OUTCOME_COMMITTED else {}
    assert shops.a.rows() == rows
    assert one_phase or shops.b.rows() == rows
    if point in ("agent_before_rm_commit", "agent_after_rm_commit", "agent_after_rm_one_phase"):
        assert outcome == pb.OUTCOME_COMMITTED
    elif point in ("agent_before_rm_prepare", "agent_before_rm_one_phase"):
        assert outcome == pb.OUTCOME_ABORTED


def test_foreign_branches_stay(shops):
    """Also over a restart of the agent (35)."""
    (shops.a.directory / "foreign").write_text("100")
    shops.agent.restart()
    shops.cluster.wait_up()
    shops.put("x", expect=ctl.DONE)
    assert shops.agent.process.running()


def test_wrong_library_is_refused_by_name(cluster):
    rm = xa.Double(cluster.directory / "rm", symbol="no_such_switch")
    cluster.add_coordinator().start()
    agent = cluster.add_agent("shop-a", rm.resource()).launch()
    assert agent.process.wait_end() == 2
    assert agent.process.has_line(pattern="undefined symbol: no_such_switch")


# Berkeley DB.


@pytest.fixture
def berkeley(cluster):
    return Shops(cluster, xa.BerkeleyDb)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_berkeley_db_commits_and_refuses(berkeley, protocol):
    berkeley.put("x", protocol=protocol, expect=ctl.DONE)
    berkeley.cluster.ctl.run(("shop-a", "nonsense"), ("shop-b", "put x 2"), protocol=protocol,
                             options=["--wait"], expect=ctl.ABORTED)
    assert [berkeley.value(name, "x") for name in berkeley.rms] == ["1", "1"]


@pytest.mark.parametrize("victim", ["helper", "agent"])
@pytest.mark.parametrize("decided", [True, False])
def test_berkeley_db_crashes_in_doubt(berkeley, decided, victim):
    """Its own recovery restores the branch without its XID: it obeys all the same."""
    key = berkeley.stop_in_doubt(decided)
    if victim == "helper":
        xa.kill_helper(berkeley.agent)
    else:
        berkeley.agent.kill()
        berkeley.agent.start()
    berkeley.cluster.coordinator.start()
    berkeley.cluster.wait_up()
    if decided:
        assert berkeley.settle(key).outcome == pb.OUTCOME_COMMITTED
    wait_until(lambda: berkeley.put("after").json["outcome"] == "committed", "all locks are free")
    assert [berkeley.value(name, "doubt") for name in berkeley.rms] == ["1" if decided else ""] * 2


def test_berkeley_db_without_quirks_is_no_empty_list(berkeley):
    """Restored branches that cannot be told from others: the resource stays away, and says why."""
    key = berkeley.stop_in_doubt(decided=True)
    berkeley.agent.kill()
    berkeley.agent.resource = berkeley.a.resource("quirks=shared-rmid")
    berkeley.agent.start()
    berkeley.agent.process.wait_line("resource_away")
    assert berkeley.agent.process.has_line(pattern="quirks=recover-zeroed-xid")
    berkeley.agent.kill()
    berkeley.agent.resource = berkeley.a.resource()
    berkeley.agent.start()
    berkeley.cluster.coordinator.start()
    assert berkeley.settle(key).outcome == pb.OUTCOME_COMMITTED
    assert berkeley.value("shop-a", "doubt") == "1"


def test_berkeley_db_answer_lost_after_a_commit_is_a_hazard(berkeley):
    """It keeps no proof, so nobody says that the commit was done: a person must look (20, 23)."""
    berkeley.agent.stop()
    berkeley.agent.start(crash_at="agent_after_rm_commit")
    berkeley.cluster.wait_up()
    berkeley.submit("x")
    berkeley.agent.process.wait_end()
    berkeley.agent.start()
    assert berkeley.settle("x").outcome == pb.OUTCOME_HAZARD
    assert berkeley.value("shop-a", "x") == "1"
