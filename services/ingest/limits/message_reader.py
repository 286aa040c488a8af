"""Reads the messages of calls: few at once, each within a time, and with a limit of those that take long.

gRPC keeps the received part of a message in memory without reporting it, and lets a client send more than the first
64 KB once the message is being read. So a message is read only with a permit. A message that has arrived, or is small,
is read within moments; a read that takes longer is of a large message, or of a client that is slow or sends nothing. It
counts as slow and returns its permit, so that silent clients do not block others. Many reads may be slow while the
process has memory for them, which clients with slow networks need, and few otherwise. Together this bounds the memory
of messages that are arriving.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Protocol, TypeAlias

from services.ingest.limits.read_permits import ReadPermits, TooManyReadsError

TICK_SECONDS = 0.1
# One tick for the message to arrive, one for the event loop to process it.
TICKS_SLOW = 2
# Slow reads even with headroom in memory: each tick iterates over all of them.
SLOW_WITH_HEADROOM_MAX = 1_000
# While calls wait for a permit, a read is slow after two fast ticks if a read that began later has finished.
FAST_TICK_SECONDS = 0.01
FAST_TICKS_SLOW = 2
# Calls that wait for a permit. Each may have sent 64 KB.
WAITING_MAX = 4_096


class Readable(Protocol):
    """The part of grpc.aio's context that is used here."""

    async def read(self) -> object:
        """Return the next message as bytes, or grpc.aio.EOF."""

    def peer(self) -> str:
        """Return the name of the connection."""


class MissingMessageError(Exception):
    """The client has closed its side of the call without sending a message."""


class MessageTimeoutError(Exception):
    """The message did not arrive within the time limit."""


@dataclass(slots=True, eq=False)
class PendingRead:
    """A call whose message has not arrived."""

    context: Readable
    since_tick: int
    since_fast_tick: int
    number: int
    is_slow: bool = False
    ended_by: type[MessageTimeoutError | TooManyReadsError] | None = None


Task: TypeAlias = asyncio.Task[object]


