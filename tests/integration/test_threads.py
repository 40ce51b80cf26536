"""Several event loops in one coordinator: what crosses from one to the other arrives once and in
order, whoever comes and goes meanwhile; a log does not care with how many loops it is opened.
"""

import json
import random
import select
import signal
import threading
import time
import urllib.request

import pytest

import wire
from bank import Bank
from ctl import Ctl
from load import Load
from process import deadline, wait_until

pb = wire.pb
COMMITTED, ABORTED = pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED


def metric(coordinator, name):
    """The sum of all rows of that name."""
    with urllib.request.urlopen(f"http://{coordinator.admin}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines
               if line.split("{")[0].split(" ")[0] == f"assent_{name}")


def test_the_log_line_says_how_many_there_are(cluster):
    coordinator = cluster.add_coordinator()
    coordinator.launch(threads=3)
    assert coordinator.started().fields["threads"] == "3"


def test_one_outcome_each_whatever_the_number_of_threads(cluster):
    """Killed under load and opened again with another number of threads each time: every transfer
    has one outcome, by its gtrid and by its key, and no money is made or lost."""
    rng = random.Random(5)
    cluster.start(agents=3, resource="kv:lock_wait=200ms",
                  coordinator={"precommit_timeout": "10m", "prepare_timeout": "1s"})
    load = Load(Bank(sorted(cluster.agents), 256), cluster.coordinator, rng)
    with cluster.coordinator.application() as peer:
        load.bank.open(peer)
    for threads in (4, 3, 16, 1, 2, 7):
        cluster.wait_up()
        load.through(lambda now=threads: cluster.coordinator.restart(threads=now), 64,
                     connections=5)
        load.audit()
    load.nothing_in_doubt()
    assert sum(t.outcome == COMMITTED for t in load.all) > len(load.all) / 4
    assert cluster.coordinator.stop() == 0


class Participants:
    """p1 and p2 vote yes to everything; p2 acknowledges when it may."""

    def __init__(self, address, incarnation, acknowledges):
        self.peers = [wire.participant(address, name, incarnation) for name in ("p1", "p2")]
        self.acknowledges = acknowledges

    def serve(self, application):
        """Answers both until the application has an answer, which it gives."""
        until = deadline()
        while not select.select([application], [], [], 0)[0] and not application.has_frame():
            left = until - time.monotonic()
            for peer in select.select([application, *self.peers], [], [], left)[0]:
                self.answer(peer)
        return application.recv()

    def answer(self, peer):
        """What has come for one of them."""
        if peer not in self.peers:
            return
        try:
            branch = peer.recv(0.001).branch
        except TimeoutError:  # a heartbeat
            return
        if branch.kind == pb.BRANCH_PREPARE:
            wire.say(peer, branch, pb.BRANCH_VOTE, vote=pb.VOTE_YES)
        elif branch.kind == pb.BRANCH_COMMIT and (peer is self.peers[0] or self.acknowledges):
            wire.say(peer, branch, pb.BRANCH_ACK, result=pb.RESULT_COMMITTED)
        if peer.has_frame():
            self.answer(peer)

    def close(self):
        for peer in self.peers:
            peer.close()


@pytest.mark.parametrize("before, after", [(4, 3), (1, 4), (4, 1)])
def test_a_key_finds_a_live_transaction_after_a_change(cluster, before, after):
    """A key's place is by its hash, its transaction's by the gtrid, which was given for another
    number of places: a second run with the key starts nothing, and waits for the first."""
    coordinator = cluster.add_coordinator()
    coordinator.start(threads=before)
    participants = Participants(coordinator.address, 1, acknowledges=False)
    keys = [f"key-{n}" for n in range(12)]

    def request(key, wait):
        return wire.run([("p1", "w"), ("p2", "w")], key=key, wait=wait)

    with coordinator.application() as peer:
        gtrids = {}
        for key in keys:
            number = peer.submit(run=request(key, wait=False))
            answer = participants.serve(peer)
            assert answer.request == number and answer.result.outcome == COMMITTED
            gtrids[key] = answer.result.gtrid
    participants.close()
    coordinator.restart(threads=after)
    with coordinator.application() as peer:
        for key in keys:
            result = peer.ask(run=request(key, wait=False))
            assert (result.gtrid, result.outcome) == (gtrids[key], COMMITTED)
            assert not result.ended
            assert peer.begin(key=key) == gtrids[key]
            assert peer.status(key=key).gtrid == gtrids[key]
        waiting = {peer.submit(run=request(key, wait=True)): key for key in keys}
        waiting.update({peer.submit(status=pb.Status(key=key, wait=True)): key for key in keys})
        participants = Participants(coordinator.address, 2, acknowledges=True)
        while waiting:
            answer = participants.serve(peer)
            key = waiting.pop(answer.request)
            assert (answer.result.gtrid, answer.result.ended) == (gtrids[key], True)
    participants.close()
    assert metric(coordinator, "transactions_begun_total") == 0


