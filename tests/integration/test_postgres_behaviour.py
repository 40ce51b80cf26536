"""What PostgreSQL itself does with prepared transactions, shown on a real server, and what becomes
of ours then: what it refuses to prepare, whom it lets end them and where, what they hold back.
"""

import json
import shutil
import subprocess

import pytest

import ctl
from banks import PostgresBanks
from postgres import USER, Postgres
from process import Process, wait_until
from server import as_nobody
import wire

pb = wire.pb


@pytest.fixture(scope="module")
def server():
    made = Postgres()
    made.start()
    yield made
    made.close()


@pytest.fixture
def banks(cluster, server):
    return PostgresBanks(cluster, server).start()


FOREIGN = """CREATE EXTENSION IF NOT EXISTS postgres_fdw;
    CREATE SERVER IF NOT EXISTS elsewhere FOREIGN DATA WRAPPER postgres_fdw
        OPTIONS (host '{host}', dbname 'right_bank');
    CREATE USER MAPPING IF NOT EXISTS FOR CURRENT_USER SERVER elsewhere OPTIONS (user 'assent');
    DROP FOREIGN TABLE IF EXISTS public.far;
    CREATE FOREIGN TABLE public.far (name text, balance bigint) SERVER elsewhere
        OPTIONS (schema_name 'public', table_name 'account')"""


@pytest.mark.parametrize("statement, says", [
    ("CREATE TEMP TABLE t (x int)", "temporary objects"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "WITH HOLD"),
    ("LISTEN news", "LISTEN"), ("NOTIFY news", "NOTIFY"),
    ("SELECT pg_export_snapshot()", "exported snapshots"),
    ("UPDATE public.far SET balance = 1 WHERE name = 'a'", "foreign tables")])
def test_what_cannot_be_prepared_is_refused(banks, statement, says):
    """PostgreSQL rolls it back with the refusal, so that nothing is left to roll back (42704); ours
    is a no with that reason, and the other branch is rolled back (13). LISTEN and NOTIFY it does
    not get to see: a branch that only read would be committed before the decision."""
    banks.sql("bank-a", FOREIGN.format(host=banks.server.directory))
    error = banks.server.sql(f"BEGIN; {statement}; PREPARE TRANSACTION 'theirs'", "left_bank",
                             check=False)
    assert "0A000" in error and says in error
    assert "42704" in banks.server.sql("ROLLBACK PREPARED 'theirs'", "left_bank", check=False)
    work = json.dumps([{"sql": statement}, json.loads(PostgresBanks.add("a", -30))])
    done = banks.cluster.ctl.run(("bank-a", work), PostgresBanks.move(30)[1], options=["--wait"],
                                 expect=ctl.ABORTED)
    reason = done.json["reason"]
    if says in ("LISTEN", "NOTIFY"):
        assert f"statement 1: {says.lower()} is not for the work of a branch" in reason
    else:
        assert "0A000" in reason and says in reason
    assert banks.balances() == (100, 100)
    assert banks.prepared("bank-a") == banks.prepared("bank-b") == []


def test_branches_end_in_their_database_and_by_their_owner(cluster, server):
    """PostgreSQL ends a prepared transaction only in its own database and for its owner. An agent
    leaves what is in another database alone, although the list shows it, and is warned of what is
    in its own but belongs to another role."""
    banks = PostgresBanks(cluster, server)
    gid = "assent:" + "ab" * 16 + ":01HF7YAT000000G00000000001:1"
    for name in banks.databases:
        banks.sql(name, "DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object"
                        " THEN END $$; GRANT ALL ON account TO plain; GRANT CREATE ON DATABASE"
                        f" {banks.databases[name]} TO plain")
    banks.sql("bank-b", f"BEGIN; UPDATE account SET balance = 0; PREPARE TRANSACTION '{gid}2'")
    banks.sql("bank-a", "BEGIN; UPDATE account SET balance = 0 WHERE name = 'b';"
                        f"PREPARE TRANSACTION '{gid}'")
    assert "0A000" in server.sql(f"COMMIT PREPARED '{gid}2'", "left_bank", check=False)
    assert "42501" in server.sql(f"COMMIT PREPARED '{gid}'", "left_bank", check=False, user="plain")
    cluster.add_coordinator().start()
    agent = cluster.add_agent("bank-a", [
        f"postgres:{server.conninfo('left_bank', user='plain')}"]).start()
    agent.process.wait_line("resource_report", pattern="level=warn.*1 prepared branches belong to "
                                                       "another role than plain")
    cluster.wait_up()
    listed = ctl.Ctl(cluster.coordinator.address)("verify").json["participants"][0]
    assert (listed["prepared"], listed["foreign"]) == (1, 1)
    for name, end in (("bank-a", gid), ("bank-b", gid + "2")):
        assert banks.prepared(name) == [end]
        banks.sql(name, f"ROLLBACK PREPARED '{end}'")


