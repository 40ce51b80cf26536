"""Transactions over a kv store and an HTTP service, each behind an agent: whatever the service
refuses, delays, loses or says wrong, both sides end alike and each effect happens once.

`Shop` is the example service of docs/examples; `odd` is one that does what the work tells it to.
"""

import http.client
import json
import subprocess
import urllib.parse

import pytest

import ctl
import wire
from odd_service import OddService
from process import wait_until
from stock import Stock

pb = wire.pb
PROTOCOLS = ["2pc", "3pc"]


class Shop:
    """The agent `bank` with an account a of 100, and `shop` before a stock of 10 apples."""

    def __init__(self, cluster, directory, token=None):
        self.cluster = cluster
        self.stock = Stock(directory, token=token).start()

    def start(self, coordinator=None, parameters=None, **agent):
        options = {"prepare_timeout": "5s", "precommit_timeout": "10m", **(coordinator or {})}
        self.cluster.add_coordinator(**options).start()
        self.cluster.add_agent("bank").start()
        self.cluster.add_agent("shop", [self.stock.resource(**(parameters or {}))],
                               **agent).start()
        self.cluster.wait_up()
        self.cluster.ctl.run(("bank", "put a 100"), options=["--wait"], expect=0)
        return self

    @property
    def agent(self):
        return self.cluster.agents["shop"]

    def buy(self, count, **how):
        return self.cluster.ctl.run(*order(count), options=["--wait"], **how)

    def account(self):
        answer = self.cluster.ctl("kv", "get", "--participant", "bank", "a", output="table",
                                  expect=0)
        return int(answer.out)

    def settle(self, key):
        return self.cluster.settle(key)

    def check(self, sold):
        """Nothing is held, and as much is sold as was paid for."""
        wait_until(lambda: self.stock.item()[1] == 0, "nothing is held")
        assert (self.account(), self.stock.item()) == (100 - sold, (10 - sold, 0))


def order(count):
    return [("bank", f"add a {-count} min 0"), ("shop", take(count))]


def take(count, name="apple"):
    return json.dumps({"take": name, "count": count})


@pytest.fixture
def shop(cluster, tmp_path):
    made = Shop(cluster, tmp_path)
    yield made
    made.stock.kill()


@pytest.fixture
def odd():
    service = OddService()
    yield service
    service.release.set()
    service.shutdown()
    service.server_close()


def start_odd(cluster, odd, resource=None, agent=None, **coordinator):
    cluster.add_coordinator(**{"prepare_timeout": "5s", "precommit_timeout": "10m",
                               **coordinator}).start()
    cluster.add_agent("bank").start()
    cluster.add_agent("shop", [f"http:{odd.parameters(**(resource or {}))}"],
                      **(agent or {})).start()
    cluster.wait_up()


