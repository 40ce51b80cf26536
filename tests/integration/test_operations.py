"""Running it: drain, reload, admin endpoints, metrics, limits (cases 48, 51)."""

import http.client
import re
import signal
import socket

import ctl
import wire
from bank import balances, move
from process import wait_until

pb = wire.pb


def get(daemon, path, method="GET", body=None):
    host, port = wire.split(daemon.admin)
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def metrics(daemon):
    """{name{labels}: value}, after checking that each line is Prometheus text."""
    status, text = get(daemon, "/metrics")
    assert status == 200
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r'([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) ([-+0-9.eEinfNa]+)', line)
            assert match, line
            found[match.group(1)] = float(match.group(2))
    return found


def total(found, *parts):
    return sum(v for k, v in found.items() if all(p in k for p in parts))


def test_health_endpoints(bank):
    assert get(bank.coordinator, "/livez")[0] == 200
    assert get(bank.coordinator, "/readyz")[0] == 200
    assert get(bank.coordinator, "/nothing")[0] == 404
    assert get(bank.coordinator, "/livez", "POST", "x")[0] in (405, 501)


def test_metrics(bank):
    """Transactions by protocol and outcome, participants, in doubt, commit times and batches."""
    before = metrics(bank.coordinator)
    bank.ctl.run(*move(1), options=["--wait"], expect=0)
    bank.ctl.run(*move(1), protocol="3pc", options=["--wait"], expect=0)
    bank.ctl.run(*move(1000), expect=ctl.ABORTED)
    after = metrics(bank.coordinator)

    def grown(*parts):
        return total(after, *parts) - total(before, *parts)

    assert grown("transactions_total", "2pc", "committed") == 1
    assert grown("transactions_total", "3pc", "committed") == 1
    assert grown("transactions_total", "2pc", "aborted") == 1
    assert total(after, "participants_up") == 2
    for part in ("in_doubt", "oldest"):
        assert any(part in key for key in after), part
    assert any("commit" in key and "_bucket" in key for key in after)
    assert any("batch" in key and "_bucket" in key for key in after)
    bank.agents["bank-b"].kill()
    wait_until(lambda: total(metrics(bank.coordinator), "participants_up") == 1,
               "the gauge follows the participants")


def test_in_doubt_is_seen(bank):
    """A committed transaction that one agent has not obeyed counts as in doubt, with its age."""
    bank.agents["bank-b"].restart(crash_at="agent_before_rm_commit")
    bank.wait_up()
    done = bank.ctl.run(*move(1), expect=0).json
    assert bank.agents["bank-b"].process.wait_end() == -9
    health = bank.ctl("health", expect=0).json
    assert health["in_doubt"] == 1
    assert any(row["gtrid"] == done["gtrid"]
               for row in bank.ctl("tx", "list", expect=0).json["transactions"])
    bank.agents["bank-b"].start()
    bank.ctl("tx", "wait", done["gtrid"], expect=0)
    assert bank.ctl("health", expect=0).json["in_doubt"] == 0


def test_admin_limits(bank):
    """A request line without end and a body without end are cut off; the loop goes on."""
    host, port = wire.split(bank.coordinator.admin)
    for head in (b"GET /" + b"x" * (1 << 20), b"GET / HTTP/1.1\r\nA: " + b"y" * (1 << 20),
                 b"POST /livez HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n" + b"z" * (1 << 20)):
        with socket.create_connection((host, port), 20) as sock:
            try:
                sock.sendall(head)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError:  # cut off while still sending
                pass
    assert get(bank.coordinator, "/livez")[0] == 200
    assert bank.coordinator.process.resident_bytes() < 400 << 20


def test_drain(cluster):
    """SIGTERM: no new transactions, running ones finish, exit 0; nothing is left to recover."""
    cluster.start(coordinator={"drain": "20s"})
    coordinator = cluster.coordinator
    with coordinator.application() as peer, coordinator.application() as other:
        gtrid = peer.begin()
        for name in ("bank-a", "bank-b"):
            peer.work(gtrid, name, "put x 1")
        coordinator.process.signal(signal.SIGTERM)
        coordinator.process.wait_line(pattern="drain")

        def refused():
            try:
                other.begin()
            except wire.Refused as refusal:
                return "shutting down" in refusal.text or "drain" in refusal.text
            return False
        wait_until(refused, "new transactions are refused by name")
        assert get(coordinator, "/readyz")[0] == 503
        assert peer.end(gtrid).outcome == pb.OUTCOME_COMMITTED
    assert coordinator.process.wait_end() == 0
    coordinator.start()
    cluster.wait_up()
    with coordinator.application() as peer:
        assert peer.status(gtrid, wait=True).ended
    for agent in cluster.agents.values():
        assert agent.stop() == 0


