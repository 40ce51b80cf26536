"""Branches that an application works on and prepares itself, on a connection of its own to a real
PostgreSQL: the agent finds them and votes for them, ends them, and proves what became of them.
"""

import json
import os
import subprocess

import psycopg2
import pytest

import ctl
import places
import wire
from postgres import Postgres
from process import wait_until

pb = wire.pb
PROTOCOLS = ["2pc", "3pc"]
EXAMPLES = {
    "c": [places.BUILD / "docs" / "examples" / "own_connection"],
    "python": ["/usr/bin/python3", places.ROOT / "docs" / "examples" / "own_connection.py"],
}
DATABASE = "own"


@pytest.fixture(scope="module")
def server():
    made = Postgres()
    made.start()
    made.create(DATABASE)
    yield made
    made.close()


class Bank:
    """bank-a: the database, with account a = 100. bank-b: a kv store, with b = 100."""

    def __init__(self, cluster, server):
        self.cluster = cluster
        self.server = server
        for gid in self.prepared():  # a test that failed may have left them
            self.sql(f"ROLLBACK PREPARED '{gid}'")
        self.sql("DROP SCHEMA IF EXISTS assent CASCADE; DROP TABLE IF EXISTS account;"
                 "CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL"
                 " CHECK (balance >= 0)); INSERT INTO account VALUES ('a', 100)")
        cluster.add_coordinator(prepare_timeout="5s", precommit_timeout="10m").start()
        cluster.add_agent("bank-a", [f"postgres:{server.conninfo(DATABASE)}"]).start()
        cluster.add_agent("bank-b").start()
        cluster.wait_up()
        cluster.ctl.run(("bank-b", "put b 100"), options=["--wait"], expect=ctl.DONE)

    def sql(self, statement):
        return self.server.sql(statement, DATABASE)

    def prepared(self):
        return [gid for (gid,) in self.sql(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")]

    def tx(self, *words, expect=ctl.DONE):
        return self.cluster.ctl("tx", *words, expect=expect).json

    def begin(self, protocol="2pc"):
        """A transaction with a branch of our own at bank-a: its gtrid, the branch."""
        gtrid = self.tx("begin", "--protocol", protocol)["gtrid"]
        return gtrid, self.tx("enlist", gtrid, "--participant", "bank-a")

    def connect(self):
        session = psycopg2.connect(self.server.conninfo(DATABASE))
        session.autocommit = True
        return session

    def take(self, branch, marker=True, session=None):
        """Prepares the branch with 30 taken from a, as an application would."""
        used = session or self.connect()
        after = branch["after"] if marker else branch["after"][1:]
        try:
            for statement in [*branch["before"], "UPDATE account SET balance = balance - 30",
                              *after]:
                used.cursor().execute(statement)
        finally:
            if session is None:
                used.close()

    def balances(self):
        with self.cluster.coordinator.application() as peer:
            b = json.loads(peer.query("bank-b", "get b"))
        return int(self.sql("SELECT balance FROM account")[0][0]), int(b["value"])


@pytest.fixture
def bank(cluster, server):
    return Bank(cluster, server)


@pytest.mark.parametrize("language", EXAMPLES)
def test_examples(bank, language):
    """docs/examples: 30 from a database on its own connection to a kv store; a refusal on either
    side leaves both as they were."""
    def run(account, work, amount):
        return subprocess.run(
            [*EXAMPLES[language], bank.cluster.coordinator.address, "bank-a",
             bank.server.conninfo(DATABASE), account, "bank-b", work, amount],
            env={**os.environ, "ASSENTCTL": str(places.CTL)}, capture_output=True, text=True,
            timeout=60, check=False)

    done = run("a", "add b 30", "30")
    assert done.returncode == 0 and done.stdout.startswith("committed"), done
    assert bank.balances() == (70, 130)
    done = run("a", "add b -131 min 0", "30")
    assert done.returncode == 7 and done.stdout.startswith("aborted"), done
    done = run("a", "add b 71", "71")
    assert done.returncode == 7 and "account_balance_check" in done.stderr, done
    assert bank.balances() == (70, 130) and bank.prepared() == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_commit_and_rollback(bank, protocol):
    """Alone or beside another branch, it is prepared in two phases and ends as decided."""
    for others, commit in ((0, True), (1, True), (1, False)):
        before = bank.balances()
        gtrid, branch = bank.begin(protocol)
        bank.take(branch)
        assert bank.prepared() == [branch["branch"]]
        if others:
            bank.tx("work", gtrid, "add b 30", "--participant", "bank-b")
        bank.tx("commit" if commit else "rollback", gtrid, "--wait")
        assert bank.prepared() == []
        moved = 30 if commit else 0
        assert bank.balances() == (before[0] - moved, before[1] + moved * others)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_not_prepared_is_a_no(bank, protocol):
    """The application asks to commit what it has not prepared: refused, and it cannot prepare it
    any more, since that it did not commit is on record until the transaction has ended."""
    gtrid, branch = bank.begin(protocol)
    bank.tx("work", gtrid, "add b 30", "--participant", "bank-b")
    bank.cluster.agents["bank-b"].kill()  # so that it does not end
    answer = bank.tx("commit", gtrid, expect=ctl.ABORTED)
    assert "the branch is not prepared" in answer["reason"]
    wait_until(lambda: bank.sql("SELECT 1 FROM assent.marker WHERE NOT committed"),
               "what did not commit is on record")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        bank.take(branch)
    bank.cluster.agents["bank-b"].start()
    bank.cluster.wait_up()
    assert bank.prepared() == [] and bank.balances() == (100, 100)


def test_no_marker_is_a_no(bank):
    """Prepared without its marker nothing could prove what became of it: refused, rolled back."""
    gtrid, branch = bank.begin()
    bank.take(branch, marker=False)
    answer = bank.tx("commit", gtrid, "--wait", expect=ctl.ABORTED)
    assert "without its marker" in answer["reason"]
    assert bank.prepared() == [] and bank.balances() == (100, 100)


def test_open_session_is_waited_for(bank):
    """Asked to commit while the application's session is about to prepare: no, and what it
    prepares afterwards is rolled back (26)."""
    gtrid, branch = bank.begin()
    session = bank.connect()
    cursor = session.cursor()
    for statement in ["BEGIN", "UPDATE account SET balance = 0", *branch["after"][:-1]]:
        cursor.execute(statement)
    bank.tx("commit", gtrid, expect=ctl.ABORTED)
    cursor.execute(branch["after"][-1])
    wait_until(lambda: bank.prepared() == [], "it is rolled back")
    assert bank.balances() == (100, 100)
    session.close()


def test_deadline_rolls_back_what_is_prepared(bank):
    """The application is gone after it has prepared: its branch goes at the deadline (4, 47)."""
    gtrid = bank.tx("begin", "--timeout-ms", "700")["gtrid"]
    bank.take(bank.tx("enlist", gtrid, "--participant", "bank-a"))
    wait_until(lambda: bank.prepared() == [], "it is rolled back")
    assert bank.balances() == (100, 100)


@pytest.mark.parametrize("who", ["agent", "coordinator"])
def test_killed_after_the_prepare(bank, who):
    """kill -9 between the application's PREPARE TRANSACTION and its commit: a restarted agent
    still finds the branch; a restarted coordinator has forgotten it, and it is rolled back (41)."""
    gtrid, branch = bank.begin()
    bank.take(branch)
    if who == "agent":
        bank.cluster.agents["bank-a"].restart()
        bank.cluster.wait_up()
        bank.tx("commit", gtrid, "--wait")
        assert bank.balances() == (70, 100)
    else:
        bank.cluster.coordinator.restart()
        bank.cluster.wait_up()
        bank.cluster.agents["bank-a"].restart()
        wait_until(lambda: bank.prepared() == [], "it is rolled back")
        assert bank.balances() == (100, 100)


def test_lost_answer_is_proved_by_the_marker(bank):
    """The agent dies right after COMMIT PREPARED: started again it finds the marker (21)."""
    gtrid, branch = bank.begin()
    bank.take(branch)
    agent = bank.cluster.agents["bank-a"]
    agent.restart(crash_at="agent_after_rm_commit")
    bank.cluster.wait_up()
    with bank.cluster.coordinator.application() as peer:
        assert peer.end(wire.gtrid_bytes(gtrid)).outcome == pb.OUTCOME_COMMITTED
        assert agent.process.wait_end() == -9
        agent.start()
        wait_until(lambda: peer.status(wire.gtrid_bytes(gtrid), wait=True).ended, "ended")
        assert peer.status(wire.gtrid_bytes(gtrid)).outcome == pb.OUTCOME_COMMITTED
    assert bank.balances() == (70, 100)


def test_one_way_or_the_other(bank):
    """A branch is worked on through its agent or by the application itself, not both."""
    gtrid, _ = bank.begin()
    refused = bank.cluster.ctl("tx", "work", gtrid, "SELECT 1", "--participant", "bank-a")
    assert refused.code != ctl.DONE and "not both" in refused.err, refused
    gtrid = bank.tx("begin")["gtrid"]
    bank.tx("work", gtrid, "add b 1", "--participant", "bank-b")
    refused = bank.cluster.ctl("tx", "enlist", gtrid, "--participant", "bank-b")
    assert refused.code != ctl.DONE and "not both" in refused.err, refused
