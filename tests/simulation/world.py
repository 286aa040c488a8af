"""Virtual time, the random generator, and the processes, of which one runs at a time."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from greenlet import getcurrent, greenlet

from etl.errors import EtlError

# The latency of a message between machines.
LATENCY_SECONDS_MAX = 0.02
# The time between the start of a thread and its first step.
START_SECONDS_MAX = 0.005
# How long a process is frozen: less than a fence, about a session, and much longer.
FREEZES_SECONDS = ((0.1, 1.0), (1.0, 5.0), (5.0, 20.0))
FREEZES_WEIGHTS = (5, 4, 1)


class Killed(BaseException):
    """A process ends here, as after SIGKILL. Production code must not catch it."""


@dataclass(frozen=True)
class Rates:
    """The probability of each fault where it is possible; each run draws its own, some of them zero."""

    crash: float
    freeze: float
    commit: float
    read: float
    insert: float


def draw_rates(chance: Random) -> Rates:
    """Draw the rates of a run: most runs have several kinds of faults, some have one, few have none."""

    def rate(highest: float) -> float:
        return 0.0 if chance.random() < 0.3 else highest * chance.random()

    return Rates(crash=rate(0.015), freeze=rate(0.02), commit=rate(0.3), read=rate(0.05), insert=rate(0.6))


class World:
    """The scheduler: each event has a virtual time; events of the same time run in the order of their scheduling."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.chance = Random(seed)
        self.rates = draw_rates(self.chance)
        self.now = 0.0
        # Faults have stopped, so that everything can be stored.
        self.is_calm = False
        self.counts: Counter[str] = Counter()
        self.hub = getcurrent()
        self._trace = trace
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._events, (self.now + seconds, next(self._number), act))

    def run(self, is_over: Callable[[], bool], seconds_max: float) -> bool:
        """Run events until `is_over`, which is checked after each; False if that is not before `seconds_max`."""
        while self._events and self._events[0][0] <= seconds_max:
            self.now, _, act = heapq.heappop(self._events)
            act()
            if is_over():
                return True
        return False

    def strikes(self, rate: float) -> bool:
        """Whether a fault with this rate happens now."""
        return not self.is_calm and self.chance.random() < rate

    def between(self, low: float, high: float) -> float:
        """Draw a number from a range."""
        return low + (high - low) * self.chance.random()

    def note(self, who: str, what: str, *details: object) -> None:
        """Trace a step, if the run is traced."""
        if self._trace is not None:
            self._trace(f"{self.now:9.3f} {who:<11} {what} {' '.join(map(str, details))}")


class Thread:
    """A thread of a process: it runs until it waits."""

    def __init__(self, process: Process, main: Callable[[], None], *, is_main: bool) -> None:
        self._process = process
        self._is_main = is_main
        self._main = main
        self._waits = 0
        self._error: Exception | None = None
        self._has_ended = False
        # Wakes the thread that waits for the end of this one.
        self._on_end: Callable[[Exception | None], None] = lambda _: None
        self.greenlet = greenlet(self._body, parent=process.world.hub)

    def has_ended(self) -> bool:
        """Whether it has returned or failed."""
        return self._has_ended

    def result(self) -> None:
        """Raise its exception, if it failed."""
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> None:
        """Wait, in another thread of the process, until it has ended or for so long."""
        process = self._process
        if not self._has_ended:
            self._on_end = process.ticket()
            wake = self._on_end
            process.world.after(seconds, lambda: wake(None))
            process.park()

    def ticket(self) -> Callable[[Exception | None], None]:
        """Return a function whose first call ends the thread's next wait; later calls do nothing."""
        self._waits += 1
        number = self._waits
        return lambda value: self.go_on(number, value)

    def go_on(self, number: int, value: Exception | None) -> None:
        """End the wait with a number, when the process is not frozen."""
        process = self._process
        if not process.is_alive or number != self._waits:
            return
        if process.is_frozen:
            process.world.after(process.frozen_until - process.world.now, lambda: self.go_on(number, value))
            return
        self._waits += 1
        self.greenlet.switch(value)

    def _body(self, _: Exception | None) -> None:
        try:
            self._main()
        except Killed:
            self._process.end("KILLED")
        except EtlError as error:
            if self._is_main:
                raise
            self._error = error
        self._has_ended = True
        wake = self._on_end
        self._process.world.after(0, lambda: wake(None))


class Process:
    """A process of the operating system: its threads run until they wait, one at a time.

    It may be frozen or killed while it waits.
    """

    def __init__(self, world: World, name: str, main: Callable[[], None]) -> None:
        self.world = world
        self.name = name
        self.is_alive = True
        self.frozen_until = 0.0
        # Called when the process is frozen or has ended.
        self.on_silence: Callable[[], None] = lambda: None
        self._main = main
        self._threads: list[Thread] = []
        self._start(self._run, is_main=True)

    @property
    def is_frozen(self) -> bool:
        """Whether the process is frozen now."""
        return self.world.now < self.frozen_until

    def start(self, main: Callable[[], None]) -> Thread:
        """Start a thread, which runs for the first time a moment later."""
        return self._start(main, is_main=False)

    def _start(self, main: Callable[[], None], *, is_main: bool) -> Thread:
        thread = Thread(self, main, is_main=is_main)
        self._threads = [each for each in self._threads if not each.has_ended()] + [thread]
        self.world.after(self.world.chance.random() * START_SECONDS_MAX, lambda: thread.go_on(0, None))
        return thread

    def _run(self) -> None:
        self._main()
        self.end("has ended")

    def end(self, how: str) -> None:
        """Mark the process as ended: no thread of it goes on."""
        if self.is_alive:
            self.world.note(self.name, how)
            self.is_alive = False
            self.on_silence()
            self.world.after(0, self._reap)

    def _reap(self) -> None:
        for thread in self._threads:
            if thread.greenlet:
                thread.greenlet.throw(Killed)

    def park(self) -> Exception | None:
        """Wait until the function that `ticket` returned is called; returns its argument."""
        outcome: Exception | None = self.world.hub.switch()
        return outcome

    def ticket(self) -> Callable[[Exception | None], None]:
        """Return a function whose first call ends the next wait of the running thread; later calls do nothing."""
        return self.current().ticket()

    def current(self) -> Thread:
        """Return the thread that runs."""
        here = getcurrent()
        return next(thread for thread in self._threads if thread.greenlet is here)

    def wait(self, seconds: float) -> None:
        """Wait for so long."""
        wake = self.ticket()
        self.world.after(seconds, lambda: wake(None))
        self.park()

    def cross(self) -> None:
        """Send a message to another process. The process may be frozen or killed here."""
        world = self.world
        if not world.is_calm:
            dice = world.chance.random()
            if dice < world.rates.crash:
                world.counts["crashes"] += 1
                raise Killed
            if dice < world.rates.crash + world.rates.freeze:
                self.freeze(world.between(*world.chance.choices(FREEZES_SECONDS, FREEZES_WEIGHTS)[0]))
        self.wait(world.chance.random() * LATENCY_SECONDS_MAX)

    def freeze(self, seconds: float) -> None:
        """Freeze the process, as after SIGSTOP."""
        self.world.counts["freezes"] += 1
        self.world.note(self.name, f"FROZEN for {seconds:.1f} s")
        self.frozen_until = self.world.now + seconds
        self.on_silence()

    def kill(self) -> None:
        """Kill the process."""
        if self.is_alive:
            self.end("is killed")
            self._reap()
