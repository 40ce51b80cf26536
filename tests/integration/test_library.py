"""libassent from outside: installed, found by pkg-config, linked by programs that know nothing
else of this tree; and the two examples of docs/using-the-library.md at work."""

import json
import os
import subprocess

import pytest

import places
import wire
from bank import balances, dump, get
from process import wait_until

EXAMPLES = places.BUILD / "docs" / "examples"


def transfer(program, cluster, amount, key, env=None, target=("bank-b", "b")):
    return subprocess.run(
        [program, cluster.coordinator.address, "bank-a", "a", *target, str(amount), key],
        check=False, capture_output=True, text=True, timeout=120, env=env)


def test_application_example(bank):
    """It pays, is refused, and asked again with the same key does not pay twice (case 1)."""
    program = places.program(EXAMPLES / "transfer")
    assert transfer(program, bank, 30, "k1").returncode == 0
    again = transfer(program, bank, 30, "k1")
    assert again.returncode == 0 and "committed" in again.stdout
    refused = transfer(program, bank, 500, "k2")
    assert refused.returncode == 7 and "min 0" in refused.stdout
    wait_until(lambda: balances(bank) == (70, 130), "both have obeyed")


def test_application_example_outlives_its_coordinator(bank):
    """The coordinator dies after its decision; the example asks until it knows, and the money has
    moved once (cases 1, 5)."""
    program = places.program(EXAMPLES / "transfer")
    bank.coordinator.restart(crash_at="coord_after_log_commit")
    bank.wait_up()
    running = subprocess.Popen(
        [program, bank.coordinator.address, "bank-a", "a", "bank-b", "b", "30", "once"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert bank.coordinator.process.wait_end() == -9
        bank.coordinator.start()
        out, _ = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0 and "committed" in out
    bank.wait_up()
    wait_until(lambda: balances(bank) == (70, 130), "both have obeyed")


def start_participant(cluster, name):
    directory = cluster.directory / name
    directory.mkdir(exist_ok=True)
    program = places.program(EXAMPLES / "participant")
    return cluster.spawn([program, name, cluster.coordinator.address, directory], name)


def test_participant_example(bank):
    """A program of one's own is a participant beside the agents: it votes, obeys, and after kill -9
    still has what it promised."""
    program = start_participant(bank, "stock")
    bank.wait_up(["stock"])
    bank.ctl.run(("stock", "put lamp 5"), options=["--wait"], expect=0)

    def buy(count, *options, expect=None):
        return bank.ctl.run(("bank-a", "add a -10 min 0"), ("stock", f"take lamp {count}"),
                            options=options, expect=expect)

    buy(1, "--wait", expect=0)
    assert lamps(bank) == 4
    too_many = buy(100)
    assert too_many.json["outcome"] == "aborted" and "lamp" in too_many.json["reason"]
    bank.coordinator.restart(crash_at="coord_after_log_commit")
    bank.wait_up(["stock", "bank-a"])
    buy(1, "--key", "doubt")
    program.kill()
    bank.coordinator.process.wait_end()
    bank.coordinator.start()
    start_participant(bank, "stock")
    assert bank.ctl("tx", "wait", "--key", "doubt", expect=0).json["outcome"] == "committed"
    assert lamps(bank) == 3
    with bank.coordinator.application() as peer:
        assert get(peer, "bank-a", "a") == "80"


def test_participant_example_keeps_the_sum(cluster):
    """Goods move between two such programs while one is killed again and again: each move happens
    at both or at neither, and what was answered is what happened."""
    cluster.start(agents=0, coordinator={"prepare_timeout": "1s"})
    start_participant(cluster, "north")
    moved = 0
    for cycle in range(3):
        program = start_participant(cluster, "south")
        cluster.wait_up(["north", "south"])
        with cluster.coordinator.application() as peer:
            if cycle == 0:
                peer.ask(run=wire.run([("north", "put crate 500"), ("south", "put crate 500")],
                                      wait=True))
            asked = [peer.submit(run=wire.run([("north", "take crate 1"), ("south", "put crate 1")],
                                              key=f"{cycle}/{number}")) for number in range(40)]
            answers = [peer.recv() for _ in range(10)]
            program.kill()
            answers += [peer.recv() for _ in range(30)]
            assert {answer.request for answer in answers} == set(asked)
            outcomes = [answer.result.outcome for answer in answers]
            assert set(outcomes) <= {wire.pb.OUTCOME_COMMITTED, wire.pb.OUTCOME_ABORTED}
            moved += outcomes.count(wire.pb.OUTCOME_COMMITTED)
    start_participant(cluster, "south")
    cluster.wait_up(["north", "south"])
    assert moved > 0

    def crates(peer):
        return tuple(int(dump(peer, name)["crate"]) for name in ("north", "south"))
    with cluster.coordinator.application() as peer:
        wait_until(lambda: crates(peer) == (500 - moved, 500 + moved),
                   f"{moved} moves at both, and no other")


def lamps(cluster):
    with cluster.coordinator.application() as peer:
        return int(json.loads(peer.query("stock", "dump"))["entries"]["lamp"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`meson install` into an empty directory."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", places.BUILD, "--no-rebuild", "--destdir", root],
                   check=True, capture_output=True)
    found = list(root.rglob("assent.pc"))
    assert len(found) == 1, found
    return root, dict(os.environ, PKG_CONFIG_LIBDIR=f"{found[0].parent}:/usr/lib/pkgconfig",
                      PKG_CONFIG_SYSROOT_DIR=str(root))


@pytest.mark.plain  # a plain program cannot link a sanitized library
def test_installed_library(installed, bank, tmp_path):
    """The example builds with nothing but `pkg-config assent`, and pays."""
    root, env = installed
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "assent"], check=True, env=env,
                           capture_output=True, text=True).stdout.split()
    program = tmp_path / "transfer"
    subprocess.run(["gcc", "-Wall", "-Werror", places.ROOT / "docs" / "examples" / "transfer.c",
                    "-o", program, *flags], check=True)
    library = next(root.rglob("libassent.so.0")).parent
    done = transfer(program, bank, 30, "k", env=dict(env, LD_LIBRARY_PATH=str(library)))
    assert done.returncode == 0, done


def test_installed_programs(installed):
    root, _ = installed
    names = {path.name for path in root.rglob("bin/*")}
    assert {"assentd", "assent-agent", "assentctl"} <= names


@pytest.mark.plain  # a plain program cannot link a sanitized library
def test_only_assent_symbols_are_exported(installed):
    root, _ = installed
    library = next(p for p in root.rglob("libassent.so.*") if not p.is_symlink())
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True,
                         text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    assert "assent_client_open" in names and "assent_participant_new" in names
    assert {n for n in names if not n.startswith("assent_")} == set()
    header = "".join(p.read_text() for p in
                     (places.ROOT / "participant" / "include" / "assent").glob("*.h"))
    assert {n for n in names if n not in header} == set(), "exported but in no public header"
