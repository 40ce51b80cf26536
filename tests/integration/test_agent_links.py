"""An agent's connections, resources and memory, against a coordinator that a test plays: whom it
talks to, what it votes with each resource, what it forgets and when, and how it stops."""

import re
import signal

import pytest

import places
from cluster import Agent
from process import wait_until
from wire import Closed, FakeCoordinator, Peer, Refused, pb

YES, NO, READ_ONLY = pb.VOTE_YES, pb.VOTE_NO, pb.VOTE_READ_ONLY
RESOURCES = ["kv", "books=kv:lock_wait=1ms", "null"]
STALE, NOT_FOUND = -17, -11


class Stage:
    """A fake coordinator and one agent with the resources kv, books (kv) and null."""

    def __init__(self, directory):
        self.fake = FakeCoordinator()
        self.agent = Agent(directory, "bank-a", self.fake, "kv")
        self.agent.options["resource"] = RESOURCES[1:]
        self.agent.options["inquire"] = "1h"  # it asks at a reconnect and a restart alone
        self.peer = None

    def start(self, **options):
        self.agent.start(**options)
        self.peer = self.fake.accept()
        return self

    def close(self):
        self.agent.kill()
        self.fake.close()

    def first(self, kind, gtrid, work, resource="kv", **fields):
        """A first message that carries its work."""
        self.fake.branch(self.peer, kind, gtrid, resource=resource, work=work.encode(),
                         has_work=True, **fields)

    def say(self, kind, gtrid, **fields):
        self.fake.branch(self.peer, kind, gtrid, **fields)

    def hear(self, kind, gtrid):
        """The next message about this transaction, which must be of that kind."""
        while True:
            envelope = self.peer.recv()
            assert envelope.WhichOneof("body") == "branch", envelope
            if envelope.branch.gtrid == gtrid:
                break
        assert envelope.branch.kind == kind, envelope.branch
        return envelope.branch

    def prepare(self, work, resource="kv", **fields):
        gtrid = self.fake.gtrid()
        self.first(pb.BRANCH_PREPARE, gtrid, work, resource, **fields)
        return gtrid, self.hear(pb.BRANCH_VOTE, gtrid)

    def end(self, gtrid, commit=True, **fields):
        self.say(pb.BRANCH_COMMIT if commit else pb.BRANCH_ABORT, gtrid, **fields)
        return self.hear(pb.BRANCH_ACK, gtrid).result

    def refusal(self):
        """What the agent says when it refuses the next connection's hello. A connection that an
        agent left behind when it was killed says nothing, and is skipped."""
        while True:
            try:
                said = self.fake.accept().wait_closed()
            except Closed:
                continue
            if said:
                return said[0].refusal

    def ended_below(self, gtrid):
        self.peer.send(pb.Envelope(ping=pb.Ping(ended_below=gtrid)))

    def query(self, resource, command):
        return self.peer.ask(resource_query=pb.ResourceQuery(resource=resource, command=command))


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.close()


def test_hello_tells_who_and_what(stage):
    """Name, cluster, the peers' address of the start-up line, each resource with its abilities."""
    hello = stage.start().peer.peer_hello
    assert (hello.role, hello.name, hello.cluster) == (pb.ROLE_PARTICIPANT, "bank-a", "default")
    assert hello.address == stage.agent.address
    assert 1 <= hello.incarnation <= 1 << 20  # of a new log: random
    assert [(r.name, r.type) for r in hello.resources] == [
        ("kv", "kv"), ("books", "kv"), ("null", "null")]
    assert all(r.capabilities for r in hello.resources)


def test_each_resource_votes_for_itself(stage):
    """Yes, no in the resource's words, read-only; an unknown resource is a no that says so."""
    stage.start()
    _, vote = stage.prepare("put a 1", "books")
    assert vote.vote == YES
    gtrid, vote = stage.prepare("add a -5 min 0")
    assert vote.vote == NO and "min" in vote.reason_text
    assert stage.end(gtrid, commit=False) == pb.RESULT_ABORTED
    assert stage.prepare("get a")[1].vote == READ_ONLY
    assert stage.prepare("anything", "null")[1].vote == YES
    vote = stage.prepare("no because I say so", "null")[1]
    assert vote.vote == NO and "because I say so" in vote.reason_text
    vote = stage.prepare("put a 1", "nowhere")[1]
    assert vote.vote == NO and "no resource" in vote.reason_text


