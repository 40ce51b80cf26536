"""Every seeded mistake can still be made where its table says, and run.py tells who finds none."""

import subprocess
import sys
import tomllib

import places

sys.path.append(str(places.ROOT / "tests" / "mutants"))
import run  # noqa: E402  pylint: disable=wrong-import-position

# A change that changes nothing, one that does not compile, and one that a test finds.
ODD = r"""
[nothing]
what = "nothing"
file = "common/commit/record.c"
by = "unit record"
old = "return value <= last;"
new = "return last >= value;"

[nonsense]
what = "it is no C"
file = "common/commit/record.c"
by = "unit record"
old = "return value <= last;"
new = "return value <= ;"

[everything]
what = "no number is in range"
file = "common/commit/record.c"
by = "unit record"
old = "return value <= last;"
new = "return value > last;"
"""


def table():
    return tomllib.loads(run.TABLE.read_text())


def test_every_mistake_can_still_be_made():
    assert len(table()) > 100
    assert not list(run.check_table(table()))


def test_every_mistake_is_in_the_docs():
    guarantees = (places.ROOT / "docs" / "guarantees.md").read_text()
    assert f"{len(table())} mistakes" in guarantees


def test_a_mistake_that_nobody_finds_is_said_so(tmp_path):
    (tmp_path / "odd.toml").write_text(ODD)
    done = subprocess.run([run.ROOT / "tests" / "mutants" / "run.py", "--jobs", "1", "--build",
                           tmp_path / "build", "--table", tmp_path / "odd.toml"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 of 3 mistakes found" in done.stdout
    assert "wrong: nothing, nonsense" in done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line[:1].isalpha()}
    assert "WRONG: it survives" in lines["nothing"]
    assert "WRONG: it does not compile" in lines["nonsense"]
    assert "test_record" in lines["everything"]
    assert "nothing, without a mistake" in lines["unit"]