# Ordinary life.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_order_commits(shop, protocol):
    shop.start().buy(3, protocol=protocol, expect=ctl.DONE)
    shop.check(sold=3)
    assert shop.stock.branches() == {"confirmed": 1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusals_carry_the_reason(shop, protocol):
    """Either side says no: the other gets back what it gave; the caller hears why."""
    shop.start()
    done = shop.buy(11, protocol=protocol, expect=ctl.ABORTED)
    assert "409: there are only 10 of apple" in done.json["reason"]
    done = shop.cluster.ctl.run(("bank", "add a -101 min 0"), ("shop", take(4)), protocol=protocol,
                                options=["--wait"], expect=ctl.ABORTED)
    assert "below min" in done.json["reason"]
    shop.check(sold=0)


def test_interactive_work_reserves_and_shows(shop):
    """Two Tries of one branch, one Confirm; between Try and Confirm others see what is held, which
    is how TCC isolates; a rollback gives it back."""
    shop.start()
    run = shop.cluster.ctl
    for verb, sold in (("commit", 3), ("rollback", 3)):
        gtrid = run("tx", "begin", expect=0).json["gtrid"]
        answer = run("tx", "work", gtrid, "--participant", "shop", take(1), output="table",
                     expect=0)
        assert json.loads(answer.out)["name"] == "apple"
        run("tx", "work", gtrid, "--participant", "shop", take(2), expect=0)
        run("tx", "work", gtrid, "--participant", "bank", "add a -3 min 0", expect=0)
        assert shop.stock.item()[1] == 3
        run("tx", verb, "--wait", gtrid, expect=0)
        shop.check(sold=sold)
    assert shop.stock.branches() == {"confirmed": 1, "cancelled": 1}


def test_query_reads_outside_of_transactions(shop):
    shop.start()
    with shop.cluster.coordinator.application() as peer:
        assert json.loads(peer.query("shop", "apple")) == {"name": "apple", "free": 10, "held": 0}


def test_secret_comes_from_a_file(cluster, tmp_path):
    """A service that asks for a token; after a wrong one at Confirm it is asked again."""
    shop = Shop(cluster, tmp_path, token="t0ps3cret")
    header_file = tmp_path / "headers"
    header_file.write_text("Authorization: Bearer t0ps3cret\n")
    header_file.chmod(0o600)
    try:
        shop.start(parameters={"header_file": header_file})
        shop.buy(2, expect=ctl.DONE)
        gtrid = cluster.ctl("tx", "begin", expect=0).json["gtrid"]
        for name, work in order(1):
            cluster.ctl("tx", "work", gtrid, "--participant", name, work, expect=0)
        header_file.write_text("Authorization: Bearer old\n")
        cluster.ctl("tx", "commit", gtrid, expect=0)
        shop.agent.process.wait_line("resource_call", pattern="401: the token is missing")
        header_file.write_text("Authorization: Bearer t0ps3cret\n")
        cluster.ctl("tx", "wait", gtrid, expect=ctl.DONE)
        shop.check(sold=3)
        for log in tmp_path.glob("*.log"):
            assert "t0ps3cret" not in log.read_text("utf-8", "backslashreplace")
    finally:
        shop.stock.kill()


def test_trace_and_keys_reach_the_service(cluster, odd):
    start_odd(cluster, odd)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    cluster.ctl.run(("bank", "put b 1"), ("shop", "{}"), options=["--wait", "--traceparent", trace],
                    expect=0)
    requests = odd.of()
    assert [r["phase"] for r in requests] == ["try", "confirm"]
    assert {r["headers"]["traceparent"] for r in requests} == {trace}
    ident = requests[0]["id"]
    assert [r["headers"]["idempotency-key"] for r in requests] == \
        [f"{ident}:try:1", f"{ident}:confirm"]


# Crashes of the agent.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("point", [
    f"agent_{when}_{what}" for what in ("http_log:1", "http_send:1", "http_log:2", "rm_prepare",
                                        "http_send:2", "http_log:3", "rm_commit")
    for when in ("before", "after")])
def test_agent_dies(shop, point, protocol):
    """At every durable write and request: what was tried and not prepared is cancelled by the next
    life, what was prepared obeys the decision, whether or not the service has heard it (17, 42).
    The first write is Try's, the second the prepare's, the third the Confirm's or Cancel's."""
    shop.start()
    shop.agent.stop()
    shop.agent.start(crash_at=point)
    shop.cluster.wait_up()
    with shop.cluster.coordinator.application() as peer:
        peer.submit(run=wire.run(order(3), protocol=protocol, key="k"))
        shop.agent.process.wait_end()
    shop.agent.start()
    result = shop.settle("k")
    assert result.outcome in (pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED)
    if point.startswith(("agent_before_http_send:2", "agent_after_http_log:3", "agent_after_rm_c")):
        assert result.outcome == pb.OUTCOME_COMMITTED
    if point in ("agent_before_http_log:1", "agent_before_http_send:1", "agent_after_http_send:1",
                 "agent_before_http_log:2"):
        assert result.outcome == pb.OUTCOME_ABORTED
    shop.check(sold=3 if result.outcome == pb.OUTCOME_COMMITTED else 0)


@pytest.mark.parametrize("point", ["agent_before_http_send:2", "agent_after_http_send:2",
                                   "agent_before_http_log:2", "agent_after_http_log:2"])
def test_agent_dies_while_it_cancels(shop, point):
    """The bank says no, so the Try of the shop is cancelled; again after the restart."""
    shop.start()
    shop.agent.stop()
    shop.agent.start(crash_at=point)
    shop.cluster.wait_up()
    gtrid = shop.cluster.ctl("tx", "begin", expect=0).json["gtrid"]
    shop.cluster.ctl("tx", "work", gtrid, "--participant", "shop", take(4), expect=0)
    shop.cluster.ctl("tx", "rollback", gtrid)
    shop.agent.process.wait_end()
    shop.agent.start()
    wait_until(lambda: shop.stock.branches() == {"cancelled": 1}, "the branch is cancelled")
    shop.check(sold=0)


