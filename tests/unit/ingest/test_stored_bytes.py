"""Every consumer can decode what ingest accepts: bytes on which Protobuf parsers disagree are rejected."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from ptars import HandlerPool
from ugc.v1 import event_pb2
from ugc.v1.event_pb2 import Event, EventBatch, EventRecord, Payload

from services.ingest.call import StatusError
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.events.wire import received_at_bytes, record_bytes, varint
from services.ingest.servicer import IngestServicer
from tests.support.clients.calls import EVENT_BYTES_MAX, AcceptingPublisher, plain_call
from tests.support.inputs.events import valid

VARINT, FIXED64, BYTES, OPEN, CLOSE, FIXED32 = range(6)
# Nested groups that an event may have: in its record the event is the first of 100 levels.
DEPTH_MAX = 99
IDENTITY, NOW = b"0123456789abcdef", 1_700_000_000_123
EVENT = valid().SerializeToString()
PAYLOAD = valid().payload.SerializeToString()
VALIDATOR = EventValidator(EVENT_BYTES_MAX)
PTARS = HandlerPool([event_pb2.DESCRIPTOR]).get_for_message(EventRecord.DESCRIPTOR)


def tag(field: int, kind: int) -> bytes:
    """Encode a tag."""
    return varint(field << 3 | kind)


def sized(field: int, value: bytes) -> bytes:
    """Encode a length-delimited field."""
    return tag(field, BYTES) + varint(len(value)) + value


def groups(depth: int, *fields: int) -> bytes:
    """Encode nested groups whose field numbers alternate."""
    numbers = [fields[level % len(fields)] for level in range(depth)]
    return b"".join(tag(number, OPEN) for number in numbers) + b"".join(tag(n, CLOSE) for n in reversed(numbers))


# Each is appended to a valid event.
GOOD = {
    "nothing": b"",
    "unknown groups": groups(DEPTH_MAX, 100),
    "known field numbers as groups": groups(DEPTH_MAX, 1, 2, 7),
    "groups in the payload": sized(1, groups(DEPTH_MAX - 1, 100)),
    "a group around a field": tag(100, OPEN) + sized(1, b"\xff") + tag(100, CLOSE),
    "the payload again, merged": sized(1, Payload(event="other").SerializeToString()),
    "the payload again, empty": sized(1, b""),
    "a text again": sized(2, b"en"),
    "a text as a number": tag(2, VARINT) + b"\x05",
    "the payload as fixed64": tag(1, FIXED64) + b"abcdabcd",
    "a time as text": sized(1, sized(5, b"abc")),
    "a time as fixed32": sized(1, tag(5, FIXED32) + b"abcd"),
    "a time of ten bytes": sized(1, tag(5, VARINT) + b"\x81" + b"\x80" * 8 + b"\x00"),
    "a time with bits beyond the 64th": sized(1, tag(5, VARINT) + b"\x81" + b"\x80" * 8 + b"\x7e"),
    "the highest field number": tag(2**29 - 1, VARINT) + b"\x05",
    "a tag of five bytes": b"\x92\x80\x80\x80\x00\x02en",
    "a length of five bytes": b"\x12\x82\x80\x80\x80\x00en",
    "an unknown text that is not UTF-8": sized(100, b"\xff\xfe"),
    "an unknown number with bits beyond the 64th": tag(100, VARINT) + b"\xff" * 9 + b"\x7f",
    "a NUL in a text": sized(2, b"a\x00b"),
}
BAD = {
    "unknown groups, a level too deep": groups(DEPTH_MAX + 1, 100),
    "unknown groups, far too deep": groups(20_000, 100),
    "known field numbers as groups, a level too deep": groups(DEPTH_MAX + 1, 1, 2, 7),
    "groups in the payload, a level too deep": sized(1, groups(DEPTH_MAX, 100)),
    "a group closed as another": tag(100, OPEN) + tag(101, CLOSE),
    "groups closed crosswise": tag(100, OPEN) + tag(101, OPEN) + tag(100, CLOSE) + tag(101, CLOSE),
    "a group left open": tag(100, OPEN),
    "a group closed, none open": tag(100, CLOSE),
    "the record's end within the event": tag(1, CLOSE) + sized(2, b"x" * 16),
    "field number 0": tag(0, VARINT) + b"\x05",
    "a field number above the highest": tag(2**29, VARINT) + b"\x05",
    "a field number that overflows into a known one": varint(2**32 + (2 << 3 | BYTES)) + b"\x02en",
    "a tag of six bytes": b"\x92\x80\x80\x80\x80\x00\x02en",
    "a tag of ten bytes": b"\x92" + b"\x80" * 8 + b"\x00\x02en",
    "a length of six bytes": b"\x12\x82\x80\x80\x80\x80\x00en",
    "a length of ten bytes": b"\x12\x82" + b"\x80" * 8 + b"\x00en",
    "a length beyond the event": tag(100, BYTES) + b"\x01",
    "a length that reaches into the record": tag(6, BYTES) + b"\x18",
    "a length beyond 2 GiB": tag(100, BYTES) + varint(2**31) + b"a",
    "a number of eleven bytes": tag(100, VARINT) + b"\xff" * 10 + b"\x01",
    "wire type 6": tag(100, 6) + b"\x05",
    "wire type 7": tag(100, 7) + b"\x05",
    "a text that is not UTF-8": sized(2, b"\xff\xfe"),
    "a text that is not UTF-8, replaced": sized(2, b"\xff\xfe") + sized(2, b"en"),
    "half a surrogate pair": sized(2, b"\xed\xa0\x80"),
    "an overlong NUL": sized(2, b"\xc0\x80"),
    "a text of the payload that is not UTF-8": sized(1, sized(4, b"\x80")),
}


@pytest.mark.parametrize("addition", GOOD.values(), ids=GOOD.keys())
async def test_accepted_and_decodable(addition: bytes) -> None:
    """Both parsers decode the record of an event that either method accepts, with equal values."""
    for records in (await produced(EVENT + addition), await batch_produced([EVENT + addition, EVENT])):
        value = records[0].value
        stored = EventRecord.FromString(value)
        (row,) = PTARS.list_to_record_batch([value]).to_pylist()

        assert EVENT + addition in value
        assert row["event"] == values(stored.event)
        assert (row["event_id"], row["received_at"]) == (stored.event_id, stored.received_at)


@pytest.mark.parametrize("addition", BAD.values(), ids=BAD.keys())
async def test_rejected(addition: bytes) -> None:
    """An event that one of the parsers cannot decode inside its record is rejected by both methods, as `event`."""
    _, violations = VALIDATOR.check(EVENT + addition)

    assert [violation.field for violation in violations] == ["event"]
    assert not await produced(EVENT + addition)
    # Unless it breaks the batch that is around it, the other events are accepted.
    assert [record.value.count(EVENT) for record in await batch_produced([EVENT, EVENT + addition, EVENT])] == [1, 1]


@pytest.mark.parametrize("addition", BAD.values(), ids=BAD.keys())
def test_only_undecodable_events_are_rejected(addition: bytes) -> None:
    """Each rejected event is one whose record upb cannot decode."""
    with pytest.raises(DecodeError):
        EventRecord.FromString(record_bytes(EVENT + addition, IDENTITY, received_at_bytes(NOW)))


def test_first_bytes_count_too() -> None:
    """The position of the unusual bytes within the event makes no difference."""
    deep = groups(DEPTH_MAX + 1, 100)

    for event in (deep + EVENT, sized(1, deep + PAYLOAD), sized(1, PAYLOAD) + deep + sized(2, b"RU")):
        assert [violation.field for violation in VALIDATOR.check(event)[1]] == ["event"]


async def produced(event: bytes) -> Any:
    """Send one event; return what was published."""
    publisher = AcceptingPublisher()
    servicer = IngestServicer(VALIDATOR, batch_limits(), publisher, retry_seconds=1.0)
    with contextlib.suppress(StatusError):
        await servicer.produce(event, plain_call())
    return publisher.records


async def batch_produced(events: list[bytes]) -> Any:
    """Send events as a batch; return what was published."""
    publisher = AcceptingPublisher()
    servicer = IngestServicer(VALIDATOR, batch_limits(), publisher, retry_seconds=1.0)
    request = b"".join(sized(EventBatch.DESCRIPTOR.fields_by_name["events"].number, event) for event in events)
    await servicer.batch_produce(request, plain_call())
    return publisher.records


def values(event: Event) -> dict[str, Any]:
    """Return the fields of an event as ptars decodes them."""
    payload = {field.name: getattr(event.payload, field.name) for field in Payload.DESCRIPTOR.fields}
    others = {field.name: getattr(event, field.name) for field in Event.DESCRIPTOR.fields if field.name != "payload"}
    return {"payload": payload, **others}
