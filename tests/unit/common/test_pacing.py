"""Pacing of the messages of a stream: at low load each is sent at once, at load more is awaited for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from common import pacing
from common.pacing import ITEMS_MIN, Pacing

FOREVER = 1_000.0


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let neither the moment nor the load pass during a test."""
    monkeypatch.setattr(pacing, "GATHER_SECONDS", FOREVER)
    monkeypatch.setattr(pacing, "ITEM_SECONDS_MAX", FOREVER)


async def started(waiting: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Return what waits, as a task that has begun."""
    task = asyncio.create_task(waiting)
    await settle()
    return task


async def settle() -> None:
    """Let every task that can go on do so."""
    for _turn in range(5):
        await asyncio.sleep(0)


async def test_at_first() -> None:
    """The first message waits for nothing."""
    assert (await started(Pacing().gather())).done()


@pytest.mark.parametrize(("items", "is_load"), [(ITEMS_MIN - 1, False), (ITEMS_MIN, True)])
async def test_load(items: int, is_load: bool) -> None:
    """A message of several items is load, and one of fewer is the end of it."""
    paced = Pacing()
    paced.sent(1_000)
    paced.sent(items)
    gathering = await started(paced.gather())
    assert gathering.done() is not is_load
    gathering.cancel()


async def test_load_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long time without a message the next one does not wait."""
    monkeypatch.setattr(pacing, "ITEM_SECONDS_MAX", 0.0)
    paced = Pacing()
    paced.sent(1_000)
    assert (await started(paced.gather())).done()


async def test_what_ends_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """More that is ready does not end it; an urgent reason does, and so does the time."""
    paced = Pacing()
    paced.sent(1_000)
    gathering = await started(paced.gather())
    paced.wake()
    await settle()
    assert not gathering.done()
    paced.wake_at_once()
    await settle()
    assert gathering.done()

    monkeypatch.setattr(pacing, "GATHER_SECONDS", 0.001)
    await asyncio.wait_for(paced.gather(), FOREVER)


async def test_waiting() -> None:
    """A writer that has nothing to send is woken by the first that is ready, also after it has gathered."""
    paced = Pacing()
    paced.sent(1_000)
    gathering = await started(paced.gather())
    gathering.cancel()
    await settle()
    waiting = await started(paced.wait())
    assert not waiting.done()
    paced.wake()
    paced.wake()
    await settle()
    assert waiting.done()
