"""Sizes: functions, files and lines. What is over the aim is listed, what is far over fails."""

import re
import warnings

import places

FUNCTION_AIM, FUNCTION_MAX, FILE_MAX, LINE_MAX = 70, 100, 600, 100


def c_files():
    return places.sources(".c", ".h")


def functions(text):
    """(name, lines) of each function; the format puts its braces in the first column."""
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            head = " ".join(lines[max(0, number - 8):number])
            names = re.findall(r"(\w+)\s*\([^{;]*$", head) or re.findall(r"(\w+)\(", head)
            start, name = number, names[0] if names else "?"
        elif line == "}" and start is not None:
            yield name, number - start + 1
            start = None


def test_functions():
    sizes = [(count, name, path.relative_to(places.ROOT)) for path in c_files()
             for name, count in functions(path.read_text())]
    assert len(sizes) > 100
    for count, name, path in sorted(sizes, reverse=True):
        if count > FUNCTION_AIM:
            warnings.warn(f"{path}: {name}() has {count} lines", stacklevel=1)
    assert [s for s in sizes if s[0] > FUNCTION_MAX] == []


def test_files():
    sizes = [(len(p.read_text().splitlines()), str(p.relative_to(places.ROOT)))
             for p in places.sources(".c", ".h", ".py", ".sh")]
    assert [s for s in sizes if s[0] > FILE_MAX] == []


def test_lines():
    long = [f"{p.relative_to(places.ROOT)}:{number}" for p in places.sources(".c", ".h", ".py")
            for number, line in enumerate(p.read_text().splitlines(), 1) if len(line) > LINE_MAX]
    assert long == []


def test_every_file_says_what_it_is_for():
    silent = [str(p.relative_to(places.ROOT)) for p in c_files()
              if not p.read_text().lstrip().startswith(("/*", "//"))]
    assert silent == []
