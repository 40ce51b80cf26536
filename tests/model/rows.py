"""What is checked: each row a model, its faults, and the sign that theory gives it.

The signs of the table are those of protocols.md for three participants. With two (and so three
voters, the coordinator being one) two dead members leave no majority, so B becomes b there.
"""

import dataclasses


@dataclasses.dataclass
class Row:
    title: str
    name: str
    model: str
    defines: list
    expected: str
    outcomes: set = None      # those that some run must reach, and no other; None: not looked at
    safety_only: bool = False
    first: bool = False       # stop at the first violation
    small: bool = True        # the compiler's time counts for more than the search's
    bitstate: bool = False
    pan_options: list = dataclasses.field(default_factory=list)
    hash_bits: int = 18
    depth: int = 100_000
    seconds: int = 120        # of processor, for the search


FAULTS = {
    "none, all vote yes": ["-DALL_YES"],
    "coordinator dies for ever": ["-DCRASHES=1", "-DVICTIMS=1"],
    "coordinator dies, returns": ["-DCRASHES=1", "-DVICTIMS=1", "-DRESTARTS=1"],
    "coordinator + 1 participant die": ["-DCRASHES=2"],
    "partition for ever": ["-DCUTS=1"],
    "partition + coordinator dies": ["-DCUTS=1", "-DCRASHES=1", "-DVICTIMS=1"],
    "false timeouts": ["-DDELAY"],
    "partition heals": ["-DCUTS=1", "-DHEALS=1"],
    "a participant dies, returns": ["-DCRASHES=1", "-DVICTIMS=PARTICIPANTS", "-DRESTARTS=1"],
    "two messages lost": ["-DLOSSES=2"],
}

WITH_TWO = {"none, all vote yes", "coordinator dies for ever", "coordinator + 1 participant die",
            "partition for ever"}

#                 none  gone  back  +1    cut   cut+  false heals part  loss
SIGNS = {
    ("2pc", 3): ("ok", "B", "ok", "B", "B", "B", "ok", "ok", "ok", "ok"),
    ("2pc cooperative", 3): ("ok", "B", "ok", "B", "B", "B", "ok", "ok", "ok", "ok"),
    ("3pc timeout", 3): ("ok", "V", "V", "V", "V", "V", "V", "V", "V", "V"),
    ("3pc cooperative", 3): ("ok", "ok", "ok", "ok", "V", "V", "V", "V", "ok", "ok"),
    ("2pc", 2): ("ok", "B", "ok", "b", "B", "B", "ok", "ok", "ok", "ok"),
    ("2pc cooperative", 2): ("ok", "B", "ok", "b", "B", "B", "ok", "ok", "ok", "ok"),
    ("3pc timeout", 2): ("ok", "V", "V", "V", "V", "V", "V", "V", "V", "V"),
    ("3pc cooperative", 2): ("ok", "ok", "ok", "ok", "V", "V", "V", "V", "ok", "ok"),
}


def textbook(large):
    for (title, n), signs in SIGNS.items():
        model, *policy = title.split()
        switch = ["-DCOOPERATIVE"] if policy == ["cooperative"] else []
        for (faults, budget), expected in zip(FAULTS.items(), signs, strict=True):
            if n == 2 and not large and faults not in WITH_TWO:
                continue
            row = Row(f"{title}, N={n}", faults, f"{model}.pml", [f"-DN={n}", *switch, *budget],
                      expected)
            if faults.startswith("none"):
                row.outcomes = {"commit"}
            if title == "3pc cooperative" and faults == "false timeouts":
                row.defines += ["-DSAFETY_ONLY", "-DROUNDS=2"]
                row.first = row.safety_only = True
            yield row


def rows(large):
    return [*textbook(large)]
