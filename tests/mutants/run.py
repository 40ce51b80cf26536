#!/usr/bin/python3
"""Shows that the tests find every seeded mistake of tests/mutants/mutants.toml.

  tests/mutants/run.py [--jobs N] [--build DIR] [--every] [--markdown FILE] [NAME ...]

Each job makes its own copy of the tree and one build of it, and in it one mistake after the other.
The simulator looks at seeds 1, 2, 3, ... up to SCHEDULES, the explorer at its documented set.
Prints what found each mistake and how soon. It is wrong if one is found by nothing, does not
compile, is no longer where the table says, or if anything is found without a mistake. --every asks
both simulator and explorer.
"""

import argparse
import concurrent.futures
import os
import pathlib
import queue
import re
import resource
import signal
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "mutants" / "mutants.toml"
COPIED = ("meson.build", "meson_options.txt", "common", "coordinator", "docs/examples",
          "participant", "proto", "tests")
SETUP = ("-Dbuildtype=plain", "-Doptimization=1", "-Dpostgres=disabled")
SCHEDULES = 100_000
SIMULATOR = "tests/sim/assent-sim"
EXPLORER = "tests/explore/assent-explore"
CPU_SECONDS_MAX = 300  # of one run
UNIT_SECONDS_MAX = 300  # they wait for each other, and no longer than 30 s for anything


class Wrong(Exception):
    """The mistake cannot be judged: the sentence says why."""


def check_table(table):
    """What the table itself says wrong, in sentences."""
    for name, mutant in table.items():
        if set(mutant) - {"policy"} != {"what", "file", "old", "new", "by"}:
            yield f"{name}: what, file, old, new and by are wanted"
        elif not re.fullmatch(r"simulator|explorer|unit \w+", mutant["by"]):
            yield f"{name}: by: \"{mutant['by']}\""
        else:
            count = (ROOT / mutant["file"]).read_text().count(mutant["old"])
            if count != 1:
                yield f"{name}: its old text is {count} times in {mutant['file']}, 1 wanted"


def last_words(code, out):
    if code == -signal.SIGILL:
        return "the core's own check failed"
    return f"signal {-code}" if code < 0 else out.strip().splitlines()[-1]


