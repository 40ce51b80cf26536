"""The wire protocol from outside: built from proto/ by protoc, sharing no code with the programs.

A Peer is one connection, as an application, a participant or anything else that a test wants to
be, down to raw bytes. A FakeCoordinator is what an agent dials when a test plays the coordinator.
"""

import atexit
import importlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

import places
from process import deadline

VERSION = 1
FRAME_BYTES_MAX = 1 << 20


def _generate():
    directory = tempfile.mkdtemp(prefix="assent-pb-")
    atexit.register(shutil.rmtree, directory, True)
    subprocess.run(["protoc", f"--proto_path={places.ROOT / 'proto'}", f"--python_out={directory}",
                    "assent/v1/assent.proto"], check=True, cwd=places.ROOT / "proto")
    sys.path.insert(0, directory)
    return importlib.import_module("assent.v1.assent_pb2")


pb = _generate()

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def gtrid_text(raw):
    """16 bytes as the 26 characters that people see."""
    number = int.from_bytes(raw, "big")
    return "".join(_CROCKFORD[(number >> (5 * i)) & 31] for i in range(25, -1, -1))


def gtrid_bytes(text):
    number = 0
    for character in text.upper():
        number = number << 5 | _CROCKFORD.index(character)
    return number.to_bytes(16, "big")


class Closed(Exception):
    """The other side closed the connection."""


class Refused(Exception):
    """The other side answered a request with a refusal."""

    def __init__(self, refusal):
        super().__init__(f"{refusal.error}: {refusal.text}")
        self.error = refusal.error
        self.text = refusal.text
        self.retry_after_ms = refusal.retry_after_ms


