"""assentd between an application and participants that the test plays: begin, work, one-shot, keys,
refusals, and what is left after a restart (cases 1, 2, 9, 46, 48, 51)."""

import http.client
import json
import re

import pytest

import places
import wire
from process import wait_until
from wire import pb

INVALID, NOT_FOUND, STATE, REFUSED, UNAVAILABLE, STALE = -1, -11, -12, -13, -19, -17
YES, NO = pb.VOTE_YES, pb.VOTE_NO
COMMITTED, ABORTED = pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED


def hear(peer, kind):
    envelope = peer.recv()
    assert envelope.WhichOneof("body") == "branch", envelope
    assert envelope.branch.kind == kind, envelope
    return envelope


def say(peer, about, kind, request=0, **fields):
    message = pb.Branch()
    message.CopyFrom(about)
    message.kind = kind
    message.work = b""
    message.has_work = False
    message.log_id = peer.peer_hello.log_id
    for key, value in fields.items():
        setattr(message, key, value)
    peer.send(pb.Envelope(request=request, branch=message))


def commit_all(*peers):
    """Each votes yes and obeys the commit."""
    for peer in peers:
        say(peer, hear(peer, pb.BRANCH_PREPARE).branch, pb.BRANCH_VOTE, vote=YES)
    for peer in peers:
        say(peer, hear(peer, pb.BRANCH_COMMIT).branch, pb.BRANCH_ACK, result=pb.RESULT_COMMITTED)


class Stage:
    """A coordinator, participants p1 and p2 of the test, and an application."""

    def __init__(self, cluster, **options):
        self.coordinator = cluster.add_coordinator(**options).start()
        self.connect()

    def connect(self):
        address = self.coordinator.address
        self.p1 = wire.participant(address, "p1")
        self.p2 = wire.participant(address, "p2")
        self.app = wire.application(address)

    def close(self):
        for peer in (self.p1, self.p2, self.app):
            peer.close()

    def restart(self):
        self.close()
        self.coordinator.restart()
        self.connect()

    def inspect(self, what, argument=""):
        return json.loads(self.app.ask(inspect=pb.Inspect(what=what, argument=argument)).json)


@pytest.fixture
def stage(cluster):
    made = Stage(cluster)
    yield made
    made.close()


def both(key="", timeout_ms=10000, wait=False):
    return wire.run([("p1", "w1"), ("p2/kv", "w2")], key=key, timeout_ms=timeout_ms, wait=wait)


def test_key_is_one_transaction_over_a_restart(stage):
    """Case 1: while it runs, after it ended, and after a restart the key gives the one outcome;
    the second run does no work."""
    stage.app.submit(run=both(key="order-7"))
    first = hear(stage.p1, pb.BRANCH_PREPARE).branch
    second = hear(stage.p2, pb.BRANCH_PREPARE).branch
    with stage.coordinator.application() as other:
        assert other.begin(key="order-7") == first.gtrid
        other.submit(run=both(key="order-7", wait=True))
        say(stage.p1, first, pb.BRANCH_VOTE, vote=YES)
        say(stage.p2, second, pb.BRANCH_VOTE, vote=YES)
        assert stage.app.recv().result.outcome == COMMITTED
        for peer in (stage.p1, stage.p2):
            say(peer, hear(peer, pb.BRANCH_COMMIT).branch, pb.BRANCH_ACK,
                result=pb.RESULT_COMMITTED)
        again = other.recv().result
        assert (again.gtrid, again.outcome, again.ended) == (first.gtrid, COMMITTED, True)
    assert stage.app.status(first.gtrid, wait=True).ended
    assert stage.coordinator.stop() == 0
    stage.close()
    stage.coordinator.start()
    stage.connect()
    for answer in (stage.app.ask(run=both(key="order-7")), stage.app.status(key="order-7"),
                   stage.app.end(first.gtrid), stage.app.end(first.gtrid, commit=False)):
        assert (answer.gtrid, answer.outcome) == (first.gtrid, COMMITTED)