def test_work_and_one_phase(stage):
    """Work is answered under its request's number and in order; one-phase commits at once."""
    stage.start()
    gtrid = stage.fake.gtrid()
    for number in (7, 8, 9):
        branch = pb.Branch(kind=pb.BRANCH_WORK, gtrid=gtrid, branch=1, incarnation=1,
                           epoch=stage.peer.peer_hello.incarnation, timeout_ms=10000,
                           resource="kv", work=b"add n %d" % number)
        stage.peer.send(pb.Envelope(request=number, branch=branch))
    for number in (7, 8, 9):
        answer = stage.peer.recv()
        assert answer.request == number
        assert (answer.branch.kind, answer.branch.vote) == (pb.BRANCH_WORK_REPLY, YES)
        assert answer.branch.work
    stage.say(pb.BRANCH_COMMIT_ONE_PHASE, gtrid)
    assert stage.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_COMMITTED
    assert '"24"' in stage.query("kv", "get n").json

    gtrid = stage.fake.gtrid()
    stage.first(pb.BRANCH_COMMIT_ONE_PHASE, gtrid, "put o 1", "books")
    assert stage.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_COMMITTED
    assert '"1"' in stage.query("books", "get o").json
    gtrid = stage.fake.gtrid()
    stage.first(pb.BRANCH_COMMIT_ONE_PHASE, gtrid, "no", "null")
    assert stage.hear(pb.BRANCH_ACK, gtrid).result == pb.RESULT_ABORTED


def test_failed_work_is_told_in_words(stage):
    stage.start()
    gtrid = stage.fake.gtrid()
    stage.first(pb.BRANCH_WORK, gtrid, "check never there")
    reply = stage.hear(pb.BRANCH_WORK_REPLY, gtrid)
    assert reply.vote == NO and "never" in reply.reason_text


def test_queries(stage):
    """Committed data only; what cannot be read is refused under the same number."""
    stage.start()
    gtrid, _ = stage.prepare("put a 1")
    assert '"1"' not in stage.query("kv", "get a").json
    assert stage.end(gtrid) == pb.RESULT_COMMITTED
    assert '"1"' in stage.query("kv", "get a").json
    for resource in ("nowhere", "null"):
        with pytest.raises(Refused) as refused:
            stage.query(resource, "dump")
        assert refused.value.error == NOT_FOUND


def test_three_phases_and_a_crash_between(stage):
    """Pre-committed is durable: after kill -9 it asks first, and obeys the coordinator."""
    stage.start()
    gtrid, vote = stage.prepare("put a 3", protocol="3pc", timeout_ms=600000)
    assert vote.vote == YES
    stage.say(pb.BRANCH_PRECOMMIT, gtrid, protocol="3pc")
    stage.hear(pb.BRANCH_PRECOMMIT_ACK, gtrid)
    stage.agent.kill()
    stage.start()
    stage.hear(pb.BRANCH_INQUIRE, gtrid)
    assert stage.end(gtrid, protocol="3pc") == pb.RESULT_COMMITTED
    assert '"3"' in stage.query("kv", "get a").json


def test_prepared_survives_kill_and_obeys(stage):
    """kill -9 while prepared, in two resources: both ask under a new incarnation, both obey."""
    first = stage.start().peer.peer_hello.incarnation
    prepared = [stage.prepare("put a 1")[0], stage.prepare("put a 2", "books")[0]]
    stage.agent.kill()
    stage.start()
    assert stage.peer.peer_hello.incarnation == first + 1
    for resource in ("kv", "books"):
        stage.agent.process.wait_line("recovered", f"resource={resource} from_list=1")
    asked = {stage.peer.recv().branch.gtrid for _ in prepared}
    assert asked == set(prepared)
    assert [stage.end(gtrid) for gtrid in prepared] == [pb.RESULT_COMMITTED] * 2
    assert '"1"' in stage.query("kv", "get a").json
    assert '"2"' in stage.query("books", "get a").json


def test_tombstones_answer_until_the_transaction_has_ended(stage):
    """A repeat is answered from the tombstone; afterwards it is refused and leaves nothing."""
    stage.start()
    gtrid, _ = stage.prepare("put a 1")
    assert stage.end(gtrid) == pb.RESULT_COMMITTED
    assert stage.end(gtrid) == pb.RESULT_COMMITTED
    stage.ended_below(stage.fake.gtrid())
    stage.first(pb.BRANCH_PREPARE, gtrid, "put a 2")
    vote = stage.hear(pb.BRANCH_VOTE, gtrid)
    assert vote.vote == NO and "finished" in vote.reason_text
    stage.first(pb.BRANCH_WORK, gtrid, "put a 2")
    assert stage.hear(pb.BRANCH_WORK_REPLY, gtrid).vote == NO
    assert stage.prepare("put a 3")[1].vote == YES  # nobody holds the key
    assert stage.agent.stop() == 0
    assert re.search(r"branches=1\b", stage.agent.process.wait_line("stopped").text)


def test_what_is_open_is_not_forgotten(stage):
    """A branch in doubt stays, although the coordinator says that its transaction has ended."""
    stage.start()
    doubt, _ = stage.prepare("put a 1")
    stage.ended_below(stage.fake.gtrid())
    assert stage.end(doubt) == pb.RESULT_COMMITTED


