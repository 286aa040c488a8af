"""Ends a process whose event loop stands still, so that whoever supervises it starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncIterator

from pydantic import Field

from common.settings import Settings

# The loop winds the watchdog up so many times within the limit.
TURNS = 6


class WatchdogSettings(Settings):
    """How long a process may stand still."""

    # The event loop has not turned for so long: the process writes where its threads stand to the log and ends with
    # status 1. Generous, because a busy machine is no reason; a process that was frozen for so long ends as well.
    loop_seconds_max: float = Field(default=30.0, ge=1, le=3_600)


@contextlib.asynccontextmanager
async def watched(settings: WatchdogSettings) -> AsyncIterator[None]:
    """Watch over the running event loop until the block is left."""
    watchdog = Watchdog(settings.loop_seconds_max)
    watchdog.wind_up()
    try:
        yield
    finally:
        watchdog.stop()


class Watchdog:
    """Ends the process unless the event loop winds it up in time."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._next: asyncio.TimerHandle | None = None

    def wind_up(self) -> None:
        """Allow the full time from now on, and have the loop do so again before it is over."""
        # A thread of C, which needs no lock of the interpreter: code that stands still may hold that lock.
        faulthandler.dump_traceback_later(self._seconds_max, exit=True)
        self._next = asyncio.get_running_loop().call_later(self._seconds_max / TURNS, self.wind_up)

    def stop(self) -> None:
        """Let the process take any time."""
        if self._next:
            self._next.cancel()
        faulthandler.cancel_dump_traceback_later()
