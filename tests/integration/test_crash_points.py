"""Every crash point of both daemons, in transactions that commit and in ones that abort.

Aim: a crash at every log write, send and RM call leaves a state from which a restart reaches one
outcome (case 42). Method: one daemon is started with --crash-at; a workload that passes the point
is sent; the daemon must die there by itself; it is started again; every transaction is asked about
until it is decided and obeyed, and the books must agree with each outcome. The table below says in
which workload each point lies; elsewhere it must not be passed.
"""

import contextlib
import itertools
import json
import os
import re
import select
import socket
import subprocess
import threading

import pytest

import places
import wire
from bank import dump
from cluster import Cluster
from process import wait_until

pb = wire.pb

COMMIT, ABORT = "commit", "abort"
# Points that lie on the way of only one of the two.
ONLY = {
    COMMIT: ["log_precommit", "log_commit", "send_precommit", "send_commit", "log_precommitted",
             "send_precommit_ack", "rm_commit", "log_one_phase", "send_one_phase", "rm_one_phase"],
    ABORT: ["log_abort", "send_abort", "rm_rollback"],
}
# Points that an ordinary transaction does not pass; test_agent_protocol.py and test_termination.py
# have their tests.
SPECIAL = ["agent_before_log_decision", "agent_after_log_decision",
           "agent_before_log_result", "agent_after_log_result",
           "agent_before_log_delete", "agent_after_log_delete"]
SPECIAL += [f"{who}_{when}_{what}" for when in ("before", "after")
            for who, whats in (("agent", ("log_preaborted", "send_elect", "send_propose")),
                               ("coord", ("log_preabort", "send_elect", "send_propose")))
            for what in whats]
# test_http.py has theirs.
SPECIAL += ["agent_before_http_log", "agent_after_http_log", "agent_before_http_send",
            "agent_after_http_send"]
# One-phase: also passed when the single branch refuses to commit.
BOTH = ["log_one_phase", "send_one_phase", "rm_one_phase"]


def points():
    header = (places.ROOT / "common" / "runtime" / "crash_point.h").read_text()
    return re.findall(r"^\s*X\((\w+)\)", header, re.M)


def lies_in(point, ending):
    plain = re.sub(r"^(coord|agent)_(before|after)_", "", point)
    if plain in BOTH:
        return True
    return plain not in ONLY[ABORT if ending == COMMIT else COMMIT]


def test_lists_are_complete():
    """--crash-at list prints exactly the points that these tests go through."""
    said = []
    for program in (places.ASSENTD, places.AGENT):
        argv = [places.program(program), "--crash-at", "list"]
        if program == places.AGENT:
            argv += ["--name", "x", "--resource", "null"]
        said += subprocess.run(argv, check=True, capture_output=True, text=True,
                               stdin=subprocess.DEVNULL).stdout.split()
    assert sorted(said) == sorted(points())


def running(directory):
    made = Cluster(directory)
    made.start(resource="kv null",
               coordinator={"precommit_timeout": "10m", "prepare_timeout": "2s"})
    made.number = 0
    yield made
    made.close()


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("crash"))


@pytest.fixture
def own(tmp_path):
    yield from running(tmp_path)


@pytest.fixture
def shared(request):
    """One cluster for all points: only the armed daemon is started again. But a hazard that an
    earlier test has left is acknowledged at each connection, which would be the point."""
    point = request.node.callspec.params["point"]
    return request.getfixturevalue("own" if "send_ack" in point else "common")


def workload(ending, number):
    """(key, protocol, branches) of each transaction. In an abort the other participant says no, but
    only after bank-a has voted; a guard fails in the single branch; and the null resource, whose
    work never fails, refuses to commit in one phase."""
    other = "late" if ending == ABORT else "bank-b/kv"
    guard = "\ncheck never there" if ending == ABORT else ""
    refuses = [(f"{number}-null", "2pc", [("bank-a/null", "no")])] if ending == ABORT else []
    two = ("bank-a/kv", other)
    return refuses + [(f"{number}-2pc", "2pc", [(name, f"put m/{number} 1") for name in two]),
            (f"{number}-3pc", "3pc", [(name, f"put n/{number} 1") for name in two]),
            (f"{number}-one", "2pc", [("bank-a/kv", f"put o/{number} 1{guard}")])]


