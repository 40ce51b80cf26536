"""An agent against a coordinator that a test plays: duplicates, late and stale messages, timeouts
of 3pc, and the crash points that only a misbehaving coordinator reaches (10, 11, 27, 28, 33)."""

import pytest

from cluster import Cluster
from process import wait_until
from wire import FakeCoordinator, pb

YES, NO = pb.VOTE_YES, pb.VOTE_NO
WORK = {"work": b"put x 1", "has_work": True, "resource": "kv"}


class Scene:
    """A fake coordinator, one real agent, and the connection between them."""

    def __init__(self, directory):
        self.cluster = Cluster(directory)
        self.fake = FakeCoordinator()
        self.cluster.coordinator = None
        self.agent = None
        self.peer = None

    def start(self, **options):
        from cluster import Agent
        self.agent = Agent(self.cluster.directory, "bank-a", self.fake, "kv", **options)
        self.cluster.agents["bank-a"] = self.agent
        self.agent.start()
        self.peer = self.fake.accept()
        return self

    def again(self, **options):
        """kill -9 and a new start of the agent, with its new connection."""
        self.agent.kill()
        self.peer.close()
        self.agent.start(**options)
        self.peer = self.fake.accept()

    def say(self, kind, gtrid, **fields):
        self.fake.branch(self.peer, kind, gtrid, **fields)

    def hear(self, kind, gtrid, seconds=None):
        """The next branch message must be of this kind and about this transaction."""
        envelope = self.peer.recv(seconds)
        assert envelope.WhichOneof("body") == "branch", envelope
        branch = envelope.branch
        assert branch.kind == kind and branch.gtrid == gtrid, branch
        assert branch.log_id == self.fake.log_id
        return branch

    def prepared(self, protocol="2pc", **fields):
        """A branch that has voted yes."""
        gtrid = self.fake.gtrid()
        fields = {**WORK, "protocol": protocol, **fields}
        self.say(pb.BRANCH_PREPARE, gtrid, **fields)
        assert self.hear(pb.BRANCH_VOTE, gtrid).vote == YES
        return gtrid

    def commit(self, gtrid, **fields):
        self.say(pb.BRANCH_COMMIT, gtrid, **fields)
        assert self.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_COMMITTED

    def value(self, key="x"):
        """What a new transaction reads."""
        gtrid = self.fake.gtrid()
        self.say(pb.BRANCH_WORK, gtrid, **{**WORK, "work": f"get {key}".encode()})
        reply = self.hear(pb.BRANCH_WORK_REPLY, gtrid)
        self.say(pb.BRANCH_ABORT, gtrid)
        self.hear(pb.BRANCH_ACK, gtrid)
        return reply.work.decode()


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.cluster.close()
    made.fake.close()


def test_duplicate_prepare_and_commit(scene):
    """Cases 10 and 27: repeats are answered again; the effect is there once."""
    scene.start()
    gtrid = scene.fake.gtrid()
    add = {**WORK, "work": b"add n 5"}
    for _ in range(2):
        scene.say(pb.BRANCH_PREPARE, gtrid, **add)
    votes = [scene.hear(pb.BRANCH_VOTE, gtrid).vote]
    scene.say(pb.BRANCH_PREPARE, gtrid, **add)
    votes.append(scene.hear(pb.BRANCH_VOTE, gtrid).vote)
    assert votes == [YES, YES]
    for _ in range(3):
        scene.commit(gtrid)
    assert "5" in scene.value("n") and "10" not in scene.value("n")


def test_prepare_after_abort(scene):
    """Case 11: an abort that overtook the prepare leaves a tombstone: no, and nothing is kept."""
    scene.start()
    gtrid = scene.fake.gtrid()
    scene.say(pb.BRANCH_ABORT, gtrid)
    assert scene.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_ABORTED
    scene.say(pb.BRANCH_PREPARE, gtrid, **WORK)
    assert scene.hear(pb.BRANCH_VOTE, gtrid).vote == NO
    scene.say(pb.BRANCH_WORK, gtrid, **WORK)
    assert scene.hear(pb.BRANCH_WORK_REPLY, gtrid).vote != YES
    scene.prepared()  # the key is free


def test_stale_incarnation_is_ignored(scene):
    """Case 28: a decision from an earlier life of the coordinator changes nothing."""
    scene.fake.incarnation = 5
    scene.start()
    gtrid = scene.prepared()
    scene.say(pb.BRANCH_ABORT, gtrid, incarnation=4)
    scene.say(pb.BRANCH_PREPARE, gtrid, **WORK)
    assert scene.hear(pb.BRANCH_VOTE, gtrid).vote == YES
    scene.commit(gtrid)


