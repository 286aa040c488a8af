"""Open connections: their number has a limit, and so has the time in which one must send the head of a request.

At the limit a new connection replaces the one that has been silent for longest and has no request in flight, so that
idle connections lock nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from common.logs import log_limited

# File descriptors for everything but clients: the channel, logs, files of the pages, the event loop.
OTHER_DESCRIPTORS = 64
SWEEP_SECONDS = 1.0


class Connection(Protocol):
    """What the limits need of a connection."""

    is_in_flight: bool

    def has_request(self) -> bool:
        """Whether a request's head has arrived and its response has not been sent."""

    def is_waiting(self) -> bool:
        """Whether the connection waits for the next request."""

    def drop(self) -> None:
        """Close it at once."""


class Connections:
    """The open connections of a server, in the order in which they last received data."""

    def __init__(
        self, connections_max: int, head_seconds_max: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Allow a head `head_seconds_max` from its first byte, and the first head from the start of the connection."""
        self._maximum = connections_max
        self._head_seconds_max = head_seconds_max
        self._clock = clock
        self._open: dict[Connection, None] = {}
        # The connections whose head has not arrived, and since when it is awaited.
        self._heads: dict[Connection, float] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Add a connection; at the limit close another one for it."""
        if len(self._open) >= self._maximum:
            self._make_room()
        self._open[connection] = None
        self._heads[connection] = self._clock()

    def touch(self, connection: Connection) -> None:
        """Note that a connection has received data."""
        if connection not in self._open:
            return  # dropped, but not closed yet
        del self._open[connection]
        self._open[connection] = None
        if connection.has_request():
            self._heads.pop(connection, None)
        elif connection.is_waiting():
            self._heads.setdefault(connection, self._clock())

    def note_request(self, connection: Connection) -> None:
        """Note that a connection has received a whole request."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None
            self._heads.pop(connection, None)

    def discard(self, connection: Connection) -> float | None:
        """Forget a connection; return since when its head is awaited, None when it is not."""
        self._open.pop(connection, None)
        return self._heads.pop(connection, None)

    def await_head(self, connection: Connection, since: float | None) -> None:
        """Note that the head of an open connection is awaited since a moment before it was added."""
        if since is not None and connection in self._heads:
            self._heads[connection] = since

    def sweep(self) -> None:
        """Close the connections whose head did not arrive in time."""
        latest = self._clock() - self._head_seconds_max
        late = [connection for connection, since in self._heads.items() if since <= latest]
        for connection in late:
            self._drop(connection)

    @contextlib.asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """Sweep every second, until the end."""
        task = asyncio.create_task(self._sweep_always())
        try:
            yield
        finally:
            task.cancel()

    async def _sweep_always(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()
            warn_of_descriptors()

    def _make_room(self) -> None:
        idle = next((connection for connection in self._open if not connection.is_in_flight), None)
        if idle is not None:
            self._drop(idle)

    def _drop(self, connection: Connection) -> None:
        self.discard(connection)
        connection.drop()


def descriptors_for(connections: int) -> int:
    """Raise this process's limit of file descriptors as far as needed and allowed; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_DESCRIPTORS
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - OTHER_DESCRIPTORS))


def warn_of_descriptors() -> None:
    """Log that no file descriptor is left: the event loop then closes new connections without a log line."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            log_limited(logging.ERROR, "no file descriptor is left: new connections are not served")
