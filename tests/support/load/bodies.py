"""Bodies of requests for benchmarks: the documented event of many users, alone or in batches, as JSON or Protobuf."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventBatch

from local.up.example import DOCUMENTED_EVENT

USER = '"user_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af2"'
VARIANTS, BATCH_VARIANTS = 256, 8


def json_event(user: int, event_id: uuid.UUID | None = None) -> str:
    """Return the documented event of one of many users."""
    own = f'{{"event_id": "{event_id}", ' if event_id else "{"
    return own + DOCUMENTED_EVENT.replace(USER, f'"user_id": "{uuid.UUID(int=user)}"')[1:]


def event_id(number: int) -> uuid.UUID:
    """Return the event_id of the event with this number."""
    return uuid.UUID(int=number, version=4)


def json_one() -> list[bytes]:
    """Return events for REST."""
    return [json_event(user).encode() for user in range(VARIANTS)]


def json_identified(first: int, count: int) -> list[bytes]:
    """Return events for REST with event_ids from that of the first number on."""
    return [json_event(number % VARIANTS, event_id(number)).encode() for number in range(first, first + count)]


def json_batch(size: int) -> list[bytes]:
    """Return JSON arrays of events."""
    return [f"[{','.join(json_event(first + at) for at in range(size))}]".encode() for first in range(BATCH_VARIANTS)]


def message_one() -> list[bytes]:
    """Return events for Produce."""
    return [message(body) for body in json_one()]


def message_batch(size: int) -> list[bytes]:
    """Return requests of BatchProduce."""
    return [
        EventBatch(events=[event(json_event(first + at)) for at in range(size)]).SerializeToString()
        for first in range(BATCH_VARIANTS)
    ]


def event(body: str | bytes) -> Event:
    """Return the event of a JSON text."""
    return json_format.Parse(body, Event())


def message(body: str | bytes) -> bytes:
    """Return the Protobuf bytes of an event that is JSON."""
    return event(body).SerializeToString()


def refused(protocol: str, events: int) -> list[bytes]:
    """Return batches that are answered with an error: by the gateway for `http`, by ingest for `grpc`.

    The gateway reads a whole batch before it finds an element that is not an event. Ingest finds no valid event.
    """
    if protocol == "http":
        return [body[:-1] + b", 1]" for body in json_batch(events)]
    event = Event(event_id="not a UUID")
    return [EventBatch(events=[event] * events).SerializeToString()]


def bodies(protocol: str, events: int, identified: int = 0, first_identity: int = 0) -> list[bytes]:
    """Return bodies for `http` or `grpc` of this number of events each; with `identified` so many single events."""
    if identified:
        found = json_identified(first_identity, identified)
        return found if protocol == "http" else [message(body) for body in found]
    one: Callable[[], list[bytes]]
    one, batch = {"http": (json_one, json_batch), "grpc": (message_one, message_batch)}[protocol]
    return one() if events == 1 else batch(events)
