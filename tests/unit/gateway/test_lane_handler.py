"""A connection that gives requests to the fast lane: what arrives before its task waits, and what ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.web import BaseRequest, Response, StreamResponse

from gateway.http.connection import ConnectionLimits
from gateway.http.connections import Connections
from gateway.http.server import HttpServer, LaneHandler

REQUEST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


class FakeTransport(asyncio.Transport):
    """Keeps nothing of what is written."""

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        """Return nothing."""
        return default

    def write(self, _data: Any) -> None:
        """Drop data."""

    def get_write_buffer_size(self) -> int:
        """Return that nothing waits."""
        return 0

    def is_closing(self) -> bool:
        """Whether it closes."""
        return False

    def close(self) -> None:
        """Do nothing."""


class FakeLane:
    """Takes every request at once."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def size(self, _data: bytes) -> int:
        """Gather nothing."""
        return 0

    def begin(self, connection: LaneHandler, data: bytes) -> bool:
        """Take a request, and answer it."""
        self.taken.append(data)
        connection.hold()
        connection.finish(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", is_last=False)
        return True


class Connected:
    """A connection, whose requests go to the lane or to the usual handler."""

    def __init__(self) -> None:
        self.lane = FakeLane()
        self.usual: list[str] = []
        self.refused: list[int] = []
        server = HttpServer(self._handle, Connections(10, 10), ConnectionLimits(75, 30), self.lane, self.refused.append)
        made = server()
        assert isinstance(made, LaneHandler)
        self.connection = made
        made.connection_made(FakeTransport())

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        self.usual.append(request.path)
        return Response()


async def settle() -> None:
    """Let every task that can go on do so."""
    for _turn in range(20):
        await asyncio.sleep(0)


async def test_data_before_the_task_waits() -> None:
    """A request that arrives with the connection is taken by the lane, and so is the next one."""
    made = Connected()
    made.connection.data_received(REQUEST)
    assert made.lane.taken == []
    await settle()
    made.connection.data_received(REQUEST)
    assert (made.lane.taken, made.usual) == ([REQUEST, REQUEST], [])
    made.connection.connection_lost(None)


@pytest.mark.parametrize("end", ["more", "end of file"])
async def test_what_follows_before_the_task_waits(end: str) -> None:
    """With more data, or the end of the data, such a request is handled in the usual way, before what follows."""
    made = Connected()
    made.connection.data_received(REQUEST)
    if end == "more":
        made.connection.data_received(REQUEST.replace(b"/a", b"/b"))
    else:
        assert made.connection.eof_received()
    await settle()
    assert (made.lane.taken, made.usual) == ([], ["/a", "/b"] if end == "more" else ["/a"])
    made.connection.connection_lost(None)


async def test_data_in_pieces_before_the_task_waits() -> None:
    """The pieces of a request are parsed as one."""
    made = Connected()
    for piece in (REQUEST[:10], REQUEST[10:30], REQUEST[30:]):
        made.connection.data_received(piece)
    await settle()
    assert (made.lane.taken, made.usual) == ([], ["/a"])
    made.connection.connection_lost(None)
