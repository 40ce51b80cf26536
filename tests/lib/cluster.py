"""A coordinator and its agents on loopback in one directory: started, killed, started again.

Agents and applications dial a daemon again after its restart, so it keeps its address. Whatever a
test leaves running is killed by pid.
"""

import json
import signal

import places
import wire
from ctl import Ctl
from process import Process, wait_until


class Daemon:
    """What both daemons share. `options` are flags without dashes: {"log_level": "debug"}."""

    def __init__(self, name, directory, options):
        self.name = name
        self.directory = directory
        self.data = directory / f"{name}.data"
        self.log = directory / f"{name}.log"
        self.options = dict(options)
        self.process = None
        self.starts = 0

    def flags(self, extra):
        flags = []
        for key, value in {**self.options, **extra}.items():
            for item in value if isinstance(value, list) else [value]:
                flags.append(f"--{key.replace('_', '-')}={item}")
        return flags

    def launch(self, env=None, preexec=None, prefix=(), **extra):
        """Starts without waiting for anything; extra flags hold for this start only."""
        assert self.process is None or not self.process.running(), f"{self.name} runs already"
        argv = [*prefix, *self.argv(), *self.flags(extra)]
        self.process = Process(argv, self.log, env=env, preexec=preexec)
        self.starts += 1
        return self

    def start(self, **how):
        self.launch(**how)
        self.started()
        return self

    def restart(self, **how):
        self.kill()
        return self.start(**how)

    def kill(self):
        if self.process is not None and self.process.running():
            self.process.kill()

    def stop(self, seconds=None):
        """SIGTERM, and waits for the end: its exit code."""
        self.process.signal(signal.SIGTERM)
        return self.process.wait_end(seconds)


# Repeats come soon, so that a restart is over soon, and tests may run in memory; nothing else is
# changed from the defaults.
FAST_COORDINATOR = {"retry_min": "20ms", "retry_max": "300ms", "unsafe_storage": "true"}
FAST_AGENT = {**FAST_COORDINATOR, "inquire": "300ms"}


class Coordinator(Daemon):
    def __init__(self, directory, name="coordinator", **options):
        super().__init__(name, directory, {**FAST_COORDINATOR, **options})
        self.address = places.address()
        self.admin = None
        self.ctl = Ctl()

    def argv(self):
        return [places.program(places.ASSENTD), "--data-dir", self.data,
                "--listen", self.address, "--admin", "127.0.0.1:0"]

    def started(self):
        line = self.process.wait_line("started")
        self.address = line.fields["listen"]
        self.admin = line.fields["admin"]
        self.ctl.address = self.address
        return line

    def application(self):
        return wire.application(self.address)


class Agent(Daemon):
    def __init__(self, directory, name, coordinator, resource="kv", **options):
        super().__init__(name, directory, {**FAST_AGENT, **options})
        self.coordinator = coordinator
        self.resource = resource
        self.address = places.address()

    def argv(self):
        return [places.program(places.AGENT), "--name", self.name, "--data-dir", self.data,
                "--coordinator", self.coordinator.address, "--listen", self.address,
                *(f"--resource={r}" for r in self.resources())]

    def resources(self):
        """Several, with blanks between them; or a list, if one has blanks in itself."""
        return self.resource.split() if isinstance(self.resource, str) else self.resource

    def started(self):
        line = self.process.wait_line("started")
        self.address = line.fields.get("listen", self.address)
        return line


class Cluster:
    """One coordinator and agents named bank-a, bank-b, ...; `resource` may name several."""

    def __init__(self, directory):
        self.directory = directory
        self.coordinator = None
        self.agents = {}
        self.others = []

    def start(self, agents=2, coordinator=None, agent=None, resource="kv"):
        self.add_coordinator(**(coordinator or {}))
        self.coordinator.start()
        for letter in "abcdefgh"[:agents]:
            self.add_agent(f"bank-{letter}", resource=resource, **(agent or {})).start()
        self.wait_up()
        return self

    def add_coordinator(self, **options):
        self.coordinator = Coordinator(self.directory, **options)
        return self.coordinator

    def add_agent(self, name, resource="kv", **options):
        self.agents[name] = Agent(self.directory, name, self.coordinator, resource, **options)
        return self.agents[name]

    def spawn(self, argv, name, **how):
        """Any other process, cleaned up with the rest."""
        process = Process(argv, self.directory / f"{name}.log", **how)
        self.others.append(process)
        return process

    @property
    def ctl(self):
        return self.coordinator.ctl

    def daemon(self, name):
        return self.coordinator if name == "coordinator" else self.agents[name]

    def daemons(self):
        return [d for d in (self.coordinator, *self.agents.values()) if d is not None]

    def participants_up(self):
        with self.coordinator.application() as application:
            return participants_up(application)

    def wait_up(self, names=None):
        """Until the coordinator says that these participants (all) are connected."""
        wanted = set(names or self.agents)
        with self.coordinator.application() as application:
            wait_until(lambda: wanted <= participants_up(application), f"connected: {wanted}")

    def settle(self, key):
        """The final result of the transaction with that key."""
        with self.coordinator.application() as application:
            def ended():
                result = application.status(key=key, wait=True, seconds=60)
                return result if result.ended else None
            return wait_until(ended, f"{key} has ended", seconds=60)

    def stop_in_doubt(self, branches, decided):
        """A one-shot over the branches whose coordinator dies right before or after its decision to
        commit is durable: both have voted, and nobody has told them. Its key."""
        self.coordinator.stop()
        self.coordinator.start(crash_at="coord_after_log_commit" if decided
                               else "coord_before_log_commit")
        self.wait_up()
        with self.coordinator.application() as application:
            application.submit(run=wire.run(branches, key="in-doubt"))
            self.coordinator.process.wait_end()
        return "in-doubt"

    def close(self):
        """Kills what runs; raises if a sanitizer or an assertion spoke in any log."""
        for process in [d.process for d in self.daemons() if d.process] + self.others:
            if process.running():
                process.kill()
        complaints = []
        for log in sorted(self.directory.glob("*.log")):
            text = log.read_text("utf-8", "backslashreplace")
            for mark in ("ERROR: AddressSanitizer", "runtime error:", "ERROR: LeakSanitizer",
                         "WARNING: ThreadSanitizer", "event=assertion", "event=invariant"):
                at = text.find(mark)
                if at >= 0:
                    complaints.append(f"{log}: {text[at:at + 4000]}")
        assert not complaints, "\n".join(complaints)


def participants_up(application):
    """Names of the participants that the coordinator says are connected."""
    answer = json.loads(application.ask(inspect=wire.pb.Inspect(what="participants")).json)
    return {row["name"] for row in answer["participants"] if row["state"] == "up"}
