"""Sessions of branches in work that do not end as they should: nothing is left of a transaction
that is over, and nothing of it can come back (26, 47).
"""

import os
import signal

import pytest

import ctl
import wire
from banks import KINDS
from process import wait_until

# MariaDB reads its table of transactions anew only for who has not asked for 0.1 s.
SESSIONS = {
    "postgres": "SELECT pid FROM pg_stat_activity WHERE datname = 'left_bank'"
                " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()",
    "mariadb": "DO SLEEP(0.15); SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
               " WHERE trx_mysql_thread_id <> CONNECTION_ID()"}


@pytest.fixture(params=KINDS, ids=lambda banks: banks.kind, scope="module")
def of_kind(request):
    return request.param


@pytest.fixture
def kind(of_kind):
    return of_kind.kind


@pytest.fixture(scope="module")
def server(of_kind):
    made = of_kind.Server()
    made.start()
    yield made
    made.close()


@pytest.fixture
def banks(cluster, of_kind, server):
    made = of_kind(cluster, server)
    made.cluster.add_coordinator(prepare_timeout="5s").start()
    return made


def start(banks, kind, connections=20, work_timeout="60s"):
    """The agent bank-a."""
    where = banks.address(banks.server, banks.databases["bank-a"])
    separator = " " if kind == "postgres" else ","
    agent = banks.cluster.add_agent(
        "bank-a", [f"{kind}:connections={connections}{separator}{where}"],
        work_timeout=work_timeout)
    agent.start()
    banks.cluster.wait_up()
    return agent


def transactions(banks, kind):
    """Sessions with an open transaction."""
    return [row[0] for row in banks.sql("bank-a", SESSIONS[kind])]


def branches(agent):
    return ctl.Ctl(agent.address)("participants", "branches", expect=0).json["branches"]


def test_deadline_before_the_begin_leaves_nothing(banks, kind):
    """A branch is enlisted and waits for the only session; its transaction's deadline passes before
    the database has heard of it. When the session is free nothing is begun for it (47)."""
    agent = start(banks, kind, connections=1)
    update = "UPDATE account SET balance = {} WHERE name = 'a'"
    with banks.cluster.coordinator.application() as holder, \
            banks.cluster.coordinator.application() as late:
        held = holder.begin()
        holder.work(held, "bank-a", update.format(60))
        waits = late.begin(timeout_ms=500)
        late.submit(work=wire.pb.Work(gtrid=waits, participant="bank-a",
                                      work=update.format(0).encode()))
        wait_until(lambda: holder.status(waits).outcome == wire.pb.OUTCOME_ABORTED, "it is over")
        assert holder.end(held, wait=True).outcome == wire.pb.OUTCOME_COMMITTED
    wait_until(lambda: branches(agent) == [], "the agent keeps nothing of either")
    wait_until(lambda: transactions(banks, kind) == [], "no transaction is open")
    assert banks.prepared("bank-a") == []
    assert banks.sql("bank-a", "SELECT balance FROM account WHERE name = 'a'") == [["60"]]
    banks.cluster.ctl.run(("bank-a", update.format(50)), options=["--wait"], expect=ctl.DONE)


def test_one_phase_without_a_session_aborts(banks, kind):
    """A one-shot transaction of one branch finds the only session taken: nothing of it was ever
    sent, so it has aborted, and is no hazard for a person to see to (21)."""
    agent = start(banks, kind, connections=1, work_timeout="200ms")
    update = "UPDATE account SET balance = {} WHERE name = 'a'"
    with banks.cluster.coordinator.application() as holder:
        held = holder.begin()
        holder.work(held, "bank-a", update.format(60))
        done = banks.cluster.ctl.run(("bank-a", update.format(0)), options=["--wait"],
                                     expect=ctl.ABORTED)
        assert done.json["outcome"] == "aborted"
        assert "all 1 connections are in work" in done.json["reason"]
        assert holder.end(held, wait=True).outcome == wire.pb.OUTCOME_COMMITTED
    wait_until(lambda: branches(agent) == [], "the agent keeps nothing of either")
    assert banks.sql("bank-a", "SELECT balance FROM account WHERE name = 'a'") == [["60"]]


def test_session_that_outlives_its_agent_cannot_come_back(banks, kind):
    """The agent is killed with a branch in work, and the server does not notice: the session stands
    still, or is busy. Its transaction is rolled back without it; when it goes on it is closed, and
    what it held is free (26)."""
    agent = start(banks, kind)
    with banks.cluster.coordinator.application() as peer:
        gtrid = peer.begin()
        peer.work(gtrid, "bank-a", "UPDATE account SET balance = 0 WHERE name = 'a'")
        if kind == "mariadb":
            peer.submit(work=wire.pb.Work(gtrid=gtrid, participant="bank-a",
                                          work=b"SELECT SLEEP(50)"))
            wait_until(lambda: banks.sql("bank-a", "SELECT 1 FROM information_schema.processlist"
                                                   " WHERE state = 'User sleep'"), "it is busy")
        (session,) = transactions(banks, kind)
        if kind == "postgres":
            os.kill(int(session), signal.SIGSTOP)
        agent.kill()
        agent.start()
        banks.cluster.wait_up()
    done = wait_until(lambda: (banks.cluster.ctl("tx", "wait", wire.gtrid_text(gtrid)).json
                               or {}).get("outcome"), "it is over")
    assert done == "aborted" and transactions(banks, kind) == [session]
    if kind == "postgres":
        os.kill(int(session), signal.SIGCONT)
    else:
        banks.sql("bank-a", f"KILL QUERY {session}")
    wait_until(lambda: transactions(banks, kind) == [], "the session is closed")
    assert banks.prepared("bank-a") == []
    banks.cluster.ctl.run(("bank-a", "UPDATE account SET balance = balance + 1"
                                     " WHERE name = 'a'"), options=["--wait"], expect=ctl.DONE)
    assert banks.sql("bank-a", "SELECT balance FROM account WHERE name = 'a'") == [["101"]]
    wait_until(lambda: branches(agent) == [], "nothing is left of it")
