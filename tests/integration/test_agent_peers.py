"""One agent, and around it a coordinator and another participant that the test plays: what it lets
in from whom, whom it dials, what it remembers of its peers, and when it must not answer."""

import contextlib
import shutil
import socket
import time

import pytest

from cluster import Agent
from ctl import Ctl
from process import deadline, wait_until
from wire import VERSION, Closed, FakeCoordinator, Peer, Refused, gtrid_bytes, gtrid_text, pb

YES = pb.VOTE_YES
PEER_EPOCH = 77
NOT_FOUND, REFUSED = -11, -13


class FakePeer:
    """Listens as participant `name`; `accept` takes the agent's connection after both hellos."""

    def __init__(self, name="bank-b"):
        self.name = name
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def hello(self):
        return dict(version_min=VERSION, version_max=VERSION, role=pb.ROLE_PARTICIPANT,
                    name=self.name, cluster="default", address=self.address,
                    incarnation=PEER_EPOCH, resources=[pb.Resource(name="kv", type="kv")])

    def accept(self):
        self.listener.settimeout(max(0.1, deadline() - time.monotonic()))
        peer = Peer(sock=self.listener.accept()[0])
        peer.peer_hello = peer.recv().hello
        peer.send(pb.Envelope(hello=pb.Hello(**self.hello())))
        return peer

    def dial(self, address):
        peer = Peer(address)
        hello = self.hello()
        peer.hello(hello.pop("role"), hello.pop("name"), **hello)
        return peer

    def close(self):
        self.listener.close()


class Scene:
    def __init__(self, directory):
        self.fake = FakeCoordinator()
        self.other = FakePeer()
        self.agent = Agent(directory, "bank-a", self.fake, "kv", retry_max="100ms")
        self.coordinator = None

    def start(self, **options):
        self.agent.start(**options)
        self.coordinator = self.fake.accept()
        return self

    @property
    def epoch(self):
        return self.coordinator.peer_hello.incarnation

    def peers(self):
        return [pb.Peer(participant="bank-a/kv", address=self.agent.address, epoch=self.epoch),
                pb.Peer(participant="bank-b/kv", address=self.other.address, epoch=PEER_EPOCH)]

    def prepared(self, protocol="3pc", timeout_ms=600000, termination=pb.TERMINATION_QUORUM,
                 key="x"):
        """Branch 1 of a transaction whose branch 2 is the other participant's."""
        gtrid = self.fake.gtrid()
        self.fake.branch(self.coordinator, pb.BRANCH_PREPARE, gtrid, protocol,
                         termination=termination, timeout_ms=timeout_ms, peers=self.peers(),
                         work=f"put {key} 1".encode(), has_work=True, resource="kv")
        vote = self.coordinator.recv().branch
        while vote.gtrid != gtrid:  # an earlier one that asks
            vote = self.coordinator.recv().branch
        assert (vote.kind, vote.vote) == (pb.BRANCH_VOTE, YES), vote
        return gtrid

    def say(self, peer, kind, gtrid, sender=2, **fields):
        """As the other participant, over a connection with the agent."""
        message = dict(kind=kind, gtrid=gtrid, branch=1, epoch=self.epoch, branch_count=2,
                       protocol=pb.PROTOCOL_3PC, termination=pb.TERMINATION_QUORUM,
                       log_id=self.fake.log_id, resource="kv", **{"from": sender})
        message.update(fields)
        peer.send(pb.Envelope(branch=pb.Branch(**message)))

    def silent(self, peer):
        """Nothing was answered to what was said before: the next answer is to nonsense."""
        try:
            peer.ask(status=pb.Status(key="k"))
        except Refused as refused:
            assert refused.error == REFUSED
        else:
            raise AssertionError("a status was answered")

    def shown(self):
        return Ctl(self.agent.address)("participants", "branches", expect=0).json["branches"]

    def close(self):
        self.agent.kill()
        self.fake.close()
        self.other.close()


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("kind", [pb.BRANCH_WORK, pb.BRANCH_PREPARE, pb.BRANCH_PRECOMMIT,
                                  pb.BRANCH_COMMIT_ONE_PHASE, pb.BRANCH_VOTE, pb.BRANCH_ACK])
