"""Which requests are worked on at once: a limit of requests, a limit of their bytes, and a share for each peer.

A request is counted once its message has arrived, so nobody holds a place by opening calls and sending nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple

# A tenth is kept for peers that hold less than one two-hundredth. Of the rest a peer may hold so many times what is
# free, so that it has most of it when it is alone, and several come to hold alike.
KEPT_DIVISOR = 10
SMALL_DIVISOR = 200
SHARE_OF_FREE = 4


class Held(NamedTuple):
    """What a peer holds at present."""

    requests: int = 0
    size: int = 0


NOTHING = Held()


class RefusedError(Exception):
    """There is no room for a request at present; the text says which limit was reached."""


class Admission:
    """The requests in work, of all peers together and of each; a peer is one connection."""

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._requests = 0
        self._bytes = 0
        self._peers: dict[str, Held] = {}

    @property
    def in_work(self) -> Held:
        """How much is in work."""
        return Held(self._requests, self._bytes)

    def admit(self, peer: str, size: int) -> Admitted:
        """Return what holds the place of a request of `size` bytes; RefusedError when there is none for this peer."""
        self.check(peer)
        if self._bytes + size > self._bytes_max:
            raise RefusedError(f"requests of {self._bytes_max} bytes are in work, send it again later")
        self._change(peer, 1, size)
        return Admitted(self, peer, size)

    def check(self, peer: str) -> None:
        """Raise RefusedError when there is no room for a request of this peer, whatever its size."""
        if self._requests >= self._requests_max:
            raise RefusedError(f"{self._requests_max} requests are in work, send it again later")
        held = self._peers.get(peer, NOTHING)
        if has_share(held.requests, self._requests, self._requests_max) or has_share(
            held.size, self._bytes, self._bytes_max
        ):
            raise RefusedError("this connection has its share of the requests in work, send it again later")

    def release(self, peer: str, size: int) -> None:
        """Give the place of a request back."""
        self._change(peer, -1, -size)

    def _change(self, peer: str, requests: int, size: int) -> None:
        self._requests += requests
        self._bytes += size
        held = self._peers.get(peer, NOTHING)
        if held.requests + requests:
            self._peers[peer] = Held(held.requests + requests, held.size + size)
        else:
            del self._peers[peer]


def has_share(held: int, taken: int, limit: int) -> bool:
    """Whether a peer holds so much that it may have no more, of a limit of which so much is taken by all."""
    if held * SMALL_DIVISOR < limit or not held:
        return False
    return held >= SHARE_OF_FREE * (limit - limit // KEPT_DIVISOR - taken)


class Admitted:
    """The place of one request, given back at the end of the block."""

    def __init__(self, admission: Admission, peer: str, size: int) -> None:
        self._admission = admission
        self._peer = peer
        self._size = size

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.release(self._peer, self._size)


class Streams:
    """How many long calls of one kind are open, in all and on each connection."""

    def __init__(self, streams_max: int, connection_streams_max: int) -> None:
        self._streams_max = streams_max
        self._connection_streams_max = connection_streams_max
        self._open: dict[str, int] = {}
        self._total = 0

    def enter(self, peer: str) -> None:
        """Count one more of a peer's; RefusedError when it is one too many."""
        count = self._open.get(peer, 0)
        if count >= self._connection_streams_max:
            raise RefusedError(f"a connection may have {self._connection_streams_max} of these streams")
        if self._total >= self._streams_max:
            raise RefusedError(f"{self._streams_max} of these streams are open, try again later")
        self._open[peer] = count + 1
        self._total += 1

    def leave(self, peer: str) -> None:
        """Count one less."""
        self._total -= 1
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]
