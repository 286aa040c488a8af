"""Replicas of a service whose names, addresses and states a test sets."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from gateway.balancing.replica import Replica
from gateway.balancing.replicas import Replicas
from gateway.balancing.resolving import Endpoint, Resolver, Row
from gateway.settings import GatewaySettings

WAIT_SECONDS_MAX = 60.0
QUICK = GatewaySettings(gateway_resolve_seconds=0.1, gateway_timeout_seconds_max=WAIT_SECONDS_MAX)
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Names:
    """A name server, whose answers a test changes."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = dict(addresses)
        self.asked: Counter[str] = Counter()
        self.held = ""

    async def getaddrinfo(self, host: str, port: int, *, type: int) -> Sequence[Row]:  # noqa: A002 -- of the library
        """Return the addresses of a name, or fail."""
        self.asked[host] += 1
        if host == self.held:
            await asyncio.Event().wait()
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (FAMILIES[6 if ":" in address else 4], type, 6, "", (address, port)) for address in self.addresses[host]
        ]


class FakeChannel:
    """A channel that notes when it is closed."""

    is_closed = False

    async def close(self) -> None:
        """Close it."""
        self.is_closed = True


class FakeReplica:
    """A replica whose state a test sets."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.is_connected = self.is_serving = True
        self.in_flight = 0
        self.channel = FakeChannel()
        self.changed: Callable[[], None] = lambda: None
        self.left = asyncio.Event()
        self.reflection: Any = None

    async def run(self, on_change: Callable[[], None], *_: object) -> None:
        """Run until cancelled."""
        self.changed = on_change
        await asyncio.Event().wait()

    async def leave(self, _seconds_max: float) -> None:
        """Wait until the test lets the last call end."""
        await self.left.wait()

    def calls_in_flight(self) -> int:
        """Return how many calls the replica has."""
        return self.in_flight

    def set(self, *, connected: bool = True, serving: bool = True) -> None:
        """Change the state."""
        self.is_connected, self.is_serving = connected, serving
        self.changed()


class Balanced:
    """Replicas at 10.0.0.1, 10.0.0.2 and so on, of the name `a`."""

    def __init__(self, count: int, turn: int = 0) -> None:
        self.names = Names(a=[f"10.0.0.{number + 1}" for number in range(count)])
        self.opened: list[FakeReplica] = []
        self.replicas = Replicas(Resolver("a:1", self.names), self._open, QUICK, turn)
        self._running = asyncio.create_task(self.replicas.run())

    def _open(self, endpoint: Endpoint) -> Replica:
        self.opened.append(FakeReplica(endpoint))
        return cast("Replica", self.opened[-1])

    async def __aenter__(self) -> Balanced:
        await until(lambda: len(self.replicas) == len(self.names.addresses["a"]))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def calls(self, count: int) -> list[int]:
        """Return how many of so many calls each of the replicas opened gets."""
        got = Counter(id(self.replicas.next()) for _ in range(count))
        return [got[id(each)] for each in self.opened]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not is_so():  # noqa: ASYNC110 -- another task's state, which has no event
            await asyncio.sleep(0.01)
