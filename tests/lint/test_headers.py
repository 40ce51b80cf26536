"""Public headers compile alone, strictly, in C and in C++, and pull in nothing but libc."""

import subprocess

import pytest

import places

HEADERS = sorted((places.ROOT / "participant" / "include" / "assent").glob("*.h"))
INCLUDE = f"-I{places.ROOT / 'participant' / 'include'}"
LANGUAGES = {
    "c99": ["gcc", "-xc", "-std=c99"], "c17-clang": ["clang", "-xc", "-std=c17"],
    "c++11": ["g++", "-xc++", "-std=c++11"], "c++17": ["g++", "-xc++", "-std=c++17"],
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
def test_compiles_alone(header, language):
    done = subprocess.run([*LANGUAGES[language], "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                           INCLUDE, "-fsyntax-only", "-"],
                          input=f"#include <assent/{header.name}>\n", text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
def test_includes_libc_alone(header):
    out = subprocess.run(["gcc", "-xc", INCLUDE, "-M", "-"], text=True, capture_output=True,
                         check=True, input=f"#include <assent/{header.name}>").stdout
    files = {w for w in out.replace("\\\n", " ").split()[1:] if w.startswith("/")}
    files = {f for f in files if not f.startswith(str(places.ROOT))}
    owners = subprocess.run(["dpkg", "-S", *files], text=True, capture_output=True, check=True)
    packages = {line.split(":")[0] for line in owners.stdout.splitlines()}
    assert all(p.startswith(("libc6-dev", "linux-libc-dev", "libgcc-")) for p in packages), packages
