"""Supervises programs: starts them, restarts one that dies or hangs, gives up on one that keeps dying, stops them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from types import TracebackType

from local.processes.errors import ProgramError
from local.processes.liveness import Liveness
from local.processes.ports import refuse_busy_ports
from local.processes.program import Child, Program, last_lines
from local.processes.rotation import rotate

DEATHS_MAX = 5
DEATHS_WINDOW_SECONDS = 60.0


class Supervisor:
    """Programs under supervision; the context manager stops them in reverse order, whatever happened."""

    def __init__(self, announce: Callable[[str], None], stop: threading.Event | None = None) -> None:
        self.announce = announce
        self.stop = stop
        self.children: list[Child] = []
        self.deaths: dict[str, deque[float]] = {}
        self.liveness = Liveness(self._probes)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.liveness.stop()
        while self.children:
            self.children.pop().stop()

    def start(self, programs: Sequence[Program]) -> None:
        """Start programs together and return once all are ready; ProgramError when a port is taken or one fails.

        StoppedError when the stop flag is set meanwhile.
        """
        refuse_busy_ports([each for program in programs for each in program.listeners])
        started = [self._spawn(program) for program in programs]
        for child in started:
            child.await_ready(self.stop)
        self.liveness.start()

    def check(self, now: float | None = None) -> None:
        """Restart each program that has died or hangs, and rotate the logs; call it a few times a second.

        ProgramError with the end of its log when a program has died five times in a minute.
        """
        hung = self.liveness.hung
        for position, child in enumerate(self.children):
            rotate(child.program.log)
            if child.process.poll() is None and child.process.pid not in hung:
                continue
            if child.process.returncode is None:
                self.announce(f"{child.program.name} runs and does not answer; it is killed")
            child.kill()
            self._count_death(child, time.monotonic() if now is None else now)
            self.children[position] = Child(child.program)
            self.announce(
                f"{child.program.name} {child.cause_of_death()}; started again as process "
                f"{self.children[position].process.pid}"
            )

    def _probes(self) -> dict[Hashable, Callable[[], bool]]:
        """Return the liveness probes of the programs that run now, by process id."""
        children = list(self.children)
        return {child.process.pid: child.program.alive for child in children if child.program.alive}

    def _spawn(self, program: Program) -> Child:
        child = Child(program)
        self.children.append(child)
        return child

    def _count_death(self, child: Child, now: float) -> None:
        deaths = self.deaths.setdefault(child.program.name, deque(maxlen=DEATHS_MAX))
        deaths.append(now)
        if len(deaths) == DEATHS_MAX and now - deaths[0] <= DEATHS_WINDOW_SECONDS:
            raise ProgramError(
                f"{child.program.name} died {DEATHS_MAX} times within {DEATHS_WINDOW_SECONDS:g} s, the last time it "
                f"{child.cause_of_death()}; {last_lines(child.program.log)}"
            )