def test_a_peer_is_no_coordinator(scene, kind):
    """What only a coordinator says is refused by name from a participant, and changes nothing."""
    gtrid = scene.start().prepared()
    with scene.other.dial(scene.agent.address) as peer:
        scene.say(peer, kind, gtrid)
        refusal = peer.recv().refusal
        assert refusal.error == REFUSED and "member 2" in refusal.text
    assert [row["phase"] for row in scene.shown()] == ["prepared"]


def test_strangers_are_refused_by_name(scene):
    """A message in the coordinator's name, one about a log never seen, one before a hello, and a
    coordinator that dials."""
    gtrid = scene.start().prepared()
    with scene.other.dial(scene.agent.address) as peer:
        scene.say(peer, pb.BRANCH_ABORT, gtrid, sender=0)
        assert "member 0" in peer.recv().refusal.text
        scene.say(peer, pb.BRANCH_ABORT, gtrid, log_id=b"x" * 16)
        assert peer.recv().refusal.error == NOT_FOUND
    with Peer(scene.agent.address) as peer:
        peer.send(pb.Envelope(request=1, status=pb.Status(gtrid=gtrid)))
        assert "before hello" in peer.wait_closed()[0].refusal.text
    with Peer(scene.agent.address) as peer:
        with pytest.raises(Refused, match="dials its coordinators itself"):
            peer.hello(pb.ROLE_COORDINATOR, "c", log_id=b"x" * 16, incarnation=1)
    assert [row["phase"] for row in scene.shown()] == ["prepared"]


def test_no_peer_on_the_coordinators_connection(scene):
    """There `from` is 0; anything else ends the connection."""
    gtrid = scene.start().prepared()
    scene.say(scene.coordinator, pb.BRANCH_ABORT, gtrid)
    said = scene.coordinator.wait_closed()
    assert "out of order" in said[-1].refusal.text
    assert [row["phase"] for row in scene.shown()] == ["prepared"]


def test_applications_may_look_and_no_more(scene):
    """assentctl may list branches, one transaction's or all; the rest is refused by name."""
    gtrid = scene.start().prepared("2pc", termination=pb.TERMINATION_COOPERATIVE)
    with Peer(scene.agent.address) as peer:
        hello = peer.hello(pb.ROLE_APPLICATION, "test")
        assert (hello.role, hello.name) == (pb.ROLE_PARTICIPANT, "bank-a")
        for body in ({"begin": pb.Begin()}, {"inspect": pb.Inspect(what="health")}):
            with pytest.raises(Refused):
                peer.ask(**body)
    (row,) = scene.shown()
    assert (row["phase"], row["decision"], row["peers"]) == ("prepared", "none", 2)
    assert row["in_doubt_since"] and row["coordinator"] == "up"
    assert gtrid_bytes(row["gtrid"]) == gtrid
    own = Ctl(scene.agent.address)
    (found,) = own("participants", "branches", row["gtrid"], expect=0).json["branches"]
    assert found["gtrid"] == row["gtrid"]
    assert own("participants", "branches", "0" * 26, expect=4).err
    assert "participant" in own("health", expect=2).err


def test_who_asks_is_answered_where_it_asked(scene):
    """Also before the agent knows its peers: asked about a branch that only works, it refuses for
    good, says so over that connection, and votes no."""
    gtrid = scene.start().fake.gtrid()
    scene.fake.branch(scene.coordinator, pb.BRANCH_WORK, gtrid, "3pc", resource="kv",
                      work=b"put x 1", has_work=True, termination=pb.TERMINATION_QUORUM)
    assert scene.coordinator.recv().branch.vote == YES
    with scene.other.dial(scene.agent.address) as peer:
        scene.say(peer, pb.BRANCH_ELECT, gtrid, ballot=4)
        answer = peer.recv().branch
        assert (answer.kind, answer.branch) == (pb.BRANCH_ABORT, 2) and answer.gtrid == gtrid
        vote = scene.coordinator.recv().branch
        assert (vote.kind, vote.vote) == (pb.BRANCH_VOTE, pb.VOTE_NO)


def ask_of(peer):
    """The next ELECT that the agent says to the other participant."""
    message = peer.recv().branch
    assert message.kind == pb.BRANCH_ELECT, message
    return message


