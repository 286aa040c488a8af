"""Permits to read a message: a limited number at once, granted to the waiting connections in turn.

Every second permit goes to the connection that began to wait last, so that an active client does not queue behind all
connections that are silent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeAlias

# Connections that are remembered as the latest to wait; the others get permits in rotation.
NEWCOMERS_MAX = 256
Waiter: TypeAlias = asyncio.Future[None]


class TooManyReadsError(Exception):
    """A call was ended before its message had arrived, because too many messages were arriving or awaited."""


class ReadPermits:
    """A semaphore with one queue for each connection."""

    def __init__(self, permits_max: int) -> None:
        self._free = permits_max
        # The connections in rotation, and the waiters of each in the order of their arrival.
        self._peers: dict[str, dict[Waiter, None]] = {}
        self._newcomers: deque[str] = deque(maxlen=NEWCOMERS_MAX)
        self._newest = False
        self.waiting = 0

    def try_acquire(self) -> bool:
        """Take a permit if one is free and nobody waits; return whether it was taken."""
        if self._free and not self.waiting:
            self._free -= 1
            return True
        return False

    async def acquire(self, peer: str) -> None:
        """Wait for a permit and take it; a cancelled caller has none."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        waiters = self._peers.get(peer)
        if waiters is None:
            waiters = self._peers[peer] = {}
            self._newcomers.append(peer)
        waiters[waiter] = None
        self.waiting += 1
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._remove(peer, waiter)
            elif waiter.exception() is None:
                self.release()
            raise

    def release(self) -> None:
        """Return a permit; the next waiter gets it."""
        self._free += 1
        while self._free and self.waiting:
            peer = self._next_peer()
            waiters = self._peers.pop(peer)
            waiter = next(iter(waiters))
            del waiters[waiter]
            if waiters:
                self._peers[peer] = waiters
            self.waiting -= 1
            # A waiter that was cancelled just now is already removed here, and finds that out when it runs.
            if not waiter.done():
                self._free -= 1
                waiter.set_result(None)

    def evict_for(self, peer: str) -> bool:
        """End the latest waiter of the connection with the most, with TooManyReadsError; False if that is `peer`."""
        largest = max(self._peers, key=lambda name: len(self._peers[name]))
        waiters = self._peers[largest]
        if len(waiters) <= len(self._peers.get(peer, ())) + 1:
            return False
        waiter, _ = waiters.popitem()
        self.waiting -= 1
        if not waiter.done():
            waiter.set_exception(TooManyReadsError)
        return True

    def _next_peer(self) -> str:
        self._newest = not self._newest
        while self._newest and self._newcomers:
            peer = self._newcomers.pop()
            if peer in self._peers:
                return peer
        return next(iter(self._peers))

    def _remove(self, peer: str, waiter: Waiter) -> None:
        waiters = self._peers.get(peer)
        if waiters is None or waiter not in waiters:
            return
        del waiters[waiter]
        self.waiting -= 1
        if not waiters:
            del self._peers[peer]