def test_records_go_with_the_tombstones(stage):
    """A 3pc branch leaves a record; a restart finds it, until its transaction has ended."""
    stage.start()
    gtrid, _ = stage.prepare("put a 1", protocol="3pc", timeout_ms=600000)
    assert stage.end(gtrid, protocol="3pc") == pb.RESULT_COMMITTED
    assert stage.agent.stop() == 0
    stage.start()
    stage.agent.process.wait_line("recovered", "from_records=1")
    assert stage.end(gtrid, protocol="3pc") == pb.RESULT_COMMITTED
    stage.ended_below(stage.fake.gtrid())
    stage.query("kv", "dump")  # the ping has been read before it
    assert stage.agent.stop() == 0
    stage.start()
    assert not stage.agent.process.has_line("recovered")


def test_an_earlier_life_of_a_coordinator_is_refused(stage):
    """Also after a restart of the agent: the highest incarnation seen is durable (28, 36)."""
    stage.fake.incarnation = 5
    stage.start()
    stage.agent.process.wait_line("connected")
    for _ in range(2):
        stage.fake.incarnation = 4
        stage.agent.kill()
        stage.agent.start()
        refusal = stage.refusal()
        assert refusal.error == STALE and "5 was seen" in refusal.text
        stage.agent.process.wait_line("coordinator_refused", "5 was seen")
    stage.fake.incarnation = 6
    stage.peer = stage.fake.accept()
    assert stage.prepare("put a 1")[1].vote == YES


@pytest.mark.parametrize("hello, says", [
    ({"cluster": "other"}, "cluster"),
    ({"version_min": 9, "version_max": 9}, "version"),
    ({"role": pb.ROLE_APPLICATION}, "no coordinator"),
])
def test_a_wrong_coordinator_is_refused(stage, hello, says):
    """By name, in its log and to the other side, and tried again later."""
    stage.agent.start()
    for _ in range(2):
        stage.fake.listener.settimeout(20)
        sock, _ = stage.fake.listener.accept()
        with Peer(sock=sock) as peer:
            peer.recv()
            fields = {"version_min": 1, "version_max": 1, "role": pb.ROLE_COORDINATOR,
                      "cluster": "default", "log_id": stage.fake.log_id, "incarnation": 1,
                      "name": "wrong", **hello}
            peer.send(pb.Envelope(hello=pb.Hello(**fields)))
            refusal = peer.recv().refusal
            assert says in refusal.text
            peer.wait_closed()
    stage.agent.process.wait_line("coordinator_refused", says)
    stage.peer = stage.fake.accept()
    assert stage.prepare("put a 1")[1].vote == YES


def test_a_refused_hello_is_logged_and_tried_again(stage):
    """A coordinator that does not want this agent (a name twice) is asked again, not dropped."""
    stage.agent.start()
    stage.fake.listener.settimeout(20)
    sock, _ = stage.fake.listener.accept()
    with Peer(sock=sock) as peer:
        peer.recv()
        peer.send(pb.Envelope(refusal=pb.Refusal(error=-13, text="there is another bank-a")))
        peer.wait_closed()
    stage.agent.process.wait_line("hello_refused", "there is another bank-a")
    stage.peer = stage.fake.accept()
    assert stage.prepare("put a 1")[1].vote == YES


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x05junk!", b"\xff\xff\xff\xff",
                                  Peer.frame(pb.Envelope(request=1, begin=pb.Begin())),
                                  Peer.frame(pb.Envelope(branch=pb.Branch(
                                      kind=pb.BRANCH_VOTE, gtrid=b"g" * 16, branch=1)))],
                         ids=["garbage", "length", "begin", "vote"])
def test_nonsense_ends_the_connection_and_nothing_else(stage, data):
    """Logged, closed, dialed again; a branch in doubt is as it was (50)."""
    stage.start()
    gtrid, _ = stage.prepare("put a 1")
    stage.peer.send_raw(data)
    stage.peer.wait_closed()
    stage.peer = stage.fake.accept()
    stage.hear(pb.BRANCH_INQUIRE, gtrid)
    assert stage.end(gtrid) == pb.RESULT_COMMITTED


def test_stop_gives_up_what_has_not_voted(stage):
    """TERM: work is rolled back and said to be, a prepared branch stays for the next start."""
    stage.start()
    prepared, _ = stage.prepare("put a 1")
    working = stage.fake.gtrid()
    stage.first(pb.BRANCH_WORK, working, "put b 1")
    assert stage.hear(pb.BRANCH_WORK_REPLY, working).vote == YES
    stage.agent.process.signal(signal.SIGTERM)
    vote = stage.hear(pb.BRANCH_VOTE, working)
    assert vote.vote == NO
    assert stage.agent.process.wait_end() == 0
    stage.start()
    stage.hear(pb.BRANCH_INQUIRE, prepared)
    assert stage.end(prepared) == pb.RESULT_COMMITTED


