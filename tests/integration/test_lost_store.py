"""An agent that has lost its store while its database has not: what it finds prepared there it
cannot judge, and asks (41).
"""

import shutil

import pytest

import ctl
from banks import PostgresBanks
from postgres import Postgres
from process import wait_until
import wire

pb = wire.pb


@pytest.fixture(scope="module")
def server():
    made = Postgres()
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
@pytest.mark.parametrize("decided", [True, False])
def test_prepared_branches_outlive_the_agent_s_store(cluster, server, decided, protocol):
    """Both are prepared and nobody has told them. bank-a's agent loses its store and starts while
    the coordinator is down: it lists its branch and leaves it. Then it obeys, whatever was decided,
    over another restart too."""
    banks = PostgresBanks(cluster, server).start()
    coordinator, agent = cluster.coordinator, cluster.agents["bank-a"]
    before = "coord_before_log_commit" if protocol == "2pc" else "coord_before_log_precommit"
    after = "coord_after_log_commit" if protocol == "2pc" else "coord_before_send_commit"
    coordinator.restart(crash_at=after if decided else before)
    cluster.wait_up()
    with coordinator.application() as peer:
        peer.submit(run=wire.run(PostgresBanks.move(30), key="k", protocol=protocol))
        coordinator.process.wait_end()
    agent.kill()
    shutil.rmtree(agent.data)
    for _ in range(2):
        agent.restart()
        agent.process.wait_line("recovered")
        rows = ctl.Ctl(agent.address)("participants", "branches", expect=0).json["branches"]
        assert [row["phase"] for row in rows] == ["prepared"]
    assert len(banks.prepared("bank-a")) == 1
    coordinator.start()
    wait_until(lambda: not banks.prepared("bank-a") and not banks.prepared("bank-b"),
               "both have obeyed")
    assert banks.balances() == ((70, 130) if decided else (100, 100))
