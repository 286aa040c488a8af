"""How many bytes of requests are worked on at once: what a batch becomes on its way to Kafka takes several times more.

Admission counts the bytes that came. A request in work has them again as events, as records and in Kafka's queue, so of
those admitted only some are worked on at a time; the others wait in the order of their coming, the small ones apart
from the large.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

# Requests up to the first size need no room; there are few enough. Up to the second they have a room of their own.
SMALL_BYTES_MAX = 16_384
MEDIUM_BYTES_MAX = 1_048_576
MEDIUM_ROOM_BYTES = 16_777_216
# The largest requests that are worked on at once: one before Kafka, while the next is being checked.
LARGE_AT_ONCE = 2


class Room:
    """A limit of bytes in work, with a queue."""

    def __init__(self, bytes_max: int) -> None:
        self._free = bytes_max
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold so much for the time of the block, which begins when it is free."""
        await self._take(size)
        try:
            yield
        finally:
            self._give(size)

    async def _take(self, size: int) -> None:
        if size <= self._free and not self._queue:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # One that was given its room at this moment gives it back; one that still waits leaves the others a place.
            self._give(0 if turn.cancelled() else size)
            raise

    def _give(self, size: int) -> None:
        self._free += size
        while self._queue:
            wanted, turn = self._queue[0]
            if turn.done():
                self._queue.popleft()
            elif wanted <= self._free:
                self._queue.popleft()
                self._free -= wanted
                turn.set_result(None)
            else:
                return


class Workspace:
    """The rooms of a process, by the size of requests."""

    def __init__(self, request_bytes_max: int) -> None:
        self._medium = Room(MEDIUM_ROOM_BYTES)
        self._large = Room(LARGE_AT_ONCE * request_bytes_max)

    def hold(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Hold what a request of that size needs, for the time of the block."""
        if size <= SMALL_BYTES_MAX:
            return NOTHING
        return (self._medium if size <= MEDIUM_BYTES_MAX else self._large).hold(size)


NOTHING = contextlib.nullcontext()
