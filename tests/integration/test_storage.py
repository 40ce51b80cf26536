"""The log full, the disk failing, records damaged (cases 6, 7, 8, 51)."""

import os
import resource

import pytest

import ctl
import wire
from bank import dump, move
from process import wait_until

pb = wire.pb
FULL = -4


def fill(peer):
    """Commits transactions until the coordinator refuses to begin more; how many it took."""
    for number in range(20000):
        try:
            peer.ask(run=wire.run([("bank-a", f"put f {number}"), ("bank-b", f"put f {number}")],
                                  key=f"filling-{number:050}"))
        except wire.Refused as refusal:
            assert refusal.error == FULL, refusal
            return number
    raise AssertionError("the log never filled")


def test_full_log(cluster):
    """Case 7: with a map of a megabyte new transactions are refused early and by name, prepared
    ones are still decided and obeyed, and asking still works; after a restart too."""
    cluster.start(coordinator={"map_size": "1M"})
    with cluster.coordinator.application() as peer:
        prepared = []
        for number in range(8):
            gtrid = peer.begin(detached=True, timeout_ms=600000)
            for name in ("bank-a", "bank-b"):
                peer.work(gtrid, name, f"put kept/{number} 1")
            prepared.append(gtrid)
        count = fill(peer)
        assert count > 50
        for gtrid in prepared[:4]:
            assert peer.end(gtrid, wait=True).outcome == pb.OUTCOME_COMMITTED
        with pytest.raises(wire.Refused) as refused:
            peer.begin()
        assert refused.value.error == FULL
        assert cluster.ctl("health").code == ctl.UNHEALTHY
        for gtrid in prepared[4:]:
            assert peer.end(gtrid, wait=True).outcome == pb.OUTCOME_COMMITTED
        assert peer.status(key=f"filling-{count - 1:050}").outcome == pb.OUTCOME_COMMITTED
    cluster.coordinator.restart()
    cluster.wait_up()
    with cluster.coordinator.application() as peer:
        for gtrid in prepared:
            assert peer.status(gtrid).outcome == pb.OUTCOME_COMMITTED
        with pytest.raises(wire.Refused):
            peer.begin()


def test_full_log_recovers_by_retention(cluster):
    """Room comes back as outcomes expire: no operator is needed."""
    cluster.start(coordinator={"map_size": "1M"})
    with cluster.coordinator.application() as peer:
        fill(peer)
    cluster.coordinator.restart(retention="100ms")
    with cluster.coordinator.application() as peer:
        def accepted():
            try:
                return peer.begin()
            except wire.Refused as refusal:
                assert refusal.error == FULL
                return None
        wait_until(accepted, "a transaction is accepted again", 60)


INJECTIONS = {
    # The log's data goes out by pwritev/pwrite64 and fdatasync, its root page by pwrite64.
    "data sync": "fdatasync:error=EIO:when=1+",
    "any write": "pwrite64,writev,pwritev:error=EIO:when=1+",
    "disk full": "pwrite64,writev,pwritev:error=ENOSPC:when=1+",
}


@pytest.mark.parametrize("what", INJECTIONS)
def test_failed_decision_write(cluster, what):
    """Case 6: a write of a decision that fails ends the process without an answer; the restart
    reads what is there, and both branches do the same."""
    cluster.start()
    coordinator = cluster.coordinator
    peer = coordinator.application()
    gtrid = peer.begin()
    for name in ("bank-a", "bank-b"):
        peer.work(gtrid, name, "put x 1")
    tracer = cluster.spawn(
        ["strace", "-f", "-qq", "-o", cluster.directory / "strace.out",
         "-e", "trace=" + INJECTIONS[what].split(":")[0], "-e", "inject=" + INJECTIONS[what],
         "-p", str(coordinator.process.pid)], "strace")
    wait_until(lambda: traced(coordinator.process.pid), "strace is attached")
    peer.submit(end=pb.End(gtrid=gtrid, commit=True))
    said = peer.wait_closed()
    assert said == [], f"it answered: {said}"
    assert coordinator.process.wait_end() not in (0, -9, -11)
    tracer.wait_end()
    assert coordinator.process.lines[-1].fields["level"] == "error"
    coordinator.start()
    cluster.wait_up()
    with coordinator.application() as asking:
        outcome = asking.status(gtrid, wait=True).outcome
        assert outcome in (pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED)
        there = ['"x"' in asking.query(name, "dump") for name in ("bank-a", "bank-b")]
        assert there == [outcome == pb.OUTCOME_COMMITTED] * 2


