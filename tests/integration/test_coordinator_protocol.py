"""A coordinator against participants that a test plays: late, wrong, repeated and stale answers
(cases 11, 12, 16, 18, 19, 20, 22, 28, 31, 49)."""

import json

import pytest

import wire
from process import wait_until
from wire import hear, pb, say

YES, NO = pb.VOTE_YES, pb.VOTE_NO
COMMITTED, ABORTED = pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED


class Scene:
    """A real coordinator; participants p1 and p2 are connections of the test."""

    def __init__(self, cluster, **options):
        cluster.start(agents=0, coordinator=options)
        self.cluster = cluster
        self.address = cluster.coordinator.address
        self.p1 = wire.participant(self.address, "p1")
        self.p2 = wire.participant(self.address, "p2")
        self.application = cluster.coordinator.application()
        cluster.wait_up(["p1", "p2"])

    def run(self, protocol="2pc", timeout_ms=10000, wait=False, termination="none"):
        """Starts a one-shot over both; the prepare messages that reached them."""
        self.application.submit(run=wire.run([("p1", "w1"), ("p2", "w2")], protocol=protocol,
                                             timeout_ms=timeout_ms, wait=wait,
                                             termination=termination))
        return hear(self.p1, pb.BRANCH_PREPARE), hear(self.p2, pb.BRANCH_PREPARE)

    def result(self):
        return self.application.recv().result

    def status(self, gtrid, wait=False):
        with self.cluster.coordinator.application() as peer:
            return peer.status(gtrid, wait=wait)


def vote(peer, about, what=YES, **fields):
    say(peer, about, pb.BRANCH_VOTE, vote=what, **fields)


def ack(peer, about, result):
    say(peer, about, pb.BRANCH_ACK, result=result)


@pytest.fixture
def scene(cluster):
    made = Scene(cluster)
    yield made
    for peer in (made.p1, made.p2, made.application):
        peer.close()


def test_work_rides_on_prepare(scene):
    first, second = scene.run()
    assert first.has_work and first.work == b"w1" and second.work == b"w2"
    assert first.gtrid == second.gtrid and {first.branch, second.branch} == {1, 2}
    assert first.branch_count == 2
    vote(scene.p1, first)
    vote(scene.p2, second)
    assert scene.result().outcome == COMMITTED
    for peer, about in ((scene.p1, first), (scene.p2, second)):
        ack(peer, hear(peer, pb.BRANCH_COMMIT), pb.RESULT_COMMITTED)
    assert scene.status(first.gtrid, wait=True).ended


@pytest.mark.parametrize("wrong", [{"branch_count": 3}, {"incarnation": 0}, {"epoch": 99}])
def test_wrong_vote_is_no_vote(scene, wrong):
    """Cases 18 and 28: a yes for another list of branches, another life of the coordinator or of
    the participant does not count."""
    first, second = scene.run(timeout_ms=700)
    vote(scene.p2, second)
    vote(scene.p1, first, **wrong)
    result = scene.result()
    assert result.outcome == ABORTED and "p1" in result.reason


def test_foreign_log_is_refused(scene):
    """A vote that names another coordinator's log changes nothing here (case 35)."""
    first, second = scene.run(timeout_ms=700)
    vote(scene.p2, second)
    vote(scene.p1, first, log_id=bytes(16))
    assert scene.result().outcome == ABORTED


def test_nobody_votes_for_another(scene):
    """p2 cannot vote for p1's branch."""
    first, second = scene.run(timeout_ms=700)
    vote(scene.p2, second)
    vote(scene.p2, first)
    assert scene.result().outcome == ABORTED


def test_late_vote_is_answered_with_abort(scene):
    """Case 12; and the abort is repeated until it is acknowledged (16)."""
    first, second = scene.run(timeout_ms=300)
    vote(scene.p2, second)
    assert scene.result().outcome == ABORTED
    hear(scene.p1, pb.BRANCH_ABORT)
    vote(scene.p1, first)
    hear(scene.p1, pb.BRANCH_ABORT)
    for peer in (scene.p1, scene.p2):
        ack(peer, first if peer is scene.p1 else second, pb.RESULT_ABORTED)
    assert scene.status(first.gtrid, wait=True).outcome == ABORTED


