"""Offers calls at fixed times however slowly they are answered, and notes how each ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from tests.support.load.http2 import DATA, END_STREAM, HEADERS, RST_STREAM, GrpcConnection

CONNECT_SECONDS_MAX = 10.0
REST_SECONDS_MAX, ACCEPTED = 30.0, 201


@dataclass(slots=True)
class OfferedCall:
    """One call: when it was due, when it ended, and whether its events were accepted."""

    due: float
    ended: float | None = None
    is_accepted: bool = False


class Carrier(Protocol):
    """What carries the calls of a caller."""

    def offer(self, body: int, call: OfferedCall) -> None:
        """Start a call with the body of this number, modulo their count."""

    def close(self) -> None:
        """Give up the calls that have not ended."""


@dataclass
class Offer:
    """The calls that one caller offers: `connections` of it send in turn."""

    per_second: float
    connections: Sequence[Carrier]
    calls: list[OfferedCall] = field(default_factory=list)

    async def send(self, seconds: float) -> None:
        """Send calls for some seconds, each at its time."""
        began, number = time.monotonic(), 0
        while (due := began + number / self.per_second) < began + seconds:
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            call = OfferedCall(due)
            self.calls.append(call)
            self.connections[number % len(self.connections)].offer(number, call)
            number += 1

    def close(self) -> None:
        """Close the connections."""
        for each in self.connections:
            each.close()


class OfferedConnection(GrpcConnection):
    """A connection whose calls may end in any way."""

    def offer(self, body: int, call: OfferedCall) -> None:
        """Start a call with the body of this number, modulo their count."""
        self._offered[self._stream] = call
        self.send(body, lambda: None)

    _offered: dict[int, OfferedCall]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare for calls."""
        self._offered = {}
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 -- as asyncio has it
        """Note that the calls in progress were not accepted."""
        for stream in list(self._offered):
            self._ended(stream, is_accepted=False)

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._answered.add(stream)
        elif kind == HEADERS and flags & END_STREAM:
            self._ended(stream, is_accepted=stream in self._answered)
        elif kind == RST_STREAM:
            self._ended(stream, is_accepted=False)
        else:
            super()._handle(kind, flags, stream, payload)

    def _ended(self, stream: int, *, is_accepted: bool) -> None:
        self._answered.discard(stream)
        self._calls.pop(stream, None)
        call = self._offered.pop(stream, None)
        if call is not None:
            call.ended, call.is_accepted = time.monotonic(), is_accepted


async def offer(
    address: str,
    method: str,
    bodies: Sequence[bytes],
    per_second: float,
    *,
    connections: int,
    metadata: Sequence[tuple[str, str]] = (),
) -> Offer:
    """Open the connections of a caller."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    host, _, port = address.rpartition(":")
    opened = []
    async with asyncio.timeout(CONNECT_SECONDS_MAX):
        for _ in range(connections):
            _transport, connection = await loop.create_connection(
                lambda: OfferedConnection(address, method, bodies, failed, metadata=metadata), host, int(port)
            )
            await connection.ready
            opened.append(connection)
    return Offer(per_second, opened)


class RestCarrier:
    """Posts bodies, each on a connection that is free."""

    def __init__(self, url: str, bodies: Sequence[bytes], headers: Mapping[str, str]) -> None:
        self._url = url
        self._bodies = bodies
        self._session = aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(REST_SECONDS_MAX)
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, body: int, call: OfferedCall) -> None:
        """Start a call with the body of this number, modulo their count."""
        task = asyncio.get_running_loop().create_task(self._post(self._bodies[body % len(self._bodies)], call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, body: bytes, call: OfferedCall) -> None:
        try:
            async with self._session.post(self._url, data=body) as answer:
                await answer.read()
                call.is_accepted = answer.status == ACCEPTED
        except (aiohttp.ClientError, TimeoutError):
            call.is_accepted = False
        call.ended = time.monotonic()

    def close(self) -> None:
        """Give up the calls that have not ended."""
        for task in self._tasks:
            task.cancel()
        self._closing = asyncio.get_running_loop().create_task(self._session.close())
