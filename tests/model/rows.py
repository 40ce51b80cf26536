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


CHAOS = ["-DDELAY", "-DDUPLICATES", "-DSAFETY_ONLY"]


def more_faults(large):
    """Beyond the table: restarts one after another, and everything at once."""
    for policy, switch in (("", []), (" cooperative", ["-DCOOPERATIVE"])):
        yield Row(f"2pc{policy}, N=3", "three crashes, all return", "2pc.pml",
                  ["-DN=3", *switch, "-DCRASHES=3", "-DRESTARTS=3"], "ok")
        yield Row(f"2pc{policy}, N=2", "everything at once, duplicates too", "2pc.pml",
                  ["-DN=2", *switch, *CHAOS, "-DCRASHES=2", "-DRESTARTS=2", "-DCUTS=1",
                   "-DHEALS=1"], "safe", safety_only=True)
        if large:
            yield Row(f"2pc{policy}, N=3", "everything at once", "2pc.pml",
                      ["-DN=3", *switch, "-DDELAY", "-DCRASHES=2", "-DRESTARTS=2", "-DCUTS=1",
                       "-DHEALS=1"], "ok", small=False, hash_bits=24)
            yield Row(f"2pc{policy}, N=3", "crash, return, delays, duplicates", "2pc.pml",
                      ["-DN=3", *switch, *CHAOS, "-DCRASHES=1", "-DRESTARTS=1"], "safe",
                      safety_only=True, small=False, hash_bits=24, seconds=600)
    # What Skeen's rule assumes and "an ordinary member of termination" does not give: see 3pc.pml.
    for name, switch, budget, n, expected in (
            ("two crashes, one returns", [], (2, 1), 3, "V"),
            ("two crashes, one returns; it only asks", ["-DRECOVERED_ASK"], (2, 1), 3, "ok"),
            ("all die and return; they only ask", ["-DRECOVERED_ASK"], (3, 3), 2, "B")):
        yield Row(f"3pc cooperative, N={n}", name, "3pc.pml",
                  [f"-DN={n}", "-DCOOPERATIVE", *switch, f"-DCRASHES={budget[0]}",
                   f"-DRESTARTS={budget[1]}"], expected)


PROGRESS = {
    # faults: (switch, sign for N=2, sign for N=3)
    "coordinator dies for ever": ("COORDINATOR_GONE", "ok", "ok"),
    "coordinator dies, returns": ("COORDINATOR_BACK", "ok", "ok"),
    "coordinator + 1 participant die": ("COORDINATOR_AND_ONE_GONE", "b", "ok"),
    "partition for ever": ("PARTITION", "b", "b"),
    "partition + coordinator dies": ("PARTITION_COORDINATOR_GONE", "b", "b"),
    "false timeouts": ("NOBODY_GONE", "ok", "ok"),
    "coordinator returns, 1 participant dies": ("COORDINATOR_BACK_ONE_GONE", "ok", "ok"),
}


def e3pc(large):
    """Whatever the network does is safe; and from any moment of it survivors finish."""
    for n in (3, 2):
        yield Row(f"3pc quorum, N={n}", "none, all vote yes", "e3pc.pml",
                  [f"-DN={n}", "-DELECTIONS=0", "-DALL_YES", "-DNO_TIMEOUTS"], "ok", {"commit"})
        for faults, (switch, *expected) in PROGRESS.items():
            elections = {2: 2, 3: 2 if large else 1}[n]
            if n == 2 and not large and faults not in WITH_TWO:
                continue
            yield Row(f"3pc quorum, N={n}", faults, "e3pc.pml",
                      [f"-DN={n}", f"-DELECTIONS={elections}", f"-D{switch}"], expected[n - 2],
                      small=not large, hash_bits=24 if large else 18, seconds=600)
    if large:
        for n, elections, bits in ((2, 4, 33), (3, 3, 34)):
            yield Row(f"3pc quorum, N={n}", f"anything, {elections} elections", "e3pc.pml",
                      [f"-DN={n}", f"-DELECTIONS={elections}"], "safe", safety_only=True,
                      small=False, bitstate=True, pan_options=["-DBITSTATE"], hash_bits=bits,
                      depth=1_000_000, seconds=1800)
    for n, elections in ((2, 3), (3, 2)):
        yield Row(f"3pc quorum, N={n}", f"anything, {elections} elections", "e3pc.pml",
                  [f"-DN={n}", f"-DELECTIONS={elections}"], "safe", safety_only=True,
                  small=False, hash_bits=22)


