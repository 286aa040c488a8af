"""Virtual time, the random generator, and the processes, of which one runs at a time."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from greenlet import getcurrent, greenlet

# The latency of a message between machines.
LATENCY_SECONDS_MAX = 0.02
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


class Process:
    """A process of the operating system: it runs until it waits, and may be frozen or killed while it waits."""

    def __init__(self, world: World, name: str, main: Callable[[], None]) -> None:
        self.world = world
        self.name = name
        self.is_alive = True
        self.frozen_until = 0.0
        # Called when the process is frozen or has ended.
        self.on_silence: Callable[[], None] = lambda: None
        self._main = main
        self._waits = 0
        self._greenlet = greenlet(self._body, parent=world.hub)
        world.after(0, lambda: self._go_on(0, None))

    @property
    def is_frozen(self) -> bool:
        """Whether the process is frozen now."""
        return self.world.now < self.frozen_until

    def _body(self, _: Exception | None) -> None:
        try:
            self._main()
        except Killed:
            self.world.note(self.name, "KILLED")
        self.is_alive = False
        self.on_silence()

    def park(self) -> Exception | None:
        """Wait until the function that `ticket` returned is called; returns its argument."""
        outcome: Exception | None = self.world.hub.switch()
        return outcome

    def ticket(self) -> Callable[[Exception | None], None]:
        """Return a function whose first call ends the next wait; later calls do nothing."""
        self._waits += 1
        number = self._waits
        return lambda value: self._go_on(number, value)

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
            self.is_alive = False
            if self._greenlet:
                self._greenlet.throw(Killed)

    def _go_on(self, number: int, value: Exception | None) -> None:
        if not self.is_alive or number != self._waits:
            return
        if self.is_frozen:
            self.world.after(self.frozen_until - self.world.now, lambda: self._go_on(number, value))
            return
        self._waits += 1
        self._greenlet.switch(value)
