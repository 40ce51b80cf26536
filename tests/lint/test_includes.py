"""Who may include whom: the house of docs/architecture.md as a test."""

import re

import places

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)

PUBLIC = "participant/include/assent"
# Each layer and the layers whose headers it may include besides its own; longest path first.
LAYERS = {
    PUBLIC: [],
    "common/base": [PUBLIC],
    "common/commit": ["common/base", PUBLIC],
    "common/runtime": ["common/base", PUBLIC],
    "common/store": ["common/base", "common/runtime", PUBLIC,
                     "common/commit/record.h", "common/commit/message.h"],
    "common/net": ["common/base", "common/runtime", PUBLIC],
    "proto": ["common/base", "common/commit", PUBLIC],
    "coordinator": ["common", "proto", PUBLIC],
    "participant": ["common", "proto", PUBLIC],
}
PURE = ("common/base", "common/commit")
PURE_SYSTEM = {"stdbool.h", "stddef.h", "stdint.h", "string.h", "limits.h"}
# Who may see the generated headers: the codec, and the benchmark's loop that does without it.
GENERATED = ("proto/codec", "tests/bench/ideal_messages.c")
# Third party, by the beginning of the header's name: the only places, besides tests and examples,
# that may see it.
ANYBODY = ("tests/", "docs/examples/")
RESTRICTED = {
    "event2/": ["common/net/", "coordinator/", "participant/agent/", "participant/lib/"],
    "lmdb.h": ["common/store/", "participant/resources/kv"],
    "libpq-fe.h": ["participant/resources/postgres"],
    "curl/": ["participant/resources/http"],
    "db.h": ["docs/examples/"],
    "mysql": ["participant/resources/mariadb"],
    "errmsg.h": ["participant/resources/mariadb"],
    "protobuf-c/": ["proto/"],
    "jansson.h": ["coordinator/", "participant/"],
    "confuse.h": ["common/runtime/"],
    "zlib.h": ["common/store/", "participant/resources/"],
    "uthash.h": ["common/net/", "common/store/", "coordinator/", "participant/"],
}


def layer_of(path):
    return next((layer for layer in sorted(LAYERS, key=len, reverse=True)
                 if path.startswith(layer + "/")), None)


def test_every_include_obeys_the_layers():
    files = {str(p.relative_to(places.ROOT)): p for p in places.sources(".c", ".h")}
    by_name = {}
    for path in files:
        by_name.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    wrong, seen = [], 0
    for path, file in files.items():
        layer = layer_of(path)
        for quote, name in INCLUDE.findall(file.read_text()):
            seen += 1
            if name.endswith(".pb-c.h") and not path.startswith(GENERATED):
                wrong.append(f"{path}: {name}: generated headers belong to the codec alone")
            for prefix, allowed in RESTRICTED.items():
                if name.startswith(prefix) and not path.startswith((*allowed, *ANYBODY)):
                    wrong.append(f"{path}: <{name}> is only for {', '.join(allowed)}")
            if quote == "<":
                if layer in PURE and name not in PURE_SYSTEM:
                    wrong.append(f"{path}: <{name}> in a pure library")
                if layer == PUBLIC and name not in PURE_SYSTEM:
                    wrong.append(f"{path}: <{name}> in a public header")
                continue
            if layer is None or name.endswith(".pb-c.h"):
                continue
            candidates = [c for c in by_name.get(name.rsplit("/", 1)[-1], [])
                          if c.endswith("/" + name)]
            if not candidates:
                wrong.append(f'{path}: "{name}" is no header of the tree')
                continue
            allowed = tuple(a if a.endswith(".h") else a + "/" for a in [layer, *LAYERS[layer]])
            if not any(c.startswith(allowed) for c in candidates):
                wrong.append(f'{path}: "{name}" ({candidates[0]}) is outside of what {layer} '
                             "may see")
    assert seen > 50
    assert not wrong, "\n".join(wrong)
