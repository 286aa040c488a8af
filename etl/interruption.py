"""The failpoints inside an insert, put into clickhouse-driver's connection; only fault tests have them.

The driver sends an insert as one call. Between its steps, and half way through a block, a process can die all the
same; this is how a test makes it die there.
"""

from __future__ import annotations

import socket
from typing import Any

from clickhouse_driver import Client
from clickhouse_driver.block import BaseBlock, ColumnOrientedBlock

from services.runtime.failpoints import reach


def interrupt(client: Client) -> None:
    """Have a client's inserts of columns reach `before-data`, `mid-block` and `after-data`."""
    connection = client.connection
    make_socket, send_data = connection._create_socket, connection.send_data  # noqa: SLF001 -- there is no other way in
    sockets: list[HalvingSocket] = []

    def make_halving_socket(host: str, port: int) -> HalvingSocket:
        sockets[:] = [HalvingSocket(make_socket(host, port))]
        return sockets[0]

    def send(block: BaseBlock, table_name: str = "") -> None:
        # Blocks of rows are external tables, of which there are none, and their end.
        if not isinstance(block, ColumnOrientedBlock):
            send_data(block, table_name)
        elif block.num_columns:
            reach("before-data")
            sockets[0].halving = True
            send_data(block, table_name)
            sockets[0].halving = False
        else:
            send_data(block, table_name)
            reach("after-data")

    connection._create_socket = make_halving_socket  # noqa: SLF001 -- as above
    connection.send_data = send


class HalvingSocket:
    """A socket in the place of a real one: while `halving`, each send passes `mid-block` half way."""

    def __init__(self, real: socket.socket) -> None:
        self._socket = real
        self.halving = False

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        if not self.halving:
            self._socket.sendall(data)
            return
        half = len(data) // 2
        self._socket.sendall(data[:half])
        reach("mid-block")
        self._socket.sendall(data[half:])

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the socket has
        return getattr(self._socket, name)
