"""Wire bytes without their meaning: a batch cut into its events, an event wrapped into an EventRecord.

Both keep the client's bytes as they came. The messages are the contract's (proto/ugc/v1/event.proto), seen through
shapes in which an event is only bytes; a test holds them against the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from ugc.v1.event_pb2 import EventBatch, EventRecord

FIELD = descriptor_pb2.FieldDescriptorProto
EVENTS = EventBatch.DESCRIPTOR.fields_by_name["events"].number
VARINT, LENGTH_DELIMITED = 0, 2


def tag(field: str, wire_type: int) -> bytes:
    """Return the tag of a field of EventRecord; its fields have numbers below 16, so one byte holds it."""
    return bytes((EventRecord.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type,))


def _opaque_batch() -> Any:  # noqa: ANN401 -- a message class made at run time has no static type
    """Build the message `EventBatch { repeated bytes events }`, for a pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(name="ingest/wire.proto", package="ingest.wire", syntax="proto3")
    message = file.message_type.add(name="OpaqueBatch")
    message.field.add(name="events", number=EVENTS, label=FIELD.LABEL_REPEATED, type=FIELD.TYPE_BYTES)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ingest.wire.OpaqueBatch"))


OpaqueBatch = _opaque_batch()
EVENT_TAG = tag("event", LENGTH_DELIMITED)
# The identity is always 16 bytes, so its length is part of the constant.
IDENTITY_TAG = tag("event_id", LENGTH_DELIMITED) + bytes((16,))
RECEIVED_AT_TAG = tag("received_at", VARINT)


def split_batch(request: bytes) -> Sequence[bytes]:
    """Cut the bytes of an EventBatch into the bytes of its events; DecodeError when it is not one.

    Only reading an element makes an object of it: a request of millions of empty events can be counted and refused.
    """
    events: Sequence[bytes] = OpaqueBatch.FromString(request).events
    return events


def join_batch(events: Sequence[bytes]) -> bytes:
    """Return the bytes of an EventBatch of these events."""
    joined: bytes = OpaqueBatch(events=events).SerializeToString()
    return joined


def record_bytes(event: bytes, identity: bytes, received_at: bytes) -> bytes:
    """Return the EventRecord of an event; `received_at` is the ending that `received_at_bytes` made for the request."""
    return b"".join((event_head(len(event)), event, IDENTITY_TAG, identity, received_at))


@lru_cache(maxsize=4_096)
def event_head(length: int) -> bytes:
    """Return what stands before an event of so many bytes; the events of a batch are mostly of a few lengths."""
    return EVENT_TAG + varint(length)


def received_at_bytes(milliseconds: int) -> bytes:
    """Return the encoded field `received_at`; it is the same for all events of a request."""
    return RECEIVED_AT_TAG + varint(milliseconds)


def varint(number: int) -> bytes:
    """Encode a number of 0 or more in base 128, least significant group first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


__all__ = ["DecodeError", "join_batch", "received_at_bytes", "record_bytes", "split_batch", "varint"]