def test_prepared_branch_holds_back_vacuum_and_is_warned_of(cluster, server):
    """What a prepared transaction could still see no vacuum removes, for as long as nobody ends it:
    the agent names the branch in its log while it waits. The names are shorter than PostgreSQL's
    200 bytes."""
    banks = PostgresBanks(cluster, server).start(in_doubt_warn="50ms")
    error = server.sql(f"BEGIN; PREPARE TRANSACTION '{'x' * 200}'", check=False)
    assert "22023" in error and "too long" in error
    banks.sql("bank-a", "DROP TABLE IF EXISTS other; CREATE TABLE other AS SELECT 1 AS x")
    key = banks.stop_in_doubt(decided=True)
    gid = banks.prepared("bank-a")[0]
    assert len(gid) < 200
    banks.sql("bank-a", "DELETE FROM other")

    def vacuum():
        return server.sql("VACUUM (VERBOSE) other", "left_bank", check=False)
    assert "1 are dead but not yet removable" in vacuum()
    cluster.agents["bank-a"].process.wait_line("in_doubt", pattern=gid.split(":")[2])
    cluster.coordinator.start()
    banks.settle(key)
    wait_until(lambda: "0 are dead but not yet removable" in vacuum(), "it holds nothing back")


class Pair:
    """A primary and an asynchronous standby; asked where the primary is, names both."""

    def __init__(self):
        self.primary, self.standby = Postgres(), Postgres()
        self.now = self.primary.start()

    def follow(self):
        """The standby begins, from a copy of the primary, and is up to date."""
        standby = self.standby
        shutil.rmtree(standby.data)
        subprocess.run(as_nobody(standby.bin / "pg_basebackup", "-h", self.primary.directory, "-U",
                                 USER, "-D", standby.data, "-R", "--no-sync", "-c", "fast"),
                       check=True, cwd="/")
        standby.process = Process(
            as_nobody(standby.bin / "postgres", "-D", standby.data, "-k", standby.directory),
            standby.directory / "server.log")
        standby.process.wait_line(pattern="ready to accept read-only connections")
        wait_until(lambda: self.primary.sql("SELECT 1 FROM pg_stat_replication WHERE"
                                            " replay_lsn = pg_current_wal_lsn()"), "it follows")

    def fall_behind(self):
        """Nothing that the primary does from now on gets to the standby."""
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        wait_until(lambda: self.primary.sql("SELECT 1 FROM pg_stat_replication") == [],
                   "it is alone")

    def fail_over(self):
        self.primary.kill()
        assert self.standby.value("SELECT pg_promote()") == "t"
        self.now = self.standby

    def conninfo(self, database):
        hosts = f"{self.primary.directory},{self.standby.directory}"
        return (f"host={hosts} dbname={database} user={USER} target_session_attrs=read-write"
                " connect_timeout=2")

    def create(self, database):
        self.now.create(database)

    def sql(self, *statement, **how):
        return self.now.sql(*statement, **how)

    def close(self):
        self.primary.close()
        self.standby.close()


def test_branch_lost_in_a_fail_over_is_seen(cluster):
    """The primary dies with both branches prepared, and its asynchronous standby, which takes over,
    has not heard of them. Their commit is not taken for done, nor for rolled back: a hazard."""
    pair = Pair()
    try:
        banks = PostgresBanks(cluster, pair).start()
        banks.run(1, expect=ctl.DONE)
        pair.follow()
        pair.fall_behind()
        key = banks.stop_in_doubt(decided=True)
        pair.fail_over()
        assert banks.prepared("bank-a") == banks.prepared("bank-b") == []
        cluster.coordinator.start()
        result = banks.settle(key)
        assert result.outcome == pb.OUTCOME_HAZARD and "fail-over" in result.reason
        assert banks.balances() == (99, 101)
    finally:
        pair.close()
