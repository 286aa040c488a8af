"""The loops of the load generator, over slots that answer when the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.load.errors import RefusedError
from tests.support.load.loops import WAKE_UP_SECONDS, DueQueue, closed, opened, together

# Long before the start of the loop: what is due then is late by at least this.
LATE = -50.0


class FakeSlot:
    """Keeps what to call when it answers."""

    def __init__(self) -> None:
        self.bodies: list[int] = []
        self._done: Callable[[], None] | None = None

    def send(self, body: int, done: Callable[[], None]) -> None:
        assert self._done is None, "a request is under way"
        self.bodies.append(body)
        self._done = done

    def answer(self) -> None:
        assert self._done is not None
        done, self._done = self._done, None
        done()


class SlotThatAnswers:
    """Answers in the next turn of the event loop; fails after `successes` answers."""

    def __init__(self, failed: asyncio.Future[None], successes: int = 1_000_000) -> None:
        self._failed = failed
        self._successes = successes

    def send(self, _body: int, done: Callable[[], None]) -> None:
        if not self._successes:
            self._failed.set_exception(RefusedError("no"))
            return
        self._successes -= 1
        asyncio.get_running_loop().call_soon(done)


def failure() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_what_waits_for_a_slot_is_measured() -> None:
    """A request that is due while all slots are busy is sent once one is free; its latency counts from its due time."""
    slot = FakeSlot()
    queue = DueQueue([slot], 3)
    queue.arrive([LATE, 2 * LATE])
    queue.arrive([3 * LATE])
    assert slot.bodies == [0]
    slot.answer()
    assert slot.bodies == [0, 1]
    slot.answer()
    assert not queue.finished.done()
    slot.answer()

    assert queue.finished.done()
    assert slot.bodies == [0, 1, 2]
    assert list(queue.outcome.answered) == [0, 1, 2]
    assert [latency > least for latency, least in zip(queue.outcome.latencies, (50, 100, 150), strict=True)] == [
        True
    ] * 3


async def test_idle_slots_share_the_load() -> None:
    """Requests that are due at the same time use different slots."""
    slots = [FakeSlot(), FakeSlot()]
    queue = DueQueue(slots, 2)
    queue.arrive([0.0, 0.0])

    assert [slot.bodies for slot in slots] == [[0], [1]]


def test_wake_ups() -> None:
    """Requests that are due within the span of a wake-up are sent together, and none is late by more."""
    near = [1.0, 1.0 + 0.5 * WAKE_UP_SECONDS, 1.0 + 0.9 * WAKE_UP_SECONDS]
    due = [0.5, *near, 1.0 + 1.1 * WAKE_UP_SECONDS, 2.0]

    assert list(together(due)) == [[0.5], near, [1.0 + 1.1 * WAKE_UP_SECONDS], [2.0]]
    assert list(together([])) == []


async def test_open_loop_sends_all() -> None:
    """Each due time is one request."""
    failed = failure()
    outcome = await opened([SlotThatAnswers(failed)] * 4, [0.001 * number for number in range(50)], failed)

    assert outcome.completed == len(outcome.latencies) == 50


async def test_closed_loop_counts_answers() -> None:
    """A closed loop keeps all slots busy, and waits for the last answers."""
    failed = failure()
    outcome = await closed([SlotThatAnswers(failed)] * 4, 0.01, failed)

    assert outcome.completed >= 4
    assert outcome.seconds >= 0.01
    assert outcome.latencies == []


async def test_failures_end_a_load() -> None:
    """A wrong answer ends both loops with its error."""
    failed = failure()
    with pytest.raises(RefusedError):
        await closed([SlotThatAnswers(failed, successes=3)], 10.0, failed)
    failed = failure()
    with pytest.raises(RefusedError):
        await opened([SlotThatAnswers(failed, successes=3)], [0.0] * 10, failed)
