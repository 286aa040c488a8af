"""Limits of concurrent work: requests in flight and bytes in memory, in total and for each client.

A request is in flight from the moment its body has arrived until its response is ready. A body that is still arriving
reserves only the bytes that have arrived, not its announced length: announcing costs a client nothing. Every request
that these limits refuse can be retried.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import OverloadedError

# A client without a known address, behind a trusted proxy that does not name it: only the total limits apply to it.
NO_CLIENT = ""
REQUESTS, BYTES = "requests in flight", "bytes in flight"
# Why a request was refused, as metrics count it.
REASONS = {REQUESTS: "limit", BYTES: "memory"}
CALLER = "caller"


@dataclass
class Quota:
    """A counter with a limit, and a smaller limit for each client."""

    maximum: int
    client_max: int
    in_use: int = 0
    by_client: dict[str, int] = field(default_factory=dict)

    def take(self, client: str, number: int, what: str) -> None:
        """Add to what is in use; OverloadedError, which names `what`, when that would pass a limit."""
        if self.in_use + number > self.maximum:
            raise OverloadedError(f"too many {what}, retry later", REASONS[what])
        if client != NO_CLIENT and self.by_client.get(client, 0) + number > self.client_max:
            raise OverloadedError(f"too many {what} of one client, retry later", CALLER)
        self.add(client, number)

    def add(self, client: str, number: int) -> None:
        """Add to what is in use, or subtract from it, without a limit."""
        self.in_use += number
        if client == NO_CLIENT:
            return
        used = self.by_client.get(client, 0) + number
        if used:
            self.by_client[client] = used
        else:
            self.by_client.pop(client, None)


class Admission:
    """Admits requests and their bytes as long as the limits allow it."""

    def __init__(self, requests_max: int, bytes_max: int, client_ratio_max: float) -> None:
        """`client_ratio_max` is the part of both limits that one client may use."""
        self.requests = Quota(requests_max, max(1, int(requests_max * client_ratio_max)))
        self.bytes = Quota(bytes_max, max(1, int(bytes_max * client_ratio_max)))

    def admit(self, client: str, number: int) -> None:
        """Count a request as in flight whose bytes have arrived; OverloadedError when there are too many of either."""
        self.bytes.take(client, number, BYTES)
        try:
            self.requests.take(client, 1, REQUESTS)
        except OverloadedError:
            self.bytes.add(client, -number)
            raise

    def release(self, client: str, number: int) -> None:
        """Release a request that was admitted, and its bytes."""
        self.bytes.add(client, -number)
        self.requests.add(client, -1)

    @contextlib.contextmanager
    def in_flight(self, client: str) -> Iterator[None]:
        """Count a request as in flight; OverloadedError when there are too many."""
        self.requests.take(client, 1, REQUESTS)
        try:
            yield
        finally:
            self.requests.add(client, -1)

    @contextlib.contextmanager
    def reserving(self, client: str) -> Iterator[Reservation]:
        """Yield a request's reservation of memory, and release all of it at the end."""
        reservation = Reservation(self.bytes, client)
        try:
            yield reservation
        finally:
            reservation.resize(0)


class Reservation:
    """The bytes of memory that one request has reserved."""

    def __init__(self, quota: Quota, client: str) -> None:
        self._quota = quota
        self._client = client
        self._bytes = 0

    def add(self, number: int) -> None:
        """Reserve more bytes; OverloadedError when there is no room for them."""
        self._quota.take(self._client, number, BYTES)
        self._bytes += number

    def check(self, number: int) -> None:
        """Raise OverloadedError when there would be no room for so many more bytes."""
        self.add(number)
        self.resize(self._bytes - number)

    def resize(self, number: int) -> None:
        """Set the reservation to so many bytes, which are in memory already and therefore never refused."""
        self._quota.add(self._client, number - self._bytes)
        self._bytes = number
