"""The apt list is complete: each header, tool and Python module used belongs to a package on it.

A package counts if it is in packages.txt, is a dependency of one that is, or is essential or
required in every Debian. Words are taken generously (each word of a script that names an
executable counts as used), so nothing can be missed for want of parsing.
"""

import ast
import os
import re
import shutil
import subprocess
import sys

import places

LIST = places.ROOT / "tests" / "lint" / "packages.txt"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def listed(section=None):
    names, current = set(), None
    for line in LIST.read_text().splitlines():
        if line.startswith("#"):
            current = line[1:].strip()
        elif line and section in (None, current):
            names.add(line.strip())
    return names


def closure(names):
    """The packages, their dependencies as installed here, and what every Debian has."""
    out = subprocess.run(
        ["dpkg-query", "-W", "-f",
         "${Package}\t${Essential}\t${Priority}\t${Pre-Depends}, ${Depends}\t${Provides}\n"],
        check=True, capture_output=True, text=True).stdout
    depends, provided, everywhere, known = {}, {}, set(), set()
    for line in out.splitlines():
        package, essential, priority, needs, provides = line.split("\t")
        depends.setdefault(package, set()).update(
            re.match(r"[\w.+-]+", alternative.strip()).group()
            for group in needs.split(",") for alternative in group.split("|")
            if re.match(r"[\w.+-]+", alternative.strip()))
        for name in provides.split(","):
            if name.strip():
                provided.setdefault(name.split()[0], set()).add(package)
        if essential == "yes" or priority == "required":
            everywhere.add(package)
    missing = names - set(depends)
    assert not missing, f"not installed: {missing}"
    queue = [*names, *everywhere]
    while queue:
        name = queue.pop()
        if name not in known:
            known.add(name)
            queue += depends.get(name, set()) | provided.get(name, set())
    return known


def owners(path):
    """The packages that own a file, or any of its alternatives."""
    if os.path.islink(path) and os.readlink(path).startswith("/etc/alternatives/"):
        done = subprocess.run(["update-alternatives", "--list", os.path.basename(path)],
                              check=False, capture_output=True, text=True)
        return set().union(*(owners_of_file(p) for p in done.stdout.split()))
    return owners_of_file(path)


def owners_of_file(path):
    """/bin and /usr/bin are one since the usr merge."""
    real = os.path.realpath(path)
    for candidate in {path, real, path.removeprefix("/usr"), real.removeprefix("/usr")}:
        done = subprocess.run(["dpkg", "-S", candidate], check=False, capture_output=True,
                              text=True)
        if done.returncode == 0:
            return {package.split(":")[0].strip() for line in done.stdout.splitlines()
                    for package in line.rsplit(": ", 1)[0].split(",")}
    return set()


def header_path(name):
    done = subprocess.run(
        ["gcc", "-xc", "-D_GNU_SOURCE", "-I/usr/include/postgresql",
         "-I/usr/include/mariadb", "-M", "-"], check=False,
        input=f"#include <{name}>\n", capture_output=True, text=True)
    words = done.stdout.replace("\\\n", " ").split()
    return next((w for w in words if w.endswith("/" + name)), None)


def check(uses, known):
    """uses: {path of a file used: where}; fails naming each that no listed package brings."""
    wrong = []
    for path, where in sorted(uses.items()):
        found = owners(path)
        if not found & known:
            wrong.append(f"{path} ({', '.join(sorted(found)) or 'of no package'}): {where}")
    assert not wrong, "\n".join(wrong)


def test_headers():
    uses, missing = {}, []
    for file in places.sources(".c", ".h"):
        for name in re.findall(r"^\s*#\s*include\s+<([^>]+)>", file.read_text(), re.M):
            if name.startswith("assent/"):
                continue
            path = header_path(name)
            if path is None and name == "cmocka.h":  # needs others before it
                path = "/usr/include/cmocka.h"
            if path is None:
                missing.append(f"{file.name}: <{name}>")
            else:
                uses[path] = file.name
    assert not missing
    assert len(uses) > 10
    check(uses, closure(listed()))


def shell_words(text):
    """Every word that could be a command: comments and quoted prose are left out."""
    text = re.sub(r"(^|\s)#.*", r"\1", text)
    text = re.sub(r"'[^']*'", " ", text)
    text = re.sub(r'(printf|echo|say|skip|note) +"[^"]*"', " ", text)
    return set(re.findall(r"(?<![\w./$={-])([a-z][a-z0-9_+.-]*)(?![\w/=(-])", text))


SHELL_OWN = {"time", "test", "kill", "echo", "printf", "true", "false", "pwd", "[", "read", "wait"}


def script_commands(*names):
    for name in names:
        words = shell_words((places.ROOT / name).read_text()) - SHELL_OWN
        for word in words:
            path = shutil.which(word, path=SYSTEM_PATH)
            if path:
                yield path, f"{name}: {word}"


def test_tools_of_scripts():
    uses = dict(script_commands("check.sh", ".ci/run"))
    assert len(uses) > 3
    check(uses, closure(listed()))


def test_tools_of_the_demo():
    """The demo installs the build's part of the list, and with --databases theirs."""
    check(dict(script_commands("demo.sh")), closure(listed("build") | listed("databases")))


def test_tools_of_python():
    """Every string in the tests that names an executable."""
    uses = {}
    for file in places.sources(".py", under="tests"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.List):
                first = node.elts[0] if node.elts else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    path = shutil.which(first.value, path=SYSTEM_PATH) if first.value else None
                    if path:
                        uses[path] = file.name
    assert len(uses) > 3
    check(uses, closure(listed()))


def test_tools_of_meson():
    uses = {}
    for file in places.sources("meson.build"):
        for name in re.findall(r"find_program\('([^']+)'", file.read_text()):
            path = shutil.which(name, path=SYSTEM_PATH)
            if path:
                uses[path] = file.name
    check(uses, closure(listed("build")))


def test_python_modules():
    own = {p.stem for p in places.sources(".py", under="tests")} | {"assent"}
    uses = {"google.protobuf": "what protoc generates for wire.py"}
    for file in places.sources(".py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = ([a.name for a in node.names] if isinstance(node, ast.Import)
                     else [node.module] if isinstance(node, ast.ImportFrom) else [])
            for name in names:
                top = name.split(".")[0]
                if top in own or top in sys.builtin_module_names:
                    continue
                uses[top] = file.name
    paths = {}
    for top, where in uses.items():
        out = subprocess.run(
            ["/usr/bin/python3", "-c",
             "import importlib.util, sys; s = importlib.util.find_spec(sys.argv[1]);"
             "print(s.origin or list(s.submodule_search_locations)[0])", top],
            check=True, capture_output=True, text=True).stdout.strip()
        if out not in ("frozen", "built-in"):
            paths[out] = where
    check(paths, closure(listed()))
