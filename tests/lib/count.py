#!/usr/bin/python3
"""Counts what check.sh ran: one line for each stage, the reason of each skip, one line in all.

A stage with a JUnit file (pytest) or a meson test log counts its tests; any other stage counts as
one test. A stage that failed without a failing test in its file counts one failure.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree


def of_junit(path):
    passed, failed, skips = 0, [], []
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        wrong = [w for w in (case.find("failure"), case.find("error")) if w is not None]
        if wrong:
            failed.append(name + "\n" + (wrong[0].get("message") or "")[:1500])
        elif skip is not None:
            skips.append(f"{name}: {skip.get('message')}")
        else:
            passed += 1
    return passed, failed, skips


def of_meson(path):
    """cmocka says how many tests each program holds; a program that says nothing counts one."""
    passed, failed, skips = 0, [], []
    for line in path.read_text().splitlines():
        result = json.loads(line)
        text = result.get("stdout", "") + result.get("stderr", "")
        good = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", text))
        bad = re.findall(r"^\[  FAILED  \] (\w+)$", text, re.M)
        skipped = re.findall(r"^\[  SKIPPED \] (\w+)$", text, re.M)
        if result["result"] == "SKIP":
            skips.append(f"{result['name']}: {text.strip().splitlines()[-1:] or 'no reason given'}")
            continue
        skips += [f"{result['name']}: {name}" for name in dict.fromkeys(skipped)]
        failed += [f"{result['name']}: {name}" for name in dict.fromkeys(bad)]
        if result["result"] not in ("OK", "EXPECTEDFAIL") and not bad:
            failed.append(f"{result['name']}: {result['result']}")
        passed += good if good or bad else int(result["result"] == "OK")
    return passed, failed, skips


def stage(logs, name, began, ended):
    status = int((logs / f"{name}.status").read_text())
    junit, meson = logs / f"{name}.xml", logs / f"{name}.json"
    try:
        if junit.exists():
            passed, failed, skips = of_junit(junit)
        elif meson.exists():
            passed, failed, skips = of_meson(meson)
        else:
            passed, failed, skips = int(status == 0), [], []
    except (ValueError, KeyError, xml.etree.ElementTree.ParseError) as error:
        passed, failed, skips = 0, [f"{name}: cannot read its results: {error}"], []
    if status != 0 and not failed:
        failed = [f"{name}: exit {status}"]
    (logs / f"{name}.count").write_text(json.dumps([passed, failed, skips]))
    print(f"{name:18} {ended - began:7.1f} s  {passed} passed, {len(failed)} failed, "
          f"{len(skips)} skipped", flush=True)
    for what in failed:
        print("    failed: " + what.replace("\n", "\n        "))
    if failed and not junit.exists():
        tail = (logs / f"{name}.log").read_text("utf-8", "backslashreplace").splitlines()[-40:]
        print(f"    the end of {logs / name}.log:")
        for line in tail:
            print(f"    | {line}")
    sys.stdout.flush()


def total(logs):
    passed, failed, skips = 0, [], []
    for path in sorted(logs.glob("*.count")):
        counts = json.loads(path.read_text())
        passed += counts[0]
        failed += counts[1]
        skips += counts[2]
    for what in failed:
        print("failed: " + what.split("\n")[0])
    for what in skips:
        print(f"skipped: {what}")
    print(f"{passed} passed, {len(failed)} failed, {len(skips)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    if sys.argv[1] == "stage":
        stage(pathlib.Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5]))
    else:
        sys.exit(total(pathlib.Path(sys.argv[2])))
