"""The record of added partitions: what is read of it, and that nothing else is taken for one."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventRecord

from common.partition_change import PREFIX, PartitionChange, read_change

CHANGE = PartitionChange("0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", 3, (7, 0, 2**40))


def test_read_what_was_written() -> None:
    """The record is read as it was written."""
    assert read_change(CHANGE.value()) == CHANGE


def test_not_an_event() -> None:
    """No reader of the topic takes the record for an event."""
    with pytest.raises(DecodeError):
        EventRecord.FromString(CHANGE.value())


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"x",
        EventRecord(event_id=b"x" * 16).SerializeToString(),
        PREFIX,
        PREFIX + b"[]",
        PREFIX + b"[" * 100_000,
        CHANGE.value()[:-1],
        b"x" + CHANGE.value(),
        CHANGE.value().replace(b'"v":1', b'"v":2'),
        CHANGE.value().replace(b"[7,0,", b"[7,"),
        CHANGE.value().replace(b"[7,0,", b"[7,-1,"),
        CHANGE.value().replace(b"[7,0,", b"[7,true,"),
        CHANGE.value().replace(b'"0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55"', b"5"),
        PREFIX + b'{"v":1,"topic":"x","partitions":0,"ends":[]}',
        PREFIX + b'{"v":1,"topic":"x","partitions":1,"ends":5}',
    ],
)
def test_other_messages(value: bytes | None) -> None:
    """What is not a whole record of this version is another message."""
    assert read_change(value) is None