def test_orphan_is_cancelled_without_any_coordinator(shop):
    """The agent dies between Try and vote, and the coordinator is gone as well: the reservation
    goes nevertheless, as soon as the service is there."""
    shop.start()
    gtrid = shop.cluster.ctl("tx", "begin", expect=0).json["gtrid"]
    shop.cluster.ctl("tx", "work", gtrid, "--participant", "shop", take(4), expect=0)
    assert shop.stock.item() == (6, 4)
    shop.agent.kill()
    shop.cluster.coordinator.kill()
    shop.stock.kill()
    shop.agent.start()
    shop.agent.process.wait_line("resource_report", pattern="level=warn.*not cancelled yet")
    shop.stock.start()
    wait_until(lambda: shop.stock.item() == (10, 0), "the reservation is gone")
    shop.agent.process.wait_line("resource_report", pattern="all of them are cancelled")


# Crashes of the service.


@pytest.mark.parametrize("decided", [True, False])
def test_service_dies_between_try_and_end(shop, decided):
    """kill -9 while both are in doubt; Confirm or Cancel waits for it (16, 19)."""
    shop.start()
    key = shop.cluster.stop_in_doubt(order(3), decided)
    assert shop.stock.item() == (7, 3)
    shop.stock.kill()
    shop.cluster.coordinator.start()
    shop.agent.process.wait_line("resource_call", pattern="result=retry.*Failed to connect")
    shop.stock.start()
    if decided:
        assert shop.settle(key).outcome == pb.OUTCOME_COMMITTED
    wait_until(lambda: shop.stock.item()[1] == 0, "the service has obeyed")
    shop.check(sold=3 if decided else 0)


@pytest.mark.parametrize("seed", range(3))
def test_service_is_killed_under_load(shop, seed):
    """Orders one after the other while the service is killed at some moment: each ends alike on
    both sides, and what the service says of each branch agrees with the outcome."""
    shop.start(retry_max="100ms", parameters={"timeout": "1s"})
    with shop.cluster.coordinator.application() as peer:
        keys = [f"{seed}-{n}" for n in range(9)]
        for n, key in enumerate(keys):
            peer.submit(run=wire.run(order(1), key=key))
            if n == 2 + seed:
                wait_until(lambda: len(shop.stock.states()) > n - 1, "some are tried")
                shop.stock.restart()
    results = [shop.settle(key) for key in keys]
    sold = sum(r.outcome == pb.OUTCOME_COMMITTED for r in results)
    assert all(r.outcome in (pb.OUTCOME_COMMITTED, pb.OUTCOME_ABORTED) for r in results)
    shop.check(sold=sold)
    states = shop.stock.states()
    for result in results:
        state = states.get(wire.gtrid_text(result.gtrid))
        assert (state == "confirmed") == (result.outcome == pb.OUTCOME_COMMITTED)


def test_agent_starts_without_its_service(shop):
    """Which it only asks at its start if it is given a URL for that."""
    shop.start()
    shop.agent.stop()
    shop.stock.kill()
    shop.agent.start()
    shop.cluster.wait_up()
    assert "Failed to connect" in shop.buy(1, expect=ctl.ABORTED).json["reason"]
    shop.agent.stop()
    shop.agent.resource[0] += f",ping={shop.stock.url}/ping"
    shop.agent.start()
    shop.agent.process.wait_line("resource_away", pattern="http: Failed to connect")
    assert "is away" in shop.buy(1, expect=ctl.ABORTED).json["reason"]
    shop.stock.start()
    shop.cluster.wait_up()
    shop.buy(1, expect=ctl.DONE)
    shop.check(sold=1)


# A service that is slow, wrong or silent.


def test_confirm_fails_for_a_while(cluster, odd):
    """500, garbage, a huge body, a redirect, a closed connection, 404: none is success, and none
    ends the branch; the decision stands and Confirm comes again with the same key (19, 20, 24)."""
    start_odd(cluster, odd)
    answers = [500, {"status": 503, "raw": "<html>"}, {"bytes": 200000}, {"drop": True}, 404, 410,
               {"status": 302, "headers": {"Location": "/confirm"}}, {"header_bytes": 90000}, 200]
    done = cluster.ctl.run(("bank", "put b 1"), ("shop", json.dumps({"confirm": answers})),
                           options=["--wait"], expect=ctl.DONE).json
    confirms = odd.of("confirm", done["gtrid"])
    assert len(confirms) >= len(answers)
    assert len({c["headers"]["idempotency-key"] for c in confirms}) == 1
    assert not odd.of("cancel")