def test_in_doubt_it_dials_its_peer(scene):
    """Addressed to the peer's branch, with all that a first message there needs; also after kill
    -9, with no coordinator to ask. The peer's answer ends the doubt."""
    gtrid = scene.start().prepared(timeout_ms=100)
    ballots = []
    for restart in (False, True):
        if restart:
            scene.agent.kill()
            scene.fake.close()
            scene.agent.start()
        with scene.other.accept() as peer:
            assert peer.peer_hello.name == "bank-a"
            asked = ask_of(peer)
            assert (asked.gtrid, asked.branch, getattr(asked, "from")) == (gtrid, 2, 1)
            assert (asked.epoch, asked.resource) == (PEER_EPOCH, "kv")
            assert asked.log_id == scene.fake.log_id
            ballots.append(asked.ballot)
            if restart:
                scene.say(peer, pb.BRANCH_COMMIT, gtrid)
                wait_until(lambda: [r["phase"] for r in scene.shown()] == ["committed"], "it obeys")
    assert ballots[0] < ballots[1]


def test_a_name_at_another_address(scene):
    """Somebody else has the peer's address now: it is told nothing. The peer, restarted elsewhere,
    says so itself, and is dialed there."""
    scene.other.name = "bank-x"
    gtrid = scene.start().prepared(timeout_ms=100)
    with scene.other.accept() as peer:
        said = peer.wait_closed()
        assert [m.WhichOneof("body") for m in said] == ["refusal"]
        assert "bank-x, not participant bank-b" in said[0].refusal.text
    moved = FakePeer("bank-b")
    moved.dial(scene.agent.address).close()
    with moved.accept() as peer:
        assert ask_of(peer).gtrid == gtrid
    moved.close()


def test_an_idle_connection_is_closed(scene):
    """15 heartbeats after it was last needed."""
    gtrid = scene.start(heartbeat="20ms").prepared(timeout_ms=100)
    with scene.other.accept() as peer:
        ask_of(peer)
        scene.say(peer, pb.BRANCH_ABORT, gtrid)
        until = deadline()
        with pytest.raises(Closed):
            while time.monotonic() < until:
                peer.send(pb.Envelope(ping=pb.Ping()))
                with contextlib.suppress(TimeoutError):
                    peer.recv(0.02)


@pytest.mark.parametrize("asker", ["peer", "coordinator"])
def test_a_lost_log_does_not_answer_for_it(scene, asker):
    """The agent's directory is gone and made anew: a new incarnation that was never used. Asked
    about the branch that it had voted yes for, it is silent; one that never voted says abort."""
    gtrid = scene.start().prepared()
    before = scene.epoch
    scene.agent.kill()
    shutil.rmtree(scene.agent.data)
    scene.coordinator.close()
    scene.start()
    assert scene.epoch != before
    if asker == "coordinator":
        for kind in (pb.BRANCH_INQUIRE, pb.BRANCH_ELECT, pb.BRANCH_PROPOSE):
            scene.fake.branch(scene.coordinator, kind, gtrid, "3pc", epoch=before, ballot=5,
                              state=pb.MEMBER_PREABORTED if kind == pb.BRANCH_PROPOSE else 0)
        peer = scene.coordinator
        assert "entries" in peer.ask(resource_query=pb.ResourceQuery(command="dump")).json
        return
    with scene.other.dial(scene.agent.address) as peer:
        for kind in (pb.BRANCH_INQUIRE, pb.BRANCH_ELECT, pb.BRANCH_PROPOSE):
            scene.say(peer, kind, gtrid, epoch=before, ballot=5,
                      state=pb.MEMBER_PREABORTED if kind == pb.BRANCH_PROPOSE else 0)
        scene.silent(peer)


def test_a_restart_without_a_record_never_voted(scene):
    """The same question about an earlier life of this log: there is no record of a yes, so there
    was none, and abort is the answer."""
    before = scene.start().epoch
    gtrid = scene.fake.gtrid()
    scene.agent.kill()
    scene.coordinator.close()
    scene.start()
    with scene.other.dial(scene.agent.address) as peer:
        scene.say(peer, pb.BRANCH_ELECT, gtrid, epoch=before, ballot=5)
        assert peer.recv().branch.kind == pb.BRANCH_ABORT


