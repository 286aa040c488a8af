"""Events for tests."""

from __future__ import annotations

import uuid
from typing import Any

from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventRecord

from local.up.example import DOCUMENTED_EVENT


def documented() -> Event:
    """Return the event that is documented to clients."""
    return json_format.Parse(DOCUMENTED_EVENT, Event())


def valid(**changes: Any) -> Event:
    """Return the documented event with changes; names of Payload's fields change the payload."""
    event = documented()
    for name, value in changes.items():
        setattr(event.payload if name in Event().payload.DESCRIPTOR.fields_by_name else event, name, value)
    return event


def numbered(number: int, user: uuid.UUID | None = None) -> Event:
    """Return an event with a number and an identity of its own."""
    return valid(
        event_id=str(uuid.uuid4()),
        movie_id=str(uuid.UUID(int=number)),
        user_id=str(user or uuid.UUID(int=number % 997)),
        event_data=f"event number {number}",
        some_client_data=str(number),
    )


def record(event: Event, identity: bytes = b"0123456789abcdef", received_at: int = 1_700_000_000_123) -> bytes:
    """Return the Kafka value of an event."""
    return EventRecord(event=event, event_id=identity, received_at=received_at).SerializeToString()
