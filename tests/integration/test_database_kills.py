"""kill -9 of databases under load, again and again: one outcome everywhere, no money made or lost.

Aim: AC1-AC5 with real databases that crash in both phases (edge cases 1, 5, 16, 19, 21, 27, 39, 42,
56). Method: two servers with one bank each; 48 transfers in flight, half 2pc and half 3pc; at a
random moment one server is killed with all its processes, at times together with an agent, and
started again, with its tables whole; every transfer is asked about until it is decided and obeyed
everywhere; then sums, marks and markers of both databases are held against the outcomes, and at the
end `verify` finds nothing. The server's own log says how often it came back with branches prepared,
that is, was killed between the two phases.

ASSENT_DATABASE_CYCLES sets the number of kills (10).
"""

import os
import random

import pytest

import ctl
from database_bank import MariaDBBank, PostgresBank
from load import Load

CYCLES = int(os.environ.get("ASSENT_DATABASE_CYCLES", "10"))
IN_FLIGHT = 48
NAMES = ["bank-a", "bank-b"]


@pytest.fixture
def servers(kind):
    made = {name: kind.Server() for name in NAMES}
    yield made
    for server in made.values():
        server.close()


def start(cluster, kind, servers):
    cluster.add_coordinator(prepare_timeout="2s", precommit_timeout="10m").start()
    for name, server in servers.items():
        server.start()
        # A session whose agent was killed may prepare late; its branch is found by looking again.
        cluster.add_agent(name, [kind.resource(server, "bank")], work_timeout="1s")
    bank = kind({name: (server, "bank") for name, server in servers.items()}, 256)
    bank.open()
    for agent in cluster.agents.values():
        agent.start()
    cluster.wait_up()
    return bank


def strike(cluster, servers, rng):
    """Kills one server, every third time with one of the agents, and brings them back."""
    server = servers[rng.choice(NAMES)]
    agent = cluster.agents[rng.choice(NAMES)] if rng.randrange(3) == 0 else None
    if agent:
        agent.kill()
    server.restart()
    if agent:
        agent.start()


@pytest.mark.parametrize("kind", [PostgresBank, MariaDBBank], ids=lambda kind: kind.kind)
def test_kill_cycles(cluster, kind, servers):
    rng = random.Random(20240811)
    bank = start(cluster, kind, servers)
    load = Load(bank, cluster.coordinator, rng)
    for _ in range(CYCLES):
        cluster.wait_up()
        load.through(lambda: (strike(cluster, servers, rng), bank.check_tables()), IN_FLIGHT,
                     connections=4)
        load.nothing_in_doubt()
        load.audit()
        bank.check_markers(load.all)
    cluster.wait_up()
    cluster.ctl("verify", expect=ctl.DONE)
    committed = sum(t.outcome == 1 for t in load.all)
    assert committed > len(load.all) / 4, "the load must mostly commit to mean anything"
    found = sum(kind.recovered(server.process.log_path.read_text())
                for server in servers.values())
    print(f"{len(load.all)} transfers, {committed} committed, "
          f"{found} branches were prepared when a server was killed, "
          f"{bank.check_markers(load.all)} markers are left")
    if CYCLES >= 10:
        assert found > 0, "no kill has hit a server between the phases"