def test_drain_time_is_bounded(cluster):
    """What has not been committed when the drain time is over is rolled back."""
    cluster.start(coordinator={"drain": "100ms"})
    coordinator = cluster.coordinator
    with coordinator.application() as peer:
        gtrid = peer.begin(detached=True)
        peer.work(gtrid, "bank-a", "put x 1")
        coordinator.process.signal(signal.SIGTERM)
        assert coordinator.process.wait_end() == 0
    coordinator.start()
    cluster.wait_up()
    with coordinator.application() as peer:
        assert peer.status(gtrid).outcome == pb.OUTCOME_ABORTED
        done = peer.ask(run=wire.run([("bank-a", "put x 2"), ("bank-b", "put x 2")]))
        assert done.outcome == pb.OUTCOME_COMMITTED, "its lock is still held"


def test_agent_stops_and_keeps_prepared_branches(bank):
    """SIGTERM of an agent with a branch in doubt: exit 0, and the branch obeys after its start."""
    bank.coordinator.restart(crash_at="coord_after_log_commit")
    bank.wait_up()
    bank.ctl.run(*move(10), options=["--key", "kept"])
    bank.coordinator.process.wait_end()
    for agent in bank.agents.values():
        assert agent.stop() == 0
        agent.start()
    bank.coordinator.start()
    assert bank.ctl("tx", "wait", "--key", "kept", expect=0).json["outcome"] == "committed"
    assert balances(bank) == (90, 110)


def test_transaction_limit(cluster):
    """Case 51: at transactions_max a begin is refused with a retry hint, nothing open is dropped,
    and a freed place is taken again."""
    cluster.start(agents=1, coordinator={"transactions_max": 10})
    with cluster.coordinator.application() as peer:
        held = [peer.begin() for _ in range(10)]
        try:
            peer.begin()
            raise AssertionError("an eleventh transaction was begun")
        except wire.Refused as refusal:
            assert refusal.error == -5
            assert refusal.retry_after_ms > 0
        for gtrid in held:
            peer.work(gtrid, "bank-a", f"put k/{gtrid.hex()} 1")
            assert peer.end(gtrid, wait=True).outcome == pb.OUTCOME_COMMITTED

        def begun():
            try:
                return peer.begin()
            except wire.Refused:
                return None
        wait_until(begun, "a place is free")


def test_request_limit(cluster):
    """More requests at once on one connection than requests_max: refused by name, not queued."""
    cluster.start(coordinator={"requests_max": 4})
    cluster.agents["bank-a"].process.signal(signal.SIGSTOP)
    with cluster.coordinator.application() as peer:
        for number in range(20):
            peer.submit(run=wire.run([("bank-a", f"put x/{number} 1"),
                                      ("bank-b", f"put x/{number} 1")], timeout_ms=500))
        kinds = [peer.recv().WhichOneof("body") for _ in range(20)]
    assert kinds.count("refusal") == 16
    cluster.agents["bank-a"].process.signal(signal.SIGCONT)


def test_reload(cluster, tmp_path):
    """SIGHUP takes the file's new values, and names in the log what needs a restart."""
    config = tmp_path / "assentd.conf"
    config.write_text('log_level = "info"\n')
    cluster.start(agents=0, coordinator={"config": config})
    config.write_text('log_level = "debug"\ntransactions_max = 5\n')
    cluster.coordinator.process.signal(signal.SIGHUP)
    cluster.coordinator.process.wait_line(pattern="log_level")
    cluster.coordinator.process.wait_line(pattern="transactions_max")
    config.write_text("nonsense = 1\n")
    cluster.coordinator.process.signal(signal.SIGHUP)
    cluster.coordinator.process.wait_line(pattern="nonsense")
    cluster.ctl("health", expect=0)
