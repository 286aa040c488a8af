"""Admission control: limits of the requests in flight and of their bytes, shared fairly between connections.

A request counts from the moment its message has arrived, so a call without a message takes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

# A tenth of each limit is reserved for connections that have less than 1/200 of it. Of the rest a connection may take
# four times what is free: a single one gets 72 % of the limit, and several converge to equal shares.
RESERVED_DIVISOR = 10
SMALL_DIVISOR = 200
SHARE_OF_FREE = 4


class InFlight(NamedTuple):
    """Requests that are being processed, and their size in bytes."""

    requests: int = 0
    size: int = 0


class Used:
    """What a peer uses of the limits; changed in place, because each call changes it twice."""

    __slots__ = ("requests", "size")

    def __init__(self) -> None:
        self.requests = 0
        self.size = 0


NOTHING = Used()


class RejectedError(Exception):
    """A limit leaves no room for the request at present; the text names the limit for the client."""


class Admission:
    """Counts the requests in flight, in total and for each peer; a peer is one connection."""

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self.limits = InFlight(requests_max, bytes_max)
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._requests = 0
        self._bytes = 0
        self._peers: dict[str, Used] = {}

    @property
    def in_flight(self) -> InFlight:
        """The requests in flight of all peers."""
        return InFlight(self._requests, self._bytes)

    def admit(self, peer: str, size: int) -> None:
        """Count a request of `size` bytes until it is released; raise RejectedError without room."""
        self.check(peer)
        if self._bytes + size > self._bytes_max:
            raise RejectedError(f"requests of {self._bytes_max} bytes are in flight, retry later")
        used = self._peers.get(peer)
        if used is None:
            used = self._peers[peer] = Used()
        used.requests += 1
        used.size += size
        self._requests += 1
        self._bytes += size

    def check(self, peer: str) -> None:
        """Raise RejectedError if a request of this peer would be rejected whatever its size."""
        if self._requests >= self._requests_max:
            raise RejectedError(f"{self._requests_max} requests are in flight, retry later")
        used = self._peers.get(peer, NOTHING)
        if has_share(used.requests, self._requests, self._requests_max) or has_share(
            used.size, self._bytes, self._bytes_max
        ):
            raise RejectedError("this connection has its share of the requests in flight, retry later")

    def release(self, peer: str, size: int) -> None:
        """Count a request of `size` bytes as finished."""
        used = self._peers[peer]
        used.requests -= 1
        used.size -= size
        self._requests -= 1
        self._bytes -= size
        if not used.requests:
            del self._peers[peer]


def has_share(used: int, used_by_all: int, limit: int) -> bool:
    """Return whether a peer that uses `used` of a limit may use no more of it."""
    if used * SMALL_DIVISOR < limit or not used:
        return False
    return used >= SHARE_OF_FREE * (limit - limit // RESERVED_DIVISOR - used_by_all)


class StreamLimiter:
    """Limits the open streams of one kind, in total and for each connection."""

    def __init__(self, streams_max: int, connection_streams_max: int) -> None:
        self._streams_max = streams_max
        self._connection_streams_max = connection_streams_max
        self._open: dict[str, int] = {}
        self._total = 0

    def acquire(self, peer: str) -> None:
        """Count a new stream of a peer; raise RejectedError above a limit."""
        count = self._open.get(peer, 0)
        if count >= self._connection_streams_max:
            raise RejectedError(f"a connection may have {self._connection_streams_max} of these streams")
        if self._total >= self._streams_max:
            raise RejectedError(f"{self._streams_max} of these streams are open, retry later")
        self._open[peer] = count + 1
        self._total += 1

    def release(self, peer: str) -> None:
        """Count a stream of a peer as closed."""
        self._total -= 1
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]
