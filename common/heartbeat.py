"""The heartbeat of an event loop, by which the liveness probe of its process sees that it turns."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

BEAT_SECONDS = 1.0
# A loop that was blocked for longer is not alive. Under full load it turns several times a second.
SILENCE_SECONDS_MAX = 10.0


class Heartbeat:
    """Beats in an event loop; `problem` may be called in any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat until the block ends."""
        beats = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beats.cancel()

    def problem(self) -> str:
        """Return that the loop does not turn; empty when it does."""
        seconds = self._clock() - self._at
        return f"the event loop has not turned for {seconds:.0f} s" if seconds > SILENCE_SECONDS_MAX else ""

    async def _beat(self) -> None:
        while True:
            self._at = self._clock()
            await asyncio.sleep(BEAT_SECONDS)
