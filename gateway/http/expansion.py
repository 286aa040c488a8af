"""Gzip bodies, decompressed piece by piece within limits of size, ratio and JSON values.

A kilobyte of gzip can expand to a megabyte. Each client therefore has a leaky bucket, which its refused bodies fill by
the bytes they expanded to. While it overflows, the client's bodies may only expand by a ratio that real events stay
below, so that what a refusal costs is in proportion to what the client sent.
"""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.rpc import code_pb2

from gateway.errors import BodyTooLargeError, GatewayError, RequestError

GZIP_MAGIC = b"\x1f\x8b"
# One member is usual.
GZIP_MEMBERS_MAX = 64
GZIP_WINDOW = 16 + zlib.MAX_WBITS
PIECE_BYTES = 65_536
# The ratio applies above this size: 10,000 identical events have 3.3 MB, and a ratio of 226.
FREE_BYTES = 4_194_304
# Limits for a client whose bucket overflows; events of viewers with different ids have a ratio of about 5.
OVERFLOW_RATIO_MAX = 10
OVERFLOW_FREE_BYTES = 1_024
# A bucket overflows above this level, and leaks so much each second.
BUCKET_BYTES = 1_048_576
LEAK_BYTES_PER_SECOND = 65_536
# The highest level of a bucket, from which it is empty again after a minute.
LEVEL_BYTES_MAX = 4_194_304
# A body that the service refused has also cost the service, for each of many small items: a byte counts this often.
SERVICE_FACTOR = 32
CLIENTS_MAX = 10_000

Watch = Callable[[Sequence[bytes]], None]
Note = Callable[[int], None]


class ExpandsTooMuchError(BodyTooLargeError):
    """The body expands to too many times the bytes that were sent."""

    def __init__(self, ratio_max: int) -> None:
        GatewayError.__init__(self, f"the body expands to more than {ratio_max} times the bytes that were sent")


class BucketOverflowError(GatewayError):
    """The body expands too much while the client's bucket overflows; it can be sent again later."""

    code = code_pb2.RESOURCE_EXHAUSTED

    def __init__(self, seconds: int) -> None:
        text = "too many compressed bodies of this client were refused: wait, or send them uncompressed"
        super().__init__(text, {"Retry-After": str(seconds)})


@dataclass(frozen=True)
class Allowance:
    """How much a body may expand; `wait_seconds` until the client's bucket does not overflow, 0 when it does not."""

    bytes_max: int
    ratio_max: int
    free_bytes: int = FREE_BYTES
    wait_seconds: int = 0

    def bytes_of(self, sent: int) -> int:
        """Return the size to which so many bytes may expand."""
        return min(self.bytes_max, max(self.free_bytes, self.ratio_max * sent))

    def error(self, sent: int) -> GatewayError:
        """Return the error for a body that expands to more."""
        if self.bytes_of(sent) == self.bytes_max:
            return BodyTooLargeError(self.bytes_max)
        return BucketOverflowError(self.wait_seconds) if self.wait_seconds else ExpandsTooMuchError(self.ratio_max)


def gunzip(data: bytes, allowance: Allowance, watch: Watch | None = None, note: Note | None = None) -> bytes:
    """Return the decompressed members of a gzip body; GatewayError when they exceed what is allowed.

    `watch` gets all pieces after each new one and may raise; `note` gets their size.
    """
    bytes_max = allowance.bytes_of(len(data))
    pieces: list[bytes] = []
    size = position = members = 0
    while position < len(data):
        members += 1
        if members > GZIP_MEMBERS_MAX:
            raise RequestError(f"the body has more than {GZIP_MEMBERS_MAX} gzip members")
        member = zlib.decompressobj(GZIP_WINDOW)
        while not member.eof:
            # In pieces, because the library copies what it has not used of its input.
            given = member.unconsumed_tail or data[position : position + PIECE_BYTES]
            position += 0 if member.unconsumed_tail else len(given)
            try:
                piece = member.decompress(given, PIECE_BYTES)
            except zlib.error as error:
                # Without the library's text, which names its internal error numbers.
                raise RequestError("the body is not valid gzip") from error
            if not given and not piece and not member.eof:
                raise RequestError("the body is not valid gzip: it ends early")
            size += len(piece)
            if note is not None:
                note(size)
            if size > bytes_max:
                raise allowance.error(len(data))
            if piece:
                pieces.append(piece)
                if watch is not None:
                    watch(pieces)
        position -= len(member.unused_data)
    return b"".join(pieces)


@dataclass
class ClientBuckets:
    """A leaky bucket for each client, filled by the bytes to which its refused bodies expanded."""

    clock: Callable[[], float] = time.monotonic
    # Level in bytes and its time; the client that was charged last is at the end.
    _by_client: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def charge(self, client: str, sent: int, expanded: int, *, by_service: bool = False) -> None:
        """Fill the bucket of a client by a refused body; `by_service` when the service refused it."""
        excess = expanded - OVERFLOW_RATIO_MAX * sent
        if excess <= 0:
            return
        level = self.level(client) + excess * (SERVICE_FACTOR if by_service else 1)
        self._by_client[client] = (min(level, LEVEL_BYTES_MAX), self.clock())
        self._by_client.move_to_end(client)
        if len(self._by_client) > CLIENTS_MAX:
            self._by_client.popitem(last=False)

    def level(self, client: str) -> float:
        """Return the level of a client's bucket in bytes."""
        level, since = self._by_client.get(client, (0.0, 0.0))
        return max(0.0, level - (self.clock() - since) * LEAK_BYTES_PER_SECOND)

    def allowance(self, client: str, bytes_max: int, ratio_max: int) -> Allowance:
        """Return how much a client's bodies may expand."""
        overflow = self.level(client) - BUCKET_BYTES
        if overflow <= 0:
            return Allowance(bytes_max, ratio_max)
        wait_seconds = 1 + int(overflow / LEAK_BYTES_PER_SECOND)
        return Allowance(bytes_max, min(ratio_max, OVERFLOW_RATIO_MAX), OVERFLOW_FREE_BYTES, wait_seconds)
