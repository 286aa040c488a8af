"""The driver's client, with inserts whose columns are encoded in ClickHouse's Native format from Arrow's buffers.

Without a Python object per value this is many times cheaper than the driver's own encoding. The format is described at
https://clickhouse.com/docs/interfaces/formats/Native: values of a fixed size are adjacent, a string is preceded by its
length as a base-128 varint, and a LowCardinality column has the different values and an index for each row.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import clickhouse_driver
import pyarrow as pa
import pyarrow.compute as pc
from clickhouse_driver import defines
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.connection import Connection
from clickhouse_driver.errors import ServerException
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.reader import read_binary_bytes, read_binary_int32, read_binary_uint8
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from common.failpoints import failpoint
from etl.events.rows import Column

# The types of columns in inserts, and Arrow's types for them.
ARROW_TYPES: dict[str, pa.DataType] = {
    "UUID": pa.binary(16),
    "String": pa.binary(),
    "LowCardinality(String)": pa.binary(),
    "Int64": pa.int64(),
    "UInt64": pa.uint64(),
}
INTEGER_BYTES = 8
VARINT_BITS, VARINT_MORE = 7, 0x80
# LowCardinality: the version of the format, and flags of a block that has all its values with it.
KEYS_VERSION, HAS_KEYS, UPDATES_KEYS = 1, 1 << 9, 1 << 10
# Bytes of an index, Arrow's type and ClickHouse's code of it. A block has fewer than 2**32 rows.
INDEX_TYPES = ((1, pa.uint8(), 0), (2, pa.uint16(), 1), (4, pa.uint32(), 2))
# Longer strings are rare, and are encoded one by one.
TABLED_BYTES_MAX = 65_536
NO_SEPARATOR = pa.scalar(b"", pa.binary())
# The serialization kind of a column whose values are all present.
DEFAULT_SERIALIZATION = 0


class Encoded(NamedTuple):
    """A block whose columns are bytes of the Native format, in the order of the statement's input()."""

    rows: int
    columns: Sequence[bytes]


class ColumnTypes(Protocol):
    """The driver's sample block: the names and types of the columns that ClickHouse expects."""

    columns_with_types: Sequence[tuple[str, str]]


class InsertClient(clickhouse_driver.Client):  # type: ignore[misc]  # the library carries no types
    """The driver's client, except that inserts take Encoded blocks, each sent as one block.

    While `keeps_connection` is set, an exception of the server does not close the connection, and temporary tables
    survive it: the server continues after an exception. The driver pings before each query, and reconnects on failure.
    """

    keeps_connection = False
    # Called before each packet that is waited for, of which ClickHouse sends some during a long query too.
    beat: Callable[[], None] = staticmethod(lambda: None)

    def get_connection(self) -> Connection:
        """Return the next connection; texts of server errors are decoded whatever bytes they quote."""
        connection = super().get_connection()
        if "receive_packet" in vars(connection):
            # The driver returns the same connection after it was closed, which has these functions already.
            return connection
        connection.receive_exception = lambda: read_exception(connection.fin)
        receive = connection.receive_packet

        def receive_packet() -> object:
            self.beat()
            return receive()

        connection.receive_packet = receive_packet
        receive_hello = connection.receive_hello

        def receive_hello_in_time() -> None:
            # A frozen server accepts connections; the driver would wait as long as for the answer to a query.
            connection.socket.settimeout(connection.connect_timeout)
            receive_hello()
            connection.socket.settimeout(connection.send_receive_timeout)

        connection.receive_hello = receive_hello_in_time
        return connection

    def disconnect(self) -> None:
        """Close the connection, unless it must survive the exception that is being handled."""
        if self.keeps_connection and isinstance(sys.exception(), ServerException):
            self.connection.is_query_executing = False
        else:
            super().disconnect()

    def send_data(self, sample_block: ColumnTypes, data: Encoded, **_options: object) -> int:
        """Send the block and the end of data; the caller reads the server's answer."""
        failpoint("before-data")
        write_block(self.connection, sample_block.columns_with_types, data)
        self.receive_profile_events()
        self.connection.send_data(ColumnOrientedBlock())
        failpoint("after-data")
        self.receive_profile_events()
        return data.rows


