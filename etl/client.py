"""The driver's client for inserts, with the places where a fault test can stop it half way."""

from __future__ import annotations

from typing import Any

import clickhouse_driver
from clickhouse_driver.bufferedwriter import BufferedSocketWriter

from services.runtime.failpoints import armed, reach

# Small, so that a block of a test goes out in many pieces.
INTERRUPTIBLE_BUFFER_BYTES = 1_024


class InsertClient(clickhouse_driver.Client):  # type: ignore[misc]  # the library carries no types
    """As the driver's own; see services/runtime/failpoints.py."""

    def send_data(self, sample_block: Any, data: Any, **options: Any) -> Any:  # noqa: ANN401 -- the driver's own signature
        """Send the block and the end of data."""
        reach("before-data")
        if armed():
            self._interrupt()
        sent = super().send_data(sample_block, data, **options)
        reach("after-data")
        return sent

    def _interrupt(self) -> None:
        connection = self.connection
        connection.fout = BufferedSocketWriter(InterruptedSocket(connection.socket), INTERRUPTIBLE_BUFFER_BYTES)
        connection.block_out = connection.get_block_out_stream()


class InterruptedSocket:
    """A socket that reaches the failpoint once the first piece of a block is out."""

    def __init__(self, socket: Any) -> None:  # noqa: ANN401 -- as above
        self._socket = socket
        self._reached = False

    def sendall(self, data: bytes) -> None:
        """Send, and the first time reach."""
        self._socket.sendall(data)
        if not self._reached:
            self._reached = True
            reach("mid-block")


def make_client(url: str, connect_seconds_max: float, answer_seconds_max: float) -> InsertClient:
    """Make a client that is not yet connected; it refuses to be misunderstood: an unknown setting is an error."""
    client: InsertClient = InsertClient.from_url(url)
    client.connection.connect_timeout = connect_seconds_max
    client.connection.send_receive_timeout = answer_seconds_max
    client.connection.settings_is_important = True
    return client
