"""tests/bench/scaling.py: the one command behind docs/performance.md works, and says what it lacks.

How fast it finds this machine is no test.
"""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import places
from process import DEADLINE_S

SCRIPT = places.ROOT / "tests" / "bench" / "scaling.py"


def scaling(*words):
    return subprocess.run([sys.executable, SCRIPT, *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False,
                          timeout=12 * DEADLINE_S * places.slow_factor())


@pytest.fixture
def docs(tmp_path):
    made = tmp_path / "docs"
    made.mkdir()
    shutil.copy(places.ROOT / "docs" / "performance.md", made)
    return made


def test_trial(tmp_path, docs):
    """The quick form measures something everywhere, draws it, and leaves nothing else."""
    done = scaling("--quick", "--docs", docs, "--data-dir", tmp_path)
    assert done.returncode == 0, done
    found = json.loads((docs / "performance.json").read_text())
    assert set(found["curves"]) == {"in_flight", "branches", "branches_alone",
                                    "branches_together", "idle_participants",
                                    "idle", "kept", "payload"}
    for rows in found["curves"].values():
        assert len(rows) >= 2
        for row in rows:
            assert row["tx_per_s_low"] <= row["tx_per_s"] <= row["tx_per_s_high"]
            assert 0 < row["p50_us"] <= row["p99_us"]
    assert all(0 < row["answered_s"] for row in found["in_doubt"] + found["lookups"])
    pictures = sorted(docs.glob("*.svg"))
    assert len(pictures) == 4
    for picture in pictures:
        assert xml.etree.ElementTree.parse(picture).getroot().tag.endswith("svg")
    page = (docs / "performance.md").read_text()
    assert "| 100 | " in page and f"({pictures[0].name})" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs"]
    drawn = {path: path.read_bytes() for path in docs.iterdir()}
    assert scaling("--draw", "--docs", docs).returncode == 0
    assert drawn == {path: path.read_bytes() for path in docs.iterdir()}, "the JSON is enough"


@pytest.mark.parametrize("spoil, named", [
    (lambda docs: (docs / "performance.json").unlink(), "No such file"),
    (lambda docs: (docs / "performance.json").write_text("{"), "performance.json: Expecting"),
    (lambda docs: (docs / "performance.json").write_text("{}"), "measure anew"),
    (lambda docs: (docs / "performance.md").write_text("# Performance\n"), "the markers"),
])
def test_what_cannot_be_drawn(docs, spoil, named):
    """Nothing is written, and why is said in a line."""
    shutil.copy(places.ROOT / "docs" / "performance.json", docs)
    spoil(docs)
    before = sorted(path.name for path in docs.iterdir())
    done = scaling("--draw", "--docs", docs)
    assert done.returncode == 1 and named in done.stderr, done
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in docs.iterdir()) == before


def test_what_cannot_be_measured(tmp_path, docs):
    """A trial does not replace the figures of the docs; a run that fails is named."""
    done = scaling("--quick")
    assert done.returncode == 2 and "--quick needs --docs" in done.stderr, done
    done = scaling("--quick", "--docs", tmp_path / "nowhere")
    assert done.returncode == 1 and "performance.md" in done.stderr, done
    done = scaling("--quick", "--docs", docs, "--data-dir", tmp_path / "nowhere")
    assert done.returncode == 1 and "assent-bench --in-flight 1: " in done.stderr, done
    assert "nowhere" in done.stderr
    assert [path.name for path in docs.iterdir()] == ["performance.md"]
