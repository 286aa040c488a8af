"""A broker that does not answer keeps the partition waiting that is opened, and no other."""

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
from tests.unit.etl.test_turns import World

WAIT_SECONDS_MAX = 60.0


class Silent(World):
    """Kafka answers nothing about partition 0 until it is released; the others are opened from it too."""

    def __init__(self, partitions: int, silent: str) -> None:
        super().__init__(partitions)
        self.released = threading.Event()
        self.asked: list[int] = []
        self._silent = silent

    def topic(self) -> Topic:
        return AT.topic

    def position(self, at: Coordinates) -> Position:
        self.keep_waiting("position", at.partition)
        return Position(0, None, is_from_etl=True)

    def limits(self, partition: int) -> tuple[int, int]:
        self.keep_waiting("limits", partition)
        return 0, len(self.waiting[partition])

    def keep_waiting(self, question: str, partition: int) -> None:
        if (question, partition) == (self._silent, 0):
            self.asked.append(partition)
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
def test_others_are_loaded_meanwhile(silent: str) -> None:
    """While Kafka does not say where one partition stands, the others are opened and loaded; then it is too."""
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

        assert world.asked == [0]
        assert world.of(0) == 0
    finally:
        world.released.set()
    until(loader, lambda: world.of(0) == 2)


def test_errors_reach_who_asked() -> None:
    """An answer that is an error is raised where the question was asked."""

    def fail() -> None:
        raise SourceError("no answer")

    with pytest.raises(SourceError, match="no answer"):
        deque(threads()(fail), maxlen=0)


def test_what_is_given_up_is_not_asked() -> None:
    """A question that waits for a thread is not asked any more when its partition is gone."""
    released, asked = threading.Event(), list[int]()
    background = threads()
    for _ in range(THREADS_MAX):
        next(background(lambda: released.wait(WAIT_SECONDS_MAX)), None)
    waiting = background(lambda: asked.append(1))
    next(waiting)
    waiting.close()
    released.set()

    assert asked == []