def test_a_second_signal_ends_at_once(stage):
    """Although a call is under way that the first one waits for."""
    stage.agent.options["resource"] = ["null:delay=60s"]
    stage.start(work_timeout="60s", stop_timeout="60s")
    gtrid = stage.fake.gtrid()
    stage.first(pb.BRANCH_WORK, gtrid, "anything", "null", timeout_ms=60000)
    stage.query("kv", "dump")  # the work has been read before it
    stage.agent.process.signal(signal.SIGTERM)
    stage.agent.process.wait_line("stopping")
    stage.agent.process.signal(signal.SIGTERM)
    assert stage.agent.process.wait_end() == 1


def test_stop_is_bounded(stage):
    """A resource that does not return holds the stop up for no longer than asked."""
    stage.agent.options["resource"] = ["null:delay=60s"]
    stage.start(work_timeout="60s", stop_timeout="200ms")
    gtrid = stage.fake.gtrid()
    stage.first(pb.BRANCH_WORK, gtrid, "anything", "null", timeout_ms=60000)
    stage.query("kv", "dump")
    assert stage.agent.stop() == 0
    assert stage.agent.process.has_line("stop_incomplete")


def test_doubt_is_warned_of(stage):
    """With growing intervals, so that days of it do not fill the log."""
    stage.start(in_doubt_warn="1ms")
    stage.prepare("put a 1")
    line = stage.agent.process.wait_line("in_doubt")
    assert line.fields["resource"] == "kv"
    assert int(line.fields["waited_ms"]) >= 1


def test_reload_changes_how_it_logs_and_names_the_rest(stage, tmp_path):
    """HUP reads the file again."""
    config = tmp_path / "agent.conf"
    config.write_text("log_level = info\nworkers = 2\n")
    stage.start(config=config)
    config.write_text("log_level = debug\nworkers = 3\n")
    stage.agent.process.signal(signal.SIGHUP)
    stage.agent.process.wait_line("reloaded", "log_level")
    assert "workers" in stage.agent.process.wait_line("restart_needed").text
    config.write_text("log_level = loud\n")
    stage.agent.process.signal(signal.SIGHUP)
    stage.agent.process.wait_line("reload_refused", "log_level")
    config.write_text("log_format = json\n")
    stage.agent.process.signal(signal.SIGHUP)
    stage.agent.process.wait_line(pattern='"event":"reloaded","key":"log_format"')
    assert stage.prepare("put a 1")[1].vote == YES


def test_a_lost_connection_is_found_and_made_again(stage):
    """A coordinator that falls silent is noticed by its heartbeats (49)."""
    stage.start(heartbeat="100ms")
    gtrid, _ = stage.prepare("put a 1")
    first = stage.peer  # says nothing any more
    stage.agent.process.wait_line("disconnected")
    stage.peer = stage.fake.accept()
    stage.hear(pb.BRANCH_INQUIRE, gtrid)
    first.close()


def test_limits_vote_down_and_say_so(stage):
    """Beyond branches_max new branches are voted down in words; old ones go on."""
    stage.start(branches_max=2)
    kept = [stage.prepare(f"put a{i} 1")[0] for i in range(2)]
    vote = stage.prepare("put b 1")[1]
    assert vote.vote == NO and "limit of branches" in vote.reason_text
    assert [stage.end(gtrid) for gtrid in kept] == [pb.RESULT_COMMITTED] * 2
    stage.ended_below(stage.fake.gtrid())
    assert stage.prepare("put b 1")[1].vote == YES


def test_every_crash_point_is_in_the_code():
    """Each agent_* point of crash_point.h stands in the agent's or a resource's sources."""
    header = (places.ROOT / "common" / "runtime" / "crash_point.h").read_text()
    points = re.findall(r"^\s*X\((agent_\w+)\)", header, re.M)
    code = "".join(p.read_text() for p in places.sources(".c", under="participant"))
    assert len(points) > 20
    assert [p for p in points if p not in code] == []


def test_wrong_settings_are_named(stage, tmp_path):
    """Exit 2 with a sentence, before anything is opened."""
    for options, says in (({"resource": ["sql"]}, 'no type "sql"'),
                          ({"resource": ["kv"]}, "two resources are named kv"),
                          ({"cluster": "a b"}, "cluster"),
                          ({"coordinator": ["nonsense"]}, "nonsense"),
                          ({"retry_min": "2s", "retry_max": "1s"}, "retry_min")):
        stage.agent.launch(**options)
        assert stage.agent.process.wait_end() == 2
        wait_until(lambda said=says: stage.agent.process.has_line(pattern=re.escape(said)), says)
    assert not stage.agent.data.exists()
