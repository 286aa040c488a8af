"""Bytes of EventRecords to Arrow columns, and what is not an EventRecord. Pure.

The decoder (ptars) takes more than Python's parser does, such as groups that do not match. What it takes is a row; only
where it would exhaust the stack, Python's parser judges before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from google.protobuf.message import DecodeError
from ptars import HandlerPool
from ugc.v1 import event_pb2

DECODER = HandlerPool([event_pb2.DESCRIPTOR]).get_for_message(event_pb2.EventRecord.DESCRIPTOR)
# The decoder calls itself for each group within a group, without a limit and with about 70 bytes of stack; a group is a
# byte. 120,000 end the process where the stack has 8 MiB, 16,384 where it has 1 MiB.
RECURSIVE_BYTES_MAX = 8_192
# The end of a length just below 2**64, which the decoder adds to its position beyond the largest number there is: it
# panics, and writes so to the log. A negative number of one field looks the same.
IMMENSE_LENGTH = b"\xff" * 8 + b"\x01"


def parse(values: Sequence[bytes | None]) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Parse EventRecords into columns; those that are none are left out and named by index, with the reason."""
    try:
        # A tombstone has no length: TypeError.
        if max(map(len, values), default=0) <= RECURSIVE_BYTES_MAX or not dangerous(values):  # type: ignore[arg-type]  # see above
            return DECODER.list_to_record_batch(values), {}
    except BaseException as error:  # a panic of Rust is one, see is_refusal
        if not is_refusal(error):
            raise
    faults = dangerous(values)
    left = [at for at in range(len(values)) if at not in faults]
    faults |= {left[at]: error for at, error in undecodable([values[at] for at in left]).items()}
    return DECODER.list_to_record_batch([value for at, value in enumerate(values) if at not in faults]), faults


def dangerous(values: Sequence[bytes | None]) -> dict[int, str]:
    """Find what may end or upset the decoder and the parser that is careful refuses: large values, immense lengths."""
    faults: dict[int, str] = {}
    for at, value in enumerate(values):
        if value is not None and (len(value) > RECURSIVE_BYTES_MAX or IMMENSE_LENGTH in value):
            try:
                event_pb2.EventRecord.FromString(value)
            except DecodeError as error:
                faults[at] = f"failed to decode Protobuf message of {len(value)} bytes: {error}"
    return faults


def undecodable(values: Sequence[bytes | None], start: int = 0) -> dict[int, str]:
    """Find the values that are no EventRecord, and why; by halving, because one bad value fails its whole list."""
    try:
        DECODER.list_to_record_batch(values)
    except BaseException as error:  # a panic of Rust is one, see is_refusal
        if not is_refusal(error):
            raise
        if len(values) == 1:
            return {start: "the message has no value" if values[0] is None else str(error)}
        half = len(values) // 2
        return undecodable(values[:half], start) | undecodable(values[half:], start + half)
    return {}


def is_refusal(error: BaseException) -> bool:
    """Whether the decoder does not take a value, be it that it gave up: a panic of Rust is a BaseException."""
    return isinstance(error, (ValueError, TypeError)) or type(error).__name__ == "PanicException"
