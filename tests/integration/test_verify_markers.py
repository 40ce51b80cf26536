"""`assentctl verify` holds the proofs of commit in every kind of resource against the decision log:
a marker removed by hand, one planted, those of another coordinator. It only reads, and it repairs
nothing of that (56).
"""

import pytest

import ctl
import wire
from mariadb import MariaDB
from postgres import Postgres
from process import wait_until
from stock import Stock

KINDS = {"orders/postgres", "accounts/mariadb", "stock/http", "points/kv"}


@pytest.fixture(scope="module")
def servers():
    made = [Postgres(), MariaDB()]
    for server in made:
        server.start()
    yield made
    for server in made:
        server.close()


class Shop:
    """One participant of each kind, and `late`, which has voted and does not obey: what waits for
    it is committed, and nobody may forget it."""

    def __init__(self, cluster, directory, servers):
        self.cluster = cluster
        self.postgres, self.mariadb = servers
        self.stock = Stock(directory).start()
        self.postgres.sql("DROP SCHEMA IF EXISTS assent CASCADE; DROP TABLE IF EXISTS orders;"
                          "CREATE TABLE orders (number text PRIMARY KEY)")
        self.mariadb.sql("DROP TABLE IF EXISTS assent_marker; DROP TABLE IF EXISTS account;"
                         "CREATE TABLE account (name VARCHAR(20) PRIMARY KEY)")
        cluster.add_coordinator(prepare_timeout="10s").start()
        for name, resource in (("orders", f"postgres:{self.postgres.conninfo()}"),
                               ("accounts", f"mariadb:{self.mariadb.parameters()}"),
                               ("stock", self.stock.resource()), ("points", "kv")):
            cluster.add_agent(name, [resource]).start()
        self.late = cluster.add_agent("late").start(crash_at="agent_before_rm_commit")
        cluster.wait_up()
        self.log = cluster.ctl("health", expect=0).json["log"]

    def order(self, number, protocol="2pc", reads=False):
        """The gtrid of an order over all four kinds, which have obeyed."""
        orders = "SELECT * FROM orders" if reads else f"INSERT INTO orders VALUES ('{number}')"
        branches = [("orders", orders),
                    ("accounts", f"INSERT INTO account VALUES ('{number}')"),
                    ("stock", '{"take": "apple", "count": 1}'), ("points", f"put {number} 1"),
                    ("late", f"put {number} 1")]
        with self.cluster.coordinator.application() as peer:
            gtrid = wire.gtrid_text(peer.ask(run=wire.run(branches, protocol=protocol)).gtrid)
        self.late.process.wait_end()
        wait_until(lambda: self.cluster.ctl("tx", "show", gtrid, expect=0).json["waiting_for"]
                   == ["late/kv"], "the others have obeyed")
        return gtrid

    def verify(self, *options, expect=ctl.UNHEALTHY):
        """The rows of the four by participant, and the drift."""
        found = self.cluster.ctl("verify", *options, expect=expect).json
        rows = {row["participant"]: row for row in found["participants"]}
        return {name: rows[name] for name in KINDS}, found["drift"]

    def recover(self):
        """The late one obeys: then nothing is left that differs."""
        self.late.start()
        wait_until(lambda: self.cluster.ctl("verify").code == 0, "all is settled and clean")

    def markers(self):
        """Every row of both databases."""
        return (self.postgres.sql("SELECT encode(branch, 'hex'), committed FROM assent.marker"
                                  " ORDER BY 1"),
                self.mariadb.sql("SELECT LOWER(HEX(branch)), committed FROM assent_marker"
                                 " ORDER BY 1"))

    def insert(self, kind, log, gtrid, branch):
        name = log + wire.gtrid_bytes(gtrid).hex() + "%08x" % branch
        if kind == "postgres":
            self.postgres.sql(f"INSERT INTO assent.marker VALUES ('\\x{name}')")
        else:
            self.mariadb.sql(f"INSERT INTO assent_marker (branch) VALUES (X'{name}')")

    def delete(self, kind):
        (self.postgres if kind == "postgres" else self.mariadb).sql(
            "DELETE FROM assent.marker" if kind == "postgres" else "DELETE FROM assent_marker")


