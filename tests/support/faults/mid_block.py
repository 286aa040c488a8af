"""The failpoint in the middle of a block, put into the connection of an insert; only fault tests have it."""

from __future__ import annotations

import socket
from typing import Any

from common.failpoints import failpoint
from etl.clickhouse.client import InsertClient

# A block is larger than this, what else is sent is smaller.
HALVED_BYTES_MIN = 8_192


def interrupt(client: InsertClient) -> None:
    """Have a client's inserts reach `mid-block` with half of a block sent."""
    connection = client.connection
    make_socket = connection._create_socket  # noqa: SLF001 -- there is no other way in

    def make_halving_socket(host: str, port: int) -> HalvingSocket:
        return HalvingSocket(make_socket(host, port))

    connection._create_socket = make_halving_socket  # noqa: SLF001 -- as above


class HalvingSocket:
    """A socket in the place of a real one: each send that is as large as a block passes `mid-block` half way."""

    def __init__(self, real: socket.socket) -> None:
        self._socket = real

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        if len(data) < HALVED_BYTES_MIN:
            self._socket.sendall(data)
            return
        half = len(data) // 2
        self._socket.sendall(data[:half])
        failpoint("mid-block")
        self._socket.sendall(data[half:])

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the socket has
        return getattr(self._socket, name)