def traced(pid):
    """True once every thread of the process is traced."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as status:
            if "TracerPid:\t0\n" in status.read():
                return False
    return True


@pytest.mark.parametrize("victim", ["coordinator", "bank-a"])
def test_file_size_limit(cluster, victim):
    """RLIMIT_FSIZE in the middle of a load. The coordinator stops; a resource whose disk fails is
    unavailable by name until its agent starts again. No answer given is lost."""
    cluster.start()
    daemon = cluster.daemon(victim)
    answers = {}
    with cluster.coordinator.application() as peer:
        # The file is sparse: this is a place in the middle of what the load will write.
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
        try:
            for number in range(5000):
                branches = [(name, f"put x/{number} {'v' * 40}") for name in ("bank-a", "bank-b")]
                result = peer.ask(run=wire.run(branches, timeout_ms=2000))
                answers[result.gtrid] = (number, result.outcome)
                if result.outcome != pb.OUTCOME_COMMITTED:
                    assert victim in result.reason, result
                    break
            else:
                raise AssertionError("the limit was never reached")
        except (wire.Closed, wire.Refused):
            assert victim == "coordinator"
    if victim == "coordinator":
        assert daemon.process.wait_end() != 0
        assert daemon.process.lines[-1].fields["level"] == "error"
    else:
        assert daemon.process.wait_line(pattern="level=(warn|error)")
        daemon.kill()
    daemon.start()
    cluster.wait_up()
    with cluster.coordinator.application() as peer:
        for gtrid, (number, outcome) in answers.items():
            result = peer.status(gtrid, wait=True)
            assert result.outcome == outcome and result.ended, number
        books = [dump(peer, name) for name in ("bank-a", "bank-b")]
        assert books[0] == books[1]
        assert len(books[0]) >= sum(o == pb.OUTCOME_COMMITTED for _, o in answers.values())
    assert cluster.ctl("health", expect=0).json["in_doubt"] == 0


def test_damaged_record_is_kept_and_named(cluster):
    """Case 8: a flipped byte in a commit record is never read as anything: `log verify` names it,
    the coordinator reports it and serves the other transactions."""
    cluster.start(coordinator={"map_size": "1M"})
    agents = list(cluster.agents.values())
    gtrid = cluster.ctl.run(("bank-a", "put x 1"), ("bank-b", "put x 1"), options=["--wait"],
                            expect=0).json["gtrid"]
    other = cluster.ctl.run(("bank-a", "put y 1"), ("bank-b", "put y 1"), options=["--wait"],
                            expect=0).json["gtrid"]
    assert cluster.coordinator.stop() == 0
    raw = wire.gtrid_bytes(gtrid)
    hits = 0
    for file in cluster.coordinator.data.rglob("data.mdb"):
        data = bytearray(file.read_bytes())
        at = data.find(raw)
        while at >= 0:  # every copy of it, on live and on freed pages
            # Behind the key come 9 bytes of the value, then the gtrid again.
            if data[at + 25:at + 41] == raw:
                data[at + len(raw) + 24] ^= 0x40
                hits += 1
            at = data.find(raw, at + 1)
        file.write_bytes(data)
    assert hits
    answer = cluster.ctl("log", "verify", "--data-dir", cluster.coordinator.data)
    assert answer.code == ctl.UNHEALTHY
    assert answer.json["damaged_count"] == 1
    assert [(row["table"], row["key"]) for row in answer.json["damaged"]] == [
        ("transaction", gtrid)]
    cluster.coordinator.start()
    cluster.wait_up()
    assert cluster.ctl("tx", "wait", other, expect=0).json["outcome"] == "committed"
    damaged = cluster.ctl("tx", "wait", gtrid)
    assert damaged.code not in (0, ctl.ABORTED), damaged
    assert all(agent.process.running() for agent in agents)
    assert cluster.coordinator.process.has_line(pattern=gtrid)
    moved = [("bank-a", "put z 1"), ("bank-b", "put z 1")]
    cluster.ctl.run(*moved, options=["--wait"], expect=0)


def test_agent_store_lost(bank):
    """Case 41: an agent that lost its data decides nothing alone; a transaction that needs its
    vote for work done before aborts, later ones work."""
    import shutil
    agent = bank.agents["bank-b"]
    with bank.coordinator.application() as peer:
        gtrid = peer.begin(detached=True)
        for name, work in move(10):
            peer.work(gtrid, name, work)
        agent.kill()
        shutil.rmtree(agent.data)
        agent.start()
        bank.wait_up()
        result = peer.end(gtrid, wait=True)
        assert result.outcome == pb.OUTCOME_ABORTED
        assert "bank-b" in result.reason
    assert bank.ctl("kv", "get", "--participant", "bank-a", "a", expect=0).json["value"] == "100"