@pytest.fixture
def shop(cluster, tmp_path, servers):
    made = Shop(cluster, tmp_path, servers)
    yield made
    made.stock.kill()


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_markers_agree_and_are_only_read(shop, protocol):
    """While a committed transaction waits for somebody each of the others has its marker, but for
    one that only read, under 3pc; looking at them changes none."""
    shop.order("one", protocol, reads=True)
    before = shop.markers()
    rows, drift = shop.verify()
    assert drift == []
    wrote = {name: 0 if name == "orders/postgres" else 1 for name in KINDS}
    assert {name: row["markers"] for name, row in rows.items()} == wrote
    assert all(row["contradicted"] == row["unproved"] == row["foreign"] == 0
               for row in rows.values())
    assert shop.markers() == before
    shop.recover()


@pytest.mark.parametrize("kind, participant, branch", [("postgres", "orders/postgres", 1),
                                                       ("mariadb", "accounts/mariadb", 2)])
def test_a_marker_removed_by_hand_is_drift(shop, kind, participant, branch):
    """Nothing proves any more what the log and the participant say. It is named, and --fix does not
    make it up."""
    gtrid = shop.order("one")
    shop.delete(kind)
    for options in ((), ("--fix",)):
        rows, drift = shop.verify(*options)
        assert drift == [{"participant": participant, "gtrid": gtrid, "branch": branch,
                          "kind": "unproved"}]
        assert (rows[participant]["markers"], rows[participant]["unproved"]) == (0, 1)
    shown = shop.cluster.ctl("verify", output="table", expect=ctl.UNHEALTHY)
    assert "UNPROVED" in shown.out and f"{participant}: unproved {gtrid}" in shown.err
    shop.insert(kind, shop.log, gtrid, branch)
    assert shop.verify()[1] == []
    shop.recover()


@pytest.mark.parametrize("kind, participant", [("postgres", "orders/postgres"),
                                               ("mariadb", "accounts/mariadb")])
def test_a_planted_marker_is_drift(shop, kind, participant):
    """A marker of what the log has aborted, of what it never began and of what is not decided: each
    says that a branch is committed that must not be. Another log's is foreign."""
    run = shop.cluster.ctl
    shop.late.restart()
    shop.cluster.wait_up()
    aborted = run("tx", "begin", expect=0).json["gtrid"]
    run("tx", "rollback", aborted, expect=0)
    open_one = run("tx", "begin", expect=0).json["gtrid"]
    never = wire.gtrid_text(wire.gtrid_bytes(open_one)[:-2] + b"\xff\xff")
    planted = {aborted, open_one, never}
    assert shop.verify(expect=0)[1] == []
    for gtrid in planted:
        shop.insert(kind, shop.log, gtrid, 1)
    shop.insert(kind, "ab" * 16, aborted, 1)
    before = shop.markers()
    for options in ((), ("--fix",)):
        rows, drift = shop.verify(*options)
        assert {row["gtrid"] for row in drift} == planted
        assert {(row["participant"], row["kind"]) for row in drift} \
            == {(participant, "contradicted")}
        row = rows[participant]
        assert (row["markers"], row["contradicted"], row["foreign"]) == (3, 3, 1)
    assert shop.markers() == before
    shop.delete(kind)
    assert shop.verify(expect=0)[1] == []


def test_more_markers_than_one_answer_holds(shop):
    """They are asked for in pieces, and all are looked at."""
    shop.order("one")
    with shop.cluster.coordinator.application() as peer:
        for _ in range(3):
            for number in range(700):
                peer.submit(run=wire.run([("points", f"put n{number} 1")]))
            for _ in range(700):
                assert peer.recv().result.outcome == wire.pb.OUTCOME_COMMITTED
    rows, drift = shop.verify()
    assert (rows["points/kv"]["markers"], drift) == (2101, [])
    shop.recover()