def test_others_are_served_while_one_confirm_hangs(cluster, odd):
    """A Confirm without an answer holds up the others for its time-out at most (19, 49)."""
    start_odd(cluster, odd, resource={"timeout": "300ms"})
    stuck = cluster.ctl.run(("bank", "put b 1"), ("shop", '{"confirm": [{"hang": true}]}'),
                            expect=ctl.DONE).json["gtrid"]
    wait_until(lambda: len(odd.of("confirm", stuck)) >= 2, "it is tried again")
    for _ in range(3):
        cluster.ctl.run(("bank", "put c 1"), ("shop", "{}"), options=["--wait"], expect=ctl.DONE)
    odd.release.set()
    cluster.ctl("tx", "wait", stuck, expect=ctl.DONE)


@pytest.mark.parametrize("answer", [
    {"hang": True}, {"drop": True}, {"status": 500}, {"raw": "{half"}, {"bytes": 200000},
    {"status": 307, "headers": {"Location": "/cancel"}}], ids=str)
def test_unclear_try_is_cancelled(cluster, odd, answer):
    """It may have arrived: the transaction aborts, and Cancel is sent; no redirect is followed."""
    start_odd(cluster, odd, resource={"timeout": "300ms"})
    done = cluster.ctl.run(("bank", "put b 1"), ("shop", json.dumps({"try": [answer]})),
                           options=["--wait"], expect=ctl.ABORTED).json
    assert done["reason"].startswith("shop/http")
    wait_until(lambda: odd.of("cancel"), "Cancel is sent")
    assert {r["body"]["gtrid"] for r in odd.of()} == {done["gtrid"]}
    assert not odd.of("confirm")


def test_refused_try_is_not_cancelled(cluster, odd):
    """It holds nothing, so there is nothing to cancel."""
    start_odd(cluster, odd)
    done = cluster.ctl.run(("bank", "put b 1"), ("shop", '{"try": [422]}'), options=["--wait"],
                           expect=ctl.ABORTED).json
    assert "422" in done["reason"]
    assert [r["phase"] for r in odd.of()] == ["try"]


def test_read_only_try_has_no_second_phase(cluster, odd):
    """The service says that it holds nothing (14)."""
    start_odd(cluster, odd)
    done = cluster.ctl.run(("bank", "put b 1"),
                           ("shop", '{"try": [{"body": {"read_only": true}}]}'),
                           options=["--wait"], expect=ctl.DONE).json
    shown = cluster.ctl("tx", "show", done["gtrid"], expect=0).json
    assert {r["participant"]: r["vote"] for r in shown["branches"]}["shop/http"] == "read-only"
    assert [r["phase"] for r in odd.of()] == ["try"]


@pytest.mark.parametrize("phase,said,decided,outcome", [
    ("confirm", "cancelled", True, "mixed"), ("confirm", "confirmed", True, "committed"),
    ("cancel", "confirmed", False, None)])
def test_what_the_service_did_alone(cluster, odd, phase, said, decided, outcome):
    """Only its own word, in a 409 or 410, says that it ended a branch by itself: against the
    decision that is a heuristic outcome, kept for a person, also over a restart (22)."""
    start_odd(cluster, odd)
    work = json.dumps({phase: [{"status": 410, "body": {"outcome": said, "reason": "expired"}}]})
    gtrid = cluster.ctl("tx", "begin", expect=0).json["gtrid"]
    cluster.ctl("tx", "work", gtrid, "--participant", "bank", "put b 1", expect=0)
    cluster.ctl("tx", "work", gtrid, "--participant", "shop", work, expect=0)
    cluster.ctl("tx", "commit" if decided else "rollback", gtrid)
    agent = cluster.agents["shop"]
    if outcome != "committed":
        agent.process.wait_line("alarm", pattern="expired")
    if outcome:
        answer = cluster.ctl("tx", "wait", gtrid)
        assert answer.json["outcome"] == outcome
    agent.restart()
    cluster.wait_up()
    assert not agent.process.has_line("branch_came_back")


