"""What only PostgreSQL does, beside what test_databases.py shows of every database: what it refuses
to prepare, and the settings without which it cannot.
"""

import pytest

import ctl
from banks import PostgresBanks
from postgres import Postgres


@pytest.fixture
def own_server():
    """For tests that change its settings."""
    server = Postgres()
    yield server
    server.close()


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_refused_prepare_carries_the_sqlstate(cluster, own_server, protocol):
    """PREPARE TRANSACTION itself refuses: that branch is gone, the other is rolled back (13)."""
    own_server.start()
    banks = PostgresBanks(cluster, own_server).start()
    done = cluster.ctl.run(("bank-a", "CREATE TEMP TABLE t (x int)"), banks.move(30)[1],
                           protocol=protocol, options=["--wait"], expect=ctl.ABORTED)
    assert "0A000" in done.json["reason"] and "temporary objects" in done.json["reason"]
    assert banks.balances() == (100, 100)
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []


def test_server_that_cannot_prepare_is_refused_by_name(cluster, own_server):
    own_server.configure(max_prepared_transactions=0)
    own_server.start()
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [f"postgres:{own_server.conninfo()}"]).launch()
    assert agent.process.wait_end() == 2
    assert agent.process.has_line(pattern="max_prepared_transactions is 0.*restart it")


def test_risks_of_a_server_are_named(cluster, own_server):
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [f"postgres:{own_server.conninfo()}"])
    own_server.configure(fsync="off", synchronous_commit="off", full_page_writes="off",
                         max_connections=20)
    own_server.start()
    agent.start()
    for name in ("fsync", "synchronous_commit", "full_page_writes", "max_connections"):
        agent.process.wait_line("resource_report", pattern=f"level=warn.*{name}")
    agent.process.wait_line("resource_report", pattern="level=info.*PostgreSQL.*a sync takes")


def test_full_list_of_prepared_transactions_refuses_by_name(cluster, own_server):
    """max_prepared_transactions is reached: a vote of no that says so."""
    own_server.configure(max_prepared_transactions=1)
    own_server.start()
    banks = PostgresBanks(cluster, own_server).start()
    done = banks.run(30, expect=ctl.ABORTED)
    assert "maximum number of prepared transactions reached" in done.json["reason"]
    assert banks.balances() == (100, 100)


def test_calls_without_an_answer_end_with_their_sessions(cluster, own_server):
    """A server that stays silent for longer than any call waits, with branches under way that no
    thread waits for: each call ends at a deadline of its own, its session goes, and the server's
    list and the marker tell what became of the branch: the sessions that were given up still find
    their work in the socket when the server goes on, and prepare it or not (16, 21)."""
    own_server.start()
    banks = PostgresBanks(cluster, own_server).start()
    banks.run_bare(30, expect=ctl.DONE)
    own_server.pause()
    cluster.ctl.run(*banks.bare(30), expect=ctl.ABORTED)
    for agent in cluster.agents.values():
        agent.process.wait_line("resource_call", pattern="no answer in time", seconds=45)
    own_server.go_on()
    cluster.wait_up()
    banks.run_bare(30, expect=ctl.DONE)
    banks.wait_obeyed()
    assert banks.balances() == (40, 160)
