"""When a stream sends what is ready: at once, or at load a moment later together with what comes until then.

Each message on a stream of gRPC wakes several threads on both sides, which costs as much as ten calls in it.
"""

from __future__ import annotations

import asyncio
import math

# How long a message waits for more to send.
GATHER_SECONDS = 0.001
# At low load a message does not wait: when the last one had fewer items, or when more time than this for each of its
# items has passed since then.
ITEMS_MIN = 8
ITEM_SECONDS_MAX = 0.001


class Pacing:
    """Wakes the one writer of a stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._is_gathering = False
        self._gathers_until = -math.inf

    async def wait(self) -> None:
        """Wait for `wake`, because nothing is ready."""
        self._waiter = self._loop.create_future()
        await self._waiter

    async def gather(self) -> None:
        """At load wait a moment for more than what is ready, or for `wake_at_once`."""
        if self._loop.time() >= self._gathers_until:
            return
        self._is_gathering = True
        timer = self._loop.call_later(GATHER_SECONDS, self.wake_at_once)
        try:
            await self.wait()
        finally:
            self._is_gathering = False
            timer.cancel()

    def wake(self) -> None:
        """Let the writer send, unless more is to gather."""
        if not self._is_gathering:
            self.wake_at_once()

    def wake_at_once(self) -> None:
        """Let the writer send."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def sent(self, items: int) -> None:
        """Note that a message of so many items is sent."""
        self._gathers_until = self._loop.time() + items * ITEM_SECONDS_MAX if items >= ITEMS_MIN else -math.inf