def test_what_was_seen_to_and_has_expired_is_no_abort(cluster, odd):
    """The service has cancelled what was committed; a person has seen to it while the agent was
    down; retention has dropped it. When the agent says it once more, nobody presumes that the
    transaction was aborted: a person looks again, and then it is let go (22, 23)."""
    start_odd(cluster, odd, retention="1ms")
    work = '{"confirm": [{"status": 410, "body": {"outcome": "cancelled"}}]}'
    done = cluster.ctl.run(("bank", "put b 1"), ("shop", work), options=["--wait"]).json
    gtrid, run, agent = done["gtrid"], cluster.ctl, cluster.agents["shop"]
    assert done["outcome"] == "mixed"
    agent.kill()
    run("tx", "acknowledge", gtrid, "--reason", "sent by hand", expect=0)
    wait_until(lambda: run("tx", "show", gtrid).json["outcome"] == "expired", "it has expired")
    agent.start()
    shown = wait_until(lambda: run("tx", "show", gtrid).json["outcome"] != "expired" and
                       run("tx", "show", gtrid, expect=0).json, "the agent says it again")
    assert shown["outcome"] == "hazard" and "nobody knows" in shown["reason"]
    assert [b["result"] for b in shown["branches"]] == ["heuristically aborted"]
    run("tx", "acknowledge", gtrid, "--reason", "seen", expect=0)
    run("health", expect=0)
    wait_until(lambda: ctl.Ctl(agent.address)("participants", "branches",
                                              expect=0).json["branches"] == [],
               "the agent keeps nothing of it")


@pytest.mark.parametrize("host,trusted,reason", [
    ("127.0.0.1", True, None), ("127.0.0.1", False, "certificate"),
    ("localhost", True, "localhost")])
def test_certificates_are_checked(cluster, tmp_path, host, trusted, reason):
    """Its chain and its name; to a service that cannot prove itself not a byte is said."""
    certificate = tmp_path / "service.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=odd",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", certificate, "-out",
         tmp_path / "ca.pem"], check=True, capture_output=True)
    with open(certificate, "a", encoding="ascii") as file:
        file.write((tmp_path / "ca.pem").read_text())
    service = OddService(certificate)
    try:
        service.url = service.url.replace("127.0.0.1", host)
        start_odd(cluster, service, resource={"ca": tmp_path / "ca.pem"} if trusted else None)
        done = cluster.ctl.run(("bank", "put b 1"), ("shop", "{}"), options=["--wait"],
                               expect=ctl.ABORTED if reason else ctl.DONE).json
        if reason:
            assert reason in done["reason"] and service.of() == []
        else:
            assert [r["phase"] for r in service.of()] == ["try", "confirm"]
    finally:
        service.shutdown()
        service.server_close()


# Order.


def test_try_after_cancel_is_refused(cluster, odd):
    """53: an abort for a branch that the agent has never seen is noted; when its Try comes after
    all, even to the next life of the agent, it is refused, and nothing ever reaches the service."""
    cluster.coordinator = fake = wire.FakeCoordinator()
    agent = cluster.add_agent("shop", [f"http:{odd.parameters()}"]).start()
    peer = fake.accept()
    try:
        gtrid = fake.gtrid()
        fake.branch(peer, pb.BRANCH_ABORT, gtrid)
        assert wire.hear(peer, pb.BRANCH_ACK).result == pb.RESULT_ABORTED
        agent.kill()
        peer.close()
        agent.start()
        peer = fake.accept()
        fake.branch(peer, pb.BRANCH_PREPARE, gtrid, work=b"{}", has_work=True, resource="http")
        vote = wire.hear(peer, pb.BRANCH_VOTE)
        assert vote.vote == pb.VOTE_NO and "too late" in vote.reason_text
        assert odd.of() == []
    finally:
        cluster.coordinator = None
        peer.close()
        fake.close()


def test_confirm_ten_thousand_times_has_one_effect(shop):
    """54, at the service: the agent asks again only while it has no answer, but whoever repeats it,
    the stock changes once; and a Cancel afterwards changes nothing."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(shop.stock.url).netloc)

    def post(path, **body):
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    for _ in range(3):
        assert post("/try", id="x", **{"try": 1}, work={"take": "apple", "count": 3})[0] == 200
    assert shop.stock.item() == (7, 3)
    for _ in range(10000):
        assert post("/confirm", id="x")[0] == 200
    assert shop.stock.item() == (7, 0)
    assert post("/cancel", id="x")[1]["outcome"] == "confirmed"
    assert shop.stock.item() == (7, 0)
    # And the other order: what overtakes the Try is remembered, the Try is refused.
    assert post("/confirm", id="y")[0] == 404
    assert post("/cancel", id="y") == (200, {"outcome": "cancelled"})
    assert post("/try", id="y", **{"try": 1}, work={"take": "apple", "count": 3})[0] == 409
    assert shop.stock.item() == (7, 0)
