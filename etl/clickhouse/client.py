"""The driver's client for inserts of columns that are encoded already (etl/clickhouse/native.py)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import clickhouse_driver
from clickhouse_driver import defines
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.errors import ServerException
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.reader import read_binary_bytes, read_binary_int32, read_binary_uint8
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from common.failpoints import failpoint

WHOLE_VALUES = 0


class Encoded(NamedTuple):
    """A block whose columns are bytes of the Native format, in the order of the statement's input()."""

    rows: int
    columns: Sequence[bytes]


class InsertClient(clickhouse_driver.Client):  # type: ignore[misc]  # the library carries no types
    """As the driver's own, but what it inserts are Encoded blocks; each is sent as one.

    While `outlasts_refusals` is set, an exception of the server leaves the connection open, and what belongs to it: the
    server goes on after one. The driver asks for a sign of life before each query, and connects anew without it.
    """

    outlasts_refusals = False

    def get_connection(self) -> Any:  # noqa: ANN401 -- the driver's signature
        """Return the next connection; errors of its server are text whatever values they quote."""
        connection = super().get_connection()
        connection.receive_exception = lambda: read_exception(connection.fin)
        return connection

    def disconnect(self) -> None:
        """Close the connection, unless it is to outlast the exception that is being handled."""
        if self.outlasts_refusals and isinstance(sys.exception(), ServerException):
            self.connection.is_query_executing = False
        else:
            super().disconnect()

    def send_data(self, sample_block: Any, data: Encoded, **_options: Any) -> int:  # noqa: ANN401 -- the driver's signature
        """Send the block and the end of data; the server's answer is read by the caller."""
        failpoint("before-data")
        write_block(self.connection, sample_block.columns_with_types, data)
        self.receive_profile_events()
        self.connection.send_data(ColumnOrientedBlock())
        failpoint("after-data")
        self.receive_profile_events()
        return data.rows


def read_exception(source: Any) -> ServerException:  # noqa: ANN401 -- the driver's buffer
    """Read what the driver's read_exception reads; it raises UnicodeDecodeError of an error that quotes other bytes."""
    code = read_binary_int32(source)
    name, message, stack = (read_binary_bytes(source).decode("utf-8", "replace") for _ in range(3))
    nested = read_exception(source) if read_binary_uint8(source) else None
    prefix = "" if name == "DB::Exception" else f"{name}. "
    return ServerException(f"{prefix}{message}. Stack trace:\n\n{stack}", code, nested=nested)


def write_block(connection: Any, structure: Sequence[tuple[str, str]], block: Encoded) -> None:  # noqa: ANN401 -- the driver's
    """Write what the driver's Connection.send_data writes of a block, with the columns as they are."""
    out = connection.block_out
    write_varint(ClientPacketTypes.DATA, connection.fout)
    write_binary_str("", connection.fout)
    ColumnOrientedBlock().info.write(out.fout)
    write_varint(len(structure), out.fout)
    write_varint(block.rows, out.fout)
    told = connection.server_info.used_revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
    for (name, kind), column in zip(structure, block.columns, strict=True):
        write_binary_str(name, out.fout)
        write_binary_str(kind, out.fout)
        if told:
            write_binary_uint8(WHOLE_VALUES, out.fout)
        out.fout.write(column)
    out.finalize()
