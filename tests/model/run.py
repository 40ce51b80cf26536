#!/usr/bin/python3
"""Checks the Promela models with spin: each model under each budget of faults.

Prints a table with the result that theory expects beside the one found, and fails if any differs:
a mistake that is not found counts as much as a safe protocol that splits. What the models say is
in their headers; what the signs mean in SIGNS. Every run is a full search unless marked with +
(stopped at the first violation) or ~ (bitstate, in --large alone).

  run.py [--large] [--junit FILE] [--jobs N] [--only WORD]

By default about 75 s of processor and 300 MB. --large: a quarter of an hour and 2.5 GB (never over
4 GB: pan is built with that limit). A run of spin by hand, with the trail of what went wrong:

  spin -DN=3 -DCRASHES=1 -DVICTIMS=1 -a 3pc.pml && gcc -DSAFETY -DNOREDUCE -o pan pan.c
  ./pan -E; spin -DN=3 -DCRASHES=1 -DVICTIMS=1 -t -p 3pc.pml
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

import rows

HERE = pathlib.Path(__file__).resolve().parent
MEMORY_MB = 4000
SIGNS = """\
V   atomicity violated in some run (AC1, AC2 or AC3)
B   safe; somebody in the majority part waits for ever in some run
b   safe; only outside the majority part somebody waits for ever
ok  safe, and everybody alive decides in every run
safe  safe; waiting not looked at"""
SAFETY = {"stability", "agreement", "validity"}


def command(arguments, cwd, seconds):
    """Runs within limits of time and memory: (what it wrote, seconds of processor)."""
    def limits():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB * 1_200_000,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    with subprocess.Popen(arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, preexec_fn=limits) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[0]}: exit {process.returncode}: {text.strip()[-1500:]}")
    return text, usage.ru_utime + usage.ru_stime


def verify(row):
    """Generates, compiles and runs one verifier: (states, assertions that failed, seconds)."""
    with tempfile.TemporaryDirectory(prefix="assent-model-") as where:
        _, generating = command(["spin", *row.defines, "-a", str(HERE / row.model)], where, 60)
        _, compiling = command(
            ["gcc", "-w", "-O0" if row.small else "-O2", "-DSAFETY", "-DNOREDUCE", "-DNOFAIR",
             f"-DMEMLIM={MEMORY_MB}", *row.pan_options, "-o", "pan", "pan.c"], where, 120)
        text, searching = command(
            ["./pan", "-E", "-c1" if row.first else "-c0", f"-w{row.hash_bits}",
             f"-m{row.depth}", "-n"], where, row.seconds)
    states = re.search(r"^\s*([\d.e+]+) states, stored", text, re.M)
    cut_short = re.search(r"max search depth too small|out of memory|Search not completed", text)
    failed = set(re.findall(r"assertion violated !?\(?(\w+)", text))
    if states is None or (cut_short and not (row.first and failed)):
        raise RuntimeError(f"search not completed: {text[-1500:]}")
    return int(float(states.group(1))), failed, generating + compiling + searching


def sign(row, failed):
    if failed & SAFETY:
        return "V"
    if row.safety_only:
        return "safe"
    if "majority_decides" in failed:
        return "B"
    return "b" if "all_decide" in failed else "ok"


def reached(failed):
    """Which outcomes some run reaches, where the row asks."""
    return {word for word in ("commit", "abort") if f"never_{word}" in failed}


def judge(row):
    """(row, states, found, seconds of processor, what is wrong or None)"""
    try:
        states, failed, seconds = verify(row)
    except (RuntimeError, OSError) as error:
        return row, 0, "error", 0.0, str(error)
    found = sign(row, failed)
    wrong = None
    if found != row.expected:
        wrong = f"expected {row.expected}, found {found} ({', '.join(sorted(failed)) or 'nothing'})"
    elif row.outcomes is not None and reached(failed) != row.outcomes:
        wrong = f"outcomes reached: {sorted(reached(failed))}, expected {sorted(row.outcomes)}"
    return row, states, found, seconds, wrong


def write_junit(path, results):
    suite = xml.Element("testsuite", name="model")
    for row, _, _, seconds, wrong in results:
        case = xml.SubElement(suite, "testcase", classname=row.title, name=row.name,
                              time=f"{seconds:.2f}")
        if wrong:
            xml.SubElement(case, "failure", message=wrong)
    xml.ElementTree(suite).write(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="the larger bounds as well")
    parser.add_argument("--junit", metavar="FILE")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    options = parser.parse_args()
    if options.junit:
        pathlib.Path(options.junit).unlink(missing_ok=True)
    chosen = [r for r in rows.rows(options.large) if options.only in f"{r.title} {r.name}"]
    print(SIGNS + "\n")
    print(f"{'model':22} {'faults':44} {'states':>10}  {'found':5} {'expected':8} {'cpu s':>6}")
    results = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(judge, chosen):
            row, states, found, seconds, wrong = result
            results.append(result)
            mark = "+" if row.first and found == "V" else "~" if row.bitstate else " "
            print(f"{row.title:22} {row.name:44} {states:>9}{mark}  {found:5} {row.expected:8} "
                  f"{seconds:6.1f}{'  WRONG: ' + wrong if wrong else ''}", flush=True)
    wrong = [r for r in results if r[-1]]
    print(f"\n{len(results)} rows, {sum(r[1] for r in results)} states, "
          f"{sum(r[3] for r in results):.0f} s of processor, {len(wrong)} wrong")
    if options.junit:
        write_junit(options.junit, results)
    return 1 if wrong or not results else 0


if __name__ == "__main__":
    sys.exit(main())
