"""Participants that finish without their coordinator, on hosts of their own: a coordinator and
three agents, each in a network namespace (tests/lib/hosts.py), cut off by the kernel.

Method: bank-a's vote is held back by a lock, so that the others have voted and can be cut off
before anything is decided; what the coordinator then says reaches bank-a alone.
"""

import pytest

import hosts
import places
import wire
from cluster import Cluster
from ctl import Ctl
from process import wait_until

pytestmark = pytest.mark.skipif(hosts.why_not() is not None, reason=str(hosts.why_not()))

pb = wire.pb
NAMES = ["bank-a", "bank-b", "bank-c"]
COMMITTED, ABORTED = "committed", "aborted"


class Town:
    """A coordinator and three agents, each on a host of its own."""

    def __init__(self, directory):
        self.cluster = Cluster(directory)
        self.hosts = hosts.Hosts(["coordinator", *NAMES])
        self.application = None
        self.lock = None

    def start(self):
        slow = places.slow_factor()
        often = f"{int(100 * slow)}ms"
        self.cluster.add_coordinator(prepare_timeout=f"{int(3 * slow)}s", heartbeat=often,
                                     precommit_timeout=f"{int(2 * slow)}s")
        for name in NAMES:
            self.cluster.add_agent(name, resource="kv:lock_wait=60s", retry_max="200ms",
                                   heartbeat=often, inquire="200ms")
        for daemon in self.cluster.daemons():
            daemon.address = f"{self.hosts.ip(daemon.name)}:0"
            with self.hosts.on(daemon.name):
                daemon.start()
        with self.hosts.on("coordinator"):
            self.cluster.wait_up()
            self.application = self.cluster.coordinator.application()
        return self

    def tell_bank_a_alone(self, protocol, termination, phase):
        """Puts one transaction over all three so far that bank-a has heard of the commit, and is
        in `phase`, while bank-b and bank-c, which have voted, can hear nothing. The application
        that waits for its reply."""
        lock = self.application.begin()
        self.lock = wire.gtrid_text(lock)
        self.application.work(lock, "bank-a", "put x 0")
        with self.hosts.on("coordinator"):
            waiting = self.cluster.coordinator.application()
        waiting.submit(run=wire.run([(name, "put x 1") for name in NAMES], protocol, 60000,
                                    key="k", termination=termination))
        self.await_phases("prepared", names=["bank-b", "bank-c"])
        self.hosts.cut("bank-b", "bank-c")
        self.application.end(lock, commit=False)
        self.await_phases(phase, names=["bank-a"])
        return waiting

    def coordinator_dies_for_good(self):
        """Off the network first: its kernel would go on sending what it has queued."""
        self.hosts.cut("coordinator")
        self.cluster.coordinator.kill()

    def shown(self, name):
        """What that participant says about its branch of the transaction."""
        with self.hosts.on(name):
            rows = Ctl(self.cluster.agents[name].address)("participants", "branches",
                                                          expect=0).json["branches"]
        rows = [row for row in rows if row["gtrid"] != self.lock]
        assert len(rows) <= 1, rows
        return rows[0] if rows else {"phase": "none", "decision": "none"}

    def await_phases(self, *phases, names=None):
        """Until each of the participants is in one of the phases; what they say then."""
        names = names or NAMES
        wait_until(lambda: all(self.shown(n)["phase"] in phases for n in names),
                   f"{names} in {phases}", 60)
        return {name: self.shown(name)["phase"] for name in names}

    def await_one_outcome(self, names=None):
        phases = self.await_phases(COMMITTED, ABORTED, names=names)
        assert len(set(phases.values())) == 1, phases
        return next(iter(phases.values()))

    def check_the_end(self, outcome):
        """The coordinator, back, says the same, and so do the values."""
        if not self.cluster.coordinator.process.running():
            self.hosts.heal("coordinator")
            with self.hosts.on("coordinator"):
                self.cluster.coordinator.start()
        with self.hosts.on("coordinator"):
            with self.cluster.coordinator.application() as peer:
                self.cluster.wait_up()
                wait_until(lambda: peer.status(key="k", wait=True, seconds=30).outcome
                           == pb.Outcome.Value(f"OUTCOME_{outcome.upper()}"), outcome, 30)
                for name in NAMES:
                    assert ('"1"' in peer.query(name, "get x")) == (outcome == COMMITTED)
        for name in NAMES:
            assert "event=alarm" not in self.cluster.agents[name].log.read_text(), name

    def close(self):
        if self.application:
            self.application.close()
        self.cluster.close()
        self.hosts.close()


@pytest.fixture
def town(tmp_path):
    made = Town(tmp_path)
    yield made
    made.close()


def test_no_coordinator_ever_again_quorum(town):
    """The coordinator dies for good when PreCommit has reached one of three: all reach one outcome
    without it, and it agrees when somebody brings it back after all."""
    town.start().tell_bank_a_alone("3pc", "quorum", "pre-committed")
    town.coordinator_dies_for_good()
    town.hosts.heal(*NAMES)
    town.check_the_end(town.await_one_outcome())


def test_no_coordinator_ever_again_timeout(town):
    """The same with `timeout`: it splits, and each participant shows its half."""
    town.start().tell_bank_a_alone("3pc", "timeout", "pre-committed")
    town.coordinator_dies_for_good()
    town.hosts.heal(*NAMES)
    assert town.await_phases(COMMITTED, ABORTED) == {
        "bank-a": COMMITTED, "bank-b": ABORTED, "bank-c": ABORTED}


def test_minority_waits_and_joins(town):
    """bank-c stays cut off when the coordinator is gone: the others, a majority of the
    participants, finish; it waits, and has their outcome once it is back."""
    town.start().tell_bank_a_alone("3pc", "quorum", "pre-committed")
    town.coordinator_dies_for_good()
    town.hosts.heal("bank-a", "bank-b")
    outcome = town.await_one_outcome(["bank-a", "bank-b"])
    # It stands for election again and again, and each attempt is on disk before it is told.
    assert town.shown("bank-c")["phase"] in ("prepared", "pre-aborted", "logging election")
    assert town.shown("bank-c")["decision"] == "none"
    town.hosts.heal("bank-c")
    town.await_phases(outcome, "none", names=["bank-c"])
    town.check_the_end(outcome)


def test_two_phase_peers_tell_the_decision(town):
    """2pc: the coordinator is gone after telling one participant; the others learn it there."""
    town.start().tell_bank_a_alone("2pc", "cooperative", COMMITTED)
    town.coordinator_dies_for_good()
    assert [town.shown(name)["phase"] for name in NAMES] == [COMMITTED, "prepared", "prepared"]
    town.hosts.heal(*NAMES)
    assert town.await_one_outcome() == COMMITTED
    town.check_the_end(COMMITTED)


def test_one_participant_cut_off(town):
    """The coordinator lives, and only bank-c cannot be reached: the reply does not wait for it,
    and it joins the same outcome when the cut is mended."""
    waiting = town.start().tell_bank_a_alone("3pc", "quorum", "pre-committed")
    town.hosts.heal("bank-b")
    outcome = town.await_one_outcome(["bank-a", "bank-b"])
    result = waiting.recv(60).result
    assert pb.Outcome.Name(result.outcome) == f"OUTCOME_{outcome.upper()}"
    assert town.shown("bank-c")["decision"] == "none"
    town.hosts.heal("bank-c")
    town.await_phases(outcome, "none", names=["bank-c"])
    town.check_the_end(outcome)