def test_prepare_without_work(scene):
    """A prepare that needs work done before this agent's restart is answered no."""
    scene.start()
    gtrid = scene.fake.gtrid()
    scene.say(pb.BRANCH_WORK, gtrid, **WORK)
    assert scene.hear(pb.BRANCH_WORK_REPLY, gtrid).vote == YES
    epoch = scene.peer.peer_hello.incarnation
    scene.again()
    assert scene.peer.peer_hello.incarnation > epoch
    scene.say(pb.BRANCH_PREPARE, gtrid, epoch=epoch, resource="kv")
    vote = scene.hear(pb.BRANCH_VOTE, gtrid)
    assert vote.vote == NO and vote.reason in (9, 10)


def test_in_doubt_asks_after_a_restart(scene):
    """A prepared branch survives kill -9, asks, and obeys (case 17)."""
    scene.start()
    gtrid = scene.prepared()
    scene.again()
    scene.hear(pb.BRANCH_INQUIRE, gtrid)
    scene.say(pb.BRANCH_COMMIT, gtrid)
    while True:
        branch = scene.peer.recv().branch
        if branch.kind == pb.BRANCH_ACK:
            break
        assert branch.kind == pb.BRANCH_INQUIRE
    assert branch.result == pb.RESULT_COMMITTED
    assert "1" in scene.value()


def test_a_3pc_branch_that_only_the_rm_knows_is_rolled_back(scene):
    """Case 17: killed between the RM's prepare and its own record, the agent has sent no yes, and
    needs nobody to tell it so."""
    scene.start(crash_at="agent_after_rm_prepare")
    scene.say(pb.BRANCH_PREPARE, scene.fake.gtrid(), **{**WORK, "protocol": "3pc"})
    assert scene.agent.process.wait_end() == -9
    scene.agent.options.pop("crash_at")
    scene.again()
    scene.prepared()  # it asks nothing, and the key is free


def test_two_phase_waits_for_ever(scene):
    """2pc: in doubt, an agent never decides alone; it asks again and again."""
    scene.start()
    gtrid = scene.prepared(timeout_ms=100)
    for _ in range(2):
        scene.hear(pb.BRANCH_INQUIRE, gtrid, seconds=60)
    scene.say(pb.BRANCH_ABORT, gtrid)
    assert scene.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_ABORTED


@pytest.mark.parametrize("precommit", [False, True], ids=["before pre-commit", "after pre-commit"])
@pytest.mark.parametrize("point", [None, "agent_before_log_decision", "agent_after_log_decision"])
def test_timeout_rule(scene, precommit, point):
    """3pc with the timeout policy and a silent coordinator: abort before PreCommit, commit after
    it; durably decided before the RM hears of it, so a crash there changes nothing but the time."""
    scene.start(**({"crash_at": point} if point else {}))
    # Long enough that the pre-commit arrives, short enough to wait for.
    gtrid = scene.prepared("3pc", timeout_ms=1500 if precommit else 200)
    if precommit:
        scene.say(pb.BRANCH_PRECOMMIT, gtrid, protocol="3pc", timeout_ms=200)
        scene.hear(pb.BRANCH_PRECOMMIT_ACK, gtrid)
    if point:
        assert scene.agent.process.wait_end() == -9
        scene.agent.options.pop("crash_at")
        scene.again()
    expected = pb.RESULT_COMMITTED if precommit else pb.RESULT_ABORTED

    def decided():
        """Told the same, it acknowledges; the opposite would be a contradiction."""
        kind = pb.BRANCH_COMMIT if precommit else pb.BRANCH_ABORT
        reads = scene.fake.gtrid()
        scene.say(pb.BRANCH_WORK, reads, **{**WORK, "work": b"get x"})
        while True:
            branch = scene.peer.recv(30).branch
            if branch.gtrid == reads and branch.kind == pb.BRANCH_WORK_REPLY:
                break
        if branch.vote != YES:
            return False  # still locked by the branch in doubt
        scene.say(kind, gtrid, protocol="3pc")
        while True:
            branch = scene.peer.recv(30).branch
            if branch.gtrid == gtrid and branch.kind == pb.BRANCH_ACK:
                return branch.result == expected
    wait_until(decided, "the agent has decided alone", 30)
    assert ("1" in scene.value()) == precommit


@pytest.mark.parametrize("point", [None, "agent_before_log_result", "agent_after_log_result"])
def test_contradiction_is_kept_and_shown(scene, point):
    """Cases 27 and 29: a branch that has committed is told to abort. It stays committed, says so as
    heuristic, durably, and raises an alarm."""
    scene.start(**({"crash_at": point} if point else {}))
    gtrid = scene.prepared()
    scene.commit(gtrid)
    scene.say(pb.BRANCH_ABORT, gtrid)
    if point:
        assert scene.agent.process.wait_end() == -9
        scene.agent.options.pop("crash_at")
        scene.again()
        scene.say(pb.BRANCH_ABORT, gtrid)
    ack = scene.hear(pb.BRANCH_ACK, gtrid)
    assert ack.result == pb.RESULT_HEUR_COMMITTED
    assert "event=alarm" in scene.agent.log.read_text()
    scene.again()  # by itself, until a person has seen to it; and when it is asked
    assert scene.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_HEUR_COMMITTED
    scene.say(pb.BRANCH_ABORT, gtrid)
    assert scene.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_HEUR_COMMITTED
    assert "1" in scene.value()