def for_driver(traceparent: str) -> str:
    """Return the traceparent that lets the server continue a trace.

    Observed: the server takes the halves of the trace's id in the other order than the driver sends them.
    """
    version, trace_id, rest = traceparent.split("-", 2)
    half = len(trace_id) // 2
    return f"{version}-{trace_id[half:]}{trace_id[:half]}-{rest}"


def read_exception(source: object) -> ServerException:
    """Read an exception like the driver, which raises UnicodeDecodeError if the text is not UTF-8."""
    code = read_binary_int32(source)
    name, message, stack = (read_binary_bytes(source).decode("utf-8", "replace") for _ in range(3))
    nested = read_exception(source) if read_binary_uint8(source) else None
    prefix = "" if name == "DB::Exception" else f"{name}. "
    return ServerException(f"{prefix}{message}. Stack trace:\n\n{stack}", code, nested=nested)


def write_block(connection: Connection, structure: Sequence[tuple[str, str]], block: Encoded) -> None:
    """Write a block like the driver's Connection.send_data, with columns that are encoded already."""
    out = connection.block_out
    write_varint(ClientPacketTypes.DATA, connection.fout)
    write_binary_str("", connection.fout)
    ColumnOrientedBlock().info.write(out.fout)
    write_varint(len(structure), out.fout)
    write_varint(block.rows, out.fout)
    names_serialization = connection.server_info.used_revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
    for (name, kind), column in zip(structure, block.columns, strict=True):
        write_binary_str(name, out.fout)
        write_binary_str(kind, out.fout)
        if names_serialization:
            write_binary_uint8(DEFAULT_SERIALIZATION, out.fout)
        out.fout.write(column)
    out.finalize()


def encode(column: Column, kind: str) -> bytes:
    """Return the bytes of a column, which has no nulls; ArrowInvalid if a value is not of the type `kind`."""
    wanted = ARROW_TYPES[kind]
    values = column if isinstance(column, pa.Array) else pa.array(column, wanted)
    assert not values.null_count, kind  # noqa: S101 -- messages with nulls were rejected before
    if values.type != wanted:
        values = values.cast(wanted)
    if pa.types.is_binary(wanted):
        return encode_strings(values) if kind == "String" else encode_dictionary(values)
    fixed = fixed_bytes(values, INTEGER_BYTES if pa.types.is_integer(wanted) else wanted.byte_width)
    return swapped(fixed) if kind == "UUID" else fixed


def fixed_bytes(column: pa.Array, width: int) -> bytes:
    """Return the bytes of values of a fixed width."""
    values: bytes = column.buffers()[1].slice(column.offset * width, len(column) * width).to_pybytes()
    return values


def swapped(uuids: bytes) -> bytes:
    """Return UUIDs, 16 bytes each, as ClickHouse keeps them: two integers of 64 bits, least significant byte first."""
    halves = array("Q", uuids)
    halves.byteswap()
    return halves.tobytes()


def encode_dictionary(column: pa.Array) -> bytes:
    """Return a column of strings as LowCardinality: its different values in order of appearance, then the indexes."""
    encoded = column.dictionary_encode()
    values, indexes = encoded.dictionary, encoded.indices
    width, kind, code = next(each for each in INDEX_TYPES if len(values) < 1 << each[0] * 8)
    head = struct.pack("<QQQ", KEYS_VERSION, code | HAS_KEYS | UPDATES_KEYS, len(values))
    rows = struct.pack("<Q", len(indexes))
    return b"".join((head, encode_strings(values), rows, fixed_bytes(indexes.cast(kind), width)))


def encode_strings(column: pa.Array) -> bytes:
    """Return each string preceded by its length."""
    lengths = pc.binary_length(column)
    if pc.max(lengths).as_py() > TABLED_BYTES_MAX:
        return b"".join(varint(len(value)) + value for value in column.to_pylist())
    joined: bytes = pc.binary_join_element_wise(VARINTS.take(lengths), column, NO_SEPARATOR).buffers()[2].to_pybytes()
    return joined


def varint(number: int) -> bytes:
    """Encode a length in base 128, least significant group first."""
    encoded = bytearray()
    while number >= VARINT_MORE:
        encoded.append(number & (VARINT_MORE - 1) | VARINT_MORE)
        number >>= VARINT_BITS
    encoded.append(number)
    return bytes(encoded)


VARINTS = pa.array([varint(length) for length in range(TABLED_BYTES_MAX + 1)], pa.binary())
