"""Deadlines, stopped processes and wrong clocks (cases 4, 44, 45, 49)."""

import glob
import os
import signal
import time

import pytest

import ctl
import places
import wire
from bank import balances, move
from process import wait_until

pb = wire.pb


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_stopped_agent(cluster, protocol):
    """An agent under SIGSTOP: the transaction aborts at its deadline with a reason that names it,
    others are not held up, and what it does when it goes on changes nothing."""
    cluster.start(agents=3, coordinator={"heartbeat": "30s"})
    stopped = cluster.agents["bank-b"]
    stopped.process.signal(signal.SIGSTOP)
    with cluster.coordinator.application() as peer, cluster.coordinator.application() as other:
        began = time.monotonic()
        peer.submit(run=wire.run([("bank-a", "put x 1"), ("bank-b", "put x 1")], timeout_ms=700,
                                 protocol=protocol))
        for _ in range(10):
            quick = other.ask(run=wire.run([("bank-a", "add y 1"), ("bank-c", "add y 1")]))
            assert quick.outcome == pb.OUTCOME_COMMITTED
        result = peer.recv().result
        took = time.monotonic() - began
        assert result.outcome == pb.OUTCOME_ABORTED
        assert "bank-b" in result.reason
        assert 0.6 < took < 5 * places.slow_factor()
        stopped.process.signal(signal.SIGCONT)
        assert peer.status(result.gtrid, wait=True).outcome == pb.OUTCOME_ABORTED
        cluster.wait_up()
        again = peer.ask(run=wire.run([("bank-a", "put z 1"), ("bank-b", "put z 1")]))
        assert again.outcome == pb.OUTCOME_COMMITTED
        assert '"x"' not in peer.query("bank-a", "dump")
        assert '"x"' not in peer.query("bank-b", "dump")


def test_silent_agent_is_noticed(cluster):
    """A half-open connection ends by heartbeat, not by the next transaction (case 49)."""
    cluster.start(coordinator={"heartbeat": "100ms"})
    cluster.agents["bank-b"].process.signal(signal.SIGSTOP)
    with cluster.coordinator.application() as peer:
        from cluster import participants_up
        wait_until(lambda: "bank-b" not in participants_up(peer), "bank-b is noticed as gone")
    cluster.agents["bank-b"].process.signal(signal.SIGCONT)
    cluster.wait_up()


def test_stopped_coordinator(bank):
    """The coordinator paused longer than the transaction's whole time: it cannot commit what its
    deadline has ended (case 45)."""
    process = bank.coordinator.process
    with bank.coordinator.application() as peer:
        gtrid = peer.begin(timeout_ms=300)
        for name, work in move(10):
            peer.work(gtrid, name, work)
        process.signal(signal.SIGSTOP)
        until = time.monotonic() + 0.4
        wait_until(lambda: time.monotonic() > until, "the deadline has passed")
        peer.submit(end=pb.End(gtrid=gtrid, commit=True))
        process.signal(signal.SIGCONT)
        assert peer.recv().result.outcome == pb.OUTCOME_ABORTED
    wait_until(lambda: balances(bank) == (100, 100), "nothing has moved")


class WallClock:
    """libfaketime moves the wall clock of the daemons and leaves the monotonic one alone."""

    def __init__(self, directory):
        self.file = directory / "faketime"
        self.set(0)
        self.env = {
            "LD_PRELOAD": glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0],
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, days):
        """The daemons see this many days from now, at once."""
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{days * 86400:+d}s\n")
        os.replace(beside, self.file)


@pytest.mark.plain  # libfaketime hangs at start under AddressSanitizer
def test_wall_clock_set_back_a_year(cluster, tmp_path):
    """Backwards and forwards by a year while running and between restarts: no early time-out, no
    id twice, no outcome lost or expired (case 44)."""
    clock = WallClock(tmp_path)
    cluster.add_coordinator(retention="1h")
    cluster.coordinator.start(env=clock.env)
    for name in ("bank-a", "bank-b"):
        cluster.add_agent(name).start(env=clock.env)
    cluster.wait_up()
    cluster.ctl.run(("bank-a", "put a 100"), ("bank-b", "put b 100"), options=["--wait"], expect=0)
    outcomes = {}

    def transfers(peer):
        for protocol in ("2pc", "3pc", "2pc"):
            result = peer.ask(run=wire.run(move(1), protocol=protocol, wait=True))
            assert result.outcome == pb.OUTCOME_COMMITTED, result
            assert result.gtrid not in outcomes
            outcomes[result.gtrid] = result.outcome

    for days in (-365, 365, 0, -3650):
        with cluster.coordinator.application() as peer:
            begun = peer.begin(timeout_ms=60000)
            for name, work in move(1):
                peer.work(begun, name, work)
            clock.set(days)
            result = peer.end(begun, wait=True)
            assert result.outcome == pb.OUTCOME_COMMITTED, result
            outcomes[begun] = result.outcome
            transfers(peer)
        for daemon in cluster.daemons():
            daemon.restart(env=clock.env)
        cluster.wait_up()
        with cluster.coordinator.application() as peer:
            transfers(peer)
            for gtrid, outcome in outcomes.items():
                assert peer.status(gtrid).outcome == outcome
    stamp = cluster.coordinator.process.wait_line("started").fields["ts"]
    assert not stamp.startswith(time.strftime("%Y", time.gmtime())), "the clock was not moved"
    count = len(outcomes)
    assert balances(cluster) == (100 - count, 100 + count)


@pytest.mark.plain  # libfaketime hangs at start under AddressSanitizer
def test_in_doubt_over_a_clock_change(cluster, tmp_path):
    """A branch in doubt while the clock goes back a year still reaches the decision."""
    clock = WallClock(tmp_path)
    cluster.add_coordinator()
    cluster.coordinator.start(env=clock.env)
    for name in ("bank-a", "bank-b"):
        cluster.add_agent(name).start(env=clock.env)
    cluster.wait_up()
    cluster.coordinator.restart(env=clock.env, crash_at="coord_after_log_commit")
    cluster.wait_up()
    answer = cluster.ctl.run(("bank-a", "put x 1"), ("bank-b", "put x 1"),
                             options=["--key", "doubt"])
    assert answer.code in (ctl.UNKNOWN, ctl.SERVER_ERROR, ctl.CANNOT_CONNECT)
    cluster.coordinator.process.wait_end()
    clock.set(-365)
    cluster.coordinator.start(env=clock.env)
    assert cluster.ctl("tx", "wait", "--key", "doubt", expect=0).json["outcome"] == "committed"
    for name in cluster.agents:
        cluster.ctl("kv", "get", "--participant", name, "x", expect=0)
