"""A network between real processes that a test can break: lose messages, cut links, heal them.

Each process is reached through a door of its own; whoever dials a door says in its hello who it is,
so every frame has a sender and a receiver by name. A frame for which a rule says so is lost; the
connection stays, as on a network that drops packets. Needs no privileges.
"""

import socket
import struct
import threading

import wire
from process import wait_until


class Door:
    """Listens in the place of `name`, whose own address is `target` once it is known."""

    def __init__(self, network, name):
        self.network = network
        self.name = name
        self.target = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                dialer, _ = self.listener.accept()
            except OSError:
                return
            try:
                served = socket.create_connection(wire.split(self.target), 10)
            except OSError:
                dialer.close()
                continue
            for sock in (dialer, served):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, dialer, served)
            threading.Thread(target=link.pump, args=(dialer, served, True), daemon=True).start()
            threading.Thread(target=link.pump, args=(served, dialer, False), daemon=True).start()

    def close(self):
        self.listener.close()


class Link:
    """One connection through a door."""

    def __init__(self, door, dialer, served):
        self.door = door
        self.socks = (dialer, served)
        self.who = "?"

    def pump(self, source, target, outward):
        try:
            while True:
                head = self._read(source, 4)
                data = self._read(source, struct.unpack(">I", head)[0])
                envelope = wire.pb.Envelope.FromString(data)
                if outward and envelope.WhichOneof("body") == "hello":
                    self.who = envelope.hello.name
                ends = (self.who, self.door.name) if outward else (self.door.name, self.who)
                if self.door.network.passes(*ends, envelope):
                    target.sendall(head + data)
        except (OSError, EOFError):
            for sock in self.socks:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    @staticmethod
    def _read(sock, size):
        data = b""
        while len(data) < size:
            more = sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


class Network:
    def __init__(self):
        self.doors = {}
        self.lock = threading.Lock()
        self.rules = []
        self.seen = []  # (sender, receiver, kind, whether it passed)

    def door(self, name):
        self.doors[name] = Door(self, name)
        return self.doors[name]

    def passes(self, sender, receiver, envelope):
        kind = envelope.WhichOneof("body")
        if kind == "branch":
            kind = envelope.branch.kind
        with self.lock:
            passed = not any(rule(sender, receiver, kind) for rule in self.rules)
            if kind != "ping":
                self.seen.append((sender, receiver, kind, passed))
        return passed

    def lose(self, rule):
        """Loses every frame for which rule(sender, receiver, kind) is true; kind is that of a
        branch message, else the name of the envelope's body."""
        with self.lock:
            self.rules.append(rule)

    def isolate(self, *names):
        """Nothing passes between these and all others."""
        self.lose(lambda sender, receiver, _: (sender in names) != (receiver in names))

    def heal(self):
        with self.lock:
            self.rules.clear()

    def count(self, sender, receiver, kind, passed=True):
        with self.lock:
            return sum(seen == (sender, receiver, kind, passed) for seen in self.seen)

    def await_message(self, sender, receiver, kind, passed=True, times=1):
        wait_until(lambda: self.count(sender, receiver, kind, passed) >= times,
                   f"{kind} from {sender} to {receiver}", 60)

    def close(self):
        for door in self.doors.values():
            door.close()
