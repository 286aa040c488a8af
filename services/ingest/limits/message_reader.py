"""How many calls' messages are read at once, how long each may take, and how many may take long.

gRPC holds what has come of a message in memory, and does not show it; it lets a client send more than the first 64 KB
once the message is being read. So few are read at once, the others wait for a lease. A message that is there, or small,
is read within moments; what takes long is large, slow or not being sent at all, and is counted as slow. Of these there
may be many while the process has memory for them, which an honest client on a long way needs, and few once it has not.
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

from services.ingest.limits.leases import CrowdedError, Leases

TICK_SECONDS = 0.1
# One tick for the message to arrive, one for the event loop to take note of it.
TICKS_SLOW = 2
# However much memory there is: each tick looks at all of them.
SLOW_WITH_ROOM_MAX = 1_000
# While calls wait for a lease, a read is slow as soon as it is two rounds old and one that began later was quicker.
ROUND_SECONDS = 0.01
ROUNDS_SLOW = 2
# Calls that wait for a lease. Each may have sent 64 KB.
WAITING_MAX = 4_096


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


@dataclass(slots=True, eq=False)
class Waiting:
    """A call whose message is awaited."""

    context: Readable
    since_tick: int
    since_round: int
    number: int
    is_slow: bool = False
    ended_by: type[LateError | CrowdedError] | None = None


class Arrivals:
    """Reads the messages of calls, within a block of `watched`."""

    def __init__(
        self, seconds_max: float, slow_max: int, reads_max: int, has_room: Callable[[], bool] = lambda: False
    ) -> None:
        """`slow_max` may be slow whatever they hold, SLOW_WITH_ROOM_MAX while `has_room` is true of the memory.

        `reads_max` may be read beside the slow ones.
        """
        self._ticks_max = max(1, round(seconds_max / TICK_SECONDS))
        self._slow_max = slow_max
        self._leases = Leases(reads_max)
        self._has_room = has_room
        self._tick = 0
        self._round = 0
        self._number = 0
        # The number of the last read that was quick.
        self._quick = 0
        self._rounds: asyncio.TimerHandle | None = None
        # Each in the order of their beginning.
        self._queued: dict[asyncio.Task[Any], Waiting] = {}
        self._reading: dict[asyncio.Task[Any], Waiting] = {}

    async def receive(self, context: Readable, check: Callable[[], None] = lambda: None) -> bytes:
        """Return the next message of a call; NoMessageError, LateError or CrowdedError when there is none.

        `check` raises, after a time of waiting, when the message is not to be read any more.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs a call in a task of its own
        self._number += 1
        waiting = Waiting(context, self._tick, self._round, self._number)
        try:
            if not self._leases.take():
                await self._lease(task, waiting)
            message = await self._read(task, waiting, check)
        except asyncio.CancelledError:
            if waiting.ended_by is None:
                raise
            task.uncancel()
            raise waiting.ended_by from None
        if not isinstance(message, bytes):
            raise NoMessageError
        return message

    async def _lease(self, task: asyncio.Task[Any], waiting: Waiting) -> None:
        """Wait until the message may be read."""
        peer = waiting.context.peer()
        if self._leases.waiting >= WAITING_MAX and not self._leases.make_room(peer):
            raise CrowdedError
        if self._rounds is None:
            self._rounds = asyncio.get_running_loop().call_later(ROUND_SECONDS, self.round)
        self._queued[task] = waiting
        try:
            await self._leases.wait(peer)
        finally:
            del self._queued[task]
        self._number += 1
        waiting.since_tick, waiting.since_round, waiting.number = self._tick, self._round, self._number

    async def _read(self, task: asyncio.Task[Any], waiting: Waiting, check: Callable[[], None]) -> Any:  # noqa: ANN401 -- any type of request
        self._reading[task] = waiting
        try:
            check()
            message = await waiting.context.read()
            if self._round - waiting.since_round < ROUNDS_SLOW and waiting.number > self._quick:
                self._quick = waiting.number
            return message
        finally:
            del self._reading[task]
            if not waiting.is_slow:
                self._leases.give_back()

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
            if self._rounds is not None:
                self._rounds.cancel()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def tick(self) -> None:
        """End the calls that wait for too long, and the slow ones that are too many."""
        self._tick += 1
        for task, waiting in self._queued.items():
            if self._tick - waiting.since_tick <= self._ticks_max:
                break
            if waiting.ended_by is None:
                end(task, waiting, CrowdedError)
        for task, waiting in self._reading.items():
            age = self._tick - waiting.since_tick
            if age > self._ticks_max and waiting.ended_by is None:
                end(task, waiting, LateError)
            if age > TICKS_SLOW:
                self._slow_down(waiting)
        self._shrink()

    def round(self) -> None:
        """Pass on the leases of reads that others have overtaken, for as long as calls wait for one."""
        self._round += 1
        for waiting in self._reading.values():
            if waiting.number < self._quick and self._round - waiting.since_round >= ROUNDS_SLOW:
                self._slow_down(waiting)
        self._shrink()
        self._rounds = (
            asyncio.get_running_loop().call_later(ROUND_SECONDS, self.round) if self._leases.waiting else None
        )

    def _slow_down(self, waiting: Waiting) -> None:
        if not waiting.is_slow:
            waiting.is_slow = True
            self._leases.give_back()

    def _shrink(self) -> None:
        """End the slow reads that are too many."""
        calls = [each for each in self._reading.items() if each[1].is_slow and each[1].ended_by is None]
        if len(calls) <= self._slow_max:
            return
        excess = len(calls) - (max(self._slow_max, SLOW_WITH_ROOM_MAX) if self._has_room() else self._slow_max)
        if excess > 0:
            slow: dict[str, list[tuple[asyncio.Task[Any], Waiting]]] = defaultdict(list)
            for task, waiting in calls:
                slow[waiting.context.peer()].append((task, waiting))
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
