"""The etl with the failpoint `mid-block`, which is reached when half of a block was sent.

`python -m tests.support.faults.mid_block` is `python -m etl` with another connection to ClickHouse.
"""

from __future__ import annotations

import socket
from typing import Any

from clickhouse_driver.connection import Connection

from common.failpoints import failpoint
from etl import process
from etl.clickhouse.client import InsertClient

# A block is larger than this; everything else that is sent is smaller.
HALVED_BYTES_MIN = 8_192


class HalvingSocket:
    """A socket that sends a block in two halves, and reaches `mid-block` between them."""

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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class HalvingClient(InsertClient):
    """A client whose connections use a HalvingSocket."""

    def get_connection(self) -> Connection:
        """Return the next connection."""
        connection = super().get_connection()
        create_socket = connection._create_socket

        def create_halving_socket(host: str, port: int) -> HalvingSocket:
            return HalvingSocket(create_socket(host, port))

        # The driver has no public hook for its socket.
        connection._create_socket = create_halving_socket
        return connection


if __name__ == "__main__":
    process.main(HalvingClient)
