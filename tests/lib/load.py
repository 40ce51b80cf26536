"""Transfers in flight while processes are killed, and the truth about each of them afterwards.

Each transfer has an idempotency key. An answer may be a result, or never come. `settle` asks about
every one until it has an outcome, which must agree with any answer that was given before.
"""

import select
import time

import wire
from process import deadline, wait_until

pb = wire.pb
COMMITTED, ABORTED = pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED
DECIDED = (COMMITTED, ABORTED)


class Transfer:
    def __init__(self, key, branches, protocol):
        self.key = key
        self.branches = branches
        self.protocol = protocol
        self.answer = None
        self.gtrid = b""
        self.outcome = None

    def request(self):
        return wire.run(self.branches, protocol=self.protocol, key=self.key, timeout_ms=30000)


class Load:
    """One bank under transfers; keeps every transfer of its whole life."""

    def __init__(self, bank, coordinator, rng):
        self.bank = bank
        self.coordinator = coordinator
        self.rng = rng
        self.all = []
        self.unknown = 0

    def make(self, count):
        made = []
        for _ in range(count):
            number = len(self.all)
            source, target = self.rng.sample(self.bank.names, 2)
            branches = self.bank.transfer(number, source, target,
                                          self.rng.randrange(self.bank.accounts),
                                          self.rng.randrange(self.bank.accounts),
                                          self.rng.choice([1, 7, 90, 5000]))
            transfer = Transfer(f"t-{number}", branches, "3pc" if number % 2 else "2pc")
            self.all.append(transfer)
            made.append(transfer)
        return made

    def send(self, transfers, connections):
        """Puts every request in flight; returns what `collect` needs."""
        peers = [self.coordinator.application() for _ in range(connections)]
        waiting = {}
        for number, transfer in enumerate(transfers):
            peer = peers[number % connections]
            waiting[peer, peer.submit(run=transfer.request())] = transfer
        return peers, waiting

    def collect(self, peers, waiting, until, enough=None):
        """Takes answers until all are there (or `enough`), their connections are closed, or the
        moment comes."""
        open_peers = [p for p in peers if any(w[0] is p for w in waiting)]
        left_over = 0 if enough is None else len(waiting) - enough
        while open_peers and len(waiting) > left_over and time.monotonic() < until:
            left = max(0.0, until - time.monotonic())
            buffered = [p for p in open_peers if p.has_frame()]
            for peer in buffered or select.select(open_peers, [], [], left)[0]:
                try:
                    self.take(peer, waiting)
                    while peer.has_frame() and len(waiting) > left_over:
                        self.take(peer, waiting)
                except wire.Closed:
                    open_peers.remove(peer)

    @staticmethod
    def take(peer, waiting):
        """Keeps what was answered; a refusal (shedding load, draining) answers nothing."""
        try:
            envelope = peer.recv(0.001)
        except TimeoutError:  # only a heartbeat, or part of a frame
            return
        transfer = waiting.pop((peer, envelope.request))
        if envelope.WhichOneof("body") == "result":
            transfer.gtrid = envelope.result.gtrid
            if envelope.result.outcome in DECIDED:
                transfer.answer = envelope.result.outcome

    def strike(self, peers, waiting):
        """Returns at a random moment while transfers are in flight: after some of the answers, and
        up to a millisecond more."""
        self.collect(peers, waiting, deadline(60), enough=self.rng.randrange(len(waiting)))
        self.collect(peers, waiting, time.monotonic() + self.rng.uniform(0, 0.001))

    def through(self, what, count, connections):
        """Does what() with so many transfers in flight, and waits for the one outcome of each."""
        transfers = self.make(count)
        peers, waiting = self.send(transfers, connections)
        self.strike(peers, waiting)
        what()
        self.collect(peers, waiting, time.monotonic() + 60)
        for peer in peers:
            peer.close()
        self.settle(transfers)

    def settle(self, transfers):
        """Asks about each until it is decided and obeyed everywhere. A key that the coordinator
        never saw was lost with it, before anything could be decided: it is sent again."""
        self.unknown += sum(t.answer is None for t in transfers)
        todo = list(transfers)
        with self.coordinator.application() as peer:
            until = deadline(60)
            while todo:
                assert time.monotonic() < until, f"not settled: {[t.key for t in todo]}"
                asked = {peer.submit(status=pb.Status(
                    gtrid=t.gtrid, key="" if t.gtrid else t.key, wait=True)): t for t in todo}
                todo = []
                for _ in range(len(asked)):
                    envelope = peer.recv(60)
                    transfer = asked[envelope.request]
                    assert envelope.WhichOneof("body") == "result", envelope
                    if not self.judge(transfer, envelope.result):
                        todo.append(transfer)
                for transfer in todo:
                    if not transfer.gtrid:
                        peer.submit(run=transfer.request())
                for transfer in [t for t in todo if not t.gtrid]:
                    peer.recv(60)

    @staticmethod
    def judge(transfer, result):
        """True if this answer settles it; fails if it contradicts an earlier one."""
        if result.outcome in DECIDED:
            said = transfer.answer
            assert said in (None, result.outcome), (
                f"{transfer.key} {wire.gtrid_text(result.gtrid)}: was answered "
                f"{pb.Outcome.Name(said)}, is {pb.Outcome.Name(result.outcome)}")
            transfer.outcome = result.outcome
            transfer.gtrid = result.gtrid
            return result.ended
        assert result.outcome in (pb.OUTCOME_NEVER_SEEN, pb.OUTCOME_UNKNOWN), result
        assert transfer.answer is None or result.outcome == pb.OUTCOME_UNKNOWN, (
            f"{transfer.key}: was answered {transfer.answer}, is {result}")
        return False

    def audit(self):
        """Holds every outcome against the books of the banks, and the sum against the start."""
        with self.coordinator.application() as peer:
            books = self.bank.books(peer)
        assert self.bank.sum(books) == self.bank.total
        marks = {name: {key for key in book if key.startswith("t/")}
                 for name, book in books.items()}
        for number, transfer in enumerate(self.all):
            there = [f"t/{number}" in marks[name] for name, _ in transfer.branches]
            expected = transfer.outcome == COMMITTED
            assert there == [expected, expected], (transfer.key, transfer.outcome, there)

    def nothing_in_doubt(self):
        def clear():
            health = self.coordinator.ctl("health", expect=0).json
            return health["in_doubt"] == 0 and health["active"] == 0
        wait_until(clear, "nothing is in doubt or active")
