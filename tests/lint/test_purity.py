"""The pure libraries need nothing but memory and string functions, and share no mutable state."""

import subprocess

import pytest

import places

ALLOWED = {"memcpy", "memmove", "memset", "memcmp", "memchr", "strlen", "strcmp", "strncmp",
           "strchr", "strnlen", "strstr", "__memcpy_chk", "__memset_chk", "__memmove_chk",
           "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
LIBRARIES = [places.BUILD / "common" / "base" / "libassent_base.a",
             places.BUILD / "common" / "commit" / "libassent_commit.a"]


def symbols(library, *options):
    out = subprocess.run(["nm", "-P", *options, library], check=True, capture_output=True,
                         text=True).stdout
    return [line.split()[:2] for line in out.splitlines() if len(line.split()) >= 2]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda p: p.name)
def test_no_symbol_from_outside(library):
    defined = {name for lib in LIBRARIES for name, kind in symbols(lib) if kind not in "Uw"}
    needed = {name for name, _ in symbols(library, "-u")}
    assert needed, "nm found nothing: is this the right library?"
    assert needed - defined - ALLOWED == set()


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda p: p.name)
def test_no_mutable_globals(library):
    state = [name for name, kind in symbols(library)
             if kind in "BbDCc" or (kind == "d" and not name.startswith(".data.rel.ro"))]
    in_ro = {name for name in state if in_read_only_section(library, name)}
    assert set(state) - in_ro == set()


def in_read_only_section(library, name):
    """Const tables of pointers live in .data.rel.ro, which nm also calls d."""
    out = subprocess.run(["objdump", "-t", library], check=True, capture_output=True,
                         text=True).stdout
    return any(line.split()[-1] == name and ".data.rel.ro" in line
               for line in out.splitlines() if line.split())
