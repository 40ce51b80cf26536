#!/usr/bin/python3
"""What a transaction costs as the work around it grows: measures, and writes docs/performance.json,
docs/performance-*.svg and the tables between the markers of docs/performance.md.

  ASSENT_BUILD=build-release tests/bench/scaling.py [--large] [--repeat N] [--data-dir D]
  tests/bench/scaling.py --draw       only what follows from the JSON

Each point is a run of assent-bench with a coordinator and agents of its own. All points are run
once, then all of them again, and so on, so that a busy minute of the machine falls on all of them;
medians count. Then, once, what recovery.py measures. About 11 minutes on two cores; --large adds
10,000,000 kept outcomes: four minutes more, 2 GiB of the disk and 3 GiB of memory.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH.parent / "lib")]

import places  # noqa: E402
import plots  # noqa: E402
import recovery  # noqa: E402

PROGRAM = places.BUILD / "tests" / "bench" / "assent-bench"
DOCS = places.ROOT / "docs"
USUAL = {"in_flight": 64, "branches": 2, "together": 1, "idle": 0, "idle_participants": 0,
         "kept": 0, "payload": 0}
FIGURES = ("tx_per_s", "p50_us", "p99_us", "ideal_tx_per_s", "ideal_p50_us", "memory_bare_bytes",
           "memory_idle_bytes", "memory_load_bytes")
RUN_DEADLINE_S = 1800

# Of each curve what is varied, the values, and what else differs from the usual.
CURVES = {
    "in_flight": ("in_flight", [1, 4, 16, 64, 256, 1024, 4096], {}),
    "branches": ("branches", [1, 2, 4, 8, 16, 32, 64], {}),
    "branches_alone": ("branches", [1, 2, 4, 8, 16, 32, 64], {"in_flight": 1}),
    "branches_together": ("branches", [16, 32, 64], {"in_flight": 1, "together": 16}),
    "idle_participants": ("idle_participants", [0, 8, 98, 998], {}),
    "idle": ("idle", [0, 100, 1000, 10000], {}),
    "kept": ("kept", [0, 10_000, 1_000_000], {}),
    "payload": ("payload", [0, 256, 1024, 4096, 16384, 65536], {}),
}
CEILINGS = [{"in_flight": 1, "branches": 2}, {"in_flight": 1, "branches": 64}]
# The most of these against the usual, one right after the other in each turn: the speed of a
# machine that others use as well differs from minute to minute.
COMPARED = ("idle", "kept")
HALF_RATE_IN_FLIGHT = 1024
IN_DOUBT = [10, 1000, 10_000, 100_000, 1_000_000]
LOOKUPS_IN = [10, 10_000, 1_000_000]
LARGE = 10_000_000

QUICK_CURVES = {
    "in_flight": ("in_flight", [1, 64], {}),
    "branches": ("branches", [2, 4], {}),
    "branches_alone": ("branches", [2, 4], {"in_flight": 1}),
    "branches_together": ("branches", [2, 4], {"in_flight": 1, "together": 2}),
    "idle_participants": ("idle_participants", [0, 50], {}),
    "idle": ("idle", [0, 100], {}),
    "kept": ("kept", [0, 1000], {}),
    "payload": ("payload", [0, 4096], {}),
}


class Plan:
    """What is measured: the whole matrix, or the same with a few small values as a trial."""

    def __init__(self, quick, large):
        self.curves = QUICK_CURVES if quick else dict(CURVES)
        self.ceilings = [{"in_flight": 1, "branches": 2}] if quick else CEILINGS
        self.half_rate_in_flight = 64 if quick else HALF_RATE_IN_FLIGHT
        self.in_doubt = [10, 1000] if quick else IN_DOUBT
        self.lookups_in = [10, 1000] if quick else LOOKUPS_IN
        if large:
            what, values, others = self.curves["kept"]
            self.curves["kept"] = what, [*values, LARGE], others
            self.lookups_in = [*self.lookups_in, LARGE]
        self.points = {}  # words of assent-bench, by the name of the point
        for what, values, others in self.curves.values():
            for value in values:
                self.points[point({**others, what: value})] = words(**others, **{what: value})
        for what in COMPARED:
            self.points["without", what] = words()
            self.points["with", what] = words(**{what: self.curves[what][1][-1]})
        for values in self.ceilings:
            self.points["ceiling", *point(values)] = [*words(**values), "--ceiling"]
        self.points["half rate"] = [*words(in_flight=self.half_rate_in_flight), "--ceiling",
                                    "--rate", "50%"]


def point(values):
    return tuple({**USUAL, **values}.items())


def words(**values):
    named = [("--" + name.replace("_", "-"), str(value)) for name, value in values.items()
             if value != USUAL[name] or name == "in_flight"]
    if "in_flight" not in values:
        named.append(("--in-flight", str(USUAL["in_flight"])))
    return [word for pair in named for word in pair]


def bench(options, arguments):
    """One run: the report of assent-bench, in whose closed loops every transaction committed."""
    done = subprocess.run(
        [places.program(PROGRAM), "-o", "json", "--data-dir", options.data_dir,
         "--seconds", str(options.seconds), "--warmup", str(options.warmup), *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=RUN_DEADLINE_S)
    if done.returncode != 0:
        sys.exit(f"assent-bench {' '.join(arguments)}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    for run in report["runs"]:
        # An open loop that a busy machine cannot keep up with says so in its latency.
        if run["rate"] is None and (run["aborted"] or run["unknown"] or not run["committed"]):
            sys.exit(f"assent-bench {' '.join(arguments)}: {run['committed']:.0f} committed, "
                     f"{run['aborted']:.0f} aborted, {run['unknown']:.0f} unknown: "
                     f"{done.stderr.strip()}")
    return report


def rounded(value):
    return None if value is None else float(f"{value:.4g}")


def median(runs, figure):
    values = [run[figure] for run in runs]
    return None if None in values else rounded(statistics.median(values))


def row(runs):
    """Medians, and between which figures tx/s was."""
    rates = [run["tx_per_s"] for run in runs]
    return {**{figure: median(runs, figure) for figure in FIGURES},
            "tx_per_s_low": rounded(min(rates)), "tx_per_s_high": rounded(max(rates))}


def measure(plan, options):
    """The content of the JSON."""
    runs = {name: [] for name in plan.points}
    for turn in range(options.repeat):
        for number, (name, arguments) in enumerate(plan.points.items(), 1):
            report = bench(options, arguments)
            runs[name].append(report["runs"][-1])
            print(f"turn {turn + 1} of {options.repeat}, {number} of {len(plan.points)}: "
                  f"{' '.join(arguments)}: {report['runs'][-1]['tx_per_s']:,.0f} tx/s",
                  file=sys.stderr, flush=True)
    found = {"version": report["version"], "machine": report["machine"],
             "seconds": options.seconds, "repeat": options.repeat, "curves": {}}
    found["machine"].pop("data_dir")
    for curve, (what, values, others) in plan.curves.items():
        found["curves"][curve] = [{"x": value, **row(runs[point({**others, what: value})])}
                                  for value in values]
    found["compared"] = {
        what: {"x": plan.curves[what][1][-1],
               "of_usual": rounded(statistics.median(
                   loaded["tx_per_s"] / bare["tx_per_s"] for loaded, bare
                   in zip(runs["with", what], runs["without", what])))}
        for what in COMPARED}
    found["ceilings"] = [{**values, **row(runs["ceiling", *point(values)])}
                         for values in plan.ceilings]
    half = runs["half rate"]
    found["half_rate"] = {figure: median(half, figure)
                          for figure in ("rate", "p50_us", "p99_us", "ideal_p99_us", "commit_us",
                                        "of_commit")}
    for what, function, counts in (("in_doubt", recovery.in_doubt, plan.in_doubt),
                                   ("lookups", recovery.kept, plan.lookups_in)):
        found[what] = []
        for count in counts:
            print(f"recovery.py: {what} {count:,}", file=sys.stderr, flush=True)
            measured = recovery.measured(function, options.data_dir, count)
            found[what].append({figure: rounded(value) if figure != "count" else value
                                for figure, value in measured.items()})
    return found


def draw(docs):
    """The pictures and the tables, from the JSON alone."""
    source, page = docs / "performance.json", docs / "performance.md"
    try:
        found = json.loads(source.read_text())
        pictures, tables = plots.pictures(found), plots.tables(found)
    except (OSError, json.JSONDecodeError) as error:
        sys.exit(f"{source}: {error}")
    except (KeyError, TypeError, IndexError) as error:
        sys.exit(f"{source}: not as this script writes it ({error!r}): measure anew")
    try:
        text = plots.between_markers(page.read_text(), tables)
    except (OSError, ValueError) as error:
        sys.exit(f"{page}: {error}")
    for name, picture in pictures.items():
        (docs / name).write_text(picture)
    page.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw from the JSON")
    parser.add_argument("--large", action="store_true", help=f"{LARGE:,} kept outcomes as well")
    parser.add_argument("--quick", action="store_true",
                        help="a trial with few and small values; needs --docs")
    parser.add_argument("--docs", type=pathlib.Path,
                        help="where performance.json, the pictures and performance.md are (docs)")
    parser.add_argument("--data-dir", default=".", help="on the disk to measure (.)")
    parser.add_argument("--repeat", type=int, help="runs of each point (5; quick: 1)")
    options = parser.parse_args()
    if options.quick and not options.draw and options.docs is None:
        parser.error("--quick needs --docs, so that a trial does not replace the figures in docs")
    options.repeat = options.repeat or (1 if options.quick else 5)
    options.seconds, options.warmup = (1, 0) if options.quick else (2, 1)
    docs = options.docs or DOCS
    if not options.draw:
        if not (docs / "performance.md").exists():
            sys.exit(f"{docs}/performance.md: the tables have no place to go to")
        for needed in (PROGRAM, recovery.LOAD):  # a long time before they are run
            places.program(needed)
        found = measure(Plan(options.quick, options.large), options)
        (docs / "performance.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