class Late:
    """A participant that says no once the other branch has voted, or the armed daemon has died."""

    lives = itertools.count(1)

    def __init__(self, coordinator, armed):
        self.coordinator = coordinator
        self.armed = armed
        self.peer = wire.participant(coordinator.address, "late", incarnation=next(Late.lives))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            with self.coordinator.application() as asking:
                while True:
                    message = self.peer.recv(600).branch
                    if message.kind == pb.BRANCH_PREPARE:
                        self.await_vote(asking, wire.gtrid_text(message.gtrid))
                        wire.say(self.peer, message, pb.BRANCH_VOTE, vote=pb.VOTE_NO)
                    elif message.kind == pb.BRANCH_ABORT:
                        wire.say(self.peer, message, pb.BRANCH_ACK, result=pb.RESULT_ABORTED)
        except (wire.Closed, wire.Refused, OSError):
            pass  # the coordinator is gone, or the test is over

    def await_vote(self, asking, gtrid):
        def voted():
            shown = json.loads(asking.ask(inspect=pb.Inspect(what="transaction",
                                                             argument=gtrid)).json)
            return self.armed.died or shown["branches"][0]["vote"] not in (None, "none")
        wait_until(voted, "bank-a has voted")

    def close(self):
        with contextlib.suppress(OSError):  # the coordinator may have gone first
            self.peer.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(30)
        self.peer.close()


class Armed:
    """The daemon that is to die, started again without the point as soon as it has."""

    def __init__(self, daemon, point):
        self.daemon = daemon
        # Stopped, not killed: what earlier transactions left lazily is on disk, so that recovery
        # does not pass the point before the workload does.
        assert daemon.stop() == 0
        daemon.start(crash_at=point)
        self.end = os.pidfd_open(daemon.process.pid)
        self.died = False

    def readable(self, peer):
        """Waits for an answer or for the death; True if there is something to read."""
        if self.died:
            return True
        ready = select.select([peer, self.end], [], [], 60)[0]
        if self.end in ready:
            self.revive()
        return peer in ready

    def revive(self):
        assert self.daemon.process.wait_end() == -9
        self.died = True
        self.daemon.start()

    def close(self):
        os.close(self.end)


def converse(coordinator, armed, requests):
    """Sends the requests one after the other, each after the answer to the last; gives up when the
    coordinator is gone. Returns the answers that came."""
    answers = []
    try:
        with coordinator.application() as peer:
            for request in requests:
                body = request(answers)
                peer.submit(**body)
                while not armed.readable(peer):
                    pass
                answers.append(peer.recv())
    except (wire.Closed, ConnectionError):
        pass
    return answers


def run_all(coordinator, armed, transactions, termination):
    """{key: outcome} of those that were answered. termination: of the 3pc ones."""
    requests = [lambda _, b=b, p=p, k=k: {"run": wire.run(
        b, protocol=p, key=k, termination=termination if p == "3pc" else "none")}
                for k, p, b in transactions]
    answers = converse(coordinator, armed, requests)
    return {transaction[0]: answer.result.outcome
            for transaction, answer in zip(transactions, answers)
            if answer.WhichOneof("body") == "result"}


def interactive_rollback(coordinator, armed, number):
    """Work at bank-a that a rollback takes back; its answers do not matter here."""
    def gtrid(answers):
        return answers[0].begin_reply.gtrid
    converse(coordinator, armed, [
        lambda _: {"begin": wire.begin()},
        lambda a: {"work": pb.Work(gtrid=gtrid(a), participant="bank-a/kv",
                                   work=f"put never/{number} 1".encode())},
        lambda a: {"end": pb.End(gtrid=gtrid(a), commit=False, wait=True)}])