class Tree:
    """A copy of the sources and its build, brought up to date when it is made."""

    def __init__(self, where):
        self.source, self.build = where / "source", where / "build"
        for name in COPIED:
            top = ROOT / name
            for path in [top] if top.is_file() else top.rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    self.copy(path)
        if not (self.build / "build.ninja").exists():
            self.command("meson", "setup", *SETUP, self.build, self.source)

    def copy(self, path):
        to, data = self.source / path.relative_to(ROOT), path.read_bytes()
        if not to.exists() or to.read_bytes() != data:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(data)
            to.chmod(path.stat().st_mode)

    @staticmethod
    def command(*arguments):
        done = subprocess.run(arguments, env={**os.environ, "CC": "gcc"}, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Wrong("it does not compile:\n" + done.stdout[-3000:])

    def run(self, target, *arguments, seconds_max=None):
        """(exit code, output) of a program, built first."""
        def limit():
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX + 5))

        self.command("ninja", "-C", self.build, "-j1", target)
        with tempfile.TemporaryDirectory(prefix="assent-mutants-") as where:
            environment = {**os.environ, "TMPDIR": where, "CMOCKA_TEST_ABORT": "1"}
            done = subprocess.run([self.build / target, *map(str, arguments)], env=environment,
                                  text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, errors="replace", check=False,
                                  timeout=seconds_max, preexec_fn=limit)
        if done.returncode == -signal.SIGXCPU:
            raise Wrong(f"{target} {' '.join(map(str, arguments))} does not end")
        return done.returncode, done.stdout

    def simulator(self):
        first, last = 1, 10
        while last <= SCHEDULES:
            code, out = self.run(SIMULATOR, "--seed", first, "--schedules", last - first + 1)
            seed = re.search(r"^seed (\d+): transaction \d+: (.*)$", out, re.M)
            if seed:
                return f"{int(seed[1]):,} schedules", seed[2]
            if code != 0:
                return f"{last:,} schedules at most", last_words(code, out)
            first, last = last + 1, last * 10
        return None

    def explorer(self, policy):
        only = ["--policy", policy] if policy else []
        code, out = self.run(EXPLORER, "--all", *only)
        if code == 0:
            return None
        states = re.findall(r"^[23]pc[\w-]* +\d +[\d ]+?  +(\d+) +\d+ +\d+  ", out, re.M)
        why = re.search(r"^  VIOLATED: (.*)$", out, re.M)
        return f"{sum(map(int, states)):,} states", why[1] if why else last_words(code, out)

    def unit(self, name):
        try:
            code, out = self.run(f"tests/unit/test_{name}", seconds_max=UNIT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return f"test_{name}", "it does not end"
        begun = re.findall(r"^\[ RUN      \] (\w+)", out, re.M)
        return (f"test_{name}", begun[-1]) if code != 0 else None

    def ask(self, tool, policy=None):
        """(tool and how soon, what it said), or None."""
        if tool.startswith("unit "):
            return self.unit(tool.split()[1])
        found = self.simulator() if tool == "simulator" else self.explorer(policy)
        return found and (f"{tool}, {found[0]}", found[1])

    def seek(self, by, policy, every):
        """What finds the mistake, as ask() says it."""
        found = [self.ask(by, policy)]
        if by == "simulator" and (every or not found[0]):
            found.append(self.ask("explorer", policy))
        elif by == "explorer" and every:
            found.append(self.ask("simulator"))
        return [f for f in found if f]

    def examine(self, mutant, every):
        path = self.source / mutant["file"]
        text = path.read_text()
        if text.count(mutant["old"]) != 1:
            raise Wrong(f"its old text is {text.count(mutant['old'])} times in {mutant['file']}")
        path.write_text(text.replace(mutant["old"], mutant["new"]))
        try:
            found = self.seek(mutant["by"], mutant.get("policy"), every)
        finally:
            path.write_text(text)
        if not found:
            raise Wrong("it survives")
        return found


def judge(trees, table, name, every):
    """(name, what found it, what is wrong). By a tool's name: that it finds nothing by itself."""
    tree = trees.get()
    try:
        if name in table:
            return name, tree.examine(table[name], every), None
        found = tree.ask(name)
        return name, [], f"without any mistake: {': '.join(found)}" if found else None
    except Wrong as wrong:
        return name, [], str(wrong)
    finally:
        trees.put(tree)


def run(arguments, table):
    """First that nothing is found without a mistake, or the table would say nothing."""
    tools = {mutant["by"] for mutant in table.values()}
    if arguments.every or tools & {"simulator", "explorer"}:
        tools |= {"simulator", "explorer"}
    trees, results = queue.Queue(), []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for tree in pool.map(Tree, (arguments.build / f"job-{i}" for i in range(arguments.jobs))):
            trees.put(tree)
        for name, found, wrong in pool.map(
                lambda name: judge(trees, table, name, arguments.every), [*sorted(tools), *table]):
            text = "; ".join(": ".join(f) for f in found) or "nothing, without a mistake"
            print(f"{name:32} {'WRONG: ' + wrong if wrong else text}", flush=True)
            results.append((name, found, wrong))
    return results


def write_junit(path, results):
    suite = xml.Element("testsuite", name="mutants")
    for name, _, wrong in results:
        case = xml.SubElement(suite, "testcase", classname="mutants", name=name)
        if wrong:
            xml.SubElement(case, "failure", message=wrong)
    xml.ElementTree(suite).write(path)


def write_markdown(path, table, results):
    with path.open("w") as file:
        print("| mistake | what is wrong then | found by |\n|---|---|---|", file=file)
        for name, found, _ in results:
            if name in table:
                print(f"| `{name}` | {table[name]['what']} | {'; '.join(f[0] for f in found)} |",
                      file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-mutants")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--step", type=int, default=1, metavar="N", help="only each Nth mistake")
    parser.add_argument("--junit", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()
    table = tomllib.loads(arguments.table.read_text())
    unknown = sorted(set(arguments.names) - set(table))
    wrong = [*check_table(table), *(f"{name}: there is no such mistake" for name in unknown)]
    if wrong:
        sys.exit("\n".join(wrong))
    names = arguments.names or list(table)[::arguments.step]
    table = {name: table[name] for name in names}
    results = run(arguments, table)
    wrong = [name for name, _, why in results if why]
    print(f"{sum(bool(found) for _, found, _ in results)} of {len(table)} mistakes found")
    if arguments.junit:
        write_junit(arguments.junit, results)
    if arguments.markdown:
        write_markdown(arguments.markdown, table, results)
    if wrong:
        sys.exit("wrong: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
