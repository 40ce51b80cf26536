"""kill -9 at random moments under load, again and again: no money is made or lost, no answer lies.

Aim: AC1-AC5 with real processes, disks and sockets (edge cases 1, 5, 16, 17, 19, 27, 42, 56).
Method: 64 transfers in flight, half 2pc and half 3pc; at a random moment the coordinator or an
agent is killed and started again; every transfer is asked about until it is decided and obeyed.
The moments come from a seed that the failure names. 3pc is by quorum; but in the election cycles
its participants wait longer than any restart takes, so that they do without elections.
"""

import os
import random

import pytest

from bank import Bank
from ctl import Ctl
from load import Load
from process import wait_until

CYCLES = int(os.environ.get("ASSENT_CYCLES", "20"))
SHARDS = 4
IN_FLIGHT = 64


@pytest.mark.parametrize("seed", range(SHARDS))
def test_kill_cycles(cluster, seed):
    rng = random.Random(seed)
    cluster.start(agents=3, resource="kv:lock_wait=200ms",
                  coordinator={"precommit_timeout": "10m", "prepare_timeout": "1s"})
    names = sorted(cluster.agents)
    load = Load(Bank(names, 256), cluster.coordinator, rng)
    with cluster.coordinator.application() as peer:
        load.bank.open(peer)
    victims = ["coordinator", "coordinator", *names]
    for cycle in range(seed, CYCLES, SHARDS):
        victim = cluster.daemon(rng.choice(victims))
        cluster.wait_up()
        load.through(victim.restart, IN_FLIGHT, connections=4)
        if cycle % 32 < SHARDS:
            load.audit()
    load.nothing_in_doubt()
    load.audit()
    committed = sum(t.outcome == 1 for t in load.all)
    assert committed > len(load.all) / 4, "the load must mostly commit to mean anything"
    if CYCLES >= 10 * SHARDS:
        assert load.unknown > 0, "no kill has hit a transfer in flight"
    print(f"{len(load.all)} transfers, {committed} committed, {load.unknown} had no answer")
    for daemon in cluster.daemons():
        assert daemon.stop() == 0
        cluster.ctl("log", "verify", "--data-dir", daemon.data, expect=0)


@pytest.mark.parametrize("seed", range(2))
def test_everything_killed_at_once(cluster, seed):
    """Power cut of the whole site: coordinator and all agents at one moment, also while they
    recover from the cut before (case 42: recovery itself survives crashes)."""
    rng = random.Random(1000 + seed)
    cluster.start(agents=3, resource="kv:lock_wait=200ms",
                  coordinator={"precommit_timeout": "10m"})
    names = sorted(cluster.agents)
    load = Load(Bank(names, 256), cluster.coordinator, rng)
    with cluster.coordinator.application() as peer:
        load.bank.open(peer)

    def cut():
        for _ in range(2):
            for daemon in cluster.daemons():
                daemon.process.signal(9)
            for daemon in cluster.daemons():
                daemon.kill()
            for daemon in cluster.daemons():
                daemon.launch()
        for daemon in cluster.daemons():
            daemon.started()

    for _ in range(max(2, CYCLES // 20)):
        cluster.wait_up()
        load.through(cut, IN_FLIGHT, connections=2)
        load.audit()
    load.nothing_in_doubt()


@pytest.mark.parametrize("seed", range(2))
def test_election_cycles(cluster, seed):
    """The coordinator is killed with transfers in flight and stays away, while its participants
    hold elections and are killed in them, one after the other; back, it learns what they decided.
    One outcome always, and no alarm."""
    rng = random.Random(2000 + seed)
    cluster.start(agents=3, resource="kv:lock_wait=200ms",
                  agent={"retry_max": "100ms", "inquire": "100ms"},
                  coordinator={"precommit_timeout": "50ms", "prepare_timeout": "150ms"})
    names = sorted(cluster.agents)
    load = Load(Bank(names, 256), cluster.coordinator, rng)
    with cluster.coordinator.application() as peer:
        load.bank.open(peer)

    def leave_them_alone():
        before = elections(cluster)
        cluster.coordinator.kill()
        for _ in range(rng.randrange(4, 40)):
            cluster.agents[rng.choice(names)].restart()
        wait_until(lambda: elections(cluster) > before or not in_doubt(cluster),
                   "those in doubt ask each other")
        cluster.coordinator.start()

    for _ in range(max(3, CYCLES // 10)):
        cluster.wait_up()
        load.through(leave_them_alone, IN_FLIGHT, connections=4)
        load.audit()
    load.nothing_in_doubt()
    for agent in cluster.agents.values():
        assert "event=alarm" not in agent.log.read_text()
    assert elections(cluster) > 0, "no participant has asked another"


def elections(cluster):
    """Connections that participants have made to each other."""
    return sum(a.log.read_text().count("event=peer_connected") for a in cluster.agents.values())


def in_doubt(cluster):
    """Whether a participant of a 3pc waits for its decision."""
    return any(row["in_doubt_since"] and row["protocol"] == "3pc"
               for agent in cluster.agents.values()
               for row in Ctl(agent.address)("participants", "branches", "--limit", 1000,
                                             expect=0).json["branches"])
