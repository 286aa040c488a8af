"""Turns at the event loop, for work that would hold it for long: one slice of it at a time, whoever it is for.

Between two rounds of the loop at most one slice is done, so other calls wait for milliseconds, however many large
requests are in work; and these advance in rotation.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from types import TracebackType

# How long the loop may be held at once.
SLICE_SECONDS = 0.003


class Turns:
    """The turns of a process."""

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self._lock = asyncio.Lock()
        self._slice_seconds = slice_seconds

    def turn(self) -> Turn:
        """Return a block of work, which begins when its turn has come."""
        return Turn(self._lock, self._slice_seconds)


class Turn:
    """A block of work that calls `rest` often."""

    def __init__(self, lock: asyncio.Lock, slice_seconds: float) -> None:
        self._lock = lock
        self._slice_seconds = slice_seconds
        self._until = 0.0
        self._held = False

    async def __aenter__(self) -> Turn:
        await self._lock.acquire()
        self._held = True
        self._until = perf_counter() + self._slice_seconds
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._lock.release()

    @property
    def is_over(self) -> bool:
        """Whether the slice is used up, so that `rest` would wait."""
        return perf_counter() >= self._until

    async def rest(self) -> None:
        """Let the others have their turn once the slice is used up."""
        if not self.is_over:
            return
        # A round of the loop before the turn is passed on, not after it: else the next one's slice is in this round.
        await asyncio.sleep(0)
        self._lock.release()
        self._held = False
        await self._lock.acquire()
        self._held = True
        self._until = perf_counter() + self._slice_seconds
