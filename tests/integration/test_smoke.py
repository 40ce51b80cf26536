"""The shortest story that every build must tell, also the release build without crash points."""

import json
import subprocess

import ctl
import places
from bank import balances, move


def test_commit_refusal_restart(bank):
    """Commits, refuses, and after kill -9 of everything still knows both (cases 1, 2, 5)."""
    done = bank.ctl.run(*move(30), options=["--wait"], expect=ctl.DONE).json
    assert done["outcome"] == "committed"
    assert balances(bank) == (70, 130)
    refused = bank.ctl.run(*move(500), expect=ctl.ABORTED).json
    assert refused["outcome"] == "aborted"
    assert "bank-a" in refused["reason"]
    for daemon in bank.daemons():
        daemon.restart()
    bank.wait_up()
    assert balances(bank) == (70, 130)
    assert bank.ctl("tx", "wait", done["gtrid"], expect=ctl.DONE).json["outcome"] == "committed"
    assert bank.ctl("tx", "wait", refused["gtrid"], expect=ctl.ABORTED).json["outcome"] == "aborted"


def test_stopped_logs_verify(bank):
    """Every record of the stopped data directories reads back whole (case 8's other side)."""
    bank.ctl.run(*move(1), options=["--wait"], expect=ctl.DONE)
    for daemon in bank.daemons():
        assert daemon.stop() == 0
    for daemon in bank.daemons():
        bank.ctl("log", "verify", "--data-dir", daemon.data, expect=ctl.DONE)
    dump = bank.ctl("log", "dump", "--data-dir", bank.coordinator.data, expect=ctl.DONE)
    assert json.dumps("committed") in dump.out


def test_versions_agree():
    """Programs of one build say one version."""
    said = {subprocess.run([places.program(p), "--version"], check=True, capture_output=True,
                           text=True).stdout.split()[-1] for p in (places.ASSENTD, places.AGENT)}
    assert len(said) == 1
