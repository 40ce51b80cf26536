"""Asking again: by gtrid, by idempotency key, after restarts, with --wait (cases 1-4, 9, 48)."""

import pytest

import ctl
import wire
from bank import balances, move
from process import wait_until

pb = wire.pb


def test_same_key_is_one_transaction(bank):
    """Case 1: the same key again answers the first one's outcome and moves nothing."""
    first = bank.ctl.run(*move(10), options=["--wait", "--key", "order-1"], expect=0).json
    again = bank.ctl.run(*move(10), options=["--key", "order-1"], expect=0).json
    assert again["gtrid"] == first["gtrid"]
    assert again["outcome"] == "committed"
    assert balances(bank) == (90, 110)
    refused = bank.ctl.run(*move(1000), options=["--key", "order-2"], expect=ctl.ABORTED).json
    again = bank.ctl.run(*move(1), options=["--key", "order-2"], expect=ctl.ABORTED).json
    assert again["gtrid"] == refused["gtrid"]
    assert balances(bank) == (90, 110)


def test_key_survives_a_restart(bank):
    """The index by key is rebuilt from kept outcomes at start."""
    first = bank.ctl.run(*move(10), options=["--wait", "--key", "order-1"], expect=0).json
    bank.coordinator.restart()
    assert bank.ctl("tx", "wait", "--key", "order-1", expect=0).json["gtrid"] == first["gtrid"]
    bank.wait_up()
    again = bank.ctl.run(*move(10), options=["--key", "order-1"], expect=0).json
    assert again["gtrid"] == first["gtrid"]
    assert balances(bank) == (90, 110)


def test_never_seen_is_not_aborted(bank):
    answer = bank.ctl("tx", "wait", "--key", "nobody-used-this")
    assert answer.code == ctl.NO_SUCH_OBJECT
    assert answer.json["outcome"] == "never-seen"


def test_expired_is_not_never_seen(cluster):
    """Case 9: after the retention the answer is expired, and stays so after a restart."""
    cluster.start(coordinator={"retention": "50ms"})
    gtrid = cluster.ctl.run(("bank-a", "put x 1"), ("bank-b", "put x 1"), options=["--wait"],
                            expect=0).json["gtrid"]
    ask = cluster.coordinator.application()
    wait_until(lambda: ask.status(wire.gtrid_bytes(gtrid)).outcome == pb.OUTCOME_EXPIRED,
               "the outcome expires")
    cluster.coordinator.restart()
    answer = cluster.ctl("tx", "wait", gtrid)
    assert answer.code == ctl.NO_SUCH_OBJECT and answer.json["outcome"] == "expired"


def test_wait_until_obeyed(bank):
    """With --wait the answer comes after every branch has obeyed, else at the decision: with an
    agent that dies before it obeys, the decision is known and the end is not."""
    bank.agents["bank-b"].restart(crash_at="agent_before_rm_commit")
    bank.wait_up()
    done = bank.ctl.run(*move(10), expect=0).json
    assert done["outcome"] == "committed" and done["ended"] is False
    assert bank.agents["bank-b"].process.wait_end() == -9
    answer = bank.ctl("--timeout", "300ms", "tx", "wait", done["gtrid"])
    assert answer.code == ctl.SERVER_ERROR and answer.json["outcome"] == "committed"
    show = bank.ctl("tx", "show", done["gtrid"], expect=0).json
    assert any("bank-b" in str(who) for who in show["waiting_for"])
    bank.agents["bank-b"].start()
    assert bank.ctl("tx", "wait", done["gtrid"], expect=0).json["ended"] is True
    assert balances(bank) == (90, 110)


def test_commit_and_rollback_race(bank):
    """Case 3: one wins and both callers learn the same outcome, whoever it is."""
    outcomes = set()
    with bank.coordinator.application() as left, bank.coordinator.application() as right:
        for number in range(40):
            gtrid = left.begin(detached=True)
            for name in ("bank-a", "bank-b"):
                left.work(gtrid, name, f"put race {number}")
            first, second = (left, right) if number % 2 else (right, left)
            first.submit(end=pb.End(gtrid=gtrid, commit=True))
            second.submit(end=pb.End(gtrid=gtrid, commit=False))
            answers = {first.recv().result.outcome, second.recv().result.outcome}
            assert len(answers) == 1, f"{number}: {answers}"
            outcomes |= answers
    assert outcomes <= {pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED}


def test_commit_after_the_deadline(bank):
    """Case 4: aborted, though every branch could have prepared."""
    with bank.coordinator.application() as peer:
        gtrid = peer.begin(timeout_ms=50)
        peer.work(gtrid, "bank-a", "add a -1")
        wait_until(lambda: peer.status(gtrid).outcome == pb.OUTCOME_ABORTED, "the deadline passes")
        result = peer.end(gtrid)
    assert result.outcome == pb.OUTCOME_ABORTED
    assert "deadline" in result.reason
    assert balances(bank) == (100, 100)


@pytest.mark.parametrize("detached", [False, True])
def test_application_gone_before_commit(bank, detached):
    """Case 48: its transaction aborts with it, unless it was begun detached."""
    with bank.coordinator.application() as peer:
        gtrid = peer.begin(detached=detached)
        for name, work in move(10):
            peer.work(gtrid, name, work)
    with bank.coordinator.application() as other:
        if detached:
            assert other.status(gtrid).outcome == pb.OUTCOME_UNKNOWN
            assert other.end(gtrid, wait=True).outcome == pb.OUTCOME_COMMITTED
        else:
            result = other.status(gtrid, wait=True)
            assert result.outcome == pb.OUTCOME_ABORTED
            assert "disconnected" in result.reason
    assert balances(bank) == ((90, 110) if detached else (100, 100))


def test_application_gone_during_commit(bank):
    """Case 48: a commit asked for is completed although nobody waits for its answer."""
    with bank.coordinator.application() as other:
        def is_known(number):
            try:
                return other.status(key=f"gone-{number}").gtrid
            except wire.Refused:
                return False

        # A connection that is closed with answers unread takes what it has sent with it.
        with bank.coordinator.application() as peer:
            for number in range(20):
                peer.submit(run=wire.run(move(1), key=f"gone-{number}"))
            wait_until(lambda: all(is_known(number) for number in range(20)), "all have begun")

        def settled():
            return all(other.status(key=f"gone-{n}").outcome
                       in (pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED) for n in range(20))
        wait_until(settled, "every transfer that was asked for is decided")
        for number in range(20):
            assert other.status(key=f"gone-{number}", wait=True).ended
    a, b = balances(bank)
    assert a + b == 200