def test_the_limit_of_requests_is_the_connections(cluster):
    """However many loops its requests are dealt with on; but each may let one through at the same
    moment as another."""
    coordinator = cluster.add_coordinator(requests_max="8", prepare_timeout="10m")
    coordinator.start(threads=4)
    silent = wire.participant(coordinator.address, "p1")
    with coordinator.application() as peer:
        for n in range(40):
            peer.submit(run=wire.run([("p1", "w")], key=f"key-{n}"))
        for _ in range(40 - 8 - 3):
            assert "requests_max" in peer.recv().refusal.text
        wait_until(lambda: metric(coordinator, "transactions_begun_total") +
                   metric(coordinator, "refused_total") == 40, "all are dealt with")
        assert 8 <= metric(coordinator, "transactions_begun_total") <= 8 + 3
    silent.close()
    wait_until(lambda: metric(coordinator, "connections") == 0, "both are gone")


def test_a_connection_that_ends_takes_its_transactions_everywhere(cluster):
    """Those that it owns on any loop are rolled back."""
    cluster.start(resource="null", coordinator={"threads": "4"})
    coordinator = cluster.coordinator
    with coordinator.application() as peer:
        gtrids = [peer.begin(key=f"key-{n}") for n in range(16)]
        for gtrid in gtrids:
            peer.work(gtrid, "bank-a", "")
    with coordinator.application() as other:
        for gtrid in gtrids:
            result = other.status(gtrid, wait=True)
            assert result.outcome == ABORTED and "application" in result.reason.lower()


def test_a_second_signal_drops_what_is_under_way_between_loops(cluster, monkeypatch):
    """What the end of transactions has for participants on other loops is not sent any more, and
    new ones are refused until it comes."""
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # what is not written is not zero by chance
    cluster.start(agents=3, resource="null", coordinator={"threads": "4", "drain": "10m"})
    coordinator = cluster.coordinator
    peers = [coordinator.application() for _ in range(4)]  # one on each loop
    for peer in peers:
        for name in cluster.agents:
            peer.work(peer.begin(), name, "")
    coordinator.process.signal(signal.SIGTERM)
    coordinator.process.wait_line("draining")
    for peer in peers:
        with pytest.raises(wire.Refused, match="shutting down"):
            peer.begin()
    assert coordinator.stop() == 0
    for peer in peers:
        peer.close()


def test_what_has_ended_is_forgotten_although_most_loops_are_idle(cluster):
    """One transaction, on some loop, and no more: with the next heartbeats every participant drops
    what it keeps of it."""
    cluster.start(coordinator={"threads": "5", "heartbeat": "500ms"})

    def kept():
        return [row for agent in cluster.agents.values()
                for row in Ctl(agent.address)("participants", "branches", expect=0)
                .json["branches"]]

    with cluster.coordinator.application() as peer:
        for n in range(6):
            result = peer.ask(run=wire.run([(name, f"put k {n}") for name in cluster.agents],
                                           key=f"key-{n}", wait=True))
            assert result.outcome == COMMITTED
            wait_until(lambda: not kept(), "nothing is kept of it")


def sequence(gtrid):
    return int.from_bytes(gtrid[-5:], "big")


def test_many_participants_use_up_no_more_sequences(cluster):
    """However many pings say what has ended, with a transaction between any two of them."""
    coordinator = cluster.add_coordinator(heartbeat="500ms")
    coordinator.start(threads=4)
    began = time.monotonic()
    peers = {wire.participant(coordinator.address, f"p{n}").sock: 0 for n in range(64)}
    with coordinator.application() as peer:
        first = gtrid = peer.begin()
        begun = 1
        until = deadline()
        while min(peers.values()) < 3:
            for sock in select.select(peers, [], [], until - time.monotonic())[0]:
                assert sock.recv(1 << 16)
                sock.sendall(wire.Peer.frame(pb.Envelope(ping=pb.Ping())))
                peers[sock] += 1
                peer.end(gtrid, commit=False, wait=True)
                gtrid = peer.begin()
                begun += 1
    rounds = 2 + (time.monotonic() - began) / 0.25
    assert begun > 3 * 64
    # Of each round the three idle loops leave out all, and the last one what is left when it ends.
    assert sequence(gtrid) - sequence(first) < 4 * begun + 64 * rounds
    for sock in peers:
        sock.close()


