"""assentctl, command by command: what `-o json` holds, what the table shows, the exit code, and
what a mistake is told. The transactions themselves: test_transactions.py, test_asking.py."""

import itertools
import re
import subprocess

import pytest

import ctl
import places
from bank import balances, move
from process import wait_until

COMMANDS = {"tx run", "tx begin", "tx work", "tx enlist", "tx commit", "tx rollback", "tx list",
            "tx show", "tx wait", "tx explain", "tx resolve", "tx acknowledge", "participants list",
            "participants branches", "participants test", "verify", "kv get", "kv dump", "log dump",
            "log verify", "log audit", "log accept", "health", "version"}
RESULT = {"gtrid", "outcome", "reason", "phase", "ended", "key"}
TRANSACTION = {"gtrid", "protocol", "termination", "phase", "outcome", "reason", "key", "begun",
               "decided", "ended", "branches", "waiting_for", "timeline", "acknowledged", "by_hand"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
GTRID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


def test_help_names_every_command():
    """--help lists exactly the commands that these tests know, and each has its own help."""
    tool = ctl.Ctl()
    text = tool("--help", output=None, expect=ctl.DONE).out
    listed = re.findall(r"^  ([a-z]+(?: [a-z]+)?) {2,}\S", text.split("Everywhere:")[0], re.M)
    assert set(listed) == COMMANDS
    for code in range(9):
        assert re.search(rf"\b{code} [a-z]", text), f"exit code {code} is not explained"
    for command in COMMANDS:
        own = tool("help", *command.split(), output=None, expect=ctl.DONE).out
        assert own.startswith("Usage: assentctl") and command in own.splitlines()[0]
        assert tool(*command.split(), "--help", output=None, expect=ctl.DONE).out == own


def test_version_is_that_of_the_server(bank):
    said = ctl.Ctl()("version", expect=ctl.DONE).json
    assert said == {"version": bank.ctl("health", expect=0).json["version"]}
    assert ctl.Ctl()("version", output=None, expect=0).out == f"assentctl {said['version']}\n"


def settle(cluster):
    """Until every outcome record is on disk: it follows its answer lazily."""
    wait_until(lambda: cluster.ctl("health", expect=0).json["active"] == 0, "all has ended")


def test_health(bank):
    settle(bank)
    health = bank.ctl("health", expect=ctl.DONE).json
    assert health["ready"] is True and health["room"] is True
    assert health["participants_up"] == health["participants_known"] == 2
    assert health["active"] == health["in_doubt"] == health["damaged_records"] == 0
    bank.ctl("tx", "begin", expect=0)
    assert bank.ctl("health", expect=0).json["active"] == 1
    rows = dict(re.split(r"  +", line) for line in
                bank.ctl("health", output="table", expect=0).out.splitlines())
    assert rows["ready"] == "yes" and rows["active"] == "1" and rows["participants up"] == "2"


def test_participants_list(bank):
    rows = bank.ctl("participants", "list", expect=ctl.DONE).json["participants"]
    assert [row["name"] for row in rows] == ["bank-a", "bank-b"]
    for row in rows:
        assert row["resource"] == row["type"] == "kv" and row["state"] == "up"
        assert row["address"] == bank.agents[row["name"]].address
        assert TIME.fullmatch(row["since"])
    bank.agents["bank-b"].kill()

    def states():
        return [row["state"] for row in bank.ctl("participants", "list", expect=0)
                .json["participants"]]
    wait_until(lambda: states() == ["up", "down"], "the killed agent is down")
    table = bank.ctl("participants", "list", output="table", expect=0).out.splitlines()
    assert table[0].split()[:4] == ["NAME", "RESOURCE", "TYPE", "STATE"]
    assert table[2].split()[:4] == ["bank-b", "kv", "kv", "down"]


def test_nobody_takes_part(cluster):
    """An empty list is an answer; for people it says how to start the first agent."""
    cluster.start(agents=0)
    assert cluster.ctl("participants", "list", expect=0).json["participants"] == []
    shown = cluster.ctl("participants", "list", output="table", expect=0)
    assert "assent-agent --name" in shown.err and cluster.coordinator.address in shown.err
    assert cluster.ctl("tx", "list", expect=0).json == {"transactions": [], "truncated": False}


@pytest.mark.parametrize("protocol", ["2pc", "3pc"])
def test_show_has_the_whole_story(bank, protocol):
    """Every branch and, in order, every step with its time; the same while it is kept."""
    done = bank.ctl.run(*move(1), protocol=protocol, options=["--wait", "--key", "k"],
                        expect=ctl.DONE).json
    assert set(done) == RESULT and done["key"] == "k" and done["reason"] is None
    settle(bank)
    show = bank.ctl("tx", "show", done["gtrid"], expect=ctl.DONE).json
    assert set(show) == TRANSACTION
    assert show["gtrid"] == done["gtrid"] and GTRID.fullmatch(show["gtrid"])
    assert (show["protocol"], show["outcome"], show["key"]) == (protocol, "committed", "k")
    assert show["termination"] == ("quorum" if protocol == "3pc" else "cooperative")
    assert [(b["number"], b["participant"], b["vote"], b["result"]) for b in show["branches"]] == [
        (1, "bank-a/kv", "yes", "committed"), (2, "bank-b/kv", "yes", "committed")]
    assert show["phase"] == "ended" and show["waiting_for"] == []
    check_timeline(show, [["begun"],
                          ["bank-a/kv voted yes", "bank-b/kv voted yes"],
                          ["decided: commit"],
                          ["bank-a/kv committed", "bank-b/kv committed"],
                          ["ended: committed"]])
    bank.coordinator.restart()
    assert bank.ctl("tx", "show", "--key", "k", expect=ctl.DONE).json == show


def check_timeline(show, groups):
    """The events come in these groups, in any order inside one; times are UTC and rise."""
    moments = show["timeline"]
    assert all(set(m) == {"at", "event"} and TIME.fullmatch(m["at"]) for m in moments)
    times = [m["at"] for m in moments]
    assert times == sorted(times) and times[0] == show["begun"] and times[-1] == show["ended"]
    events = iter([m["event"] for m in moments])
    for group in groups:
        assert sorted(itertools.islice(events, len(group))) == sorted(group), show["timeline"]
    assert list(events) == []


def test_show_of_an_abort_says_whose_fault(bank):
    done = bank.ctl.run(*move(1000), expect=ctl.ABORTED).json
    assert set(done) == RESULT and "bank-a" in done["reason"]
    bank.ctl("tx", "wait", done["gtrid"], expect=ctl.ABORTED)
    show = bank.ctl("tx", "show", done["gtrid"], expect=ctl.DONE).json
    assert show["outcome"] == "aborted" and show["reason"] == done["reason"]
    votes = {b["participant"]: b["vote"] for b in show["branches"]}
    assert votes["bank-a/kv"] == "no"
    events = [m["event"] for m in show["timeline"]]
    assert events.index("bank-a/kv voted no") < events.index("decided: abort")
    assert events[-1] == "ended: aborted"
    table = bank.ctl("tx", "show", done["gtrid"], output="table", expect=0).out
    assert re.search(r"^outcome +aborted$", table, re.M)
    assert re.search(r"^1 +bank-a/kv +no ", table, re.M)
    assert re.search(r"^\d{4}-.*Z +decided: abort$", table, re.M)


def test_show_names_who_is_waited_for(bank):
    bank.agents["bank-b"].restart(crash_at="agent_before_rm_commit")
    bank.wait_up()
    gtrid = bank.ctl.run(*move(1), expect=0).json["gtrid"]
    bank.agents["bank-b"].process.wait_end()
    wait_until(lambda: bank.ctl("tx", "show", gtrid, expect=0).json["waiting_for"] == ["bank-b/kv"],
               "only bank-b is waited for")
    show = bank.ctl("tx", "show", gtrid, expect=0).json
    assert (show["outcome"], show["phase"], show["ended"]) == ("committed", "committing", None)
    shown = bank.ctl("tx", "show", gtrid, output="table", expect=0)
    assert re.search(r"^waiting for +bank-b/kv$", shown.out, re.M)
    assert "participants list" in shown.err


def test_list(bank):
    """Those under way first, then the ended ones; cut at --limit, and said so."""
    ended = [bank.ctl.run(*move(1), options=["--wait"], expect=0).json["gtrid"] for _ in range(3)]
    settle(bank)
    open_one = bank.ctl("tx", "begin", "--key", "open", expect=0).json
    assert open_one.keys() == {"gtrid", "key"} and open_one["key"] == "open"
    found = bank.ctl("tx", "list", expect=0).json
    rows = found["transactions"]
    assert found["truncated"] is False
    assert rows[0]["gtrid"] == open_one["gtrid"] and rows[0]["phase"] == "active"
    assert {row["gtrid"] for row in rows[1:]} >= set(ended)
    assert set(rows[0]) == {"gtrid", "protocol", "phase", "outcome", "age_ms", "branches", "key",
                            "reason", "begun"}
    cut = bank.ctl("tx", "list", "--limit", "2", expect=0).json
    assert cut == {"transactions": cut["transactions"], "truncated": True}
    assert [row["gtrid"] for row in cut["transactions"]] == [row["gtrid"] for row in rows[:2]]
    shown = bank.ctl("tx", "list", "--limit", "2", output="table", expect=0)
    assert len(shown.out.splitlines()) == 3 and "--limit" in shown.err


def test_kv(bank):
    """Committed data only, as a value, as JSON, as a table; a missing key is its own exit code."""
    assert bank.ctl("kv", "get", "--participant", "bank-a", "a", expect=ctl.DONE).json == {
        "key": "a", "value": "100"}
    assert bank.ctl("kv", "get", "--participant", "bank-a/kv", "a", output=None).out == "100\n"
    missing = bank.ctl("kv", "get", "--participant", "bank-a", "zz", expect=ctl.NO_SUCH_OBJECT)
    assert missing.json == {"key": "zz", "value": None} and '"zz"' in missing.err
    gtrid = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    bank.ctl("tx", "work", gtrid, "--participant", "bank-b", "put b 7", expect=0)
    assert bank.ctl("kv", "dump", "--participant", "bank-b", expect=ctl.DONE).json == {
        "entries": {"b": "100"}, "prepared": 0, "truncated": False}
    bank.ctl("tx", "rollback", "--wait", gtrid, expect=0)
    table = bank.ctl("kv", "dump", "--participant", "bank-b", output="table", expect=0).out
    assert [line.split() for line in table.splitlines()] == [["KEY", "VALUE"], ["b", "100"]]
    none = bank.ctl("kv", "dump", "--participant", "bank-b/ledger", expect=ctl.NO_SUCH_OBJECT)
    assert "bank-b/ledger" in none.err


def test_work_from_a_file_and_from_stdin(bank, tmp_path):
    """Work of many lines, which no command line could hold."""
    script = tmp_path / "work"
    script.write_text("add a -10 min 0\nput note one=two\n")
    bank.ctl.run(("bank-a", f"@{script}"), ("bank-b", r"add b 5\nadd b 5"), options=["--wait"],
                 expect=ctl.DONE)
    assert balances(bank) == (90, 110)
    note = bank.ctl("kv", "get", "--participant", "bank-a", "note", expect=0).json["value"]
    assert note == "one=two"
    piped = subprocess.run(
        [places.program(places.CTL), "-H", bank.coordinator.address, "tx", "run", "--wait",
         "--branch", "bank-b=@-"], input="add b 1\n", capture_output=True, text=True, check=True)
    assert "committed" in piped.stdout
    assert balances(bank) == (90, 111)


def test_address_from_the_environment(bank):
    """ASSENT_HOST names the coordinator, -H goes first."""
    tool = ctl.Ctl(env={"ASSENT_HOST": bank.coordinator.address})
    tool("health", expect=ctl.DONE)
    tool("-H", "127.0.0.1:1", "health", expect=ctl.CANNOT_CONNECT)


def test_explain(bank):
    """What a transaction waits for and from whom, what unblocks it, and what each choice risks:
    while its application has it, while a participant is down, and when it has ended."""
    active = bank.ctl("tx", "begin", "--protocol", "3pc", expect=ctl.DONE).json["gtrid"]
    said = bank.ctl("tx", "explain", active, expect=ctl.DONE).json
    assert (said["phase"], said["termination"], said["decision"]) == ("active", "quorum", "none")
    assert "majority" in said["policy"] and "application" in said["waits_for"]
    assert [c["risk"] for c in said["choices"] if "rollback" in c["choice"]]

    agent = bank.agents["bank-b"]
    agent.restart(crash_at="agent_before_rm_commit")
    bank.wait_up()
    gtrid = bank.ctl.run(*move(1), expect=ctl.DONE).json["gtrid"]
    assert agent.process.wait_end() == -9
    wait_until(lambda: bank.participants_up() == {"bank-a"}, "bank-b is seen to be down")

    def settled():
        rows = bank.ctl("tx", "explain", gtrid, expect=ctl.DONE).json
        return rows if rows["branches"][0]["result"] == "committed" else None
    said = wait_until(settled, "bank-a has committed")
    assert (said["phase"], said["decision"], said["outcome"]) == (
        "committing", "commit", "committed")
    assert [(b["participant"], b["connection"], b["wanted"]) for b in said["branches"]] == [
        ("bank-a/kv", "up", "nothing"), ("bank-b/kv", "down", "to commit")]
    assert "bank-b/kv connects" in said["unblocks"] and "ask each other" in said["policy"]
    assert all(c["risk"] for c in said["choices"]) and len(said["choices"]) == 2
    table = bank.ctl("tx", "explain", gtrid, output="table", expect=ctl.DONE)
    for words in ("it waits for", "WHAT UNBLOCKS IT", "bank-b/kv connects", "RISK", "to commit"):
        assert words in table.out, table.out
    assert "participants branches" in table.err

    agent.start()
    wait_until(lambda: bank.ctl("tx", "explain", gtrid).json["waits_for"] == "nothing", "its end")
    said = bank.ctl("tx", "explain", gtrid, expect=ctl.DONE).json
    assert (said["phase"], said["unblocks"], said["choices"]) == ("ended", [], [])
    bank.ctl("tx", "explain", "0" * 26, expect=ctl.NO_SUCH_OBJECT)
    bank.ctl("tx", "rollback", active, expect=ctl.DONE)


def test_logs_of_stopped_programs(bank):
    """dump and verify read both programs' directories, name what each record is about, and leave
    everything as it is; a running program's directory is refused with its pid."""
    gtrid = bank.ctl.run(*move(1), options=["--wait", "--key", "k"], expect=0).json["gtrid"]
    coordinator, agent = bank.coordinator, bank.agents["bank-a"]
    for command in ("verify", "dump"):
        busy = bank.ctl("log", command, "--data-dir", coordinator.data, expect=ctl.SERVER_ERROR)
        assert f"in use by process {coordinator.process.pid}" in busy.err
    agent.kill()
    assert coordinator.stop() == 0
    for command in ("verify", "dump"):
        for daemon, owner in ((coordinator, "assentd"), (agent, "assent-agent")):
            found = bank.ctl("log", command, "--data-dir", daemon.data, expect=ctl.DONE).json
            assert found["owner"] == owner
            assert found["incarnation"] == 1 or daemon is agent  # an agent's first is random
            assert re.fullmatch("[0-9a-f]{32}", found["log_id"])
    checked = bank.ctl("log", "verify", "--data-dir", coordinator.data, expect=0).json
    assert checked["damaged_count"] == 0 and checked["damaged"] == []
    assert checked["records"] == sum(checked["tables"].values())
    assert checked["tables"]["participant"] == 2 and checked["tables"]["transaction"] == 2
    records = bank.ctl("log", "dump", "--data-dir", coordinator.data, expect=0).json["records"]
    (found,) = [r for r in records if r["key"] == gtrid]
    assert (found["kind"], found["outcome"], found["idempotency_key"]) == (
        "outcome", "committed", "k")
    assert [b["participant"] for b in found["branches"]] == ["bank-a/kv", "bank-b/kv"]
    table = bank.ctl("log", "dump", "--data-dir", coordinator.data, output="table", expect=0).out
    assert re.search(rf"^transaction +{gtrid} +outcome +commit +committed +2pc", table, re.M)
    assert "0 damaged" in bank.ctl("log", "verify", "--data-dir", agent.data, output="table").out
    coordinator.start()
    assert bank.ctl("tx", "wait", gtrid, expect=0).json["outcome"] == "committed"


def test_what_is_no_data_directory(tmp_path):
    tool = ctl.Ctl()
    for command in ("verify", "dump"):
        nowhere = tool("log", command, "--data-dir", tmp_path / "no", expect=ctl.NO_SUCH_OBJECT)
        assert "no such directory" in nowhere.err
        other = tool("log", command, "--data-dir", tmp_path)
        assert other.code in (ctl.NO_SUCH_OBJECT, ctl.UNHEALTHY), other
        assert "not a data directory" in other.err


def test_a_lost_answer_is_unknown(bank):
    """The coordinator dies after its decision and before its answer: exit 8, never aborted, and
    the hint asks again by the key that every run has."""
    bank.coordinator.restart(crash_at="coord_after_log_commit")
    bank.wait_up()
    lost = bank.ctl.run(*move(1), options=["--key", "k"], expect=ctl.UNKNOWN)
    assert lost.json["outcome"] == "unknown" and lost.json["key"] == "k"
    assert "lost" in lost.json["reason"]
    bank.coordinator.process.wait_end()
    bank.coordinator.start()
    assert bank.ctl("tx", "wait", "--key", "k", expect=ctl.DONE).json["outcome"] == "committed"


def test_not_decided_in_time_is_unknown(bank):
    gtrid = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    waited = bank.ctl("--timeout", "50ms", "tx", "wait", gtrid, expect=ctl.UNKNOWN)
    assert waited.json["outcome"] == "unknown" and waited.json["phase"] == "active"
    shown = bank.ctl("-t", "50ms", "tx", "wait", gtrid, output="table", expect=ctl.UNKNOWN)
    assert f"assentctl tx wait {gtrid}" in shown.err


def test_objects_that_are_not_there(bank):
    """Exit 4 and the name of what is missing."""
    gtrid = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    for words, named in (
            (["tx", "work", "0" * 26, "--participant", "bank-a", "get a"], "no such transaction"),
            (["tx", "work", gtrid, "--participant", "nobody", "get a"], "nobody"),
            (["kv", "get", "--participant", "nobody", "a"], "nobody"),
            (["kv", "dump", "--participant", "nobody"], "nobody")):
        answer = bank.ctl(*words, expect=ctl.NO_SUCH_OBJECT)
        assert named in answer.err and answer.out == "", answer
    for words in (["tx", "show", "0" * 26], ["tx", "wait", "0" * 26], ["tx", "show", "--key", "no"],
                  ["tx", "commit", "0" * 26], ["tx", "rollback", "0" * 26]):
        answer = bank.ctl(*words, expect=ctl.NO_SUCH_OBJECT)
        assert answer.json["outcome"] == "never-seen", answer


MISTAKES = [
    ([], "no command"),
    (["tx"], 'no command "tx"'),
    (["tx", "fly"], 'no command "tx fly"'),
    (["-o", "xml", "health"], "table or json"),
    (["--timeout", "5", "health"], "its unit"),
    (["--nonsense", "health"], "--nonsense"),
    (["health", "now"], 'unexpected "now"'),
    (["health", "-H"], "needs a value"),
    (["tx", "run"], "--branch NAME=WORK"),
    (["tx", "run", "--branch", "bank-a"], '"bank-a"'),
    (["tx", "run", "--branch", "=put x 1"], '"=put x 1"'),
    (["tx", "run", "--branch", "bank-a=@/nowhere/work"], "/nowhere/work"),
    (["tx", "run", "--branch", "a=get a", "--protocol", "4pc"], "2pc or 3pc"),
    (["tx", "run", "--branch", "a=get a", "--protocol", "3pc", "--termination", "hope"],
     "quorum, cooperative or timeout"),
    (["tx", "run", "--branch", "a=get a", "--termination", "timeout"], "--protocol 3pc"),
    (["tx", "run", "--branch", "a=get a", "--timeout-ms", "soon"], '"soon"'),
    (["tx", "run", "--branch", "a=get a", "--key", ""], "--key has 1 to"),
    (["tx", "run", "--branch", "a=get a", "--key", "k", "--key", "k"], "given twice"),
    (["tx", "run", *["--branch", "a=get a"] * 65], "more than 64 branches"),
    (["tx", "begin", "--wait"], "--wait"),
    (["tx", "work", "short", "--participant", "a", "get a"], '"short" is not a gtrid'),
    (["tx", "work", "0" * 26, "get a"], "--participant NAME"),
    (["tx", "work", "0" * 26], "GTRID WORK"),
    (["tx", "commit"], "GTRID"),
    (["tx", "commit", "0" * 25 + "U"], "is not a gtrid"),
    (["tx", "rollback", "a", "b"], 'unexpected "b"'),
    (["tx", "show"], "GTRID or --key"),
    (["tx", "show", "0" * 26, "--key", "k"], "GTRID or --key"),
    (["tx", "wait"], "GTRID or --key"),
    (["tx", "list", "--limit", "0"], "--limit is 1 to"),
    (["kv", "get", "--participant", "a"], "KEY"),
    (["kv", "get", "a"], "--participant NAME"),
    (["kv", "dump"], "--participant NAME"),
    (["log", "dump"], "--data-dir DIR"),
    (["log", "verify"], "--data-dir DIR"),
]


@pytest.mark.parametrize("words, named", MISTAKES, ids=lambda value: " ".join(value)[:40]
                         if isinstance(value, list) else "")
def test_a_mistake_is_told(words, named):
    """Exit 2 and one line on stderr that names what is wrong; nothing is asked of any server."""
    answer = ctl.Ctl("127.0.0.1:1")(*words, output=None, expect=ctl.USAGE)
    assert answer.out == ""
    assert answer.err.startswith("assentctl: ") and named in answer.err, answer
    assert len(answer.err.splitlines()) == 1, answer


def test_bad_work_is_told_with_its_line(bank):
    gtrid = bank.ctl("tx", "begin", expect=0).json["gtrid"]
    answer = bank.ctl("tx", "work", gtrid, "--participant", "bank-a", r"get a\nfly me",
                      expect=ctl.SERVER_ERROR)
    assert "bank-a/kv" in answer.err and "line 2" in answer.err and '"fly"' in answer.err
