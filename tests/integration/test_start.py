"""Starting and refusing to start: exit codes and messages (cases 36, 38, 41)."""

import pathlib
import subprocess
import tempfile

import pytest

import places
from cluster import Coordinator
from process import Process


def run(program, *words, env=None):
    return subprocess.run([places.program(program), *map(str, words)], check=False,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env,
                          timeout=60)


AGENT_WORDS = ["--name", "x", "--coordinator", "127.0.0.1:1", "--resource", "null"]


def test_second_coordinator_on_one_directory(cluster):
    """Exit 3, naming the process that holds it; the first goes on."""
    cluster.start(agents=0)
    done = run(places.ASSENTD, "--data-dir", cluster.coordinator.data, "--listen", "127.0.0.1:0",
               "--admin", "127.0.0.1:0")
    assert done.returncode == 3, done
    assert str(cluster.coordinator.process.pid) in done.stderr
    cluster.ctl("health", expect=0)


def test_second_agent_on_one_directory(cluster):
    cluster.start(agents=1)
    agent = cluster.agents["bank-a"]
    done = run(places.AGENT, *agent.argv()[1:])
    assert done.returncode == 3, done
    assert str(agent.process.pid) in done.stderr


def test_tool_reads_only_stopped_logs(cluster):
    """log verify on a running data directory names the holder instead of reading."""
    cluster.start(agents=0)
    answer = cluster.ctl("log", "verify", "--data-dir", cluster.coordinator.data)
    assert answer.code != 0
    assert str(cluster.coordinator.process.pid) in answer.err


@pytest.mark.parametrize("program,words", [(places.ASSENTD, []), (places.AGENT, AGENT_WORDS)],
                         ids=["assentd", "assent-agent"])
def test_unknown_configuration_key(tmp_path, program, words):
    """Exit 2 with file and line."""
    config = tmp_path / "bad.conf"
    config.write_text('log_level = "info"\n\nno_such_key = 1\n')
    done = run(program, "--config", config, "--data-dir", tmp_path / "data", *words)
    assert done.returncode == 2, done
    assert f"{config}:3" in done.stderr
    assert "no_such_key" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("line", ['prepare_timeout = "soon"', "listen = {", 'id = "70000"',
                                  'log_level = "loud"'])
def test_bad_values(tmp_path, line):
    """A value that makes no sense names file and line, or at least the key."""
    config = tmp_path / "bad.conf"
    config.write_text(line + "\n")
    done = run(places.ASSENTD, "--config", config, "--data-dir", tmp_path / "data")
    assert done.returncode == 2, done
    assert str(config) in done.stderr or line.split()[0] in done.stderr


@pytest.mark.parametrize("program", [places.ASSENTD, places.AGENT], ids=lambda p: p.name)
def test_usage(program):
    for words in (["--no-such-flag"], ["--data-dir"], ["stray"], ["--crash-at", "no_such_point"]):
        done = run(program, *words)
        assert done.returncode == 2, (words, done)
        assert done.stderr.strip()
    assert run(program, "--help").returncode == 0
    assert run(program, "--version").returncode == 0


def test_print_config_is_a_config(tmp_path):
    """What --print-config prints is accepted by --config --check-config."""
    for program, words in ((places.ASSENTD, []), (places.AGENT, AGENT_WORDS)):
        printed = run(program, *words, "--print-config")
        assert printed.returncode == 0, printed
        config = tmp_path / f"{program.name}.conf"
        config.write_text(printed.stdout)
        checked = run(program, "--config", config, "--check-config")
        assert checked.returncode == 0, checked


def test_environment_and_flags(tmp_path):
    """Rising order: file, environment, flag."""
    config = tmp_path / "c.conf"
    config.write_text("id = 1\n")
    import os
    env = dict(os.environ, ASSENT_ID="2")
    assert "id = 2" in run(places.ASSENTD, "--config", config, "--print-config", env=env).stdout
    out = run(places.ASSENTD, "--config", config, "--id", 3, "--print-config", env=env).stdout
    assert "id = 3" in out


def test_newer_format_is_refused(cluster):
    """A data directory of a newer version: exit 3, and it is left as it is."""
    cluster.start(agents=0)
    assert cluster.coordinator.stop() == 0
    mark = pathlib.Path(cluster.coordinator.data) / "FORMAT"
    text = mark.read_text()
    newer = "".join("9" if c.isdigit() else c for c in text)
    assert newer != text
    mark.write_text(newer)
    cluster.coordinator.launch()
    assert cluster.coordinator.process.wait_end() == 3
    assert mark.read_text() == newer
    mark.write_text(text)
    cluster.coordinator.start()


def test_other_programs_directory_is_refused(cluster):
    """An agent does not open a coordinator's log."""
    cluster.start(agents=0)
    assert cluster.coordinator.stop() == 0
    done = run(places.AGENT, "--data-dir", cluster.coordinator.data, *AGENT_WORDS)
    assert done.returncode == 3, done
    cluster.coordinator.start()


@pytest.mark.parametrize("program", [places.ASSENTD, places.AGENT], ids=lambda p: p.name)
def test_storage_in_memory_is_refused(program):
    """A decision or vote must outlive the machine's power: exit 3 names the file system and the
    option that allows it all the same."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], check=False, capture_output=True,
                          text=True).stdout.strip()
    if kind != "tmpfs":
        pytest.skip(f"/dev/shm is {kind or 'not there'}, no tmpfs")
    words = ["--listen", "127.0.0.1:0", *(AGENT_WORDS if program == places.AGENT
                                          else ["--admin", "127.0.0.1:0"])]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        words += ["--data-dir", f"{memory}/data"]
        done = run(program, *words)
        assert done.returncode == 3, done
        assert "tmpfs" in done.stderr and "unsafe_storage" in done.stderr
        assert f"{memory}/data" in done.stderr
        started = Process([program, *words, "--unsafe-storage"], pathlib.Path(memory) / "log")
        started.wait_line("started")
        started.kill()


def test_address_in_use(cluster, tmp_path):
    cluster.start(agents=0)
    other = Coordinator(tmp_path, "other")
    other.address = cluster.coordinator.address
    other.launch()
    assert other.process.wait_end() not in (0, -11, -6)
    assert cluster.coordinator.address in other.log.read_text()


def test_incarnation_rises(cluster):
    """Each start has a higher incarnation, in the hello (case 36)."""
    cluster.start(agents=0)
    seen = []
    for _ in range(3):
        with cluster.coordinator.application() as peer:
            seen.append((peer.peer_hello.log_id, peer.peer_hello.incarnation))
        cluster.coordinator.restart()
    assert len({log for log, _ in seen}) == 1 and len(seen[0][0]) == 16
    assert seen[0][1] < seen[1][1] < seen[2][1]
