"""Participants that finish without their coordinator: real processes, on a network that loses what
a test says (tests/lib/network.py), asked one by one with `assentctl participants branches`.

Method: three agents that reach each other and the coordinator through doors; a transaction is
brought to the moment in question by losing one kind of message, then the coordinator is killed, or
a part of the network cut off. No test waits for a length of time, but for what participants say.
"""

import pytest

import places
import wire
from cluster import Cluster
from ctl import Ctl
from network import Network
from process import wait_until

pb = wire.pb
NAMES = ["bank-a", "bank-b", "bank-c"]
COMMITTED, ABORTED = "committed", "aborted"


class Trio:
    """A coordinator and three agents, each behind a door of the network."""

    def __init__(self, directory):
        self.cluster = Cluster(directory)
        self.network = Network()
        self.application = None

    def start(self, precommit_timeout="1s", coordinator=None, **agent):
        slow = places.slow_factor()
        # Participants wait for both of the time-outs before they act without the coordinator.
        self.cluster.add_coordinator(precommit_timeout=precommit_timeout, prepare_timeout="1s",
                                     heartbeat=f"{int(100 * slow)}ms", **(coordinator or {}))
        self.coordinator.start()
        door = self.network.door("coordinator")
        door.target = self.cluster.coordinator.address
        for name in NAMES:
            inner = self.network.door(name)
            made = self.cluster.add_agent(name, announce=inner.address, retry_max="200ms",
                                          heartbeat=f"{int(100 * slow)}ms",
                                          **{"inquire": "200ms", **agent})
            made.coordinator = door
            made.start()
            inner.target = made.address
        self.cluster.wait_up()
        self.application = self.cluster.coordinator.application()
        return self

    @property
    def coordinator(self):
        return self.cluster.coordinator

    def agent(self, name):
        return self.cluster.agents[name]

    def begin(self, protocol="3pc", termination="quorum"):
        """Puts one transaction over all three in flight."""
        self.application.submit(run=wire.run([(name, "put x 1") for name in NAMES], protocol, 60000,
                                             key="k", termination=termination))

    def lose(self, kind, *receivers, sender="coordinator"):
        self.network.lose(lambda s, r, k: s == sender and r in receivers and k == kind)

    def shown(self, name):
        """What that participant says about its only branch."""
        rows = Ctl(self.agent(name).address)("participants", "branches",
                                             expect=0).json["branches"]
        assert len(rows) <= 1, rows
        return rows[0] if rows else {"phase": "none", "decision": "none"}

    def phases(self):
        return {name: self.shown(name)["phase"] for name in NAMES}

    def await_phases(self, *phases, names=None):
        """Until each of the participants is in one of the phases; what they say then."""
        names = names or NAMES
        wait_until(lambda: all(self.shown(n)["phase"] in phases for n in names),
                   f"{names} in {phases}", 30)
        return {name: self.shown(name)["phase"] for name in names}

    def await_one_outcome(self, names=None):
        phases = self.await_phases(COMMITTED, ABORTED, names=names)
        assert len(set(phases.values())) == 1, phases
        return next(iter(phases.values()))

    def coordinator_says(self):
        """The outcome, once the coordinator is back, the network whole, and all have obeyed."""
        self.network.heal()
        self.coordinator.start()
        with self.coordinator.application() as peer:
            def ended():
                result = peer.status(key="k", wait=True, seconds=30)
                return result if result.ended else None
            result = wait_until(ended, "the coordinator has ended it", 30)
        return pb.Outcome.Name(result.outcome).removeprefix("OUTCOME_").lower()

    def check_values(self, outcome):
        self.cluster.wait_up()
        with self.coordinator.application() as peer:
            for name in NAMES:
                assert ('"1"' in peer.query(name, "get x")) == (outcome == COMMITTED)

    def no_alarm(self):
        for name in NAMES:
            assert "event=alarm" not in self.agent(name).log.read_text(), name

    def close(self):
        if self.application:
            self.application.close()
        self.cluster.close()
        self.network.close()


