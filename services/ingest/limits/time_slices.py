"""Cooperative scheduling of long computations on the event loop: one time slice per iteration of the loop.

Work on a large request is cut into slices of milliseconds. At most one slice runs between two iterations of the loop,
so other calls wait for milliseconds however many large requests are in flight, and these advance in rotation.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from types import TracebackType

# How long the loop may be blocked at once.
SLICE_SECONDS = 0.003


class TimeSlices:
    """The scheduler: the time slices of all requests of a process."""

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self._lock = asyncio.Lock()
        self._slice_seconds = slice_seconds

    def acquire(self) -> TimeSlice:
        """Return a context manager whose block begins with its first time slice."""
        return TimeSlice(self._lock, self._slice_seconds)


class TimeSlice:
    """The time slice of a computation, which has to call `renew` often."""

    def __init__(self, lock: asyncio.Lock, slice_seconds: float) -> None:
        self._lock = lock
        self._slice_seconds = slice_seconds
        self._until = 0.0
        self._is_locked = False

    async def __aenter__(self) -> TimeSlice:
        await self._lock.acquire()
        self._is_locked = True
        self._until = perf_counter() + self._slice_seconds
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_locked:
            self._lock.release()

    @property
    def is_expired(self) -> bool:
        """Whether the slice is used up, so that `renew` would wait."""
        return perf_counter() >= self._until

    async def renew(self) -> None:
        """Yield to the other computations if the slice is used up, and return with the next slice."""
        if not self.is_expired:
            return
        # The loop runs once before the lock is released; otherwise the next slice would run in the same iteration.
        await asyncio.sleep(0)
        self._lock.release()
        self._is_locked = False
        await self._lock.acquire()
        self._is_locked = True
        self._until = perf_counter() + self._slice_seconds
