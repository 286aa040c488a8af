"""Decodes EventRecords into Arrow columns, and finds the values that are not valid. Pure.

The decoder (ptars) accepts more than Python's parser, such as groups that do not match. What it accepts becomes a row.
Values that could exhaust its stack are checked by Python's parser first.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from google.protobuf.message import DecodeError
from ptars import HandlerPool
from ugc.v1 import event_pb2

DECODER = HandlerPool([event_pb2.DESCRIPTOR]).get_for_message(event_pb2.EventRecord.DESCRIPTOR)
# The decoder recurses for each nested group, without a limit, using about 70 bytes of stack; a group takes one byte.
# 120,000 of them crash the process with a stack of 8 MiB, 16,384 with one of 1 MiB.
RECURSIVE_BYTES_MAX = 8_192
# The end of a varint just below 2**64. As a length it overflows the decoder's position: the decoder panics, and writes
# the panic to the log. A negative number in a field has the same bytes.
IMMENSE_LENGTH = b"\xff" * 8 + b"\x01"


def parse(values: Sequence[bytes | None]) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Parse EventRecords into columns; invalid values are left out and returned by index, with the reason."""
    try:
        # A tombstone is None, which has no length: TypeError.
        if max(map(len, values), default=0) <= RECURSIVE_BYTES_MAX or not dangerous(values):  # type: ignore[arg-type]  # see above
            return DECODER.list_to_record_batch(values), {}
    except BaseException as error:  # see is_decode_error
        if not is_decode_error(error):
            raise
    faults = dangerous(values)
    left = [at for at in range(len(values)) if at not in faults]
    faults |= {left[at]: error for at, error in undecodable([values[at] for at in left]).items()}
    return DECODER.list_to_record_batch([value for at, value in enumerate(values) if at not in faults]), faults


def dangerous(values: Sequence[bytes | None]) -> dict[int, str]:
    """Return the values that could crash the decoder and that Python's parser rejects, by index, with the reason."""
    faults: dict[int, str] = {}
    for at, value in enumerate(values):
        if value is not None and (len(value) > RECURSIVE_BYTES_MAX or IMMENSE_LENGTH in value):
            try:
                event_pb2.EventRecord.FromString(value)
            except DecodeError as error:
                faults[at] = f"failed to decode Protobuf message of {len(value)} bytes: {error}"
    return faults


def undecodable(values: Sequence[bytes | None], start: int = 0) -> dict[int, str]:
    """Return the values that the decoder rejects, with the reason, by halving: one of them fails the whole list."""
    try:
        DECODER.list_to_record_batch(values)
    except BaseException as error:  # see is_decode_error
        if not is_decode_error(error):
            raise
        if len(values) == 1:
            return {start: "the message has no value" if values[0] is None else str(error)}
        half = len(values) // 2
        return undecodable(values[:half], start) | undecodable(values[half:], start + half)
    return {}


def is_decode_error(error: BaseException) -> bool:
    """Whether the decoder rejected a value or panicked; a Rust panic is a BaseException."""
    return isinstance(error, (ValueError, TypeError)) or type(error).__name__ == "PanicException"