@pytest.fixture
def trio(tmp_path):
    made = Trio(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("termination", ["quorum", "cooperative", "timeout"])
def test_coordinator_gone_after_one_precommit(trio, termination):
    """PreCommit has reached one of three when the coordinator dies for good. `quorum` and
    `cooperative` reach one outcome without it; `timeout` splits, and each participant shows it."""
    trio.start(precommit_timeout="1s")
    trio.lose(pb.BRANCH_PRECOMMIT, "bank-b", "bank-c")
    trio.begin(termination=termination)
    trio.network.await_message("bank-a", "coordinator", pb.BRANCH_PRECOMMIT_ACK)
    trio.coordinator.kill()
    if termination == "timeout":
        assert trio.await_phases(COMMITTED, ABORTED) == {
            "bank-a": COMMITTED, "bank-b": ABORTED, "bank-c": ABORTED}
        assert [trio.shown(name)["decision"] for name in NAMES] == ["commit", "abort", "abort"]
        return
    outcome = trio.await_one_outcome()
    if termination == "cooperative":
        assert outcome == COMMITTED
    assert trio.coordinator_says() == outcome
    trio.check_values(outcome)
    trio.no_alarm()


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_two_phase_peers_tell_the_decision(trio, restarted):
    """2pc: the coordinator dies after telling one participant; the others learn it from that one,
    also after a restart, since who asks its peers has them on disk."""
    trio.start()
    trio.lose(pb.BRANCH_COMMIT, "bank-b", "bank-c")
    if restarted:
        trio.network.lose(lambda s, r, k: r in NAMES and k == pb.BRANCH_INQUIRE)
    trio.begin("2pc", "none")
    trio.network.await_message("bank-a", "coordinator", pb.BRANCH_ACK)
    trio.coordinator.kill()
    if restarted:
        for name in ("bank-b", "bank-c"):
            trio.network.await_message(name, "bank-a", pb.BRANCH_INQUIRE, passed=False)
            assert trio.agent(name).stop() == 0
            trio.agent(name).start()
        assert trio.phases() == {"bank-a": COMMITTED, "bank-b": "prepared", "bank-c": "prepared"}
        trio.network.heal()
    assert trio.await_one_outcome() == COMMITTED
    assert trio.coordinator_says() == COMMITTED
    trio.check_values(COMMITTED)
    trio.no_alarm()


def test_two_phase_undecided_is_ended_by_who_has_not_voted(trio):
    """2pc: the first-phase message never reached bank-c when the coordinator dies. Asked by the
    others it refuses for good, and all abort."""
    trio.start()
    trio.lose(pb.BRANCH_PREPARE, "bank-c")
    trio.begin("2pc", "cooperative")
    for name in ("bank-a", "bank-b"):
        trio.network.await_message(name, "coordinator", pb.BRANCH_VOTE)
    trio.coordinator.kill()
    assert trio.await_one_outcome() == ABORTED
    trio.network.heal()
    trio.coordinator.start()  # knows nothing of it: presumed abort, and no key on record
    trio.check_values(ABORTED)
    trio.no_alarm()


@pytest.mark.parametrize("minority", [["bank-c"], ["coordinator", "bank-c"]],
                         ids=["bank-c", "coordinator and bank-c"])
def test_partition(trio, minority):
    """A part without a majority waits, the other one finishes; healed, they have one outcome."""
    trio.start(precommit_timeout="500ms")
    trio.lose(pb.BRANCH_PRECOMMIT, "bank-b", "bank-c")
    trio.begin()
    trio.network.await_message("bank-a", "coordinator", pb.BRANCH_PRECOMMIT_ACK)
    trio.network.isolate(*minority)
    outcome = trio.await_one_outcome(["bank-a", "bank-b"])
    # The minority has tried for itself, and still waits.
    trio.network.await_message("bank-c", "bank-a", "hello", passed=False)
    assert trio.shown("bank-c")["decision"] == "none"
    assert trio.shown("bank-c")["in_doubt_since"] is not None
    trio.network.heal()
    trio.await_phases(outcome, "none", names=["bank-c"])  # none: ended, and forgotten already
    result = trio.application.recv(60).result
    assert pb.Outcome.Name(result.outcome) == f"OUTCOME_{outcome.upper()}"
    trio.check_values(outcome)
    trio.no_alarm()


POINTS = [f"agent_{when}_{what}" for when in ("before", "after")
          for what in ("send_elect", "send_propose", "log_preaborted", "log_precommitted",
                       "log_decision")]


@pytest.mark.parametrize("precommit", [True, False], ids=["pre-committed", "prepared"])
@pytest.mark.parametrize("point", POINTS)
def test_agent_dies_in_an_election(trio, point, precommit):
    """The coordinator dies, then bank-b at a point of its way through the election, if it passes
    it; started again it has the others' outcome, and so has the coordinator."""
    trio.start(precommit_timeout="300ms")
    agent = trio.agent("bank-b")
    agent.stop()
    agent.start(crash_at=point)
    trio.cluster.wait_up()
    lost = NAMES[1:] if precommit else NAMES
    trio.lose(pb.BRANCH_PRECOMMIT, *lost)
    trio.begin()
    if precommit:
        trio.network.await_message("bank-a", "coordinator", pb.BRANCH_PRECOMMIT_ACK)
    else:
        trio.network.await_message("coordinator", "bank-a", pb.BRANCH_PRECOMMIT, passed=False)
    trio.coordinator.kill()
    outcome = trio.await_one_outcome(["bank-a", "bank-c"])
    if agent.process.running():
        trio.await_phases(COMMITTED, ABORTED, names=["bank-b"])
    else:
        assert agent.process.wait_end() == -9
        agent.start()
    assert trio.await_one_outcome() == outcome
    assert trio.coordinator_says() == outcome
    trio.check_values(outcome)
    trio.no_alarm()


@pytest.mark.parametrize("point", [f"coord_{when}_{what}" for when in ("before", "after")
                                   for what in ("send_elect", "send_propose", "log_preabort")])
def test_coordinator_dies_in_an_election(trio, point):
    """It stands itself when acknowledgements of PreCommit are missing; or, deaf, accepts that the
    participants tend to abort. Dead at any point of that, it is not missed, and back it has their
    outcome."""
    deaf = point.endswith("log_preabort")
    # Deaf, it stands once and then leaves the election to the others.
    trio.start(precommit_timeout="300ms",
               coordinator={"crash_at": point, **({"retry_min": "1m", "retry_max": "1m"}
                                                  if deaf else {})})
    if deaf:
        trio.lose(pb.BRANCH_PRECOMMIT, *NAMES)
        trio.network.lose(lambda s, r, k: k == pb.BRANCH_ELECT and "coordinator" in (s, r))
        trio.network.lose(lambda s, r, k: r == "coordinator" and k == pb.BRANCH_ABORT)
    else:
        trio.lose(pb.BRANCH_PRECOMMIT, "bank-b", "bank-c")
    trio.begin()
    assert trio.coordinator.process.wait_end(60) == -9
    outcome = trio.await_one_outcome()
    trio.coordinator.options.pop("crash_at")
    trio.coordinator.options.update(retry_min="20ms", retry_max="300ms")
    assert trio.coordinator_says() == outcome
    trio.check_values(outcome)
    trio.no_alarm()
