"""docs/guarantees.md says what the shipped core does: the costs as counted, the signs as found."""

import json
import subprocess

import places

GUARANTEES = (places.ROOT / "docs" / "guarantees.md").read_text()
SIM = places.BUILD / "tests" / "sim" / "assent-sim"


def test_costs_are_those_counted():
    counted = subprocess.run([SIM, "--costs"], check=True, capture_output=True, text=True).stdout
    assert len(counted.splitlines()) > 8
    for line in counted.splitlines():
        assert line in GUARANTEES, line


def test_signs_are_those_found(tmp_path):
    """Enough schedules for every sign but the rarest, which is looked for in many."""
    found = tmp_path / "table.json"
    subprocess.run([SIM, "--table", "--schedules", "4000", "--json", found], check=True,
                   capture_output=True)
    rows = json.loads(found.read_text())
    assert len(rows) == 30
    for row in rows:
        line = next(text for text in GUARANTEES.splitlines()
                    if text.startswith(f"| {row['policy']} | **"))
        column = [r["fault"] for r in rows if r["policy"] == row["policy"]].index(row["fault"])
        assert f"**{row['found']}**" in line.split(" | ")[column + 1], (row, line)
