"""What comes from outside and is wrong: closed or ignored with a clear log line, no crash, no
growth beyond the caps, other clients unaffected (case 50)."""

import os
import random
import resource
import socket
import struct

import pytest

import ctl
import places
import wire
from bank import balances, move
from process import wait_until

pb = wire.pb
GROWTH_MAX = 24 << 20


@pytest.fixture
def ports(bank):
    """Every port of ours that strangers can reach: the coordinator's and an agent's own."""
    found = {"coordinator": bank.coordinator, "agent": bank.agents["bank-a"]}
    yield found
    for daemon in found.values():
        assert daemon.process.running(), daemon.process.complaint("is gone")
    bank.ctl.run(*move(1), options=["--wait"], expect=ctl.DONE)
    a, b = balances(bank)
    assert a + b == 200


BAD = {
    "random bytes": os.urandom(4096),
    "zeros": bytes(4096),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "length of 2^32-1": struct.pack(">I", 0xFFFFFFFF) + b"x" * 100,
    "length of 2^31": struct.pack(">I", 1 << 31) + b"x" * 100,
    "length of 0": struct.pack(">I", 0),
    "an empty envelope": struct.pack(">I", 0) * 1000,
    "not protobuf": struct.pack(">I", 6) + b"\xff" * 6,
    "work before hello": wire.Peer.frame(pb.Envelope(request=1, run=wire.run([("bank-a", "x")]))),
    "branch before hello": wire.Peer.frame(pb.Envelope(branch=pb.Branch(kind=4))),
    "a version of the future": wire.Peer.frame(pb.Envelope(hello=pb.Hello(
        version_min=7, version_max=9, role=pb.ROLE_APPLICATION, name="x", cluster="default"))),
    "another cluster": wire.Peer.frame(pb.Envelope(hello=pb.Hello(
        version_min=1, version_max=1, role=pb.ROLE_APPLICATION, name="x", cluster="elsewhere"))),
    "no role": wire.Peer.frame(pb.Envelope(hello=pb.Hello(
        version_min=1, version_max=1, name="x", cluster="default"))),
    "a name with control bytes": wire.Peer.frame(pb.Envelope(hello=pb.Hello(
        version_min=1, version_max=1, role=pb.ROLE_APPLICATION, name="a\nb event=forged",
        cluster="default"))),
}


@pytest.mark.parametrize("what", BAD)
def test_closed_with_a_log_line(ports, what):
    for name, daemon in ports.items():
        before = len(daemon.process.lines)
        with wire.Peer(daemon.address) as peer:
            try:
                peer.send_raw(BAD[what])
            except wire.Closed:
                pass
            peer.wait_closed()
            where = "%s:%d" % peer.sock.getsockname() if name == "coordinator" else ""
        line = daemon.process.wait_line(pattern="level=(warn|info|error).*" + where, after=before)
        assert "event=forged" not in line.text.split('"')[0]


def test_truncated_frame(ports):
    """Half a frame and then the end: closed, nothing kept."""
    for daemon in ports.values():
        with wire.Peer(daemon.address) as peer:
            peer.send_raw(struct.pack(">I", 100) + b"x" * 50)
            peer.sock.shutdown(socket.SHUT_WR)
            peer.wait_closed()


def test_slow_handshake_is_closed(cluster):
    """A connection that never says hello is closed at the handshake time."""
    cluster.start(agents=0, coordinator={"handshake": "100ms"})
    with wire.Peer(cluster.coordinator.address) as silent:
        silent.wait_closed()
    with wire.Peer(cluster.coordinator.address) as dripping:
        dripping.send_raw(b"\0\0")
        dripping.wait_closed()


def test_messages_out_of_order(bank):
    """After a good hello: what this role may not say now closes the connection or is refused."""
    wrong = [
        {"hello": pb.Hello(version_min=1, version_max=1, role=pb.ROLE_APPLICATION, name="again",
                           cluster="default")},
        {"branch": pb.Branch(kind=pb.BRANCH_VOTE, gtrid=bytes(16), branch=1, vote=pb.VOTE_YES)},
        {"result": pb.Result(gtrid=bytes(16), outcome=pb.OUTCOME_COMMITTED)},
        {"begin_reply": pb.BeginReply(gtrid=bytes(16))},
        {"resource_query": pb.ResourceQuery(command="dump")},
    ]
    for body in wrong:
        with bank.coordinator.application() as peer:
            peer.submit(**body)
            said = peer.wait_closed()
            assert all(e.WhichOneof("body") == "refusal" for e in said), body
    assert balances(bank) == (100, 100)


