"""Memory budget of request processing: how many bytes of requests are processed at once.

Admission counts the bytes of the requests as received. A request that is being processed takes several times that: as
parsed events, as records and in Kafka's queue. So only some of the admitted requests are processed at a time; the
others wait in the order of their arrival, small ones apart from large ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from types import TracebackType

# Requests up to the first size are not limited, as the admitted ones are few enough; those up to the second have a
# budget of their own.
SMALL_BYTES_MAX = 16_384
MEDIUM_BYTES_MAX = 1_048_576
MEDIUM_BUDGET_BYTES = 16_777_216
# Largest requests processed at once: one that Kafka stores, while the next is validated.
LARGE_AT_ONCE = 2


class ByteSemaphore:
    """A limit of bytes in use, with a first-in-first-out queue."""

    def __init__(self, bytes_max: int) -> None:
        self._free = bytes_max
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    def reserve(self, size: int) -> Reservation:
        """Return a context manager that waits until `size` bytes are free, and reserves them until the block ends."""
        return Reservation(self, size)

    async def acquire(self, size: int) -> None:
        """Wait until `size` bytes are free, and take them."""
        if size <= self._free and not self._queue:
            self._free -= size
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            # Return the bytes if they were granted just now; otherwise let the next in the queue pass this waiter.
            self.release(0 if waiter.cancelled() else size)
            raise

    def release(self, size: int) -> None:
        """Return bytes, and let those waiters have them that are next in the queue."""
        self._free += size
        while self._queue:
            wanted, waiter = self._queue[0]
            if waiter.done():
                self._queue.popleft()
            elif wanted <= self._free:
                self._queue.popleft()
                self._free -= wanted
                waiter.set_result(None)
            else:
                return


class Reservation:
    """Bytes that are reserved while a block is open. A generator as context manager would cost three times as much."""

    __slots__ = ("_semaphore", "_size")

    def __init__(self, semaphore: ByteSemaphore, size: int) -> None:
        self._semaphore = semaphore
        self._size = size

    async def __aenter__(self) -> None:
        await self._semaphore.acquire(self._size)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._semaphore.release(self._size)


class MemoryBudget:
    """The budgets of a process, by the size of requests."""

    def __init__(self, request_bytes_max: int) -> None:
        self._medium = ByteSemaphore(MEDIUM_BUDGET_BYTES)
        self._large = ByteSemaphore(LARGE_AT_ONCE * request_bytes_max)

    def reserve(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Return a context manager that reserves the budget of a request of `size` bytes."""
        if size <= SMALL_BYTES_MAX:
            return UNLIMITED
        return (self._medium if size <= MEDIUM_BYTES_MAX else self._large).reserve(size)


UNLIMITED = contextlib.nullcontext()