def test_key_of_an_undecided_transaction_dies_with_a_crash(stage):
    """Nothing was decided, so running it again under its key is right."""
    gtrid = stage.app.begin(key="again")
    stage.restart()
    assert stage.app.status(key="again").outcome == pb.OUTCOME_NEVER_SEEN
    assert stage.app.begin(key="again") != gtrid
    presumed = stage.app.status(gtrid)
    assert presumed.outcome == ABORTED and "presumed" in presumed.reason


@pytest.mark.parametrize("protocol, asked, used", [
    (pb.PROTOCOL_2PC, pb.TERMINATION_NONE, pb.TERMINATION_COOPERATIVE),
    (pb.PROTOCOL_2PC, pb.TERMINATION_COOPERATIVE, pb.TERMINATION_COOPERATIVE),
    (pb.PROTOCOL_2PC, pb.TERMINATION_TIMEOUT, None),
    (pb.PROTOCOL_2PC, pb.TERMINATION_QUORUM, None),
    (pb.PROTOCOL_3PC, pb.TERMINATION_NONE, pb.TERMINATION_QUORUM),
    (pb.PROTOCOL_3PC, pb.TERMINATION_COOPERATIVE, pb.TERMINATION_COOPERATIVE),
    (pb.PROTOCOL_3PC, pb.TERMINATION_TIMEOUT, pb.TERMINATION_TIMEOUT)])
def test_termination_policies(stage, protocol, asked, used):
    """The safe one unless one is named; what the protocol has not is refused by name. The first
    message tells it, and who takes part, by name and address."""
    request = both()
    request.begin.protocol = protocol
    request.begin.termination = asked
    if used is None:
        for body in ({"run": request}, {"begin": request.begin}):
            with pytest.raises(wire.Refused) as refused:
                stage.app.ask(**body)
            assert refused.value.error == INVALID and "belongs to 3pc" in refused.value.text
        return
    stage.app.submit(run=request)
    for peer in (stage.p1, stage.p2):
        prepare = hear(peer, pb.BRANCH_PREPARE).branch
        assert prepare.termination == used
        assert [(p.participant, p.address, p.epoch) for p in prepare.peers] == [
            ("p1/kv", "127.0.0.1:1", 1), ("p2/kv", "127.0.0.1:1", 1)]


def test_work_is_passed_on_and_answered(stage):
    gtrid = stage.app.begin()
    for number in (1, 2):
        stage.app.submit(work=pb.Work(gtrid=gtrid, participant="p1", work=b"w%d" % number))
        asked = hear(stage.p1, pb.BRANCH_WORK)
        assert asked.branch.work == b"w%d" % number and asked.branch.branch == 1
        assert asked.branch.resource == "kv"
        say(stage.p1, asked.branch, pb.BRANCH_WORK_REPLY, asked.request, vote=YES,
            work=b"rows %d" % number)
        reply = stage.app.recv().work_reply
        assert (reply.branch, reply.reply) == (1, b"rows %d" % number)
    assert stage.app.ask(enlist=pb.Enlist(gtrid=gtrid, participant="p2")).branch == 2
    stage.app.submit(end=pb.End(gtrid=gtrid, commit=True))
    commit_all(stage.p1, stage.p2)
    assert stage.app.recv().result.outcome == COMMITTED


def test_commit_waits_for_work_under_way(stage):
    gtrid = stage.app.begin()
    stage.app.submit(work=pb.Work(gtrid=gtrid, participant="p1", work=b"w"))
    hear(stage.p1, pb.BRANCH_WORK)
    with stage.coordinator.application() as other:
        with pytest.raises(wire.Refused) as refused:
            other.end(gtrid)
    assert refused.value.error == STATE


