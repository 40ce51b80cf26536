"""assent-bench: what it reports is complete and stable, whichever processes it measures.

How fast it finds this machine is no test: only that there is a figure for everything.
"""

import json
import statistics
import subprocess

import pytest

import places
from process import DEADLINE_S

BENCH = places.BUILD / "tests" / "bench" / "assent-bench"

REPORT = {"version", "machine", "protocol", "branches", "together", "resource", "connections",
          "payload", "idle", "idle_participants", "kept", "wait", "ceilings", "medians", "runs"}
MACHINE = {"cpu", "cores", "kernel", "data_dir", "data_dir_in_memory"}
RUN = {"in_flight", "rate", "seconds", "tx_per_s", "p50_us", "p99_us", "p999_us", "max_us",
       "committed", "aborted", "unknown", "syncs_per_s", "records_per_s", "records_per_sync",
       "memory_bare_bytes", "memory_idle_bytes", "memory_load_bytes",
       "ideal_tx_per_s", "ideal_p50_us", "ideal_p99_us", "of_ideal", "floor_us", "of_floor",
       "commit_us", "of_commit", "cpu_percent", "floor"}
COMPARED = {"ideal_tx_per_s", "ideal_p50_us", "ideal_p99_us", "of_ideal", "floor_us", "of_floor",
            "commit_us", "of_commit"}
CEILINGS = {"commits", "record_bytes", "request_bytes", "reply_bytes", "round_trips_per_s",
            "round_trip_p50_us", "messages_per_s", "floor_commits", "floor_round_trips"}


