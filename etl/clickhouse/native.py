"""Columns as the bytes of ClickHouse's Native format, straight from Arrow's buffers: no Python object per value. Pure.

The format's own page is https://clickhouse.com/docs/interfaces/formats/Native: fixed-size values stand one after the
other, a string stands behind its length as a base-128 varint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = "Sequence[Any] | pa.Array"
# The types on the wire, and what Arrow calls them.
ARROW_TYPES: dict[str, pa.DataType] = {
    "FixedString(16)": pa.binary(16),
    "FixedString(36)": pa.binary(36),
    "String": pa.binary(),
    "Int64": pa.int64(),
    "UInt64": pa.uint64(),
}
INTEGER_BYTES = 8
VARINT_BITS, VARINT_MORE = 7, 0x80
# Longer strings are rare: one by one.
TABLED_BYTES_MAX = 65_536
NO_SEPARATOR = pa.scalar(b"", pa.binary())


def varint(number: int) -> bytes:
    """Encode a length in base 128, least significant group first."""
    encoded = bytearray()
    while number >= VARINT_MORE:
        encoded.append(number & (VARINT_MORE - 1) | VARINT_MORE)
        number >>= VARINT_BITS
    encoded.append(number)
    return bytes(encoded)


VARINTS = pa.array([varint(length) for length in range(TABLED_BYTES_MAX + 1)], pa.binary())


def encode(column: Column, kind: str) -> bytes:
    """Return a column's bytes; ArrowInvalid when a value is not of the kind. Null does not exist here."""
    wanted = ARROW_TYPES[kind]
    array = column if isinstance(column, pa.Array) else pa.array(column, wanted)
    assert not array.null_count, kind  # noqa: S101 -- what is null was rejected before
    if array.type != wanted:
        array = array.cast(wanted)
    if pa.types.is_binary(wanted):
        return strings(array)
    width = INTEGER_BYTES if pa.types.is_integer(wanted) else wanted.byte_width
    values: bytes = array.buffers()[1].slice(array.offset * width, len(array) * width).to_pybytes()
    return values


def strings(array: pa.Array) -> bytes:
    """Return each string behind its length."""
    lengths = pc.binary_length(array)
    if pc.max(lengths).as_py() > TABLED_BYTES_MAX:
        return b"".join(varint(len(value)) + value for value in array.to_pylist())
    joined: bytes = pc.binary_join_element_wise(VARINTS.take(lengths), array, NO_SEPARATOR).buffers()[2].to_pybytes()
    return joined
