#!/usr/bin/python3
"""What Assent costs over two PostgreSQL databases, as a ratio to a client that drives two-phase
commit itself with the same statements, measured in one run, in turns. The client forgets its
decision if it dies, which nobody can recover from; client-logged makes it durable first.

  ASSENT_BUILD=build-release tests/bench/postgres.py [--seconds S] [--rounds N] [--clients N,...]
      [--together]

Starts a PostgreSQL server (fsync on), a coordinator and two agents, or one for both databases, in
temporary directories. Each figure is the median over the rounds; the ratio is the median of the
rounds' own ratios.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import places  # noqa: E402
from cluster import Cluster  # noqa: E402
from postgres import Postgres  # noqa: E402

WAYS = ["client", "client-logged", "assent", "assent-wait"]
LOAD = places.BUILD / "tests" / "bench" / "postgres-load"
DATABASES = ["left_bank", "right_bank"]


def participants(together):
    return ["bank/a", "bank/b"] if together else ["bank-a", "bank-b"]


def measure(server, cluster, directory, arguments, clients, way):
    seconds = arguments.seconds
    done = subprocess.run(
        [LOAD, *map(server.conninfo, DATABASES), cluster.coordinator.address,
         *participants(arguments.together), str(clients), str(seconds), way,
         f"{directory}/decisions"],
        capture_output=True, text=True, check=False, timeout=60 + seconds)
    if done.returncode != 0:
        sys.exit(f"{way}, {clients} clients: {done.stderr}")
    return json.loads(done.stdout)


def compare(server, cluster, directory, arguments):
    print(f"{'clients':>7}  {'way':13} {'tx/s':>8} {'p50 us':>8} {'p99 us':>8}"
          "  of client's tx/s, of client-logged's")
    for clients in map(int, arguments.clients.split(",")):
        rounds = [{way: measure(server, cluster, directory, arguments, clients, way)
                   for way in WAYS} for _ in range(arguments.rounds)]
        for way in WAYS:
            def median(of):
                return statistics.median(of(r) for r in rounds)

            def part(other):
                return median(lambda r: r[way]["tx_per_s"] / r[other]["tx_per_s"])
            print(f"{clients:7}  {way:13} {median(lambda r: r[way]['tx_per_s']):8.0f}"
                  f" {median(lambda r: r[way]['p50_us']):8.0f}"
                  f" {median(lambda r: r[way]['p99_us']):8.0f}"
                  f"  {part('client'):.2f} {part('client-logged'):.2f}", flush=True)


def start_agents(server, cluster, together):
    databases = [f"postgres:connections=64 {server.conninfo(database)}" for database in DATABASES]
    if together:
        named = [f"{name}={database}" for name, database in zip("ab", databases)]
        cluster.add_agent("bank", named, workers=64).start()
        return
    for name, database in zip(participants(together), databases):
        cluster.add_agent(name, [database], workers=64).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--together", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assent-bench-", dir="/var/tmp") as directory:
        server = Postgres(max_prepared_transactions=300, max_connections=300)
        cluster = Cluster(pathlib.Path(directory))
        try:
            server.start()
            cluster.add_coordinator().start()
            for database in DATABASES:
                server.create(database)
                server.sql("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);"
                           "INSERT INTO account SELECT i, 0 FROM generate_series(0, 2047) AS i",
                           database)
            start_agents(server, cluster, arguments.together)
            cluster.wait_up()
            compare(server, cluster, directory, arguments)
        finally:
            cluster.close()
            server.close()


if __name__ == "__main__":
    main()
