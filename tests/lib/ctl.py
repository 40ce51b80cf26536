"""assentctl as an operator runs it: its exit code, its JSON, its messages."""

import json
import subprocess

import places
from process import DEADLINE_S

DONE, SERVER_ERROR, USAGE, CANNOT_CONNECT, NO_SUCH_OBJECT = 0, 1, 2, 3, 4
UNHEALTHY, NEEDS_FORCE, ABORTED, UNKNOWN = 5, 6, 7, 8


class Answer:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.argv = done.args

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"{self!r}: not JSON: {error}") from None

    def __repr__(self):
        return f"{' '.join(self.argv)}: exit {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Ctl:
    def __init__(self, address=None, env=None):
        self.address = address
        self.env = env

    def __call__(self, *words, output="json", expect=None):
        argv = [places.program(places.CTL)]
        if self.address:
            argv += ["-H", self.address]
        if output:
            argv += ["-o", output]
        argv += [str(w) for w in words]
        answer = Answer(subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env=self.env, timeout=4 * DEADLINE_S * places.slow_factor()))
        if expect is not None:
            assert answer.code == expect, repr(answer)
        return answer

    def run(self, *branches, protocol="2pc", expect=None, options=()):
        """tx run with branches as (participant, work) pairs."""
        words = ["tx", "run", "--protocol", protocol]
        words += options
        for participant, work in branches:
            words += ["--branch", f"{participant}={work}"]
        return self(*words, expect=expect)
