"""A participant that comes back to many decided transactions is given them all at once, however
little its connection holds, and without any timer.
"""

import subprocess
import urllib.request

import places
from process import wait_until

LOAD = places.BUILD / "tests" / "bench" / "recovery-load"
COUNT = 10000  # some 90 bytes each to each participant
NO_REPEAT = {"retry_min": "1h", "retry_max": "1h"}


def active(coordinator):
    with urllib.request.urlopen(f"http://{coordinator.admin}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines
               if line.startswith("assent_transactions_active{"))


def test_more_decisions_than_the_output_holds_are_handed_over(cluster):
    coordinator = cluster.add_coordinator(output_max="64K", **NO_REPEAT)
    subprocess.run([LOAD, "fill", coordinator.data, "commit", str(COUNT)], check=True)
    coordinator.start()
    assert active(coordinator) == COUNT
    for name in ("bank-a", "bank-b"):
        cluster.add_agent(name, resource="null").start()
    wait_until(lambda: active(coordinator) == 0, "every transaction ended", seconds=60)