def test_no_reaches_the_caller(scene):
    first, second = scene.run()
    vote(scene.p1, first, NO, reason=2, reason_text="the till is empty")
    result = scene.result()
    assert result.outcome == ABORTED
    assert "the till is empty" in result.reason and "p1" in result.reason
    ack(scene.p2, hear(scene.p2, pb.BRANCH_ABORT), pb.RESULT_ABORTED)


def test_commit_is_repeated_over_reconnects(scene):
    """Case 19: a participant that goes away keeps being told, other branches are not held up."""
    first, second = scene.run()
    vote(scene.p1, first)
    vote(scene.p2, second)
    assert scene.result().outcome == COMMITTED
    hear(scene.p1, pb.BRANCH_COMMIT)
    ack(scene.p2, hear(scene.p2, pb.BRANCH_COMMIT), pb.RESULT_COMMITTED)
    for life in (2, 3):
        scene.p1.close()
        scene.p1 = wire.participant(scene.address, "p1", incarnation=life)
        hear(scene.p1, pb.BRANCH_COMMIT)
    assert not scene.status(first.gtrid).ended
    ack(scene.p1, first, pb.RESULT_COMMITTED)
    assert scene.status(first.gtrid, wait=True).ended


@pytest.mark.parametrize("kind,expected", [
    (pb.BRANCH_INQUIRE, pb.BRANCH_COMMIT), (pb.BRANCH_VOTE, pb.BRANCH_COMMIT)])
def test_asked_after_the_end(scene, kind, expected):
    """A participant that forgot it had obeyed is told again, from the kept outcome, also after a
    restart of the coordinator."""
    first, second = scene.run()
    vote(scene.p1, first)
    vote(scene.p2, second)
    assert scene.result().outcome == COMMITTED
    for peer, about in ((scene.p1, first), (scene.p2, second)):
        ack(peer, hear(peer, pb.BRANCH_COMMIT), pb.RESULT_COMMITTED)
    assert scene.status(first.gtrid, wait=True).ended
    say(scene.p1, first, kind, vote=YES)
    hear(scene.p1, expected)
    assert scene.cluster.coordinator.stop() == 0
    scene.cluster.coordinator.start()
    scene.p1.close()
    scene.p1 = wire.participant(scene.address, "p1", incarnation=2)
    say(scene.p1, first, kind, vote=YES)
    hear(scene.p1, expected)


def test_undecided_is_presumed_aborted(scene):
    """A restart without a decision: whoever asks is told abort, in the new incarnation."""
    first, _ = scene.run()
    vote(scene.p1, first)
    old = scene.p1.peer_hello.incarnation
    scene.cluster.coordinator.restart()
    scene.p1.close()
    scene.p1 = wire.participant(scene.address, "p1")
    assert scene.p1.peer_hello.incarnation > old
    say(scene.p1, first, pb.BRANCH_INQUIRE)
    told = hear(scene.p1, pb.BRANCH_ABORT)
    assert told.incarnation == scene.p1.peer_hello.incarnation
    assert scene.status(first.gtrid).outcome == ABORTED


@pytest.mark.parametrize("result,outcome", [
    (pb.RESULT_HEUR_ABORTED, pb.OUTCOME_MIXED), (pb.RESULT_ABORTED, pb.OUTCOME_MIXED),
    (pb.RESULT_MIXED, pb.OUTCOME_MIXED), (pb.RESULT_HAZARD, pb.OUTCOME_HAZARD)])
