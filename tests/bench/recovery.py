#!/usr/bin/python3
"""What a coordinator does with a log full of transactions: how soon it answers, how soon all
decisions are obeyed, what it needs of memory, how fast it finds a kept outcome.

  ASSENT_BUILD=build-release tests/bench/recovery.py [--in-doubt N,...] [--kept N,...]
      [--directory D]

For each N a log is made with N decided 2pc commits that nobody has acknowledged, and assentd is
started on it; when it has answered, and its memory is known, two agents with the null resource are
started. Then, for each N of the other list, a log with N kept outcomes, and random lookups by
gtrid and by idempotency key.
The directory must be on a real disk; a million transactions take 0.5 GiB of it.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import places  # noqa: E402
from cluster import Cluster  # noqa: E402
from process import wait_until  # noqa: E402

LOAD = places.BUILD / "tests" / "bench" / "recovery-load"
DEADLINE_S = 600
LOOKUPS = 20000


def now():
    """On the clock of assent_now_us()."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def active(cluster):
    url = f"http://{cluster.coordinator.admin}/metrics"
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines
               if line.startswith("assent_transactions_active{"))


def load(*words):
    done = subprocess.run([LOAD, *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=DEADLINE_S)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def ask(coordinator, by, count, lookups):
    return json.loads(load("ask", coordinator.address, by, count, lookups))


def start(directory, kind, count, lookups):
    """A coordinator on a log just filled: the cluster, and what asking at once gave."""
    cluster = Cluster(directory)
    coordinator = cluster.add_coordinator(retry_min="100ms", retry_max="30s")
    load("fill", coordinator.data, kind, count)
    coordinator.address = free_address()
    began = now()
    coordinator.launch()
    asked = ask(coordinator, "gtrid", count, lookups)
    coordinator.admin = coordinator.process.wait_line("reading_log").fields["admin"]
    asked["answered_s"] = asked["answered_us"] / 1e6 - began
    asked["cpu_s"] = coordinator.process.cpu_seconds()
    return cluster, asked


def obeyed(cluster):
    """Seconds from the agents' start until no transaction is left."""
    began = now()
    for name in ("bank-a", "bank-b"):
        cluster.add_agent(name, resource="null", retry_min="100ms", retry_max="30s").launch()

    def over():
        time.sleep(0.1)  # each look walks all transactions
        return active(cluster) == 0

    wait_until(over, "no transaction left", DEADLINE_S)
    return now() - began


def in_doubt(directory, count):
    """What a log with so many transactions in doubt takes, in seconds and bytes."""
    cluster, asked = start(directory, "commit", count, 0)
    try:
        resident = cluster.coordinator.process.resident_bytes()
        seconds = obeyed(cluster)
        after = cluster.coordinator.process.resident_bytes()
    finally:
        cluster.close()
    return {"count": count, "answered_s": asked["answered_s"], "cpu_s": asked["cpu_s"],
            "obeyed_s": seconds, "resident_bytes": resident, "after_bytes": after}


def kept(directory, count):
    """What a log with so many kept outcomes takes, and how long lookups do."""
    cluster, by_gtrid = start(directory, "outcome", count, LOOKUPS)
    try:
        by_key = ask(cluster.coordinator, "key", count, LOOKUPS)
        resident = cluster.coordinator.process.resident_bytes()
    finally:
        cluster.close()
    found = {"count": count, "answered_s": by_gtrid["answered_s"], "resident_bytes": resident}
    for by, asked in (("gtrid", by_gtrid), ("key", by_key)):
        found |= {f"{by}_{figure}": asked[figure] for figure in ("p50_us", "p99_us", "max_us")}
    return found


def measured(measure, parent, count):
    """One of the two above, in a temporary directory."""
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        return measure(pathlib.Path(directory), count)


def numbers(text):
    return [int(number) for number in text.split(",") if number]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--in-doubt", type=numbers, default=[10, 10_000, 100_000, 1_000_000])
    parser.add_argument("--kept", type=numbers, default=[10, 1_000_000])
    parser.add_argument("--directory", help="where logs are made (a temporary one in it)")
    options = parser.parse_args()
    print("  in doubt  answer s    cpu s  obeyed s  memory MiB  bytes each   after MiB")
    for count in options.in_doubt:
        row = measured(in_doubt, options.directory, count)
        print(f"{count:>10,}{row['answered_s']:10.2f}{row['cpu_s']:9.2f}{row['obeyed_s']:10.2f}"
              f"{row['resident_bytes'] / 2**20:12.1f}{row['resident_bytes'] / count:10.0f}"
              f"{row['after_bytes'] / 2**20:12.1f}", flush=True)
    print("      kept  answer s by gtrid p50 ms    p99 ms    max ms by key p50 ms    p99 ms"
          "    max ms  memory MiB")
    for count in options.kept:
        row = measured(kept, options.directory, count)
        print(f"{count:>10,}{row['answered_s']:10.2f}{row['gtrid_p50_us'] / 1e3:16.3f}"
              f"{row['gtrid_p99_us'] / 1e3:10.3f}{row['gtrid_max_us'] / 1e3:10.3f}"
              f"{row['key_p50_us'] / 1e3:13.3f}{row['key_p99_us'] / 1e3:10.3f}"
              f"{row['key_max_us'] / 1e3:10.3f}{row['resident_bytes'] / 2**20:12.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
