#!/usr/bin/env python3
"""Draws the table of policy by fault as an SVG and as Markdown.

    build/tests/sim/assent-sim --table --schedules 20000 --json table.json
    tests/sim/picture.py table.json docs/guarantees.svg > table.md
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

from svg import NOTE, document, text  # noqa: E402

COLOURS = {"ok": ("#d7efdc", "#14532d"), "b": ("#fdf3c4", "#713f12"),
           "B": ("#fbd9b5", "#7c2d12"), "V": ("#f4b8b8", "#7f1d1d")}
WORDS = {"ok": "all decide", "b": "minority waits", "B": "blocks", "V": "splits"}
LEFT, TOP, WIDTH, HEIGHT = 160, 64, 128, 54


def detail(cell):
    """The figure that matters in this cell."""
    runs = cell["schedules"]
    if cell["found"] == "V":
        return f"{100 * cell['violations'] / runs:.2g} % of schedules"
    if cell["found"] in "Bb":
        blocked = cell["blocked_majority"] + cell["blocked_minority"]
        return f"{100 * blocked / runs:.2g} % of schedules"
    return f"in doubt {cell['doubt_ms_mean'] / 1000:.1f} s"


def wrapped(words):
    """Two lines of about the same length."""
    parts = words.split()
    best = min(range(1, len(parts) + 1),
               key=lambda i: max(len(" ".join(parts[:i])), len(" ".join(parts[i:]))))
    return " ".join(parts[:best]), " ".join(parts[best:])


def svg(cells, policies, faults):
    width, height = LEFT + WIDTH * len(faults) + 8, TOP + HEIGHT * len(policies) + 34
    out = []
    for column, fault in enumerate(faults):
        first, second = wrapped(fault)
        x = LEFT + WIDTH * column + WIDTH // 2
        out += [text(x, 28, first, weight="bold"), text(x, 44, second, weight="bold")]
    for row, policy in enumerate(policies):
        y = TOP + HEIGHT * row
        out.append(text(LEFT - 10, y + HEIGHT // 2 + 4, policy, weight="bold", anchor="end"))
        for column, fault in enumerate(faults):
            cell = cells[policy, fault]
            fill, ink = COLOURS[cell["found"]]
            x = LEFT + WIDTH * column
            out += [f"<rect x='{x + 2}' y='{y + 2}' width='{WIDTH - 4}' height='{HEIGHT - 4}' "
                    f"rx='4' fill='{fill}'/>",
                    text(x + WIDTH // 2, y + 23, WORDS[cell["found"]], 13, ink, "bold"),
                    text(x + WIDTH // 2, y + 40, detail(cell), 11, ink)]
    runs = min(cell["schedules"] for cell in cells.values())
    out.append(text(width // 2, height - 12, f"{runs:,} schedules in each cell, three participants",
                    11, NOTE))
    return document(width, height, out)


def markdown(cells, policies, faults):
    lines = ["| policy | " + " | ".join(faults) + " |", "|---" * (len(faults) + 1) + "|"]
    for policy in policies:
        found = [cells[policy, fault] for fault in faults]
        lines.append(f"| {policy} | "
                     + " | ".join(f"**{c['found']}** {detail(c)}" for c in found) + " |")
    return "\n".join(lines)


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        rows = json.load(source)
    cells = {(row["policy"], row["fault"]): row for row in rows}
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    faults = list(dict.fromkeys(row["fault"] for row in rows))
    with open(sys.argv[2], "w", encoding="utf-8") as picture:
        picture.write(svg(cells, policies, faults))
    print(markdown(cells, policies, faults))


if __name__ == "__main__":
    main()
