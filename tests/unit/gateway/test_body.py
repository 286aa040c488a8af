"""The bytes of a body: what becomes of a client that disconnects before they are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.admission import Admission
from gateway.http.body import BodyRate, read

RATE = BodyRate(60, 60, 1)


def connection(transport: object) -> Any:
    """Return a request whose stream raises what aiohttp's raises for a connection that is closed."""

    async def readany() -> bytes:
        raise RuntimeError("Connection closed.")

    return SimpleNamespace(content=SimpleNamespace(readany=readany), transport=transport)


@pytest.mark.parametrize(("transport", "expected"), [(None, ConnectionError), (object(), RuntimeError)])
async def test_disconnected_client(transport: object, expected: type[Exception]) -> None:
    """A disconnected client does not count as a failure of the gateway; the same error on an open connection is one."""
    with Admission(1, 1_000, 1).reserving("client") as memory, pytest.raises(expected):
        await read(connection(transport), 1_000, RATE, memory)