def test_branch_that_did_not_obey(scene, result, outcome):
    """Cases 20 and 22: what a branch did against the decision is never hidden."""
    first, second = scene.run(wait=True)
    vote(scene.p1, first)
    vote(scene.p2, second)
    ack(scene.p1, hear(scene.p1, pb.BRANCH_COMMIT), result)
    ack(scene.p2, hear(scene.p2, pb.BRANCH_COMMIT), pb.RESULT_COMMITTED)
    assert scene.result().outcome == outcome
    scene.cluster.coordinator.process.wait_line(pattern="level=(error|warn)")


@pytest.mark.parametrize("termination", ["quorum", "cooperative", "timeout"])
def test_three_phases(scene, termination):
    """CanCommit, PreCommit, DoCommit: nobody commits before all know that all said yes; with
    quorum before a majority does: one of two here, and the coordinator's own record."""
    first, second = scene.run("3pc", termination=termination)
    vote(scene.p1, first)
    vote(scene.p2, second)
    one, two = hear(scene.p1, pb.BRANCH_PRECOMMIT), hear(scene.p2, pb.BRANCH_PRECOMMIT)
    with pytest.raises(TimeoutError):
        scene.application.recv(0.2)
    say(scene.p1, one, pb.BRANCH_PRECOMMIT_ACK)
    if termination != "quorum":
        with pytest.raises(TimeoutError):
            scene.application.recv(0.2)
        say(scene.p2, two, pb.BRANCH_PRECOMMIT_ACK)
    assert scene.result().outcome == COMMITTED
    for peer in (scene.p1, scene.p2):
        ack(peer, hear(peer, pb.BRANCH_COMMIT), pb.RESULT_COMMITTED)
    assert scene.status(first.gtrid, wait=True).ended


@pytest.mark.parametrize("termination", ["cooperative", "timeout"])
def test_precommit_without_acknowledgement(cluster, termination):
    """3pc: a participant that falls silent after its yes does not stop the commit; the coordinator
    goes on at its time."""
    scene = Scene(cluster, precommit_timeout="300ms")
    first, second = scene.run("3pc", termination=termination)
    vote(scene.p1, first)
    vote(scene.p2, second)
    say(scene.p1, hear(scene.p1, pb.BRANCH_PRECOMMIT), pb.BRANCH_PRECOMMIT_ACK)
    assert scene.result().outcome == COMMITTED
    for peer in (scene.p1, scene.p2, scene.application):
        peer.close()


def test_no_majority_no_outcome(cluster):
    """3pc by quorum: with both participants silent after their yes the coordinator alone is no
    majority. It stands as a candidate, again and again, and says nothing; explain says why."""
    scene = Scene(cluster, precommit_timeout="100ms")
    first, second = scene.run("3pc")
    vote(scene.p1, first)
    vote(scene.p2, second)
    for peer in (scene.p1, scene.p2):
        hear(peer, pb.BRANCH_PRECOMMIT)
    ballots = [hear(scene.p1, pb.BRANCH_ELECT).ballot for _ in range(2)]
    assert 1 < ballots[0] < ballots[1]
    explained = cluster.ctl("tx", "explain", wire.gtrid_text(first.gtrid), expect=0).json
    assert explained["outcome"] == "unknown" and explained["decision"] == "none"
    assert any("2 of 3 voters are a majority (it is one of them)" in text
               for text in explained["unblocks"]), explained
    # One of them is enough.
    asked = hear(scene.p1, pb.BRANCH_ELECT)
    while True:
        state = dict(state=pb.MEMBER_YES, ballot=asked.ballot, **{"from": 1})
        say(scene.p1, asked, pb.BRANCH_ELECT_ANSWER, **state)
        asked = scene.p1.recv().branch
        if asked.kind == pb.BRANCH_PROPOSE:
            break
    assert asked.state == pb.MEMBER_PRECOMMITTED
    say(scene.p1, asked, pb.BRANCH_PROPOSE_ACK, ballot=asked.ballot, **{"from": 1})
    assert scene.result().outcome == COMMITTED
    for peer in (scene.p1, scene.p2, scene.application):
        peer.close()