class MessageReader:
    """Reads messages within its limits, while a block of `enforcing` is open."""

    def __init__(
        self, seconds_max: float, slow_max: int, permits_max: int, has_headroom: Callable[[], bool] = lambda: False
    ) -> None:
        """Allow `permits_max` reads, and beside them `slow_max` slow ones.

        While `has_headroom` returns true, the process has memory for SLOW_WITH_HEADROOM_MAX slow reads.
        """
        self._ticks_max = max(1, round(seconds_max / TICK_SECONDS))
        self._slow_max = slow_max
        self._permits = ReadPermits(permits_max)
        self._has_headroom = has_headroom
        self._tick = 0
        self._fast_tick = 0
        self._number = 0
        # The number of the latest read that finished before it was slow.
        self._finished_fast = 0
        self._next_fast_tick: asyncio.TimerHandle | None = None
        # Both in the order in which they began.
        self._queued: dict[Task, PendingRead] = {}
        self._reading: dict[Task, PendingRead] = {}

    async def read(
        self, context: Readable, peer: str | None = None, check: Callable[[str], None] | None = None
    ) -> bytes:
        """Return the next message of a call; raise MissingMessageError, MessageTimeoutError or TooManyReadsError.

        `check` is called with the name of the connection after a wait for a permit, and raises if the message need not
        be read any more.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs each call in a task
        self._number += 1
        pending = PendingRead(context, self._tick, self._fast_tick, self._number)
        try:
            if not self._permits.try_acquire():
                await self._acquire_permit(task, pending, peer or context.peer())
                if check is not None:
                    self._check(check, peer or context.peer())
            message = await self._read(task, pending)
        except asyncio.CancelledError:
            if pending.ended_by is None:
                raise
            task.uncancel()
            raise pending.ended_by from None
        if not isinstance(message, bytes):
            raise MissingMessageError
        return message

    async def _acquire_permit(self, task: Task, pending: PendingRead, peer: str) -> None:
        if self._permits.waiting >= WAITING_MAX and not self._permits.evict_for(peer):
            raise TooManyReadsError
        if self._next_fast_tick is None:
            self._next_fast_tick = asyncio.get_running_loop().call_later(FAST_TICK_SECONDS, self.fast_tick)
        self._queued[task] = pending
        try:
            await self._permits.acquire(peer)
        finally:
            del self._queued[task]
        self._number += 1
        pending.since_tick, pending.since_fast_tick, pending.number = self._tick, self._fast_tick, self._number

    def _check(self, check: Callable[[str], None], peer: str) -> None:
        try:
            check(peer)
        except BaseException:
            self._permits.release()
            raise

    async def _read(self, task: Task, pending: PendingRead) -> object:
        self._reading[task] = pending
        try:
            message = await pending.context.read()
            is_fast = self._fast_tick - pending.since_fast_tick < FAST_TICKS_SLOW
            if is_fast and pending.number > self._finished_fast:
                self._finished_fast = pending.number
            return message
        finally:
            del self._reading[task]
            if not pending.is_slow:
                self._permits.release()

    @contextlib.asynccontextmanager
    async def enforcing(self) -> AsyncIterator[None]:
        """Enforce the limits until the block ends."""

        async def run() -> None:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                self.tick()

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            if self._next_fast_tick is not None:
                self._next_fast_tick.cancel()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def tick(self) -> None:
        """End the calls that wait for too long, and the slow reads that are too many."""
        self._tick += 1
        for task, pending in self._queued.items():
            if self._tick - pending.since_tick <= self._ticks_max:
                break
            if pending.ended_by is None:
                end(task, pending, TooManyReadsError)
        for task, pending in self._reading.items():
            age = self._tick - pending.since_tick
            if age > self._ticks_max and pending.ended_by is None:
                end(task, pending, MessageTimeoutError)
            if age > TICKS_SLOW:
                self._mark_slow(pending)
        self._end_excess()

    def fast_tick(self) -> None:
        """Take the permits of reads that later ones have overtaken; repeats while calls wait for a permit."""
        self._fast_tick += 1
        for pending in self._reading.values():
            if pending.number < self._finished_fast and self._fast_tick - pending.since_fast_tick >= FAST_TICKS_SLOW:
                self._mark_slow(pending)
        self._end_excess()
        self._next_fast_tick = (
            asyncio.get_running_loop().call_later(FAST_TICK_SECONDS, self.fast_tick) if self._permits.waiting else None
        )

    def _mark_slow(self, pending: PendingRead) -> None:
        if not pending.is_slow:
            pending.is_slow = True
            self._permits.release()

    def _end_excess(self) -> None:
        """End the slow reads that are too many."""
        calls = [each for each in self._reading.items() if each[1].is_slow and each[1].ended_by is None]
        if len(calls) <= self._slow_max:
            return
        slow_max = max(self._slow_max, SLOW_WITH_HEADROOM_MAX) if self._has_headroom() else self._slow_max
        if len(calls) > slow_max:
            slow: dict[str, list[tuple[Task, PendingRead]]] = defaultdict(list)
            for task, pending in calls:
                slow[pending.context.peer()].append((task, pending))
            end_excess(list(slow.values()), len(calls) - slow_max)


def end_excess(peers: list[list[tuple[Task, PendingRead]]], excess: int) -> None:
    """End `excess` reads, each the latest of the peer with the most reads; among equals, of the one waiting longest."""
    heap = [(-len(calls), calls[0][1].since_tick, number) for number, calls in enumerate(peers)]
    heapify(heap)
    for _ in range(excess):
        count, since, number = heap[0]
        end(*peers[number].pop(), TooManyReadsError)
        heapreplace(heap, (count + 1, since, number))


def end(task: Task, pending: PendingRead, reason: type[MessageTimeoutError | TooManyReadsError]) -> None:
    """Make `read` raise `reason` in the task of a call."""
    pending.ended_by = reason
    task.cancel()
