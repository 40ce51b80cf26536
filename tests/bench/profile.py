#!/usr/bin/python3
"""Where the instructions of a transaction go: counted by callgrind in a coordinator and in an agent
while one-shot 2pc transactions run over two null participants.

  ASSENT_BUILD=build-release tests/bench/profile.py --name NAME    counts, into docs/profile.json
  tests/bench/profile.py --draw                                    docs/profile.svg from it alone

Everything in the process is counted, libraries as well; the kernel is not. callgrind slows the
counted process down about fifty times, so batches are larger than in life, and what is done once
for each batch is under-represented.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import places  # noqa: E402
from cluster import Cluster  # noqa: E402
from svg import INK, NOTE, document, text  # noqa: E402

DOCS = places.ROOT / "docs"
IN_FLIGHT, SECONDS = 256, 4
# The first pattern that a function's name, or else its library's, matches.
PARTS = {
    "codec": r"codec_|assent_wire|assent__v1|assent_utf8|assent_arena|put_|take_|check_|allocate"
             r"|libprotobuf",
    "log": r"assent_store|assent_lmdb|assent_batch|write_record|assent_(coord|part)_record"
           r"|assent_write_|assent_read_|assent_envelope|crc32|liblmdb|libz",
    "core": r"assent_(coord|part)_|coord_|part_|member_|assent_backoff|assent_rng",
    "network and loop": r"on_readable|assent_conn|assent_frame|conn_|flush|on_frame|libevent",
}
OTHER = ["memory and text (libc)", "server"]
COLOURS = {"core": "#1d4ed8", "server": "#60a5fa", "codec": "#c2410c", "log": "#15803d",
           "network and loop": "#a16207", "memory and text (libc)": "#9ca3af"}
LEFT, TOP, WIDTH, ROW = 190, 58, 620, 34


def part_of(function, library):
    for text in (function, library):
        for part, pattern in PARTS.items():
            if re.match(pattern, text):
                return part
    return OTHER[0] if re.match(r"libc[.-]|ld-", library) else OTHER[1]


def cost_by_part(path):
    """Of one callgrind file: instructions by part, without what was called."""
    parts, names, objects = {}, {}, {}
    library = part = ""
    called = False
    for line in path.read_text().splitlines():
        if match := re.match(r"(c?)(fn|ob)=(\(\d+\))(?: (.*))?$", line):
            callee, kind, number, name = match.groups()
            known = names if kind == "fn" else objects
            if name:
                known[number] = name if kind == "fn" else pathlib.Path(name).name
            if callee:
                continue
            if kind == "ob":
                library = known[number]
            else:
                part = part_of(known[number].split("'")[0], library)
        elif line.startswith("calls="):
            called = True
        elif line[:1] in "+-*0123456789" and len(words := line.split()) >= 2:
            if not called:
                parts[part] = parts.get(part, 0) + int(words[1])
            called = False
    return parts


def ended(cluster):
    with urllib.request.urlopen(f"http://{cluster.coordinator.admin}/metrics") as answer:
        return sum(int(line.rsplit(" ", 1)[1]) for line in answer.read().decode().splitlines()
                   if line.startswith("assent_transactions_total{"))


def count(directory, which):
    """Instructions by part and transaction, of the coordinator or of one agent."""
    out = directory / "callgrind.out"
    prefix = ["valgrind", "--tool=callgrind", "--instr-atstart=no",
              f"--callgrind-out-file={out}"]
    cluster = Cluster(directory)
    cluster.add_coordinator().start(prefix=prefix if which == "coordinator" else ())
    for name in ("agent-1", "agent-2"):
        cluster.add_agent(name, "null").start(
            prefix=prefix if (which, name) == ("agent", "agent-1") else ())
    try:
        cluster.wait_up()
        counted = cluster.coordinator if which == "coordinator" else cluster.agents["agent-1"]
        pid = str(counted.process.pid)
        subprocess.run(["callgrind_control", "-i", "on", pid], check=True, capture_output=True)
        before = ended(cluster)
        subprocess.run([places.program(places.BUILD / "tests" / "bench" / "assent-bench"),
                        "--host", cluster.coordinator.address, "--participant", "agent-1",
                        "--participant", "agent-2", "--in-flight", str(IN_FLIGHT),
                        "--seconds", str(SECONDS), "--warmup", "0"],
                       check=True, capture_output=True)
        transactions = ended(cluster) - before
        subprocess.run(["callgrind_control", "-i", "off", pid], check=True, capture_output=True)
        counted.stop()
    finally:
        cluster.close()
    return {part: round(cost / transactions) for part, cost in cost_by_part(out).items()}


def measure(name, docs):
    runs = json.loads((docs / "profile.json").read_text())
    run = {"name": name}
    with tempfile.TemporaryDirectory(dir=places.ROOT) as directory:
        for which in ("coordinator", "agent"):
            (pathlib.Path(directory) / which).mkdir()
            run[which] = count(pathlib.Path(directory) / which, which)
    runs = [old for old in runs if old["name"] != name] + [run]
    (docs / "profile.json").write_text(json.dumps(runs, indent=1) + "\n")


def draw(docs):
    """One bar for each process of each run, and what the colours mean."""
    runs = json.loads((docs / "profile.json").read_text())
    bars = [(f"{which}, {run['name']}", run[which])
            for which in ("coordinator", "agent") for run in runs]
    longest = max(sum(parts.values()) for _, parts in bars)
    out = [text(LEFT, 22, "instructions of one transaction, in thousands", 13, weight="bold",
                anchor="start")]
    x = LEFT
    for part, colour in COLOURS.items():
        out += [f"<rect x='{x}' y='34' width='10' height='10' fill='{colour}'/>",
                text(x + 14, 43, part, 11, NOTE, anchor="start")]
        x += 34 + 7 * len(part)
    for number, (name, parts) in enumerate(bars):
        y, x = TOP + ROW * number, LEFT
        out.append(text(LEFT - 10, y + 19, name, anchor="end"))
        for part, colour in COLOURS.items():
            width = WIDTH * parts.get(part, 0) / longest
            out.append(f"<rect x='{x:.1f}' y='{y + 4}' width='{width:.1f}' height='{ROW - 10}' "
                       f"fill='{colour}'/>")
            x += width
        out.append(text(round(x) + 8, y + 19, f"{sum(parts.values()) / 1000:.1f}", 12, INK,
                        anchor="start"))
    (docs / "profile.svg").write_text(
        document(LEFT + WIDTH + 60, TOP + ROW * len(bars) + 8, out))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="count this build under that name")
    parser.add_argument("--draw", action="store_true", help="draw what was counted")
    parser.add_argument("--docs", type=pathlib.Path, default=DOCS, help="where the files are")
    arguments = parser.parse_args()
    if arguments.name:
        measure(arguments.name, arguments.docs)
    if arguments.name or arguments.draw:
        draw(arguments.docs)
    else:
        parser.error("--name or --draw")


if __name__ == "__main__":
    main()
