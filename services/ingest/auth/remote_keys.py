"""The issuer's keys by URL: fetched again from time to time, and when a token names a key that is not among them.

A failed fetch keeps the keys. However many tokens name unknown keys, there is a pause between two fetches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from common.logs import log_limited
from common.outage_log import OutageLog
from services.ingest.auth.keys import KeySet

# Names of unknown keys that are remembered until the next fetch; one beyond is looked up all the same.
NAMES_MAX = 100


class RemoteKeys:
    """Keeps keys current while `run` runs; `replace` gets each set that was fetched."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[KeySet]],
        replace: Callable[[KeySet], None],
        seconds: float,
        seconds_min: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch every `seconds`, after a failure and for an unknown key sooner, but not within `seconds_min`.

        `fetch` raises OSError or ValueError when there are no keys.
        """
        self._fetch = fetch
        self._replace = replace
        self._seconds = seconds
        self._seconds_min = seconds_min
        self._clock = clock
        self._outage = OutageLog("fetching the keys of tokens")
        self._attempted = -seconds_min
        self._is_failing = False
        self._asked = asyncio.Event()
        # Names of keys that the next fetch is to find, and those that the last one has not found.
        self._wanted: set[str] = set()
        self._absent: set[str] = set()
        # Set when keys have been fetched.
        self.fetched = asyncio.Event()

    def look_up(self, name: str) -> bool:
        """Return whether a key that is not among the keys may be found by the next fetch, which this asks for."""
        if name in self._absent and self._clock() < self._attempted + self._seconds_min:
            return False
        if len(self._wanted) < NAMES_MAX:
            self._wanted.add(name)
        self._asked.set()
        return True

    async def run(self) -> None:
        """Fetch the keys again and again, until cancelled."""
        while True:
            await self._refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_min if self._is_failing else self._seconds):
                    await self._asked.wait()
            await asyncio.sleep(max(0.0, self._attempted + self._seconds_min - self._clock()))

    async def _refresh(self) -> None:
        """Fetch the keys once; a failure is logged as a part of an outage."""
        self._attempted = self._clock()
        self._asked.clear()
        wanted = frozenset(self._wanted)
        try:
            keys = await self._fetch()
        except (OSError, ValueError) as error:
            self._is_failing = True
            self._outage.failed(error)
            return
        except Exception:  # noqa: BLE001 -- the last resort: the keys stay, and are fetched the next time
            self._is_failing = True
            log_limited(logging.ERROR, "fetching the keys of tokens failed unexpectedly", exc_info=True)
            return
        self._is_failing = False
        self._outage.over()
        self._replace(keys)
        self._wanted -= wanted
        self._absent = {name for name in wanted if not keys.has(name)}
        self.fetched.set()