def settle(coordinator, transactions, answers):
    """Asks, and sends again what was never seen, until all have ended: {key: outcome}."""
    outcomes = {}
    with coordinator.application() as peer:
        for key, protocol, branches in transactions:
            def ended(key=key, protocol=protocol, branches=branches):
                result = peer.status(key=key, wait=True, seconds=30)
                if result.outcome == pb.OUTCOME_NEVER_SEEN:
                    assert answers.get(key) != pb.OUTCOME_COMMITTED, key
                    try:
                        peer.ask(run=wire.run(branches, protocol=protocol, key=key))
                    except wire.Refused:
                        pass
                return result.outcome if result.ended else None
            outcomes[key] = wait_until(ended, f"{key} has ended")
            assert answers.get(key) in (None, outcomes[key]), (key, answers, outcomes)
    return outcomes


def check_books(coordinator, number, outcomes):
    with coordinator.application() as peer:
        books = {name: dump(peer, f"{name}/kv") for name in ("bank-a", "bank-b")}
    for key, mark, names in ((f"{number}-2pc", "m", ("bank-a", "bank-b")),
                             (f"{number}-3pc", "n", ("bank-a", "bank-b")),
                             (f"{number}-one", "o", ("bank-a",))):
        expected = outcomes[key] == pb.OUTCOME_COMMITTED
        there = [f"{mark}/{number}" in books[name] for name in names]
        assert set(there) == {expected}, (key, outcomes[key], there)
    assert f"never/{number}" not in books["bank-a"]


def acknowledge(shared, key):
    """As a person: until then the participant says it again at each connection."""
    with shared.coordinator.application() as peer:
        gtrid = wire.gtrid_text(peer.status(key=key).gtrid)
    shared.ctl("tx", "acknowledge", gtrid, "--reason", "of a crash test", expect=0)


@pytest.mark.parametrize("ending", [COMMIT, ABORT])
@pytest.mark.parametrize("point", [p for p in points() if p not in SPECIAL])
def test_crash_at(shared, point, ending):
    shared.number += 1
    number = shared.number
    for daemon in shared.daemons():  # a test that failed may have left one dead
        if not daemon.process.running():
            daemon.start()
    armed = Armed(shared.daemon("coordinator" if point.startswith("coord") else "bank-a"), point)
    shared.wait_up()
    transactions = workload(ending, number)
    late = Late(shared.coordinator, armed) if ending == ABORT else None
    # With a quorum the coordinator need not wait for this participant's acknowledgement.
    termination = "cooperative" if "agent" in point and "precommit" in point else "quorum"
    answers = run_all(shared.coordinator, armed, transactions, termination)
    if ending == ABORT:
        interactive_rollback(shared.coordinator, armed, number)
        late.close()
    if lies_in(point, ending):
        if not armed.died:
            armed.revive()
    else:
        assert not armed.died
        armed.daemon.restart()
    armed.close()
    shared.wait_up()
    late = Late(shared.coordinator, armed) if ending == ABORT else None
    outcomes = settle(shared.coordinator, transactions, answers)
    if late:
        late.close()
    if ending == ABORT:
        # The null resource keeps nothing, so after a crash nobody can say what it did: a hazard.
        ended = outcomes.pop(f"{number}-null")
        assert ended in (pb.OUTCOME_ABORTED, pb.OUTCOME_HAZARD)
        if ended == pb.OUTCOME_HAZARD:
            acknowledge(shared, f"{number}-null")
        assert set(outcomes.values()) == {pb.OUTCOME_ABORTED}
    check_books(shared.coordinator, number, outcomes)
    health = shared.ctl("health", expect=0).json
    assert health["in_doubt"] == 0
