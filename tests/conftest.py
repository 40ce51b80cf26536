"""Makes tests/lib importable and names the markers."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))


def pytest_configure(config):
    config.addinivalue_line("markers", "plain: cannot work in a build with AddressSanitizer")
