"""Keeps programs running: starts them, again when they die or hang, gives up on what keeps dying, stops in reverse."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from types import TracebackType

from local.processes.liveness import Liveness
from local.processes.program import Child, Program, ProgramError, last_lines, refuse_busy_ports
from local.processes.rotation import rotate

DEATHS_MAX = 5
DEATHS_WINDOW_SECONDS = 60.0


class Supervisor:
    """Programs under supervision, as a context manager: whatever happens, none is left when it closes."""

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
        """Start programs together and return once all are ready; ProgramError when a port is busy or one fails.

        StoppedError when the stop flag is set meanwhile.
        """
        for program in programs:
            refuse_busy_ports(program)
        started = [self._spawn(program) for program in programs]
        for child in started:
            child.await_ready(self.stop)
        self.liveness.start()

    def tend(self, now: float | None = None) -> None:
        """Start again each program that has died or answers nothing, and keep the logs small.

        ProgramError with its last log lines at five deaths in a minute.
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
        """Return the questions to the programs that run now, by process."""
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
                f"{child.cause_of_death()}; the end of its log:\n{last_lines(child.program.log)}"
            )