def split(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Peer:
    """One connection. Heartbeats that arrive are skipped; `recv` gives everything else."""

    def __init__(self, address=None, sock=None):
        self.sock = sock or socket.create_connection(split(address), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.requests = 0
        self.peer_hello = None

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_raw(self, data):
        self.sock.settimeout(20)
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from None

    @staticmethod
    def frame(envelope):
        data = envelope.SerializeToString()
        return struct.pack(">I", len(data)) + data

    def send(self, envelope):
        self.send_raw(self.frame(envelope))

    def _more(self, until):
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came in time")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(1 << 18)
        except socket.timeout:
            raise TimeoutError("nothing came in time") from None
        except ConnectionResetError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("end of stream")
        self.buffer += data

    def recv(self, seconds=None, until=None):
        """The next envelope that is no heartbeat."""
        until = until or deadline(seconds)
        while True:
            while not self.has_frame():
                self._more(until)
            length = self._length()
            envelope = pb.Envelope.FromString(self.buffer[4:4 + length])
            self.buffer = self.buffer[4 + length:]
            if envelope.WhichOneof("body") != "ping":
                return envelope

    def has_frame(self):
        """Whether a whole frame has been read already and waits for recv."""
        return len(self.buffer) >= 4 and len(self.buffer) >= 4 + self._length()

    def fileno(self):
        return self.sock.fileno()

    def _length(self):
        return struct.unpack(">I", self.buffer[:4])[0]

    def wait_closed(self, seconds=None):
        """Reads until the other side closes; what it still said."""
        said = []
        until = deadline(seconds)
        while True:
            try:
                said.append(self.recv(until=until))
            except Closed:
                return said

    def hello(self, role, name, **fields):
        """Says hello and takes the other side's."""
        hello = dict(version_min=VERSION, version_max=VERSION, role=role, name=name,
                     cluster="default", software="test")
        hello.update(fields)
        self.send(pb.Envelope(hello=pb.Hello(**hello)))
        answer = self.recv()
        if answer.WhichOneof("body") == "refusal":
            raise Refused(answer.refusal)
        assert answer.WhichOneof("body") == "hello", answer
        self.peer_hello = answer.hello
        return answer.hello

    # As an application.

    def submit(self, **body):
        """Sends one request and returns its number."""
        self.requests += 1
        self.send(pb.Envelope(request=self.requests, **body))
        return self.requests

    def ask(self, seconds=None, **body):
        """One request and its answer's body; a refusal raises."""
        number = self.submit(**body)
        answer = self.recv(seconds)
        kind = answer.WhichOneof("body")
        if kind == "refusal":  # of this request, or (0) of the whole connection
            assert answer.request in (number, 0), answer
            raise Refused(answer.refusal)
        assert answer.request == number, answer
        return getattr(answer, kind)

    def begin(self, protocol="2pc", timeout_ms=0, key="", detached=False):
        return self.ask(begin=begin(protocol, timeout_ms, key, detached)).gtrid

    def work(self, gtrid, participant, work):
        return self.ask(work=pb.Work(gtrid=gtrid, participant=participant, work=work.encode()))

    def end(self, gtrid, commit=True, wait=False, seconds=None):
        return self.ask(seconds, end=pb.End(gtrid=gtrid, commit=commit, wait=wait))

    def status(self, gtrid=b"", key="", wait=False, seconds=None):
        return self.ask(seconds, status=pb.Status(gtrid=gtrid, key=key, wait=wait))

    def query(self, participant, command):
        return self.ask(inspect=pb.Inspect(what="query", argument=command,
                                           participant=participant)).json


def begin(protocol="2pc", timeout_ms=0, key="", detached=False, termination="none"):
    return pb.Begin(protocol=pb.PROTOCOL_3PC if protocol == "3pc" else pb.PROTOCOL_2PC,
                    termination=pb.Termination.Value(f"TERMINATION_{termination.upper()}"),
                    timeout_ms=timeout_ms, key=key, detached=detached)


def run(branches, protocol="2pc", timeout_ms=0, key="", wait=False, termination="none"):
    """A one-shot request from (participant, work) pairs."""
    return pb.Run(begin=begin(protocol, timeout_ms, key, termination=termination), wait=wait,
                  branches=[pb.BranchWork(participant=p, work=w.encode()) for p, w in branches])


def application(address, name="test"):
    """A connection that has said hello as an application."""
    peer = Peer(address)
    peer.hello(pb.ROLE_APPLICATION, name)
    return peer


def participant(address, name, incarnation=1, capabilities=0):
    """A connection that has said hello as a participant with one resource."""
    peer = Peer(address)
    peer.hello(pb.ROLE_PARTICIPANT, name, incarnation=incarnation, address="127.0.0.1:1",
               resources=[pb.Resource(name="kv", type="kv", capabilities=capabilities)])
    return peer


def hear(peer, kind):
    """The next message must be this one about a branch."""
    envelope = peer.recv()
    assert envelope.WhichOneof("body") == "branch", envelope
    assert envelope.branch.kind == kind, envelope
    return envelope.branch


def say(peer, about, kind, **fields):
    """Answers a message about a branch, as its participant."""
    message = pb.Branch()
    message.CopyFrom(about)
    message.kind = kind
    message.ClearField("work")
    message.ClearField("has_work")
    message.log_id = peer.peer_hello.log_id
    for key, value in fields.items():
        setattr(message, key, value)
    peer.send(pb.Envelope(branch=message))


class FakeCoordinator:
    """Listens where an agent dials; `accept` gives the agent's connection after both hellos."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.log_id = os.urandom(16)
        self.incarnation = 1
        self.position = 0
        self.sequence = 0

    def close(self):
        self.listener.close()

    def accept(self):
        self.listener.settimeout(max(0.1, deadline() - time.monotonic()))
        sock, _ = self.listener.accept()
        peer = Peer(sock=sock)
        hello = peer.recv()
        assert hello.WhichOneof("body") == "hello", hello
        peer.peer_hello = hello.hello
        peer.send(pb.Envelope(hello=pb.Hello(
            version_min=VERSION, version_max=VERSION, role=pb.ROLE_COORDINATOR, name="fake",
            cluster="default", log_id=self.log_id, coordinator=1, incarnation=self.incarnation,
            position=self.position)))
        return peer

    def gtrid(self):
        """A new transaction name of this log: time, coordinator, incarnation, sequence."""
        self.sequence += 1
        return struct.pack(">Q", int(time.time() * 1000) << 16 | 1) + (
            self.incarnation << 40 | self.sequence).to_bytes(8, "big")

    def branch(self, peer, kind, gtrid, protocol="2pc", **fields):
        """Sends one branch message; `peer` is the agent's connection."""
        three = protocol == "3pc"
        message = dict(kind=kind, gtrid=gtrid, branch=1, incarnation=self.incarnation,
                       epoch=peer.peer_hello.incarnation, branch_count=2, timeout_ms=10000,
                       protocol=pb.PROTOCOL_3PC if three else pb.PROTOCOL_2PC,
                       termination=pb.TERMINATION_TIMEOUT if three else pb.TERMINATION_NONE,
                       log_id=self.log_id)
        message.update(fields)
        peer.send(pb.Envelope(branch=pb.Branch(**message)))