class Stress:
    """Workers side by side; the first failure of any is the test's."""

    def __init__(self, cluster, seconds):
        self.cluster = cluster
        self.coordinator = cluster.coordinator
        self.end = time.monotonic() + seconds
        self.failures = []
        self.counts = {COMMITTED: 0, ABORTED: 0}
        self.lock = threading.Lock()

    def run(self, *workers):
        threads = [threading.Thread(target=self._until_end, args=(work, n))
                   for n, work in enumerate(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.failures, self.failures[0]

    def _until_end(self, work, seed):
        rng = random.Random(seed)
        try:
            while time.monotonic() < self.end and not self.failures:
                work(rng)
        except Exception as failure:  # pylint: disable=broad-except
            self.failures.append(repr(failure))

    def _count(self, outcome):
        with self.lock:
            self.counts[outcome] += 1

    def _names(self, rng):
        return rng.sample(sorted(self.cluster.agents), rng.choice([1, 2, 3]))

    def one_shots(self, rng):
        """Many in flight on one connection, with keys and without; some are asked twice."""
        with self.coordinator.application() as peer:
            waiting = {}
            for _ in range(64):
                key = rng.choice(["", "", f"{rng.random()}"])
                body = wire.run([(name, "w") for name in self._names(rng)], key=key,
                                protocol=rng.choice(["2pc", "3pc"]), wait=rng.random() < 0.3)
                for _ in range(2 if key and rng.random() < 0.3 else 1):
                    waiting[peer.submit(run=body)] = key
            outcomes = {}
            while waiting:
                answer = peer.recv()
                key = waiting.pop(answer.request)
                assert answer.WhichOneof("body") == "result", answer
                assert answer.result.outcome in self.counts, answer
                if key:
                    assert outcomes.setdefault(key, answer.result.gtrid) == answer.result.gtrid
                self._count(answer.result.outcome)

    def steps(self, rng):
        """Step by step; the connection may end in the middle."""
        with self.coordinator.application() as peer:
            for _ in range(8):
                gtrid = peer.begin(key=rng.choice(["", f"{rng.random()}"]))
                try:
                    for name in self._names(rng):
                        peer.work(gtrid, name, "w")
                    if rng.random() < 0.2:
                        return
                    peer.end(gtrid, commit=rng.random() < 0.8, wait=rng.random() < 0.3)
                except wire.Refused:  # the participant has come back meanwhile
                    continue

    def in_a_hurry(self, rng):
        """Asks, and does not wait for the answers."""
        with self.coordinator.application() as peer:
            for _ in range(rng.randrange(20)):
                peer.submit(run=wire.run([(name, "w") for name in self._names(rng)],
                                         key=f"{rng.random()}"))

    def visitors(self, rng):
        """A participant of its own comes and goes."""
        with wire.participant(self.coordinator.address, f"visitor-{rng.random()}"):
            pass

    def views(self, rng):
        """People look, and the settings are read anew."""
        metric(self.coordinator, "connections")
        with self.coordinator.application() as peer:
            for what in ("transactions", "participants", "health"):
                json.loads(peer.ask(inspect=pb.Inspect(what=what)).json)
            with pytest.raises(wire.Refused, match="nothing to read"):
                peer.query("bank-a", "w")
        if rng.random() < 0.1:
            self.coordinator.process.signal(signal.SIGHUP)


@pytest.mark.parametrize("threads", [2, 5])
def test_everybody_comes_and_goes_under_load(cluster, threads):
    cluster.start(agents=3, resource="null", coordinator={"threads": threads,
                                                          "retention": "200ms"})
    stress = Stress(cluster, seconds=4)
    stress.run(stress.one_shots, stress.one_shots, stress.steps, stress.steps, stress.in_a_hurry,
               stress.visitors, stress.views)
    coordinator = cluster.coordinator
    wait_until(lambda: metric(coordinator, "transactions_active") == 0, "all have ended")
    assert metric(coordinator, "transactions_begun_total") == \
        metric(coordinator, "transactions_total")
    assert stress.counts[COMMITTED] > 100
    wait_until(lambda: metric(coordinator, "connections") == len(cluster.agents),
               "the others are gone")
    assert coordinator.stop() == 0
