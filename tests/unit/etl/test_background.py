"""A broker that does not answer delays only the partition that is being restored."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import pytest

from etl.background import THREADS_MAX, threads
from etl.delivery import Delivery
from etl.errors import SourceError
from etl.loader import Loader
from etl.partition import FlushLimits, LoaderLimits
from etl.plan import Coordinates, Position, ServerClock, Topic
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from tests.simulation.log import decode
from tests.support.fakes.delivering import AT
from tests.support.fakes.loading import World
from tests.support.fakes.sinks import Unchanged

WAIT_SECONDS_MAX = 60.0


class Silent(Unchanged, World):
    """A Kafka that does not answer about partition 0 until it is released."""

    def __init__(self, partitions: int, silent: str) -> None:
        super().__init__(partitions)
        self.released = threading.Event()
        self.calls: list[int] = []
        self._silent = silent

    def topic(self) -> Topic:
        return AT.topic

    def position(self, at: Coordinates) -> Position:
        self.wait_if_silent("position", at.partition)
        return Position(0, None, is_from_etl=True)

    def limits(self, partition: int) -> tuple[int, int]:
        self.wait_if_silent("limits", partition)
        return 0, len(self.waiting[partition])

    def wait_if_silent(self, question: str, partition: int) -> None:
        if (question, partition) == (self._silent, 0):
            self.calls.append(partition)
            assert self.released.wait(WAIT_SECONDS_MAX)

    def last_stored(self, at: Coordinates, first: int) -> int | None:
        del at, first
        return None


def until(loader: Loader, is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not is_done():
        assert time.monotonic() < deadline
        loader.step(0.0)


@pytest.mark.parametrize("silent", ["position", "limits"])
def test_others_load_meanwhile(silent: str) -> None:
    """While Kafka does not answer about one partition, the others are restored and loaded; later this one too."""
    world = Silent(3, silent)
    for partition in range(3):
        world.send(partition, b"a", b"b")
    background = threads()
    try:
        restorer = PartitionRestorer(world, world, ServerClock(5.0, world.monotonic), 100, background=background)
        limits = LoaderLimits(FlushLimits(0.0, 1_000, 1_000_000), 1_000, 0.2, 5.0)
        clock = ServerClock(5.0, world.monotonic)
        delivery = Delivery(world, world, clock, Refusals(1.0, 1_000), decode=decode)
        loader = Loader(world, restorer, delivery, limits, world.monotonic)
        loader.on_assigned([0, 1, 2])
        until(loader, lambda: world.of(1) == world.of(2) == 2)

        assert world.calls == [0]
        assert world.of(0) == 0
    finally:
        world.released.set()
    until(loader, lambda: world.of(0) == 2)


def test_errors_are_raised() -> None:
    """An exception of the call is raised where its result is read."""

    def fail() -> None:
        raise SourceError("no answer")

    with pytest.raises(SourceError, match="no answer"):
        deque(threads()(fail), maxlen=0)


def test_an_abandoned_call_is_not_made() -> None:
    """A call that waits for a thread is not made after its generator was closed."""
    released, calls = threading.Event(), list[int]()
    background = threads()
    for _ in range(THREADS_MAX):
        next(background(lambda: released.wait(WAIT_SECONDS_MAX)), None)
    waiting = background(lambda: calls.append(1))
    next(waiting)
    waiting.close()
    released.set()

    assert calls == []