BAD_REQUESTS = {
    "gtrid too short": {"end": pb.End(gtrid=b"short", commit=True)},
    "gtrid never given": {"work": pb.Work(gtrid=bytes(16), participant="bank-a", work=b"put x 1")},
    "no branches": {"run": pb.Run(begin=wire.begin())},
    "participant of 100 bytes": {"run": wire.run([("p" * 100, "put x 1")])},
    "key of 100 bytes": {"run": wire.run([("bank-a", "put x 1")], key="k" * 100)},
    "2pc with quorum": {"begin": pb.Begin(termination=pb.TERMINATION_QUORUM)},
    "a protocol of the future": {"begin": pb.Begin(protocol=9)},
    "65 branches": {"run": wire.run([(f"p{n}", "put x 1") for n in range(65)])},
    "nothing asked": {"status": pb.Status()},
    "an unknown view": {"inspect": pb.Inspect(what="everything")},
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_bad_requests_are_refused(bank, what):
    """Refused by name, or the connection is closed; never an answer that means success."""
    with bank.coordinator.application() as peer:
        try:
            answer = peer.ask(**BAD_REQUESTS[what])
        except wire.Refused as refusal:
            assert len(refusal.text) > 5
        except wire.Closed:
            pass
        else:
            assert answer.outcome not in (pb.OUTCOME_COMMITTED, pb.OUTCOME_UNKNOWN), answer
    assert bank.coordinator.process.running()


def test_mutated_frames(bank):
    """Good conversations with bytes changed: no crash, no growth. Seeded."""
    rng = random.Random(7)
    coordinator = bank.coordinator
    hello = wire.Peer.frame(pb.Envelope(hello=pb.Hello(
        version_min=1, version_max=1, role=pb.ROLE_APPLICATION, name="fuzz", cluster="default")))
    bodies = [pb.Envelope(request=1, run=wire.run([("bank-a", "add a 0"), ("bank-b", "add b 0")])),
              pb.Envelope(request=2, status=pb.Status(key="x")),
              pb.Envelope(request=3, end=pb.End(gtrid=bytes(16))),
              pb.Envelope(request=4, inspect=pb.Inspect(what="transactions"))]
    before = coordinator.process.resident_bytes()
    for _ in range(400):
        data = bytearray(hello + wire.Peer.frame(rng.choice(bodies)))
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with wire.Peer(coordinator.address) as peer:
            try:
                peer.send_raw(bytes(data))
                peer.sock.shutdown(socket.SHUT_WR)
                peer.wait_closed()
            except (wire.Closed, OSError):
                pass
    assert coordinator.process.running()
    assert coordinator.process.resident_bytes() - before < GROWTH_MAX


def test_message_that_unfolds(bank):
    """A frame of a megabyte full of empty messages would cost fifty times its size if decoded
    without a budget; it must cost a bounded amount."""
    process = bank.coordinator.process
    before = process.resident_bytes()
    run = b"\x12\x00" * ((1 << 19) - 64)
    body = b"\x62" + _varint(len(run)) + run  # field 12 of the envelope: run
    for _ in range(4):
        with bank.coordinator.application() as peer:
            try:
                peer.send_raw(struct.pack(">I", len(body)) + body)
                peer.recv()
            except wire.Closed:
                pass
    assert process.running()
    assert process.resident_bytes() - before < GROWTH_MAX


def _varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_thousand_idle_connections(bank):
    """1,000 connections that have said hello and nothing more: others are served as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    process = bank.coordinator.process
    before = process.resident_bytes()
    idle = []
    try:
        for number in range(1000):
            idle.append(wire.application(bank.coordinator.address, f"idle-{number}"))
        bank.ctl.run(*move(10), options=["--wait"], expect=ctl.DONE)
        assert process.resident_bytes() - before < GROWTH_MAX
        with bank.coordinator.application() as peer:
            for _ in range(50):
                peer.ask(run=wire.run(move(0), wait=True))
    finally:
        for peer in idle:
            peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert balances(bank) == (90, 110)


def test_connections_beyond_the_limit(cluster):
    """Beyond connections_max new ones are closed at once; the old ones are served, and room that
    is given back is used again (case 51)."""
    cluster.start(agents=1, coordinator={"connections_max": 8})
    address = cluster.coordinator.address
    kept = [wire.application(address, f"kept-{n}") for n in range(7)]
    with pytest.raises((wire.Closed, OSError)):
        with wire.Peer(address) as beyond:
            beyond.hello(pb.ROLE_APPLICATION, "beyond")
    assert kept[0].ask(run=wire.run([("bank-a", "put x 1")])).outcome == pb.OUTCOME_COMMITTED
    kept.pop().close()

    def again():
        try:
            return wire.application(address, "again")
        except (wire.Closed, OSError):
            return None
    wait_until(again, "the freed place is taken").close()
    for peer in kept:
        peer.close()


def test_out_of_descriptors(cluster):
    """At the system's limit of descriptors accepting pauses and comes back: no crash, no spinning,
    and those who are connected are served."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    cluster.add_coordinator()
    cluster.coordinator.start(preexec=few)
    cluster.add_agent("bank-a").start()
    cluster.wait_up()
    with cluster.coordinator.application() as old:
        peers = [wire.Peer(cluster.coordinator.address) for _ in range(100)]
        before = cluster.coordinator.process.cpu_seconds()
        with pytest.raises(TimeoutError):
            old.recv(0.5)
        spent = cluster.coordinator.process.cpu_seconds() - before
        assert spent < 0.2 * places.slow_factor(), f"{spent} s of CPU while nothing could be done"
        assert old.ask(run=wire.run([("bank-a", "put x 1")])).outcome == pb.OUTCOME_COMMITTED
        for peer in peers:
            peer.close()

    def served():
        try:
            with cluster.coordinator.application() as peer:
                return peer.ask(run=wire.run([("bank-a", "put x 1")]))
        except (wire.Closed, OSError, TimeoutError):
            return None
    assert wait_until(served, "served again").outcome == pb.OUTCOME_COMMITTED


def test_slow_reader_is_disconnected(cluster):
    """A client that asks and never reads is cut off at output_max; others go on."""
    cluster.start(agents=1, coordinator={"output_max": "64K"})
    process = cluster.coordinator.process
    with cluster.coordinator.application() as peer:
        requests = 100 * wire.Peer.frame(pb.Envelope(request=1, inspect=pb.Inspect(what="health")))
        try:
            for _ in range(5000):  # far more than the sockets' buffers can take
                peer.send_raw(requests)
                if process.has_line(pattern="too slowly"):
                    break
        except (wire.Closed, OSError):
            pass
        process.wait_line(pattern="too slowly")
    cluster.ctl.run(("bank-a", "put x 1"), expect=0)


def test_slow_reader_is_named_once(cluster):
    """Hundreds of answers may wait for a reader that is cut off: its end is one warning."""
    cluster.start(coordinator={"output_max": "64K", "requests_max": 100000})
    process = cluster.coordinator.process
    refused = wire.run([("bank-a", f"check {'k' * 200} 1"), ("bank-b", "get b")])
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(wire.split(cluster.coordinator.address))
    own = "%s:%d" % sock.getsockname()
    with wire.Peer(sock=sock) as peer:
        peer.hello(pb.ROLE_APPLICATION, "slow")
        try:
            for _ in range(30000):  # far more than the sockets' buffers can take
                peer.submit(run=refused)
                if process.has_line(pattern="too slowly"):
                    break
        except (wire.Closed, OSError):
            pass
        process.wait_line(event="disconnected", pattern="too slowly")
    cluster.ctl.run(("bank-a", "put x 1"), options=["--wait"], expect=0)
    about = [line for line in process.lines if own in line.text and "level=warn" in line.text]
    assert [line.event for line in about] == ["disconnected"], about
