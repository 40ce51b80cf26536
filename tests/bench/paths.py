#!/usr/bin/python3
"""Instructions of the hot paths, counted by callgrind, against the recorded ones in paths.txt.

  ASSENT_BUILD=build-release tests/bench/paths.py            compares; exit 1 beyond the tolerance
  ASSENT_BUILD=build-release tests/bench/paths.py --record   writes paths.txt anew

Counted are the instructions of our own code, in all threads: not those of libc, LMDB, zlib or
protobuf-c, whose versions are not ours. The compiler's still is, so the record names it. The build
must be a release without crash points, as check.sh makes it.
"""

import pathlib
import platform
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import places  # noqa: E402

RECORD = pathlib.Path(__file__).with_suffix(".txt")
TOLERANCE = 0.05
PROGRAM = places.BUILD / "tests" / "bench" / "paths"


def own_instructions(text):
    """The sum over one dump of what was executed in the program's own object."""
    objects, own, total, lines = {}, False, 0, iter(text.splitlines())
    for line in lines:
        if line.startswith("ob="):
            number, name = re.fullmatch(r"ob=(\(\d+\))(?: (.*))?", line).groups()
            if name:
                objects[number] = name
            own = objects[number] == str(PROGRAM)
        elif line.startswith("cob=") and " " in line:
            number, name = line.removeprefix("cob=").split(" ", 1)
            objects[number] = name
        elif line.startswith("calls="):
            next(lines)  # what the called function took: it is counted there
        elif own and re.match(r"[+*\-\d]", line):
            total += int(line.split()[1])
    return total


def count():
    """{name: instructions of one call}"""
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory, "callgrind")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
             "--dump-before=counted", "--dump-after=counted", PROGRAM, f"{directory}/log"],
            check=False, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            sys.exit(f"{PROGRAM}: {done.stderr}")
        runs = [line.split() for line in done.stdout.splitlines()]
        dumps = [text for path in sorted(out.parent.glob("callgrind.*"),
                                         key=lambda path: int(path.suffix[1:]))
                 if "Trigger: --dump-after=counted" in (text := path.read_text())]
    assert runs and len(runs) == len(dumps), (len(runs), len(dumps))
    return {name: own_instructions(dump) / int(calls)
            for (name, calls), dump in zip(runs, dumps, strict=True)}


def compiler():
    found = subprocess.run(["gcc", "--version"], check=True, capture_output=True, text=True)
    return f"{found.stdout.splitlines()[0]}, {platform.machine()}"


def read_record():
    lines = RECORD.read_text().splitlines()
    return (lines[0].removeprefix("# "),
            {name: float(value) for name, value in map(str.split, lines[1:])})


def compare(counted):
    recorded_with, recorded = read_record()
    wrong = []
    print(f"{'path':24}{'recorded':>10}{'now':>10}")
    for name in {**recorded, **counted}:
        before, now = recorded.get(name), counted.get(name)
        if before is None or now is None:
            wrong.append(f"{name} is only in {'this build' if before is None else RECORD.name}")
            continue
        change = now / before - 1
        print(f"{name:24}{before:10.0f}{now:10.0f}{change:+8.1%}")
        if change > TOLERANCE:
            wrong.append(f"{name} grew by {change:.1%}")
        elif change < -TOLERANCE:
            wrong.append(f"{name} shrank by {-change:.1%}: record it, so that this is kept")
    if wrong:
        print("\n".join(["", *wrong, "", "If this is meant: tests/bench/paths.py --record"]))
        if recorded_with != compiler():
            print(f"Recorded with {recorded_with}; this is {compiler()}")
    return 1 if wrong else 0


def main():
    counted = count()
    if sys.argv[1:] == ["--record"]:
        RECORD.write_text("".join([f"# {compiler()}\n",
                                   *(f"{name} {n:.0f}\n" for name, n in counted.items())]))
        return 0
    if sys.argv[1:]:
        sys.exit(__doc__)
    return compare(counted)


if __name__ == "__main__":
    sys.exit(main())
