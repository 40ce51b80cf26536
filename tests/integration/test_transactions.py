"""Transactions from outside, by the operator's tool: each way to begin, end and ask."""

import pytest

import ctl
from bank import balances, move

PROTOCOLS = ["2pc", "3pc"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_transfer_commits(bank, protocol):
    done = bank.ctl.run(*move(10), protocol=protocol, options=["--wait"], expect=ctl.DONE).json
    assert done["outcome"] == "committed"
    assert done["ended"] is True
    assert len(done["gtrid"]) == 26
    assert balances(bank) == (90, 110)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_guard_refuses_and_nothing_moves(bank, protocol):
    """A vote of no rolls the other branch back and its reason reaches the caller (case 13)."""
    answer = bank.ctl.run(*move(101), protocol=protocol, options=["--wait"], expect=ctl.ABORTED)
    assert answer.json["outcome"] == "aborted"
    assert "bank-a" in answer.json["reason"]
    assert "min" in answer.json["reason"] or "0" in answer.json["reason"]
    assert balances(bank) == (100, 100)
    # The locks are free again at both.
    bank.ctl.run(*move(100), protocol=protocol, options=["--wait"], expect=ctl.DONE)
    assert balances(bank) == (0, 200)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_single_branch(bank, protocol):
    """One branch commits in one phase, or refuses with its reason."""
    bank.ctl.run(("bank-a", "add a 5"), protocol=protocol, options=["--wait"], expect=ctl.DONE)
    refused = bank.ctl.run(("bank-a", "add a -500 min 0"), protocol=protocol, expect=ctl.ABORTED)
    assert refused.json["outcome"] == "aborted"
    assert balances(bank) == (105, 100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_interactive_commit(bank, protocol):
    """begin, work at both, commit: work is seen inside its transaction and by nobody else."""
    gtrid = bank.ctl("tx", "begin", "--protocol", protocol, expect=0).json["gtrid"]
    for name, work in move(40):
        bank.ctl("tx", "work", gtrid, "--participant", name, work, expect=0)
    seen = bank.ctl("tx", "work", gtrid, "--participant", "bank-a", "get a", expect=0)
    assert "60" in seen.json["reply"]
    assert balances(bank) == (100, 100)
    done = bank.ctl("tx", "commit", "--wait", gtrid, expect=ctl.DONE).json
    assert done["outcome"] == "committed"
    assert balances(bank) == (60, 140)
    # Case 2: again, and the other way round; the outcome stands.
    assert bank.ctl("tx", "commit", gtrid, expect=ctl.DONE).json["outcome"] == "committed"
    again = bank.ctl("tx", "rollback", gtrid, expect=ctl.SERVER_ERROR)
    assert again.json["outcome"] == "committed"
    assert balances(bank) == (60, 140)


def test_rollback(bank):
    gtrid = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    for name, work in move(40):
        bank.ctl("tx", "work", gtrid, "--participant", name, work, expect=0)
    assert bank.ctl("tx", "rollback", "--wait", gtrid, expect=0).json["outcome"] == "aborted"
    assert bank.ctl("tx", "commit", gtrid, expect=ctl.ABORTED).json["outcome"] == "aborted"
    assert balances(bank) == (100, 100)


def test_failed_work_aborts(bank):
    """Interactive work that breaks a guard or makes no sense aborts with its reason."""
    gtrid = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    answer = bank.ctl("tx", "work", gtrid, "--participant", "bank-a", "add a -500 min 0")
    assert answer.code != 0
    done = bank.ctl("tx", "commit", gtrid, expect=ctl.ABORTED).json
    assert done["outcome"] == "aborted" and "bank-a" in done["reason"]


def test_finished_transaction_takes_no_more_work(bank):
    """Nothing closed comes back (cases 4 in design.md 2, 46)."""
    gtrid = bank.ctl.run(*move(1), options=["--wait"], expect=0).json["gtrid"]
    answer = bank.ctl("tx", "work", gtrid, "--participant", "bank-a", "put z 1")
    assert answer.code not in (0, ctl.CANNOT_CONNECT), answer
    missing = bank.ctl("kv", "get", "--participant", "bank-a", "z")
    assert missing.code == ctl.NO_SUCH_OBJECT


def test_read_only_branch_drops_out(bank):
    """A branch that only reads needs no second phase (case 14)."""
    done = bank.ctl.run(("bank-a", "get a"), ("bank-b", "add b 1"), options=["--wait"],
                        expect=0).json
    show = bank.ctl("tx", "show", done["gtrid"], expect=0).json
    votes = {row["participant"].split("/")[0]: row["vote"] for row in show["branches"]}
    assert votes == {"bank-a": "read-only", "bank-b": "yes"} or votes == {"bank-b": "yes"}
    reads = bank.ctl.run(("bank-a", "get a"), ("bank-b", "get b"), options=["--wait"], expect=0)
    assert reads.json["outcome"] == "committed"


def test_show_tells_the_story(bank):
    """`tx show` has the branches and a timeline with times."""
    done = bank.ctl.run(*move(1), options=["--wait"], expect=0).json
    show = bank.ctl("tx", "show", done["gtrid"], expect=0).json
    assert show["outcome"] == "committed"
    assert {row["participant"].split("/")[0] for row in show["branches"]} == {"bank-a", "bank-b"}
    assert len(show["timeline"]) >= 3
    assert all(row["at"] and row["event"] for row in show["timeline"])
    listed = bank.ctl("tx", "list", expect=0).json["transactions"]
    assert isinstance(listed, list)
    text = bank.ctl("tx", "show", done["gtrid"], output="table", expect=0).out
    assert "bank-a" in text and done["gtrid"] in text


def test_unknown_names(bank):
    """A participant that is not there, a gtrid that is not ours: their own exit codes."""
    answer = bank.ctl.run(("nobody", "put x 1"), ("bank-b", "add b 1"))
    assert answer.code not in (0, ctl.CANNOT_CONNECT)
    assert "nobody" in answer.err + answer.out
    assert balances(bank) == (100, 100)
    never = bank.ctl("tx", "show", "0" * 26)
    assert never.code == ctl.NO_SUCH_OBJECT
    assert never.json["outcome"] == "never-seen"
    assert bank.ctl("tx", "show", "short").code == ctl.USAGE
    assert bank.ctl("kv", "get", "--participant", "nobody", "a").code == ctl.NO_SUCH_OBJECT


def test_cannot_connect(tmp_path):
    answer = ctl.Ctl("127.0.0.1:1")("health")
    assert answer.code == ctl.CANNOT_CONNECT
    assert "127.0.0.1:1" in answer.err


def test_usage_errors(bank):
    for words in (["tx"], ["tx", "fly"], ["tx", "run"], ["tx", "run", "--branch", "no-work"],
                  ["tx", "commit"], ["tx", "run", "--protocol", "4pc", "--branch", "bank-a=get a"]):
        assert bank.ctl(*words).code == ctl.USAGE, words


def test_conflicting_transfers_keep_the_sum(bank):
    """Two open transactions on one key: the second waits a bounded time and is refused."""
    first = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    bank.ctl("tx", "work", first, "--participant", "bank-a", "add a -1", expect=0)
    second = bank.ctl.run(("bank-a", "add a -1"), ("bank-b", "add b 1"), expect=ctl.ABORTED)
    assert "bank-a" in second.json["reason"]
    assert bank.ctl("tx", "commit", "--wait", first, expect=0).json["outcome"] == "committed"
    assert balances(bank) == (99, 100)
