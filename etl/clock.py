"""ClickHouse's clock as this process knows it: only deadlines are made with it, no row depends on it."""

from __future__ import annotations

from collections.abc import Callable

MILLISECONDS = 1_000


class ServerClock:
    """Makes deadlines `fence_seconds` ahead. A wrong clock costs retries or waiting, never a row.

    It runs with `monotonic`, so that a step of this machine's clock does not move deadlines.
    """

    def __init__(self, fence_seconds: float, monotonic: Callable[[], float]) -> None:
        self._fence = round(fence_seconds * MILLISECONDS)
        self._monotonic = monotonic
        self._ahead = 0

    def sync(self, server_milliseconds: int) -> None:
        """Take what ClickHouse has just said."""
        self._ahead = server_milliseconds - self._local()

    def deadline(self) -> int:
        """Return until when an insert that is planned now may begin, in milliseconds of ClickHouse's clock."""
        return self._local() + self._ahead + self._fence

    def is_near(self, deadline: int) -> bool:
        """Whether more than half of the time until a deadline has passed."""
        return self.deadline() - deadline > self._fence // 2

    def _local(self) -> int:
        return int(self._monotonic() * MILLISECONDS)
