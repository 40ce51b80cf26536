"""docs/performance.md and its pictures say what was measured: all follows from performance.json."""

import pathlib
import shutil
import subprocess
import sys

import places

DOCS = places.ROOT / "docs"


def test_pictures_and_tables_are_those_of_the_figures(tmp_path):
    for name in ("performance.json", "performance.md"):
        shutil.copy(DOCS / name, tmp_path)
    subprocess.run([sys.executable, places.ROOT / "tests" / "bench" / "scaling.py", "--draw",
                    "--docs", tmp_path], check=True, capture_output=True)
    drawn = {path.name for path in tmp_path.glob("*.svg")}
    assert drawn == {path.name for path in DOCS.glob("performance-*.svg")} and len(drawn) >= 3
    for path in pathlib.Path(tmp_path).iterdir():
        assert path.read_bytes() == (DOCS / path.name).read_bytes(), f"draw {path.name} anew"
        if path.suffix == ".svg":
            assert f"({path.name})" in (DOCS / "performance.md").read_text()


def test_profile_is_that_of_what_was_counted(tmp_path):
    shutil.copy(DOCS / "profile.json", tmp_path)
    subprocess.run([sys.executable, places.ROOT / "tests" / "bench" / "profile.py", "--draw",
                    "--docs", tmp_path], check=True, capture_output=True)
    assert (tmp_path / "profile.svg").read_bytes() == (DOCS / "profile.svg").read_bytes()
