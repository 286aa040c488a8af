"""Watchdog that ends a process whose event loop is blocked, so that its supervisor restarts it."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncIterator

from pydantic import Field

from common.settings import Settings

# Resets of the timer within its limit, so that a loop which is only slow does not end the process.
RESETS = 6


class WatchdogSettings(Settings):
    """Limit for a blocked event loop."""

    loop_seconds_max: float = Field(default=30.0, ge=1, le=3_600)
    """Seconds the event loop may be blocked; then the process logs the stack of each thread and exits with status 1.

    A process that was suspended for as long exits too.
    """


@contextlib.asynccontextmanager
async def watched(settings: WatchdogSettings) -> AsyncIterator[None]:
    """End the process if the running event loop is blocked for too long inside the block."""
    watchdog = Watchdog(settings.loop_seconds_max)
    watchdog.reset()
    try:
        yield
    finally:
        watchdog.stop()


class Watchdog:
    """Timer that ends the process unless the event loop resets it in time."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._next: asyncio.TimerHandle | None = None

    def reset(self) -> None:
        """Restart the timer and schedule the next reset in the event loop."""
        # faulthandler's thread does not need the interpreter lock, which the blocking code may hold.
        faulthandler.dump_traceback_later(self._seconds_max, exit=True)
        self._next = asyncio.get_running_loop().call_later(self._seconds_max / RESETS, self.reset)

    def stop(self) -> None:
        """Disarm the timer."""
        if self._next:
            self._next.cancel()
        faulthandler.cancel_dump_traceback_later()