def bench(directory, *words):
    return subprocess.run(
        [places.program(BENCH), "--data-dir", directory, "--seconds", "1", "--warmup", "0", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=6 * DEADLINE_S * places.slow_factor())


def report(directory, *words):
    done = bench(directory, "-o", "json", *words)
    assert done.returncode == 0, done
    found = json.loads(done.stdout)
    assert set(found) == REPORT
    assert set(found["machine"]) == MACHINE
    for run in found["runs"]:
        assert set(run) == RUN
    for row in found["medians"]:
        assert set(row) == RUN - {"floor"}
    return found


def check_run(run):
    """Transactions committed, none went wrong, latencies are in order."""
    assert run["tx_per_s"] > 0 and run["seconds"] > 0.5
    assert run["committed"] == pytest.approx(run["tx_per_s"] * run["seconds"], rel=0.01)
    assert run["aborted"] == run["unknown"] == 0
    assert 0 < run["p50_us"] <= run["p99_us"] <= run["p999_us"] <= run["max_us"]


def median(found, member):
    return statistics.median(run[member] for run in found["runs"])


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_own_processes(tmp_path, protocol):
    """It starts its own coordinator and agents, measures 1 and 64 in flight, and leaves nothing."""
    found = report(tmp_path, "--protocol", protocol, "--in-flight", "1,64")
    assert found["protocol"] == protocol and found["branches"] == 2
    assert found["ceilings"] is None
    assert [run["in_flight"] for run in found["runs"]] == [1, 64]
    for run in found["runs"]:
        check_run(run)
        assert run["syncs_per_s"] > 0 and run["records_per_s"] > 0
        assert run["records_per_sync"] >= 1
        assert {member for member in COMPARED | {"rate", "floor"} if run[member] is None} == (
            COMPARED | {"rate", "floor"}), "nothing is made up that was not measured"
        assert list(run["cpu_percent"]) == ["assent-bench", "assentd", "agent-1", "agent-2"]
    one, many = found["runs"]
    assert many["records_per_sync"] > one["records_per_sync"], "commits in flight share syncs"
    assert sum(many["cpu_percent"].values()) > 0
    assert list(tmp_path.iterdir()) == []


def test_repeats(tmp_path):
    """Each run is reported, and the median of each figure over the runs of a size."""
    found = report(tmp_path, "--in-flight", "8", "--repeat", "3")
    assert [run["in_flight"] for run in found["runs"]] == [8, 8, 8]
    (row,) = found["medians"]
    for member in ("tx_per_s", "p50_us", "p99_us", "syncs_per_s"):
        assert row[member] == pytest.approx(median(found, member), rel=1e-4)


@pytest.mark.parametrize("words, commits, round_trips", [
    ([], 1, 2),
    (["--wait"], 1, 3),
    (["--branches", "1"], 1, 2),
    (["--resource", "kv"], 2, 2),
    (["--protocol", "3pc", "--branches", "3"], 3, 3),
    (["--protocol", "3pc", "--resource", "kv"], 4, 3),
])
def test_ceiling(tmp_path, words, commits, round_trips):
    """The ideal loop runs with as many in flight, and each result is set in relation to it."""
    found = report(tmp_path, "--ceiling", "--in-flight", "1,64", *words)
    ceilings = found["ceilings"]
    assert set(ceilings) == CEILINGS
    assert [row["records"] for row in ceilings["commits"]] == [1, 8, 64, 512, 4096]
    for row in ceilings["commits"]:
        assert row["records_per_s"] == pytest.approx(row["commits_per_s"] * row["records"],
                                                     rel=0.01)
        assert row["commit_p50_us"] > 0
    assert ceilings["messages_per_s"] > ceilings["round_trips_per_s"] > 0
    assert (ceilings["floor_commits"], ceilings["floor_round_trips"]) == (commits, round_trips)
    for run in found["runs"]:
        check_run(run)
        assert run["of_ideal"] == pytest.approx(run["tx_per_s"] / run["ideal_tx_per_s"], rel=0.01)
        assert 0 < run["ideal_p50_us"] <= run["ideal_p99_us"]
        assert run["commit_us"] is None
    one, many = found["runs"]
    floor = one["floor"]
    assert one["floor_us"] == (commits * floor["commit_p50_us_1"]
                               + round_trips * floor["round_trip_p50_us"])
    assert one["of_floor"] == pytest.approx(one["p50_us"] / one["floor_us"], rel=0.01)
    assert many["floor_us"] is None
    assert list(tmp_path.iterdir()) == []


def test_rate(tmp_path):
    """At a given rate, and at a part of the fastest closed loop, latency stands beside a commit."""
    found = report(tmp_path, "--ceiling", "--in-flight", "16", "--rate", "100,50%", "--warmup", "1")
    closed, slow, half = found["runs"]
    assert closed["in_flight"] == 16 and closed["rate"] is None
    assert slow["in_flight"] is None and slow["rate"] == 100
    assert half["rate"] == pytest.approx(closed["tx_per_s"] / 2, rel=0.01)
    check_run(slow)
    assert slow["tx_per_s"] == pytest.approx(100, rel=0.1)
    for run in (slow, half):
        assert run["ideal_tx_per_s"] == pytest.approx(run["rate"], rel=0.1)
        assert 0 < run["ideal_p50_us"] <= run["ideal_p99_us"] and run["of_ideal"] is None
        assert run["of_commit"] == pytest.approx(run["p99_us"] / run["commit_us"], rel=0.01)


def test_rate_is_kept_when_answers_are_late(cluster, tmp_path):
    """Two participants that do 20 transactions a second are given 100: each waits for those before
    it, all are counted, and the latency of each is from when it was to begin."""
    cluster.start(resource="null:delay=50ms", agent={"workers": 1})
    (run,) = report(tmp_path, "-H", cluster.coordinator.address, "--rate", "100",
                    "--participant", "bank-a", "--participant", "bank-b")["runs"]
    assert run["committed"] == pytest.approx(100, abs=2) and run["unknown"] == 0
    assert run["p50_us"] > 1_500_000 and run["max_us"] > 3_000_000


@pytest.mark.plain  # 64 such processes take longer to start than the bench waits
def test_most_branches(tmp_path):
    """A transaction over as many participants as there can be, each a process."""
    found = report(tmp_path, "--branches", "64", "--in-flight", "8")
    (run,) = found["runs"]
    check_run(run)
    assert len(run["cpu_percent"]) == 2 + 64


def test_together(tmp_path):
    """Participants that are resources of few agents, the last of which has fewer."""
    found = report(tmp_path, "--branches", "7", "--together", "3", "--in-flight", "8")
    (run,) = found["runs"]
    check_run(run)
    assert found["together"] == 3 and len(run["cpu_percent"]) == 2 + 3


def test_payload(tmp_path):
    """The most work that the bench gives a branch arrives, and is nothing to the null resource."""
    found = report(tmp_path, "--payload", "65536", "--in-flight", "8", "--ceiling")
    assert found["payload"] == 65536
    check_run(found["runs"][0])
    assert found["ceilings"]["request_bytes"] > 2 * 65536, "the ideal loop carries it, too"


def test_idle_connections(tmp_path):
    """Idle applications and participants are connected all the time, and their memory is seen: by
    the huge page, so they are many."""
    found = report(tmp_path, "--idle", "2800", "--idle-participants", "200", "--in-flight", "8",
                   "--seconds", "8")
    assert (found["idle"], found["idle_participants"]) == (2800, 200)
    (run,) = found["runs"]
    check_run(run)
    added = run["memory_idle_bytes"] - run["memory_bare_bytes"]
    assert 1 << 20 < added < 3000 * 16384
    assert run["memory_load_bytes"] >= run["memory_idle_bytes"]
    assert "idle" in run["cpu_percent"]


def test_kept_outcomes(tmp_path):
    """The coordinator starts with a log full of outcomes, and goes on from there."""
    found = report(tmp_path, "--kept", "10000", "--in-flight", "8")
    assert found["kept"] == 10000
    (run,) = found["runs"]
    check_run(run)
    assert run["memory_bare_bytes"] > 10000 * 50, "their keys are in memory"


def test_running_processes(cluster, tmp_path):
    """With -H it measures processes that run already, and leaves them running."""
    cluster.start(resource="null")
    pids = [cluster.coordinator.process.pid] + [a.process.pid for a in cluster.agents.values()]
    directory = tmp_path / "bench"
    directory.mkdir()
    words = ["-H", cluster.coordinator.address, "--in-flight", "8",
             "--participant", "bank-a", "--participant", "bank-b",
             *(f"--pid={pid}" for pid in pids)]
    found = report(directory, "--admin", cluster.coordinator.admin, *words)
    assert found["branches"] == 2 and found["resource"] == "null"
    (run,) = found["runs"]
    check_run(run)
    assert run["records_per_sync"] >= 1
    assert list(run["cpu_percent"]) == ["assent-bench", "assentd", "assent-agent",
                                        f"assent-agent {pids[2]}"]
    # Without the admin address the coordinator's syncs are not known, and not made up.
    (run,) = report(directory, *words)["runs"]
    check_run(run)
    assert run["syncs_per_s"] is run["records_per_s"] is run["records_per_sync"] is None
    assert run["memory_bare_bytes"] is run["memory_idle_bytes"] is run["memory_load_bytes"] is None
    assert all(daemon.process.running() for daemon in cluster.daemons())


def test_table(tmp_path):
    """For people: a heading, a line for each run, every process by name."""
    done = bench(tmp_path, "--in-flight", "4", "--branches", "3")
    assert done.returncode == 0, done
    first, heading, line = done.stdout.splitlines()
    assert first.startswith("2pc, 3 branches on null")
    assert "tx/s" in heading and "rec/sync" in heading
    assert line.split()[0] == "4" and float(line.split()[1]) > 0 and line.split()[2] == "-"
    assert "assentd" in line and "agent-3" in line


def test_table_of_ceilings(tmp_path):
    """The ratio stands beside each result, the ceilings below."""
    done = bench(tmp_path, "--in-flight", "4", "--ceiling")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert "of ideal" in lines[1] and 0 < float(lines[2].split()[3])
    assert "ceilings of this machine" in lines[4] and "commits/s" in lines[5]
    assert "round trips/s" in lines[-2] and "floor with 1 in flight: 1 commits" in lines[-1]


@pytest.mark.parametrize("words, named", [
    (["--protocol", "4pc"], "--protocol is 2pc or 3pc"),
    (["--in-flight", "none"], '"none"'),
    (["--branches", "0"], "--branches is a number from 1 to 64"),
    (["-o", "xml"], "--output is table or json"),
    (["-H", "127.0.0.1:1"], "--participant"),
    (["fast"], 'unexpected "fast"'),
    (["--rate", "50%"], "--rate N% needs --in-flight"),
    (["--rate", "10,quick"], '"quick"'),
    (["--in-flight", ","], "empty"),
    (["--together", "17"], "--together is a number from 1 to 16"),
    (["--together", "2", "--ceiling"], "--together is for agents of our own"),
    (["--payload", "65537"], "--payload is a number from 0 to 65536"),
    (["--payload", "1", "--resource", "kv"], "--payload is for the null resource"),
    (["-H", "127.0.0.1:1", "--participant", "a", "--kept", "1"], "--kept fills the log"),
    (["-H", "127.0.0.1:1", "--participant", "a", "--idle-participants", "1"], "is not for -H"),
])
def test_bad_arguments(tmp_path, words, named):
    done = bench(tmp_path, *words)
    assert done.returncode == 2 and named in done.stderr, done
    assert done.stdout == ""


def test_nobody_there(tmp_path):
    """A coordinator that cannot be reached, a program that cannot be started: exit 1 and why."""
    done = bench(tmp_path, "-H", "127.0.0.1:1", "--participant", "a")
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr, done
    done = bench(tmp_path, "--idle", "100000")
    assert done.returncode == 1 and "more files than a process may have open" in done.stderr, done
    done = bench(tmp_path, "--assentd", "/nowhere/assentd")
    assert done.returncode == 1 and "assentd" in done.stderr, done
    assert list(tmp_path.iterdir()) == []
