"""What MariaDB itself does with XA branches when it crashes, shown on a real server, and what
becomes of ours then.
"""

import pytest

from banks import MariaDBBanks
from mariadb import MariaDB
from process import wait_until
import wire

pb = wire.pb


@pytest.fixture
def server():
    made = MariaDB()
    yield made
    made.close()


def test_a_branch_that_only_read_vanishes_in_a_crash(cluster, server):
    """MariaDB has prepared it and lists it, and after a crash it is not there. Ours votes read-only
    instead, so that nothing is expected of it afterwards."""
    server.start()
    server.sql("CREATE TABLE t (k INT PRIMARY KEY) ENGINE=InnoDB")
    server.sql("XA START 'reads'; SELECT * FROM t; XA END 'reads'; XA PREPARE 'reads'")
    server.sql("XA START 'writes'; INSERT INTO t VALUES (1); XA END 'writes'; XA PREPARE 'writes'")
    assert sorted(row[3] for row in server.sql("XA RECOVER")) == ["reads", "writes"]
    server.restart()
    assert [row[3] for row in server.sql("XA RECOVER")] == ["writes"]
    server.sql("XA ROLLBACK 'writes'")

    banks = MariaDBBanks(cluster, server).start()
    coordinator = cluster.coordinator
    coordinator.restart(crash_at="coord_after_log_commit")
    cluster.wait_up()
    with coordinator.application() as peer:
        peer.submit(run=wire.run([("bank-a", "SELECT * FROM account"), banks.move(30)[1]], key="k"))
        coordinator.process.wait_end()
    assert [len(banks.prepared(name)) for name in banks.databases] == [0, 1]
    server.restart()
    coordinator.start()
    assert banks.settle("k").outcome == pb.OUTCOME_COMMITTED
    assert banks.balances() == (100, 130)


@pytest.mark.parametrize("binlog", [False, True])
@pytest.mark.parametrize("heuristic", ["COMMIT", "ROLLBACK"])
def test_heuristic_recovery_of_the_server_is_survived(cluster, server, binlog, heuristic):
    """tc-heuristic-recover ends what the server's own coordinator had prepared, with a binlog in a
    start for that alone. What an application has prepared by XA it leaves, as MariaDB does it now:
    the branches are there afterwards, and obey."""
    if binlog:
        server.configure(log_bin="binlog")
    server.start()
    banks = MariaDBBanks(cluster, server).start()
    key = banks.stop_in_doubt(decided=True)
    server.kill()
    server.configure(tc_heuristic_recover=heuristic)
    if binlog:
        with pytest.raises(AssertionError, match="restart without --tc-heuristic-recover"):
            server.start()
        server.process.wait_end()
        server.settings.pop("tc-heuristic-recover")
    server.start()
    cluster.coordinator.start()
    assert banks.settle(key).outcome == pb.OUTCOME_COMMITTED
    assert banks.balances() == (70, 130)
    wait_until(lambda: server.sql("XA RECOVER") == [], "nothing is prepared")


def test_wrong_state_is_no_missing_branch(cluster, server):
    """1399 says that a statement does not fit the state of the session's branch, nothing about what
    became of it; 1397 that another session's branch is not prepared, though it is in work. Ours
    ends each branch in its own session in the order that fits, and the answers of MariaDB to
    others' branches decide nothing."""
    server.start()
    error = server.sql("XA START 'x'; XA PREPARE 'x'", check=False)
    assert "1399" in error and "ACTIVE" in error
    error = server.sql("XA START 'x'; XA END 'x'; XA START 'y'", check=False)
    assert "1399" in error and "IDLE" in error
    banks = MariaDBBanks(cluster, server).start()
    run = cluster.ctl
    gtrid = run("tx", "begin", expect=0).json["gtrid"]
    run("tx", "work", gtrid, "--participant", "bank-a", banks.add("a", -30), expect=0)
    run("tx", "work", gtrid, "--participant", "bank-b", banks.add("b", 30), expect=0)
    assert "1397" in server.sql(f"XA COMMIT X'{'ab' * 16}{wire.gtrid_bytes(gtrid).hex()}',"
                                f"X'00000001',1095978580", check=False)
    run("tx", "commit", "--wait", gtrid, expect=0)
    assert banks.balances() == (70, 130)
