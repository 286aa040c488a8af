"""Gzip bodies, pure: decompressed piece by piece within a size and a ratio, and no further than their JSON may go.

A kilobyte of gzip can be a megabyte. Senders whose refused bodies have expanded by much are held to a ratio that real
events stay below, until their debt is forgotten: what a refusal costs is then in proportion to what they sent.
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
# One is usual.
GZIP_MEMBERS_MAX = 64
GZIP_WINDOW = 16 + zlib.MAX_WBITS
PIECE_BYTES = 65_536
# The ratio begins to count above this: 10,000 events that are all alike have 3.3 MB, and a ratio of 226.
FREE_BYTES = 4_194_304
# Events of viewers with ids of their own have a ratio of about 5.
DEBTOR_RATIO_MAX = 10
DEBTOR_FREE_BYTES = 1_024
# What a sender's refused bodies may expand by, and how much of it is forgotten each second.
DEBT_BYTES_MAX = 1_048_576
FORGOTTEN_BYTES_PER_SECOND = 65_536
# A debt is forgotten after a minute at most.
DEBT_OF_A_CLIENT_BYTES_MAX = 4_194_304
# What the service refused has cost it too, for each of many small items: a byte counts for so many.
SERVICE_FACTOR = 32
DEBTORS_MAX = 10_000

Watch = Callable[[Sequence[bytes]], None]
Note = Callable[[int], None]


class ExpandsTooMuchError(BodyTooLargeError):
    """The body expands to too many times what was sent."""

    def __init__(self, ratio_max: int) -> None:
        GatewayError.__init__(self, f"the body expands to more than {ratio_max} times the bytes that were sent")


class DebtorError(GatewayError):
    """The body expands too much for a sender whose bodies were refused; later it may."""

    code = code_pb2.RESOURCE_EXHAUSTED

    def __init__(self, seconds: int) -> None:
        text = "too many compressed bodies of this client were refused: wait, or send them uncompressed"
        super().__init__(text, {"Retry-After": str(seconds)})


@dataclass(frozen=True)
class Allowance:
    """How much a body may expand; `wait_seconds` is what a debtor has to wait for more, 0 when there is no debt."""

    bytes_max: int
    ratio_max: int
    free_bytes: int = FREE_BYTES
    wait_seconds: int = 0

    def bytes_of(self, sent: int) -> int:
        """Return what so many bytes may expand to."""
        return min(self.bytes_max, max(self.free_bytes, self.ratio_max * sent))

    def error(self, sent: int) -> GatewayError:
        """Return the error for a body that expands to more."""
        if self.bytes_of(sent) == self.bytes_max:
            return BodyTooLargeError(self.bytes_max)
        return DebtorError(self.wait_seconds) if self.wait_seconds else ExpandsTooMuchError(self.ratio_max)


def gunzip(data: bytes, allowance: Allowance, watch: Watch | None = None, note: Note | None = None) -> bytes:
    """Decompress one gzip member after another, never more than is allowed.

    `watch` sees the pieces after each of them and may refuse; `note` takes their size.
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
            # Fed in pieces: what is not used of them is copied.
            given = member.unconsumed_tail or data[position : position + PIECE_BYTES]
            position += 0 if member.unconsumed_tail else len(given)
            try:
                piece = member.decompress(given, PIECE_BYTES)
            except zlib.error as error:
                # Without the library's words, which are about its own numbers.
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
class Debts:
    """How many bytes the refused bodies of each client have expanded by."""

    clock: Callable[[], float] = time.monotonic
    # The bytes, and when they were right; the client that was charged last at the end.
    _by_client: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def charge(self, client: str, sent: int, expanded: int, *, by_service: bool = False) -> None:
        """Note a refused body, which the service may have refused."""
        excess = expanded - DEBTOR_RATIO_MAX * sent
        if excess <= 0:
            return
        debt = self.of(client) + excess * (SERVICE_FACTOR if by_service else 1)
        self._by_client[client] = (min(debt, DEBT_OF_A_CLIENT_BYTES_MAX), self.clock())
        self._by_client.move_to_end(client)
        if len(self._by_client) > DEBTORS_MAX:
            self._by_client.popitem(last=False)

    def of(self, client: str) -> float:
        """Return a client's debt in bytes."""
        debt, since = self._by_client.get(client, (0.0, 0.0))
        return max(0.0, debt - (self.clock() - since) * FORGOTTEN_BYTES_PER_SECOND)

    def allowance(self, client: str, bytes_max: int, ratio_max: int) -> Allowance:
        """Return how much a client's bodies may expand."""
        over = self.of(client) - DEBT_BYTES_MAX
        if over <= 0:
            return Allowance(bytes_max, ratio_max)
        wait_seconds = 1 + int(over / FORGOTTEN_BYTES_PER_SECOND)
        return Allowance(bytes_max, min(ratio_max, DEBTOR_RATIO_MAX), DEBTOR_FREE_BYTES, wait_seconds)
