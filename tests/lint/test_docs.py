"""What the docs name exists, and every option is documented."""

import re
import subprocess

import pytest

import places

DAEMONS = [places.ASSENTD, places.AGENT]


def print_config(program):
    """Keys of --print-config: lines `key = value`, perhaps commented out."""
    out = subprocess.run([places.program(program), "--print-config"], check=True,
                         capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return set(re.findall(r"^#?\s*([a-z][a-z0-9_]*)\s*=", out, re.M))


def flags(program):
    """Keys of --help: lines `  --data-dir DIR  ...`."""
    out = subprocess.run([places.program(program), "--help"], check=True, capture_output=True,
                         text=True, stdin=subprocess.DEVNULL).stdout
    found = re.findall(r"^\s+(?:-\w, )?--([a-z][a-z0-9-]*)", out, re.M)
    return {flag.replace("-", "_") for flag in found}


@pytest.mark.parametrize("program", DAEMONS, ids=lambda p: p.name)
def test_every_option_is_documented(program):
    text = (places.ROOT / "docs" / "configuration.md").read_text()
    documented = set(re.findall(r"`(?:--)?([a-z][a-z0-9_-]*)`", text))
    documented = {key.replace("-", "_") for key in documented}
    keys = print_config(program) | flags(program)
    assert len(keys) > 5
    assert keys - documented == set()


def test_every_documented_option_exists():
    """The first column of each table of configuration.md that names options."""
    text = (places.ROOT / "docs" / "configuration.md").read_text()
    rows = {key.replace("-", "_")
            for key in re.findall(r"^\|\s*`(?:--)?([a-z][a-z0-9_-]*)`", text, re.M)}
    known = set().union(*(print_config(p) | flags(p) for p in DAEMONS))
    assert rows, "no table of options found"
    assert rows - known == set()


def test_files_named_in_the_docs_exist():
    """Paths in backquotes with a directory and a known ending, and relative links."""
    wrong = []
    for doc in places.sources(".md"):
        text = doc.read_text()
        paths = re.findall(r"`([\w.-]+(?:/[\w.-]+)+\.(?:c|h|py|sh|proto|md|build))`", text)
        tops = (places.ROOT, places.ROOT / "participant" / "include", doc.parent)
        wrong += [f"{doc.name}: {p}" for p in paths if not any((t / p).exists() for t in tops)]
        links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
        wrong += [f"{doc.name}: link {p}" for p in links if not (doc.parent / p).exists()]
    assert wrong == []


def test_architecture_walks_through_the_tree():
    text = (places.ROOT / "docs" / "architecture.md").read_text()
    assert len(re.findall(r"`[\w-]+(?:/[\w.-]+)+\.[ch]`", text)) >= 6


def test_crash_points_are_all_used():
    """Every declared point stands in the code of a daemon, not only in the list."""
    header = (places.ROOT / "common" / "runtime" / "crash_point.h").read_text()
    names = re.findall(r"^\s*X\((\w+)\)", header, re.M)
    code = "\n".join(p.read_text() for top in ("coordinator", "participant", "common")
                     for p in places.sources(".c", under=top))
    assert len(names) > 20
    assert [n for n in names
            if not re.search(rf"ASSENT_CRASH_(?:POINT\({n}\)|{n}\b)", code)] == []