# Each mistake of e3pc.md's list: its switch, and the members and elections that show it. They are
# in the list's order.
MISTAKES = {
    "PreCommit before its own record": ("PRECOMMIT_EARLY", 2, 1),
    "acknowledges before the write": ("ACK_EARLY", 2, 1),
    "answers before last_elected is durable": ("ANSWER_EARLY", 2, 1),
    "asks before last_elected is durable": ("ASK_EARLY", 2, 1),
    "written apart, state told before attempt": ("STATE_FIRST", 2, 2),
    "written apart, attempt before state": ("ATTEMPT_FIRST", 2, 2),
    "last_elected starts at 0": ("ELECTED_ZERO", 2, 1),
    "a late vote resets last_elected": ("VOTE_RESETS", 2, 1),
    "coordinator ignores its own promise": ("OWN_PROMISE", 2, 1),
    "ballot 1 accepted after a higher promise": ("OLD_PRECOMMIT", 2, 1),
    "any proposal accepted": ("ACCEPT_ANY", 2, 2),
    "last_elected goes down": ("ELECTED_FALLS", 2, 2),
    "not every yes awaited": ("SOME_VOTES", 3, 1),
    "yes sent before it is durable": ("YES_EARLY", 2, 1),
    "two candidates, one ballot": ("SAME_BALLOT", 2, 1),
    "older answers counted": ("OLD_ANSWERS", 2, 2),
    "older acknowledgements counted": ("OLD_ACKS", 2, 2),
    "proposal worked out again": ("PROPOSE_AGAIN", 2, 2),
    "half instead of a majority": ("HALF", 2, 1),
    "decides without the proposal round": ("NO_PROPOSAL", 2, 2),
    "decides on its own acceptance": ("OWN_ACK", 2, 2),
    "chooses by any pre-committed": ("ANY_PRECOMMITTED", 2, 2),
    "chooses by last_elected": ("BY_ELECTED", 2, 1),
    "counts yes as committable": ("YES_COUNTS", 2, 1),
    "coordinator commits alone": ("COMMITS_ALONE", 2, 1),
    "coordinator aborts alone, or at recovery": ("ABORTS_ALONE", 2, 1),
    "voting goes on after a restart": ("VOTING_RESUMED", 2, 1),
    "a lost store answers as new": ("STORE_LOST", 2, 1),
    "a decision dropped early": ("FORGETS", 2, 1),
}


def mistakes():
    for name, (switch, n, elections) in MISTAKES.items():
        yield Row(f"mistake, N={n}", name, "e3pc.pml",
                  [f"-DN={n}", f"-DELECTIONS={elections}", f"-DM_{switch}"], "V", first=True)
    for name, switch, n, faults, expected in (
            ("the unvoted stay silent", "M_UNVOTED_SILENT", 2, "COORDINATOR_GONE", "B"),
            ("the pre-aborted stay silent", "M_PREABORTED_SILENT", 2, "COORDINATOR_GONE", "B"),
            ("a returned coordinator stays silent", "M_COORDINATOR_SILENT", 2,
             "COORDINATOR_BACK_ONE_GONE", "B"),
            ("coordinator votes though N is odd", "VOTERS=ALL", 3, "COORDINATOR_AND_ONE_GONE",
             "b")):
        yield Row(f"mistake, N={n}", name, "e3pc.pml",
                  [f"-DN={n}", "-DELECTIONS=1", f"-D{faults}", f"-D{switch}"], expected)
    yield Row("harmless, N=2", "decision told before it is durable", "e3pc.pml",
              ["-DN=2", "-DELECTIONS=2", "-DH_DECISION_UNFORCED"], "safe", safety_only=True)


def rows(large):
    return [*textbook(large), *more_faults(large), *e3pc(large), *mistakes()]
