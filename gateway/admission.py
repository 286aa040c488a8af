"""What the process takes in at once: requests in work and bytes in memory, in all and of one client.

A request is in work when its body is there, and until its answer is. A body that is being read holds what has arrived
of it, not what was announced: announcing costs a client nothing. What is refused here may be sent again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import OverloadedError

# A client that is not known by an address, behind a trusted proxy that does not name it, has no share of its own.
NO_CLIENT = ""


@dataclass
class Counted:
    """A number that has a limit, and smaller limits for each client."""

    maximum: int
    of_client_max: int
    in_use: int = 0
    by_client: dict[str, int] = field(default_factory=dict)

    def take(self, client: str, number: int, what: str) -> None:
        """Add to what is in use, or refuse."""
        if self.in_use + number > self.maximum:
            raise OverloadedError(f"too many {what}, try again")
        if client != NO_CLIENT and self.by_client.get(client, 0) + number > self.of_client_max:
            raise OverloadedError(f"too many {what} of one client, try again")
        self.add(client, number)

    def add(self, client: str, number: int) -> None:
        """Add to what is in use, or take away from it."""
        self.in_use += number
        if client == NO_CLIENT:
            return
        of_client = self.by_client.get(client, 0) + number
        if of_client:
            self.by_client[client] = of_client
        else:
            self.by_client.pop(client, None)


class Admission:
    """Counts what is taken in."""

    def __init__(self, requests_max: int, bytes_max: int, client_ratio_max: float) -> None:
        """`client_ratio_max` is the part of both that one client may have."""
        self.requests = Counted(requests_max, max(1, int(requests_max * client_ratio_max)))
        self.bytes = Counted(bytes_max, max(1, int(bytes_max * client_ratio_max)))

    @contextlib.contextmanager
    def work(self, client: str) -> Iterator[None]:
        """Hold a place among the requests in work."""
        self.requests.take(client, 1, "requests in work")
        try:
            yield
        finally:
            self.requests.add(client, -1)

    @contextlib.contextmanager
    def holding(self, client: str) -> Iterator[Held]:
        """Hold bytes for a request."""
        held = Held(self.bytes, client)
        try:
            yield held
        finally:
            held.replace(0)


class Held:
    """The bytes that one request holds."""

    def __init__(self, counted: Counted, client: str) -> None:
        self._counted = counted
        self._client = client
        self._number = 0

    def add(self, number: int) -> None:
        """Hold more; OverloadedError when there is no room."""
        self._counted.take(self._client, number, "bytes in flight")
        self._number += number

    def check(self, number: int) -> None:
        """Refuse what there would be no room for, before it is sent."""
        self.add(number)
        self.replace(self._number - number)

    def replace(self, number: int) -> None:
        """Hold so many bytes from now on: what is in memory already is never refused."""
        self._counted.add(self._client, number - self._number)
        self._number = number
