"""The processes of a fault run: members of the etl's group, ingest and load generators."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from local.processes.program import Child, Program, last_lines
from local.settings import ROOT
from tests.support.faults.proxy import Proxy
from tests.support.faults.results import IS_QUICK
from tests.support.processes.server_stack import ServerStack
from tests.support.processes.system import Deployment, await_equal

# Long, so that a slow machine does not fail a run.
AWAIT_SECONDS_MAX = 120.0
LOAD_SEEDS = 2**31
LOAD_EVENTS_MAX = 150_000
# Half of the CPU of a run is its load.
LOAD_PER_SECOND = 600.0 if IS_QUICK else 1_500.0
WITHOUT_PRECAUTION = "tests.support.faults.without_precaution"
# Failpoints that production code does not have, and the modules that run the etl with them.
LAUNCHERS = {"mid-block:": "tests.support.faults.mid_block"}
# What an etl logs when it has started.
LOADING = '"event": "loading"'
FROZEN = "T"


class Processes:
    """The running processes; those that end by themselves are restarted, and noted in `restarts`."""

    def __init__(self, stack: ServerStack, deployment: Deployment, chance: random.Random) -> None:
        self.stack = stack
        self.deployment = deployment
        self.chance = chance
        self.members: list[Child] = []
        self.ingests: list[Child] = []
        self.loads: list[Child] = []
        self.restarts: list[str] = []
        self.ingest_restarts = 0
        self._started: list[Child] = []

    @property
    def ledger(self) -> Path:
        """The file that the load generators write."""
        return self.deployment.folder / "ledger.jsonl"

    def etl(self, failpoint: str = "", without: str = "") -> Child:
        """Start a member of the group, perhaps without a precaution; its start is not awaited."""
        module = next((module for point, module in LAUNCHERS.items() if failpoint.startswith(point)), "etl")
        program = self.deployment.program("etl", WITHOUT_PRECAUTION if without else module)
        if without:
            program = replace(program, argv=(*program.argv, without))
        member = self._start(program, failpoint)
        self.members.append(member)
        return member

    def ingest(self, failpoint: str = "") -> Child:
        """Start ingest, and wait until it serves unless it has a failpoint, which may kill it before."""
        child = self._start(self.deployment.ingest(), failpoint)
        if not failpoint:
            child.await_ready()
        self.ingests.append(child)
        return child

    def load(self, events: int = LOAD_EVENTS_MAX, per_second: float = LOAD_PER_SECOND) -> Child:
        """Start a load generator, which sends until the run ends or all events are sent. All share one ledger."""
        options = {
            "ingest": self.deployment.ingest_address,
            "gateway": self.stack.endpoints.gateway_url,
            "ledger": self.ledger,
            "seed": self.chance.randrange(LOAD_SEEDS),
            "events": events,
            "per-second": per_second,
            "seconds-max": AWAIT_SECONDS_MAX,
        }
        argv = (
            sys.executable,
            "-m",
            "tests.support.load.generator",
            *(f"--{name}={value}" for name, value in options.items()),
        )
        load = self._start(Program("load", argv, log=self.deployment.folder / "load.log", directory=ROOT))
        self.loads.append(load)
        return load

    def kill(self, victim: Child) -> None:
        """Kill a process with SIGKILL."""
        victim.kill()
        self._forget(victim)

    def leave(self, member: Child) -> None:
        """Stop a member with SIGTERM; an exit status other than 0 counts as a restart."""
        self._forget(member)
        # Before it has logged this, it has no handler for the signal.
        self.await_true(lambda: ended(member) or LOADING in member.program.log.read_text(), "a member does not start")
        member.stop()
        if member.process.returncode:
            self._note_end(member)

    def await_killed(self, victim: Child) -> None:
        """Wait until a failpoint has killed a process."""
        self._forget(victim)
        self.await_true(lambda: ended(victim), "the failpoint was not reached")
        assert victim.process.returncode == -signal.SIGKILL, last_lines(victim.program.log)

    def await_stopped(self, victim: Child) -> None:
        """Wait until a failpoint has frozen a process."""
        self.await_true(lambda: state(victim) == FROZEN, "the failpoint was not reached")

    def await_broken(self, proxy: Proxy) -> None:
        """Wait until a proxy has broken an insert."""
        self.await_true(proxy.broken.is_set, "no insert passed the proxy")

    def is_loading(self) -> bool:
        """Whether any load generator is sending."""
        return not all(map(ended, self.loads))

    def end_load(self) -> None:
        """Stop the load generators after their current batches."""
        for load in self.loads:
            if not ended(load):
                load.process.terminate()

    def await_load(self) -> None:
        """Wait until the load generators have ended; their exit status must be 0."""
        self.await_true(lambda: not self.is_loading(), "the load does not end")
        for load in self.loads:
            assert load.process.returncode == 0, last_lines(load.program.log)

    def await_true(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for a condition; `otherwise` is the text of the failure."""
        self.await_equal(lambda: condition() or otherwise, wanted=True)

    def await_equal(self, read: Callable[[], Any], wanted: Any) -> None:
        """Wait until `read` returns `wanted`; meanwhile restart processes that have ended by themselves."""

        def read_and_restart() -> Any:
            self._restart_ended()
            return read()

        await_equal(read_and_restart, wanted, AWAIT_SECONDS_MAX)

    def end(self) -> None:
        """Kill every process."""
        for child in self._started:
            child.kill()

    def _start(self, program: Program, failpoint: str = "") -> Child:
        log = self.deployment.folder / f"{len(self._started)}-{program.name}.log"
        environment = {**program.environment, "UGC_FAILPOINT": failpoint}
        child = Child(replace(program, log=log, environment=environment, directory=ROOT))
        self._started.append(child)
        return child

    def _restart_ended(self) -> None:
        for member in [each for each in self.members if ended(each)]:
            self._forget(member)
            self._note_end(member)
            self.etl()
        for ingest in [each for each in self.ingests if ended(each)]:
            self._forget(ingest)
            self.ingest_restarts += 1
            self.ingest()

    def _note_end(self, child: Child) -> None:
        self.restarts.append(f"{child.program.name} {child.cause_of_death()}: {last_lines(child.program.log)}")

    def _forget(self, child: Child) -> None:
        for family in (self.members, self.ingests):
            if child in family:
                family.remove(child)


def ended(child: Child) -> bool:
    """Whether a process has ended."""
    return child.process.poll() is not None


def state(child: Child) -> str:
    """Return the kernel's letter for a process's state; empty if the process is gone."""
    try:
        return Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
