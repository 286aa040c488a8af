"""The Native encoding of columns: the bytes that the driver itself would write."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_driver.bufferedwriter import BufferedSocketWriter
from clickhouse_driver.columns.service import write_column
from clickhouse_driver.context import Context
from hypothesis import given
from hypothesis import strategies as st

from etl.clickhouse.client import TABLED_BYTES_MAX, encode


class Collected:
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.bytes = b""

    def sendall(self, data: bytes) -> None:
        self.bytes += bytes(data)


def driver_bytes(values: list[Any], kind: str) -> bytes:
    """Return the driver's encoding."""
    context = Context()
    context.client_settings = {"strings_as_bytes": True, "strings_encoding": "utf-8", "use_numpy": False}
    socket = Collected()
    out = BufferedSocketWriter(socket, 1 << 20)
    write_column(context, "column", kind, values, out)
    out.flush()
    return socket.bytes


@pytest.mark.parametrize("kind", ["String", "LowCardinality(String)", "Int64", "UInt64", "UUID"])
@given(data=st.data())
def test_as_the_driver(kind: str, data: st.DataObject) -> None:
    """Lists, Arrow arrays and slices of arrays are encoded as the driver encodes the same values."""
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "String": st.binary(max_size=300),
        "Int64": st.integers(-(2**63), 2**63 - 1),
        "UInt64": st.integers(0, 2**64 - 1),
        "UUID": st.binary(min_size=16, max_size=16),
        "LowCardinality(String)": st.sampled_from([b"", b"RU", b"EN", b"x" * 200]) | st.binary(max_size=2),
    }
    values = data.draw(st.lists(strategies[kind], min_size=1, max_size=20))
    types = {"Int64": pa.int64(), "UInt64": pa.uint64()}
    array = pa.array([values[0], *values, values[0]], types.get(kind, pa.binary()))

    expected = driver_bytes([uuid.UUID(bytes=value) for value in values] if kind == "UUID" else values, kind)

    assert encode(values, kind) == expected
    assert encode(array[1:-1], kind) == expected


def test_long_strings() -> None:
    """A string longer than the table of lengths is encoded correctly."""
    long = b"x" * (TABLED_BYTES_MAX + 1)

    assert encode([b"", long], "String") == b"\x00\x81\x80\x04" + long


def test_texts() -> None:
    """Texts are encoded in UTF-8."""
    assert encode(["ж"], "String") == encode(pa.array(["ж"]), "String") == b"\x02" + "ж".encode()


def test_a_wrong_length() -> None:
    """A value that does not fit a fixed length is an error, and is not truncated."""
    with pytest.raises(pa.ArrowInvalid):
        encode(pa.array([b"short"], pa.binary()), "UUID")


@pytest.mark.parametrize("different", [1, 255, 256, 257, 65_535, 65_536, 70_000])
def test_indexes(different: int) -> None:
    """The indexes of a LowCardinality column are as wide as the driver writes them."""
    values = [b"%d" % (number % different) for number in range(different + 10)]

    assert encode(values, "LowCardinality(String)") == driver_bytes(values, "LowCardinality(String)")
