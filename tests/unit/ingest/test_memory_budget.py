"""The memory budget: how many bytes are processed at once, and which requests wait for others."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from services.ingest.limits.memory_budget import LARGE_AT_ONCE, MEDIUM_BYTES_MAX, SMALL_BYTES_MAX, MemoryBudget

LARGE = 8_000_000


class Work:
    """Requests of a memory budget, and which of them are processed."""

    def __init__(self) -> None:
        self._budget = MemoryBudget(LARGE)
        self.tasks: list[asyncio.Task[None]] = []
        self.working: set[int] = set()

    async def begin(self, *sizes: int) -> None:
        """Begin requests of these sizes."""
        self.tasks += [
            asyncio.create_task(self._process(number, size)) for number, size in enumerate(sizes, len(self.tasks))
        ]
        await self.settle()

    async def end(self, number: int) -> None:
        """End a request that is processed or waits."""
        self.tasks[number].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.tasks[number]
        await self.settle()

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def _process(self, number: int, size: int) -> None:
        async with self._budget.reserve(size):
            self.working.add(number)
            try:
                await asyncio.Event().wait()
            finally:
                self.working.remove(number)


async def test_large() -> None:
    """LARGE_AT_ONCE of the largest requests are processed; when one ends, the next that was not cancelled starts."""
    work = Work()
    await work.begin(*[LARGE] * 5)
    assert work.working == set(range(LARGE_AT_ONCE))
    await work.end(2)
    await work.end(0)
    assert work.working == {1, 3}
    await work.end(1)
    await work.end(3)
    assert work.working == {4}


@pytest.mark.parametrize("size", [1, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1, MEDIUM_BYTES_MAX])
async def test_others_do_not_wait_for_large_ones(size: int) -> None:
    """Smaller requests are processed while the largest ones wait."""
    work = Work()
    await work.begin(*[LARGE] * 5, size)

    assert 5 in work.working


async def test_granted_and_cancelled() -> None:
    """A request that is cancelled at the moment it is granted passes its reservation to the next."""
    work = Work()
    await work.begin(*[LARGE] * 4)
    work.tasks[0].cancel()
    work.tasks[2].cancel()
    await work.settle()

    assert work.working == {1, 3}
