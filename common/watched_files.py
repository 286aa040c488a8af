"""Files that a process reads again when they change; while their content cannot be used, the last good one stays."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from common.outage_log import OutageLog
from common.threads import in_thread

# The pause between two looks at the files.
RELOAD_SECONDS = 1.0
# A file may change twice within one tick of the file system's clock. What was changed so recently is read again.
SETTLE_SECONDS = 2.0
T = TypeVar("T")
# What the system reports of a file; of a symbolic link, that of its target.
Stamp = tuple[int, int, int, int]


class WatchedFiles(Generic[T]):
    """What files contain, as of their last good content; made anew by `refresh`, which any one thread may call."""

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], T],
        outage: OutageLog,
        on_change: Callable[[T], None] = lambda _value: None,
    ) -> None:
        """`read` reads the files, and raises OSError or ValueError when they cannot be used, as this does at first."""
        self._paths = tuple(paths)
        self._read = read
        self._outage = outage
        self._stamps: tuple[Stamp, ...] | None = None
        self.on_change = on_change
        self.value = self._consistent()

    def refresh(self) -> bool:
        """Read the files if they may have changed; return whether the value is another one. The outage is logged."""
        if self._stamps is not None and stamps_or_none(self._paths) == self._stamps:
            return False
        try:
            value = self._consistent()
        except (OSError, ValueError) as error:
            self._stamps = None  # read again the next time: it may become usable without a change, by the clock
            self._outage.failed(error, files=[str(path) for path in self._paths])
            return False
        self._outage.over()
        if value == self.value:
            return False
        self.value = value
        return True

    def _consistent(self) -> T:
        """Read the files; ValueError when they change meanwhile."""
        before, now = stamps(self._paths), time.time_ns()
        value = self._read()
        if stamps(self._paths) != before:
            raise ValueError("the files change while they are read")
        is_settled = all(modified < now - SETTLE_SECONDS * 1e9 for modified, *_ in before)
        self._stamps = before if is_settled else None
        return value


def stamps(paths: Sequence[Path]) -> tuple[Stamp, ...]:
    """Return the stamps of files; OSError when one cannot be found."""
    found = [path.stat() for path in paths]
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino, each.st_dev) for each in found)


def stamps_or_none(paths: Sequence[Path]) -> tuple[Stamp, ...] | None:
    """Return the stamps of files, None when one cannot be found."""
    try:
        return stamps(paths)
    except OSError:
        return None


@contextlib.asynccontextmanager
async def reloading(*watched: WatchedFiles[T] | None) -> AsyncIterator[None]:
    """Refresh files every second until the block ends, in a thread; `on_change` is called by the event loop."""
    tasks = [asyncio.create_task(keep_current(each)) for each in watched if each is not None]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def keep_current(watched: WatchedFiles[T]) -> None:
    """Refresh files every second, until cancelled."""
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        # A file system that does not answer must not block the loop. The context has the keys of log lines.
        refresh = partial(contextvars.copy_context().run, watched.refresh)
        if await asyncio.wrap_future(in_thread(refresh)):
            watched.on_change(watched.value)