@pytest.mark.parametrize("point", ["agent_before_log_delete", "agent_after_log_delete"])
def test_the_record_goes_before_its_proof(scene, point):
    """The transaction has ended, so the agent forgets it: first its record, then the resource's
    marker. Whatever a crash in between leaves still knows that the branch has committed."""
    scene.start(crash_at=point)
    gtrid = scene.prepared("3pc", timeout_ms=60000)
    scene.say(pb.BRANCH_PRECOMMIT, gtrid, protocol="3pc", timeout_ms=60000)
    scene.hear(pb.BRANCH_PRECOMMIT_ACK, gtrid)
    scene.commit(gtrid, protocol="3pc")
    scene.peer.send(pb.Envelope(ping=pb.Ping(ended_below=scene.fake.gtrid())))
    assert scene.agent.process.wait_end() == -9
    scene.agent.options.pop("crash_at")
    scene.again()
    if point == "agent_before_log_delete":
        scene.commit(gtrid, protocol="3pc")
    else:  # it knows that it has forgotten: no late frame is answered
        scene.say(pb.BRANCH_COMMIT, gtrid, protocol="3pc")
    assert "1" in scene.value()
    assert "event=alarm" not in scene.agent.log.read_text()


def test_the_proof_of_a_branch_without_a_record_goes_last(scene):
    """A branch of 2pc has no record at the agent. Its transaction has ended, so the marker goes,
    with the next write of the resource; the agent dies right after that. If it has not yet noted
    that all before has ended, the marker must be there still: a coordinator restored from an older
    copy that tells the commit once more is told that it was done, not that it never was."""
    scene.start(crash_at="agent_before_log_prepared")
    gtrid = scene.prepared()
    scene.commit(gtrid)
    ended_below = scene.fake.gtrid()
    scene.peer.send(pb.Envelope(ping=pb.Ping(ended_below=ended_below)))
    scene.say(pb.BRANCH_PREPARE, scene.fake.gtrid(), protocol="3pc", **{**WORK, "work": b"put y 1"})
    assert scene.agent.process.wait_end() == -9
    scene.agent.options.pop("crash_at")
    scene.fake.incarnation += 1
    scene.again()
    scene.say(pb.BRANCH_COMMIT, gtrid)
    ack = scene.peer.recv()
    while ack.branch.gtrid != gtrid:  # about the other branch
        ack = scene.peer.recv()
    assert ack.branch.kind == pb.BRANCH_ACK and ack.branch.result == pb.RESULT_COMMITTED


def test_commit_of_what_never_voted(scene):
    """A commit for a branch that has only worked is no commit: nobody may commit without a vote."""
    scene.start()
    gtrid = scene.fake.gtrid()
    scene.say(pb.BRANCH_WORK, gtrid, **WORK)
    scene.hear(pb.BRANCH_WORK_REPLY, gtrid)
    scene.say(pb.BRANCH_COMMIT, gtrid)
    scene.agent.process.wait_line("alarm")
    scene.say(pb.BRANCH_ABORT, gtrid)
    assert scene.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_ABORTED
    assert "1" not in scene.value()


def test_commit_of_an_unknown_branch(scene):
    """Case 20: a commit for a branch that nobody here knows is never acknowledged as committed: the
    kv resource can prove that it did not happen, so it shows as heuristically aborted."""
    scene.start()
    gtrid = scene.fake.gtrid()
    scene.say(pb.BRANCH_COMMIT, gtrid)
    assert scene.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_HEUR_ABORTED
    scene.agent.process.wait_line("alarm")


def test_work_is_given_up_at_its_time(scene):
    """Case 47: work whose coordinator falls silent is rolled back at its time, and its locks are
    free again."""
    scene.start()
    gtrid = scene.fake.gtrid()
    scene.say(pb.BRANCH_WORK, gtrid, **WORK, timeout_ms=200)
    assert scene.hear(pb.BRANCH_WORK_REPLY, gtrid).vote == YES
    assert scene.hear(pb.BRANCH_VOTE, gtrid, seconds=30).vote == NO
    scene.prepared()


def test_two_coordinators_do_not_mix(scene):
    """Case 35: the same gtrid from another log is another transaction."""
    other = FakeCoordinator()
    both = type("Both", (), {"address": scene.fake.address + "," + other.address})
    from cluster import Agent
    scene.agent = scene.cluster.agents["bank-a"] = Agent(
        scene.cluster.directory, "bank-a", both, "kv")
    scene.agent.start()
    scene.peer = scene.fake.accept()
    theirs = other.accept()
    gtrid = scene.prepared()
    other.branch(theirs, pb.BRANCH_ABORT, gtrid)
    assert theirs.recv().branch.result == pb.RESULT_ABORTED
    scene.commit(gtrid)
    theirs.close()
    other.close()
