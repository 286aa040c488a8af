"""How the client reads ClickHouse's exceptions."""

from __future__ import annotations

import datetime as dt
import io
import socket
import struct

import pytest
from clickhouse_driver.columns import datecolumn
from clickhouse_driver.connection import Connection
from clickhouse_driver.errors import Error as DriverError
from clickhouse_driver.errors import ServerException
from clickhouse_driver.readhelpers import read_exception as read_by_driver

from etl.clickhouse.client import InsertClient, read_exception
from services.ingest.events.wire import varint


class Buffered(io.BytesIO):
    """A fake of the driver's buffer."""

    def read_one(self) -> int:
        return self.read(1)[0]


def packet(message: bytes, name: bytes = b"DB::Exception", nested: bytes = b"") -> bytes:
    """Encode an exception as ClickHouse does."""
    texts = b"".join(varint(len(text)) + text for text in (name, message, b"0. main"))
    return struct.pack("<i", 469) + texts + bytes((bool(nested),)) + nested


@pytest.mark.parametrize(
    "encoded",
    [packet(b"no poison"), packet("ы".encode(), b"std::bad_alloc"), packet(b"outer", nested=packet(b"inner"))],
)
def test_as_the_driver(encoded: bytes) -> None:
    """An exception in UTF-8 is read as the driver reads it."""
    found, expected = read_exception(Buffered(encoded)), read_by_driver(Buffered(encoded))

    assert (found.code, found.message, str(found)) == (expected.code, expected.message, str(expected))
    assert str(found.nested) == str(expected.nested)


@pytest.mark.parametrize("bad", [b"\xd1", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f"])
def test_other_bytes(bad: bytes) -> None:
    """Bytes that are not UTF-8 are replaced, in any part of the exception."""
    for encoded in (packet(b"cannot parse " + bad), packet(b"x", name=bad), packet(b"x", nested=packet(bad))):
        error = read_exception(Buffered(encoded))

        assert error.code == 469
        assert "\ufffd" in f"{error.message}{error.nested}"
        with pytest.raises(UnicodeDecodeError):
            read_by_driver(Buffered(encoded))


def test_every_connection() -> None:
    """Each connection of the client reads exceptions this way."""
    client = InsertClient.from_url("clickhouse://default@localhost:9000/ugc?alt_hosts=localhost:9001&round_robin=true")
    for _ in range(3):
        connection = client.get_connection()
        client.connection = connection
        connection.fin = Buffered(packet(b"\xff"))

        assert isinstance(connection.receive_exception(), ServerException)


def test_each_packet_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """`beat` is called before each packet that the client waits for, so that a long query is no standstill."""
    monkeypatch.setattr(Connection, "receive_packet", lambda _: "packet")
    client = InsertClient("nowhere")
    beats: list[None] = []
    client.beat = lambda: beats.append(None)

    assert [client.connection.receive_packet() for _ in range(3)] == ["packet"] * 3
    assert len(beats) == 3


def test_a_connection_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver returns the same connections for each query: after thousands a packet still costs one call."""
    monkeypatch.setattr(Connection, "receive_packet", lambda _: "packet")
    client = InsertClient("nowhere")
    beats: list[None] = []
    client.beat = lambda: beats.append(None)
    for _ in range(5_000):
        client.connection = client.get_connection()

    assert client.connection.receive_packet() == "packet"
    assert len(beats) == 1


def test_no_table_of_dates() -> None:
    """The driver's table of dates is one that fills with use, and that is right about dates."""
    assert len(datecolumn.DateColumn.date_lut) < 1_000
    assert datecolumn.DateColumn.date_lut[19_000] == dt.date(2022, 1, 8)
    assert datecolumn.DateColumn.date_lut_reverse[dt.date(2022, 1, 8)] == 19_000


def test_a_frozen_server() -> None:
    """A server that accepts the connection and sends nothing is given up after the time to connect."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        client = InsertClient.from_url(f"clickhouse://default@127.0.0.1:{frozen.getsockname()[1]}/ugc")
        connection = client.connection
        connection.connect_timeout, connection.send_receive_timeout = 0.2, 600.0

        with pytest.raises(DriverError, match="Code: 209"):
            client.execute("SELECT 1")
