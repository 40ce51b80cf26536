"""Money over the kv resources of several participants, and checks that none is made or lost.

Every transfer leaves a marker `t/ID` at each bank it touches, so that afterwards each answer that
was given can be held against what each bank really did.
"""

import json

import wire

START = 1000


class Bank:
    """Accounts `acct/N` at the participants `names`."""

    def __init__(self, names, accounts):
        self.names = list(names)
        self.accounts = accounts

    def open(self, peer):
        """Opens every account at every bank."""
        for first in range(0, self.accounts, 16):
            last = min(first + 16, self.accounts)
            work = "\n".join(f"put acct/{n} {START}" for n in range(first, last))
            result = peer.ask(run=wire.run([(name, work) for name in self.names], wait=True))
            assert result.outcome == wire.pb.OUTCOME_COMMITTED, result

    @property
    def total(self):
        return START * self.accounts * len(self.names)

    @staticmethod
    def transfer(ident, source, target, from_account, to_account, amount):
        """The branches of one transfer, as (participant, work) pairs."""
        return [(source, f"add acct/{from_account} -{amount} min 0\nput t/{ident} out"),
                (target, f"add acct/{to_account} {amount}\nput t/{ident} in")]

    def books(self, peer):
        """Committed content of every bank: {name: {key: value}}."""
        return {name: dump(peer, name) for name in self.names}

    @staticmethod
    def sum(books):
        return sum(int(value) for book in books.values() for key, value in book.items()
                   if key.startswith("acct/"))


def dump(peer, name):
    """Everything committed at one participant."""
    answer = json.loads(peer.query(name, "dump"))
    return answer.get("entries", answer.get("values", answer))


def get(peer, name, key):
    """One committed value, or None."""
    return json.loads(peer.query(name, f"get {key}")).get("value")


def balances(cluster):
    """(a at bank-a, b at bank-b) as committed, by the operator's tool."""
    found = []
    for name, key in (("bank-a", "a"), ("bank-b", "b")):
        found.append(int(cluster.ctl("kv", "get", "--participant", name, key, expect=0)
                         .json["value"]))
    return tuple(found)


def move(amount):
    """The branches that move money from `a` at bank-a to `b` at bank-b."""
    return [("bank-a", f"add a -{amount} min 0"), ("bank-b", f"add b {amount}")]
