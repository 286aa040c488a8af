"""Splits a batch into the bytes of its events and wraps an event in an EventRecord, without decoding the events.

So the client's bytes are stored unchanged. The encoding is that of proto/ugc/v1/event.proto with `bytes` in place of
`Event`; a test compares it with the generated classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventBatch, EventRecord

FIELD = descriptor_pb2.FieldDescriptorProto
EVENTS = EventBatch.DESCRIPTOR.fields_by_name["events"].number
VARINT, LENGTH_DELIMITED = 0, 2
# Bits of a byte of a varint, the first byte after which others follow, and the shift of the fifth byte of a length.
VARINT_BITS, VARINT_MORE, LENGTH_SHIFT_MAX = 0x7F, 0x80, 28
BATCH_TAG = EVENTS << 3 | LENGTH_DELIMITED


def tag(field: str, wire_type: int) -> bytes:
    """Return the tag of a field of EventRecord, which is one byte because the field numbers are below 16."""
    return bytes((EventRecord.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type,))


class OpaqueEvents(Protocol):
    """A batch whose events are bytes."""

    events: Sequence[bytes]

    def SerializeToString(self) -> bytes:  # noqa: N802 -- the name of protobuf
        """Return the encoded batch."""


class OpaqueEventsClass(Protocol):
    """The class of such batches."""

    def __call__(self, *, events: Sequence[bytes]) -> OpaqueEvents:
        """Return a batch of events."""

    def FromString(self, encoded: bytes, /) -> OpaqueEvents:  # noqa: N802 -- the name of protobuf
        """Parse an encoded batch; raise DecodeError if it is not valid."""


def opaque_batch() -> OpaqueEventsClass:
    """Return the class of a message `OpaqueBatch { repeated bytes events }`, in a descriptor pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(name="ingest/wire.proto", package="ingest.wire", syntax="proto3")
    message = file.message_type.add(name="OpaqueBatch")
    message.field.add(name="events", number=EVENTS, label=FIELD.LABEL_REPEATED, type=FIELD.TYPE_BYTES)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return cast(
        "OpaqueEventsClass", message_factory.GetMessageClass(pool.FindMessageTypeByName("ingest.wire.OpaqueBatch"))
    )


OpaqueBatch = opaque_batch()
EVENT_TAG = tag("event", LENGTH_DELIMITED)
# With the length of the identity, which is always 16 bytes.
IDENTITY_TAG = tag("event_id", LENGTH_DELIMITED) + bytes((16,))
RECEIVED_AT_TAG = tag("received_at", VARINT)


def split_batch(request: bytes) -> Sequence[bytes]:
    """Split an EventBatch into the bytes of its events; raise DecodeError if it cannot be parsed.

    Elements become objects only when they are read, so a request of millions of empty events is cheap to reject.
    """
    return OpaqueBatch.FromString(request).events


def count_batch_events(request: bytes, events_max: int) -> int | None:
    """Count the events of a batch without parsing it; None if it has more than `events_max`, or anything else."""
    at = count = 0
    end = len(request)
    try:
        while at < end:
            if request[at] != BATCH_TAG or count == events_max:
                return None
            length = request[at + 1]
            at += 2
            if length >= VARINT_MORE:
                length, at = long_length(request, length, at)
            at += length
            count += 1
    except IndexError:
        return None
    return count if at == end else None


def long_length(request: bytes, first: int, at: int) -> tuple[int, int]:
    """Return a length of several bytes, whose first is given, and the position after it."""
    length, shift = first & VARINT_BITS, 7
    while (part := request[at]) >= VARINT_MORE and shift < LENGTH_SHIFT_MAX:
        length |= (part & VARINT_BITS) << shift
        at, shift = at + 1, shift + 7
    return length | (part & VARINT_BITS) << shift, at + 1


def join_batch(events: Sequence[bytes]) -> bytes:
    """Return the EventBatch of encoded events."""
    return OpaqueBatch(events=events).SerializeToString()


def record_bytes(event: bytes, identity: bytes, received_at: bytes) -> bytes:
    """Return the EventRecord of an event; `received_at` is the encoded field from `received_at_bytes`."""
    return b"".join((event_head(len(event)), event, IDENTITY_TAG, identity, received_at))


def record_values(events: Sequence[bytes], *rest: Iterable[bytes]) -> list[bytes]:
    """Return what `record_bytes` returns, for each of several events; `rest` are the columns of what follows it."""
    heads = map(event_head, map(len, events))
    return list(map(b"".join, zip(heads, events, *rest, strict=False)))


class EventHeads(dict[int, bytes]):
    """Tag and length before an event in its record, by the length; kept, as the events of a batch have few lengths."""

    def __missing__(self, length: int) -> bytes:
        if len(self) >= EVENT_HEADS_MAX:
            self.clear()
        head = self[length] = EVENT_TAG + varint(length)
        return head


EVENT_HEADS_MAX = 4_096
event_head = EventHeads().__getitem__


@lru_cache(maxsize=4)
def received_at_bytes(milliseconds: int) -> bytes:
    """Return the encoded field `received_at`, which all events of a request, and of a millisecond, share."""
    return RECEIVED_AT_TAG + varint(milliseconds)


def varint(number: int) -> bytes:
    """Return the varint of a non-negative number."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


__all__ = [
    "DecodeError",
    "count_batch_events",
    "join_batch",
    "received_at_bytes",
    "record_bytes",
    "record_values",
    "split_batch",
    "varint",
]