def test_a_participant_speaks_for_itself_alone(scene):
    """What one member says in the name of another is ignored, and logged."""
    first, second = scene.run("3pc")
    vote(scene.p1, first)
    vote(scene.p2, second)
    hear(scene.p1, pb.BRANCH_PRECOMMIT)
    say(scene.p1, first, pb.BRANCH_COMMIT, **{"from": 2})
    scene.cluster.coordinator.process.wait_line("member_of_another_ignored")
    assert scene.status(first.gtrid).outcome == pb.OUTCOME_UNKNOWN


def test_second_participant_of_one_name(scene):
    """Two processes under one name: the later incarnation has it, and the other one is told."""
    with wire.participant(scene.address, "p1", incarnation=2) as later:
        scene.p1.wait_closed()
        with pytest.raises((wire.Refused, wire.Closed)):
            wire.participant(scene.address, "p1", incarnation=1).recv(5)

        def enlisted():
            scene.application.submit(run=wire.run([("p1", "w1"), ("p2", "w2")], timeout_ms=300))
            return hear(later, pb.BRANCH_PREPARE)
        assert wait_until(enlisted, "the later one is asked")


def test_a_name_alone_means_its_only_resource(scene):
    """One with two resources is named in full; of two the one that is connected is meant; and all
    that one connection brought goes down with it."""
    def resources(*names, incarnation):
        peer = wire.Peer(scene.address)
        peer.hello(pb.ROLE_PARTICIPANT, "p3", incarnation=incarnation,
                   resources=[pb.Resource(name=name, type="kv") for name in names])
        return peer

    def asked(peer, target, resource):
        scene.application.submit(run=wire.run([(target, "w"), ("p1", "w")], timeout_ms=300))
        first, second = hear(peer, pb.BRANCH_PREPARE), hear(scene.p1, pb.BRANCH_PREPARE)
        assert first.resource == resource
        vote(scene.p1, second, NO)
        assert scene.result().outcome == ABORTED
        ack(peer, hear(peer, pb.BRANCH_ABORT), pb.RESULT_ABORTED)

    def states():
        rows = json.loads(scene.application.ask(inspect=pb.Inspect(what="participants")).json)
        return {row["resource"]: row["state"] for row in rows["participants"]
                if row["name"] == "p3"}

    with resources("a", "b", incarnation=1) as both:
        with pytest.raises(wire.Refused, match="p3 has several resources: name one, as in p3/b"):
            scene.application.ask(run=wire.run([("p3", "w")]))
        asked(both, "p3/b", "b")
        assert states() == {"a": "up", "b": "up"}
    wait_until(lambda: states() == {"a": "down", "b": "down"}, "both are gone")
    with resources("b", incarnation=2) as one:
        asked(one, "p3", "b")
        assert states() == {"a": "down", "b": "up"}


def test_one_slow_participant_holds_up_nobody(scene):
    """Case 49: while p2 says nothing, transactions over p1 alone go on."""
    first, _ = scene.run()
    other = scene.cluster.coordinator.application()
    for _ in range(20):
        other.submit(run=wire.run([("p1", "w")]))
        envelope = scene.p1.recv()
        kind = envelope.branch.kind
        if kind == pb.BRANCH_PREPARE:
            vote(scene.p1, envelope.branch, pb.VOTE_READ_ONLY)
        else:
            ack(scene.p1, envelope.branch, pb.RESULT_COMMITTED)
        assert other.recv().result.outcome == COMMITTED
    assert scene.status(first.gtrid).outcome == pb.OUTCOME_UNKNOWN
    other.close()


def test_unknown_branch_messages_are_ignored(scene):
    """Messages about gtrids that this log never gave out, or branches that do not exist."""
    first, second = scene.run()
    vote(scene.p1, first, branch=7)
    vote(scene.p1, first, gtrid=bytes(16))
    vote(scene.p1, first, gtrid=b"\xff" * 16)
    ack(scene.p1, first, pb.RESULT_COMMITTED)
    vote(scene.p1, first)
    vote(scene.p2, second)
    assert scene.result().outcome == COMMITTED
    assert scene.cluster.coordinator.process.running()
