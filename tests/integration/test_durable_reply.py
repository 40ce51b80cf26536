"""A reply of committed is durable: kill -9 sent on reading it, over and over (cases 5, 36)."""

import os

import pytest

import wire
from process import wait_until

pb = wire.pb
REPLIES = int(os.environ.get("ASSENT_REPLIES", "40"))
SHARDS = 4


@pytest.mark.parametrize("shard", range(SHARDS))
def test_committed_survives_kill(cluster, shard):
    """Alternates 2pc, 3pc and one-phase. No gtrid is ever given twice, though each life of the
    coordinator starts its count anew."""
    cluster.start(agents=2, coordinator={"precommit_timeout": "10m"})
    coordinator = cluster.coordinator
    committed = {}
    for number in range(shard, REPLIES, SHARDS):
        branches = [("bank-a", f"put r/{number} 1"), ("bank-b", f"put r/{number} 1")]
        peer = coordinator.application()
        answer = run_when_up(peer, branches[:1] if number % 3 == 2 else branches,
                             "3pc" if number % 3 == 1 else "2pc")
        coordinator.process.kill()
        assert answer.outcome == pb.OUTCOME_COMMITTED, answer
        assert answer.gtrid not in committed
        committed[answer.gtrid] = number
        peer.close()
        coordinator.start()
        with coordinator.application() as asking:
            # One-phase: the branch holds the outcome; 3pc by quorum: a majority does. They are
            # asked again before anyone is told.
            known = asking.status(answer.gtrid, wait=number % 3 != 0)
            assert known.outcome == pb.OUTCOME_COMMITTED, (number, known)
    cluster.wait_up()
    with coordinator.application() as asking:
        for gtrid, number in committed.items():
            result = asking.status(gtrid, wait=True)
            assert result.outcome == pb.OUTCOME_COMMITTED and result.ended, (number, result)
            for name in ["bank-a"] if number % 3 == 2 else ["bank-a", "bank-b"]:
                assert f'"{"1"}"' in asking.query(name, f"get r/{number}"), (name, number)


def run_when_up(peer, branches, protocol):
    """The agents dial again after each kill: asks until the coordinator has them."""
    def attempt():
        try:
            return peer.ask(run=wire.run(branches, protocol=protocol))
        except wire.Refused as refusal:
            assert "not connected" in refusal.text, refusal
            return None
    return wait_until(attempt, "the agents are connected again")
