"""How long a call may wait for its client's message, and how many calls may do so for long.

gRPC holds what has come of a message in memory, and does not show it. A message that is there, or small, is read
within moments, so what is still being read after two ticks is large, slow or not being sent at all. Of these there may
be many while the process has memory for them, which an honest client on a long way needs, and few once it has not.
That bounds the memory of messages which are on their way, and clients that send nothing keep nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Any, Protocol

TICK_SECONDS = 0.1
# One tick for the message to arrive, one for the event loop to take note of it.
TICKS_SLOW = 2
# However much memory there is: each tick looks at all of them.
SLOW_WITH_ROOM_MAX = 1_000


class Readable(Protocol):
    """What is used of grpc.aio's context."""

    async def read(self) -> Any:  # noqa: ANN401 -- bytes, or grpc.aio.EOF
        """Return the next message."""

    def peer(self) -> str:
        """Return the connection."""


class NoMessageError(Exception):
    """The client has ended its side of the call without a message."""


class LateError(Exception):
    """The message did not arrive within the time for it."""


class CrowdedError(Exception):
    """The message was still on its way while too many others were."""


@dataclass(slots=True)
class Waiting:
    """A call whose message is awaited."""

    context: Readable
    since_tick: int
    ended_by: type[LateError | CrowdedError] | None = None


class Arrivals:
    """Reads the messages of calls, within a block of `watched`."""

    def __init__(self, seconds_max: float, slow_max: int, has_room: Callable[[], bool] = lambda: False) -> None:
        """`slow_max` may be slow whatever they hold, SLOW_WITH_ROOM_MAX while `has_room` is true of the memory."""
        self._ticks_max = max(1, round(seconds_max / TICK_SECONDS))
        self._slow_max = slow_max
        self._has_room = has_room
        self._tick = 0
        # In the order of their beginning.
        self._waiting: dict[asyncio.Task[Any], Waiting] = {}

    async def receive(self, context: Readable) -> bytes:
        """Return the next message of a call; NoMessageError, LateError or CrowdedError when there is none."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs a call in a task of its own
        waiting = self._waiting[task] = Waiting(context, self._tick)
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if waiting.ended_by is None:
                raise
            task.uncancel()
            raise waiting.ended_by from None
        finally:
            del self._waiting[task]
        if not isinstance(message, bytes):
            raise NoMessageError
        return message

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """End the calls that wait for too long or are too many, for the time of the block."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                self.tick()

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def tick(self) -> None:
        """End the calls that wait for too long, and the slow ones that are too many."""
        self._tick += 1
        slow: dict[str, list[tuple[asyncio.Task[Any], Waiting]]] = defaultdict(list)
        for task, waiting in self._waiting.items():
            age = self._tick - waiting.since_tick
            if age <= TICKS_SLOW:
                break
            if waiting.ended_by is not None:
                continue
            if age > self._ticks_max:
                end(task, waiting, LateError)
            else:
                slow[waiting.context.peer()].append((task, waiting))
        total = sum(map(len, slow.values()))
        if total <= self._slow_max:
            return
        excess = total - (max(self._slow_max, SLOW_WITH_ROOM_MAX) if self._has_room() else self._slow_max)
        if excess > 0:
            shrink(list(slow.values()), excess)


def shrink(peers: list[list[tuple[asyncio.Task[Any], Waiting]]], excess: int) -> None:
    """End so many calls of those peers that have the most: their latest, and of equals those of the longest wait."""
    heap = [(-len(calls), calls[0][1].since_tick, number) for number, calls in enumerate(peers)]
    heapify(heap)
    for _ in range(excess):
        count, since, number = heap[0]
        end(*peers[number].pop(), CrowdedError)
        heapreplace(heap, (count + 1, since, number))


def end(task: asyncio.Task[Any], waiting: Waiting, reason: type[LateError | CrowdedError]) -> None:
    """Wake a call with the reason why it ends."""
    waiting.ended_by = reason
    task.cancel()