def test_failing_work_aborts_with_its_words(stage):
    gtrid = stage.app.begin()
    stage.app.submit(work=pb.Work(gtrid=gtrid, participant="p1", work=b"w"))
    asked = hear(stage.p1, pb.BRANCH_WORK)
    say(stage.p1, asked.branch, pb.BRANCH_WORK_REPLY, asked.request, vote=NO, reason=5,
        reason_text="no such key")
    refusal = stage.app.recv().refusal
    assert refusal.error == REFUSED and "no such key" in refusal.text
    result = stage.app.end(gtrid)
    assert result.outcome == ABORTED
    assert result.reason == "work failed at p1/kv: no such key"
    with pytest.raises(wire.Refused) as late:
        stage.app.work(gtrid, "p2", "w")
    assert late.value.error == STATE and "no such key" in late.value.text


def test_participant_lost_in_work(stage):
    """Nobody knows whether the work was done: the application is told, the transaction aborts."""
    gtrid = stage.app.begin()
    stage.app.submit(work=pb.Work(gtrid=gtrid, participant="p1", work=b"w"))
    hear(stage.p1, pb.BRANCH_WORK)
    stage.p1.close()
    assert stage.app.recv().refusal.error == UNAVAILABLE
    assert stage.app.end(gtrid).outcome == ABORTED


def test_work_time_out(cluster):
    stage = Stage(cluster, work_timeout="100ms")
    gtrid = stage.app.begin()
    with pytest.raises(wire.Refused) as refused:
        stage.app.work(gtrid, "p1", "w")
    assert refused.value.error == -6 and "p1/kv" in refused.value.text
    assert stage.app.end(gtrid).outcome == ABORTED
    stage.close()


def test_participants_that_are_not_there(stage):
    """Refused by name, and nothing was begun."""
    stage.p2.close()
    wait_until(lambda: [p["state"] for p in stage.inspect("participants")["participants"]]
               == ["up", "down"], "p2 is down")
    for target, error in (("nobody", NOT_FOUND), ("p1/other", NOT_FOUND), ("p2", UNAVAILABLE)):
        for body in ({"run": wire.run([("p1", "w"), (target, "w")], key=f"k-{target[-1]}")},):
            with pytest.raises(wire.Refused) as refused:
                stage.app.ask(**body)
            assert refused.value.error == error and target in refused.value.text
    assert stage.inspect("transactions")["transactions"] == []


def test_no_vote_names_who_is_missing(stage):
    stage.app.submit(run=both(timeout_ms=300))
    say(stage.p2, hear(stage.p2, pb.BRANCH_PREPARE).branch, pb.BRANCH_VOTE, vote=YES)
    stage.p1.close()
    result = stage.app.recv().result
    assert result.outcome == ABORTED
    assert result.reason == "transaction deadline passed, no vote from p1/kv (not connected)"


def test_single_branch_in_one_phase(stage):
    """With a resource that can, one branch commits or refuses without a prepare; a restart asks
    the branch for the outcome it alone knows."""
    with wire.participant(stage.coordinator.address, "solo", capabilities=4) as solo:
        stage.app.submit(run=wire.run([("solo", "w")], key="one"))
        told = hear(solo, pb.BRANCH_COMMIT_ONE_PHASE).branch
        assert told.has_work and told.work == b"w"
        say(solo, told, pb.BRANCH_ACK, result=pb.RESULT_ABORTED, reason=2, reason_text="too late")
        result = stage.app.recv().result
        assert (result.outcome, result.reason) == (ABORTED, "solo/kv voted no: too late")
        stage.app.submit(run=wire.run([("solo", "w")], key="two"))
        told = hear(solo, pb.BRANCH_COMMIT_ONE_PHASE).branch
    stage.restart()
    assert stage.app.status(key="two").outcome == pb.OUTCOME_UNKNOWN
    with wire.participant(stage.coordinator.address, "solo", 2, capabilities=4) as solo:
        told = hear(solo, pb.BRANCH_COMMIT_ONE_PHASE).branch
        assert not told.has_work
        say(solo, told, pb.BRANCH_ACK, result=pb.RESULT_COMMITTED)
        assert stage.app.status(key="two", wait=True).outcome == COMMITTED