def test_what_is_forgotten_stays_closed(scene):
    """Committed, ended everywhere and forgotten: an old frame is not answered, before a restart or
    after it, since abort would be the answer of one that never voted."""
    gtrid = scene.start().prepared()
    before = scene.epoch
    scene.fake.branch(scene.coordinator, pb.BRANCH_COMMIT, gtrid, "3pc")
    assert scene.coordinator.recv().branch.result == pb.RESULT_COMMITTED
    with scene.other.dial(scene.agent.address) as peer:
        scene.say(peer, pb.BRANCH_ELECT, gtrid, ballot=5)
        assert peer.recv().branch.kind == pb.BRANCH_COMMIT
    scene.coordinator.send(pb.Envelope(ping=pb.Ping(ended_below=scene.fake.gtrid())))
    wait_until(lambda: scene.shown() == [], "it has forgotten")
    for restart in (False, True):
        if restart:
            scene.agent.kill()
            scene.coordinator.close()
            scene.start()
        with scene.other.dial(scene.agent.address) as peer:
            scene.say(peer, pb.BRANCH_ELECT, gtrid, epoch=before, ballot=5)
            scene.silent(peer)


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_an_abort_out_of_a_restored_log_is_held_back(scene, protocol):
    """Whoever has not noticed that the log is an older copy may pass its abort on. Until a person
    accepts that, only a commit counts, and the branch goes on asking everybody (37)."""
    scene.fake.position = 10
    scene.start(inquire="100ms")
    saved = scene.prepared()
    held = scene.prepared(protocol, 200, pb.TERMINATION_QUORUM if protocol == "3pc" else
                          pb.TERMINATION_COOPERATIVE, key="y")
    scene.coordinator.close()
    scene.fake.incarnation, scene.fake.position = 3, 4
    scene.coordinator = scene.fake.accept()
    scene.agent.process.wait_line("log_restored")
    ours = dict(protocol=pb.PROTOCOL_3PC if protocol == "3pc" else pb.PROTOCOL_2PC)
    with scene.other.accept() as peer:  # it does not stand, it asks
        wait_until(lambda: peer.recv().branch.kind == pb.BRANCH_INQUIRE, "it asks who knows")
        for sender in (0, 2):
            if sender == 0:
                scene.fake.branch(scene.coordinator, pb.BRANCH_ABORT, held, protocol)
            else:
                scene.say(peer, pb.BRANCH_ABORT, held, **ours)
                scene.say(peer, pb.BRANCH_ELECT, held, ballot=90, **ours)
                scene.say(peer, pb.BRANCH_COMMIT, saved)
        wait_until(lambda: {r["gtrid"]: r["phase"] for r in scene.shown()} ==
                   {gtrid_text(held): "prepared", gtrid_text(saved): "committed"},
                   "the commit is obeyed, the aborts are not")
    scene.coordinator.send(pb.Envelope(ping=pb.Ping(accepted=3)))
    scene.agent.process.wait_line("restore_accepted")

    def told():
        said = scene.coordinator.recv().branch
        return said.kind == pb.BRANCH_ACK and said.gtrid == saved
    wait_until(told, "what the log has lost is told to it")
    scene.fake.branch(scene.coordinator, pb.BRANCH_ABORT, held, protocol)
    wait_until(lambda: "prepared" not in [r["phase"] for r in scene.shown()], "it has obeyed")


def test_two_branches_at_one_participant(scene):
    """They are members of their own and find each other without a connection: with the coordinator
    gone the two of them are a majority of three."""
    scene.agent.options["resource"] = ["books=kv"]
    gtrid = scene.start().fake.gtrid()
    peers = [pb.Peer(participant=f"bank-a/{name}", address=scene.agent.address, epoch=scene.epoch)
             for name in ("kv", "books")]
    for number, resource in ((1, "kv"), (2, "books")):
        scene.fake.branch(scene.coordinator, pb.BRANCH_PREPARE, gtrid, "3pc", branch=number,
                          termination=pb.TERMINATION_QUORUM, timeout_ms=200, peers=peers,
                          work=b"put x 1", has_work=True, resource=resource)
    for _ in range(2):
        assert scene.coordinator.recv().branch.vote == YES
    scene.fake.close()
    scene.coordinator.close()
    wait_until(lambda: [r["phase"] for r in scene.shown()] == ["aborted"] * 2, "both have aborted")
    assert "event=peer_con" not in scene.agent.log.read_text()


def test_full_of_branches_it_takes_no_questions(scene):
    """A question about a branch that is not known makes a record of a refusal; beyond branches_max
    it makes none, and is not answered."""
    scene.start(branches_max=1).prepared()
    with scene.other.dial(scene.agent.address) as peer:
        scene.say(peer, pb.BRANCH_ELECT, scene.fake.gtrid(), ballot=5)
        scene.silent(peer)
    assert len(scene.shown()) == 1
