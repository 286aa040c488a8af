"""Open connections, pure: how many there may be, how long one may take to send a request's head, and which goes first.

Whoever opens connections and is silent on them locks nobody out: at the limit the one makes room that has been silent
for longest and has no request in work.
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

# Descriptors for everything but clients: the channel, logs, files of the pages, the event loop.
OTHER_DESCRIPTORS = 64
SWEEP_SECONDS = 1.0


class Connection(Protocol):
    """What is asked of a connection."""

    is_in_work: bool

    def has_request(self) -> bool:
        """Whether the head of a request is there and its answer is not."""

    def is_waiting(self) -> bool:
        """Whether the next request is waited for."""

    def drop(self) -> None:
        """Close it at once."""


class Connections:
    """The open connections of a server, the one that was silent for longest first."""

    def __init__(
        self, connections_max: int, head_seconds_max: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Wait for a head `head_seconds_max` from its first byte, for the first one from the opening."""
        self._maximum = connections_max
        self._head_seconds_max = head_seconds_max
        self._clock = clock
        self._open: dict[Connection, None] = {}
        # Those whose head is not there, and since when it is waited for.
        self._heads: dict[Connection, float] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """Take a connection in, at the limit in the place of another."""
        if len(self._open) >= self._maximum:
            self._make_room()
        self._open[connection] = None
        self._heads[connection] = self._clock()

    def heard(self, connection: Connection) -> None:
        """Note that a connection has sent something."""
        if connection not in self._open:
            return  # dropped, but not yet closed
        del self._open[connection]
        self._open[connection] = None
        if connection.has_request():
            self._heads.pop(connection, None)
        elif connection.is_waiting():
            self._heads.setdefault(connection, self._clock())

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)
        self._heads.pop(connection, None)

    def sweep(self) -> None:
        """Close the connections whose head did not come in time."""
        latest = self._clock() - self._head_seconds_max
        late = [connection for connection, since in self._heads.items() if since <= latest]
        for connection in late:
            self._drop(connection)

    @contextlib.asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """Sweep now and then, until the end."""
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
        idle = next((connection for connection in self._open if not connection.is_in_work), None)
        if idle is not None:
            self._drop(idle)

    def _drop(self, connection: Connection) -> None:
        self.closed(connection)
        connection.drop()


def descriptors_for(connections: int) -> int:
    """Raise this process's limit of descriptors as far as needed and allowed; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_DESCRIPTORS
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - OTHER_DESCRIPTORS))


def warn_of_descriptors() -> None:
    """Log that no descriptor is left: the event loop closes new connections then, in silence."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            log_limited(logging.ERROR, "no file descriptor is left: new connections are not served")