def test_committed_is_told_again_after_a_crash(stage):
    """The decision is on disk, its obedience is not: the next life goes on telling."""
    stage.app.submit(run=both())
    for peer in (stage.p1, stage.p2):
        say(peer, hear(peer, pb.BRANCH_PREPARE).branch, pb.BRANCH_VOTE, vote=YES)
    result = stage.app.recv().result
    stage.restart()
    for peer in (stage.p1, stage.p2):
        told = hear(peer, pb.BRANCH_COMMIT).branch
        assert told.incarnation == peer.peer_hello.incarnation
        say(peer, told, pb.BRANCH_ACK, result=pb.RESULT_COMMITTED)
    again = stage.app.status(result.gtrid, wait=True)
    assert again.outcome == COMMITTED and again.ended
    show = stage.inspect("transaction", wire.gtrid_text(result.gtrid))
    assert show["outcome"] == "committed" and show["waiting_for"] == []
    events = [moment["event"] for moment in show["timeline"]]
    assert events[0] == "begun" and events[-1] == "ended: committed"
    assert "decided: commit" in events and "p1/kv voted yes" in events


def test_application_gone(stage):
    """Case 48: before commit it rolls back, unless it is detached."""
    with stage.coordinator.application() as gone:
        attached, detached = gone.begin(), gone.begin(detached=True)
    result = stage.app.status(attached, wait=True)
    assert result.outcome == ABORTED and "disconnected" in result.reason
    assert stage.app.status(detached).outcome == pb.OUTCOME_UNKNOWN


def test_names_and_incarnations_of_participants(stage):
    """The same incarnation beside a living connection is refused, an older one after a later too;
    numbers stay over a restart."""
    address = stage.coordinator.address
    with pytest.raises(wire.Refused) as taken:
        wire.participant(address, "p1")
    assert taken.value.error == STATE and "in use" in taken.value.text
    with wire.participant(address, "p1", incarnation=5):
        stage.p1.wait_closed()
    with pytest.raises(wire.Refused) as stale:
        wire.participant(address, "p1", incarnation=4)
    assert stale.value.error == STALE
    before = {p["name"]: p["number"] for p in stage.inspect("participants")["participants"]}
    stage.restart()
    after = {p["name"]: p["number"] for p in stage.inspect("participants")["participants"]}
    assert after == before == {"p1": 1, "p2": 2}


def test_another_number_on_the_same_log_is_refused(cluster):
    """Every gtrid of a log carries its coordinator's number."""
    coordinator = cluster.add_coordinator(id=7).start()
    assert coordinator.stop() == 0
    coordinator.options["id"] = 8
    coordinator.launch()
    assert coordinator.process.wait_end() == 2
    assert "7" in coordinator.process.wait_line("log_failed").text


def test_admin_answers_from_the_start(cluster):
    """The admin port is open before the log is read and named then; ready follows."""
    coordinator = cluster.add_coordinator().launch()
    host, port = wire.split(coordinator.process.wait_line("reading_log").fields["admin"])

    def get(path):
        connection = http.client.HTTPConnection(host, port, timeout=20)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status
    assert get("/livez") == 200
    assert get("/readyz") in (200, 503)
    wait_until(lambda: get("/readyz") == 200, "ready")
    coordinator.process.wait_line("started")


def test_every_crash_point_is_used():
    header = (places.ROOT / "common" / "runtime" / "crash_point.h").read_text()
    points = re.findall(r"^\s*X\((coord_\w+)\)", header, re.M)
    assert len(points) >= 20
    text = "".join(p.read_text() for p in places.sources(".c", under="coordinator"))
    assert [p for p in points if p not in text] == []
