"""assent-bench: what it reports is complete and stable, whichever processes it measures.

How fast it finds this machine is no test: only that there is a figure for everything.
"""

import json
import subprocess

import pytest

import places
from process import DEADLINE_S

BENCH = places.BUILD / "tests" / "bench" / "assent-bench"

REPORT = {"version", "machine", "protocol", "branches", "resource", "connections", "wait",
          "ceilings", "runs"}
MACHINE = {"cpu", "cores", "kernel", "data_dir", "data_dir_in_memory"}
RUN = {"in_flight", "seconds", "tx_per_s", "p50_us", "p99_us", "p999_us", "max_us", "committed",
       "aborted", "unknown", "errors", "syncs_per_s", "records_per_s", "records_per_sync",
       "ratio_to_records", "ratio_to_round_trips", "cpu"}
CEILINGS = {"record_bytes", "store", "round_trips_per_s", "request_bytes", "reply_bytes"}


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
    return found


def check_run(run):
    """Transactions committed, none went wrong, latencies are in order."""
    assert run["tx_per_s"] > 0 and run["seconds"] > 0.5
    assert run["committed"] == pytest.approx(run["tx_per_s"] * run["seconds"], rel=0.01)
    assert run["aborted"] == run["unknown"] == run["errors"] == 0
    assert 0 < run["p50_us"] <= run["p99_us"] <= run["p999_us"] <= run["max_us"]


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_own_processes(tmp_path, protocol):
    """It starts its own coordinator and agents, measures 1 and 64 in flight, and leaves nothing."""
    found = report(tmp_path, "--protocol", protocol, "--in-flight", "1,64", "--no-ceilings")
    assert found["protocol"] == protocol and found["branches"] == 2
    assert found["ceilings"] is None
    assert [run["in_flight"] for run in found["runs"]] == [1, 64]
    for run in found["runs"]:
        check_run(run)
        assert run["syncs_per_s"] > 0 and run["records_per_s"] > 0
        assert run["records_per_sync"] >= 1
        assert run["ratio_to_records"] is None and run["ratio_to_round_trips"] is None
        assert [row["process"] for row in run["cpu"]] == ["assent-bench", "assentd", "agent-1",
                                                          "agent-2"]
        assert all(set(row) == {"process", "seconds", "percent"} for row in run["cpu"])
    one, many = found["runs"]
    assert many["records_per_sync"] > one["records_per_sync"], "commits in flight share syncs"
    assert sum(row["seconds"] for row in many["cpu"]) > 0
    assert list(tmp_path.iterdir()) == []


def test_ceilings(tmp_path):
    """The machine's ceilings stand beside what is measured, for each number in flight."""
    found = report(tmp_path, "--in-flight", "1,64", "--resource", "kv")
    ceilings = found["ceilings"]
    assert set(ceilings) == CEILINGS
    assert [row["outstanding"] for row in ceilings["store"]] == [1, 64]
    assert all(row["commits_per_s"] > 0 and row["records_per_s"] > 0 for row in ceilings["store"])
    assert ceilings["round_trips_per_s"] > 0
    for run, ceiling in zip(found["runs"], ceilings["store"]):
        check_run(run)
        assert run["ratio_to_records"] == pytest.approx(
            run["tx_per_s"] / ceiling["records_per_s"], rel=0.01)
        assert 0 < run["ratio_to_round_trips"]
    assert list(tmp_path.iterdir()) == []


def test_running_processes(cluster, tmp_path):
    """With -H it measures processes that run already, and leaves them running."""
    cluster.start(resource="null")
    pids = [cluster.coordinator.process.pid] + [a.process.pid for a in cluster.agents.values()]
    directory = tmp_path / "bench"
    directory.mkdir()
    words = ["-H", cluster.coordinator.address, "--in-flight", "8", "--no-ceilings",
             "--participant", "bank-a", "--participant", "bank-b",
             *(f"--pid={pid}" for pid in pids)]
    found = report(directory, "--admin", cluster.coordinator.admin, *words)
    assert found["branches"] == 2 and found["resource"] == "running participants"
    (run,) = found["runs"]
    check_run(run)
    assert run["records_per_sync"] >= 1
    assert [row["process"] for row in run["cpu"]] == ["assent-bench", "assentd", "assent-agent",
                                                      "assent-agent"]
    # Without the admin address the coordinator's syncs are not known, and not made up.
    (run,) = report(directory, *words)["runs"]
    check_run(run)
    assert run["syncs_per_s"] is run["records_per_s"] is run["records_per_sync"] is None
    assert all(daemon.process.running() for daemon in cluster.daemons())


def test_table(tmp_path):
    """For people: a heading, a line for each run, every process by name."""
    done = bench(tmp_path, "--in-flight", "4", "--no-ceilings", "--branches", "3")
    assert done.returncode == 0, done
    first, heading, line = done.stdout.splitlines()
    assert first.startswith("2pc, 3 branches on null")
    assert "tx/s" in heading and "rec/sync" in heading
    assert line.split()[0] == "4" and float(line.split()[1]) > 0
    assert "assentd" in line and "agent-3" in line


@pytest.mark.parametrize("words, named", [
    (["--protocol", "4pc"], "--protocol is 2pc or 3pc"),
    (["--in-flight", "none"], '"none"'),
    (["--branches", "0"], "--branches is a number from 1 to 64"),
    (["-o", "xml"], "--output is table or json"),
    (["-H", "127.0.0.1:1"], "--participant"),
    (["fast"], 'unexpected "fast"'),
])
def test_bad_arguments(tmp_path, words, named):
    done = bench(tmp_path, *words)
    assert done.returncode == 2 and named in done.stderr, done
    assert done.stdout == ""


def test_nobody_there(tmp_path):
    """A coordinator that cannot be reached, a program that cannot be started: exit 1 and why."""
    done = bench(tmp_path, "-H", "127.0.0.1:1", "--participant", "a", "--no-ceilings")
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr, done
    done = bench(tmp_path, "--assentd", "/nowhere/assentd", "--no-ceilings")
    assert done.returncode == 1 and "assentd" in done.stderr, done
    assert list(tmp_path.iterdir()) == []
