"""Bodies of requests for benchmarks: the documented event of many users, alone or in batches, as JSON or Protobuf."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from google.protobuf import json_format
from ugc.v1.event_pb2 import Event, EventBatch

from local.up.example import DOCUMENTED_EVENT

USER = '"user_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af2"'
VARIANTS, BATCH_VARIANTS = 256, 8


def json_event(user: int) -> str:
    """Return the documented event of one of many users."""
    return DOCUMENTED_EVENT.replace(USER, f'"user_id": "{uuid.UUID(int=user)}"')


def json_one() -> list[bytes]:
    """Return events for REST."""
    return [json_event(user).encode() for user in range(VARIANTS)]


def json_batch(size: int) -> list[bytes]:
    """Return JSON arrays of events."""
    return [f"[{','.join(json_event(first + at) for at in range(size))}]".encode() for first in range(BATCH_VARIANTS)]


def message_one() -> list[bytes]:
    """Return events for Produce."""
    return [event(user).SerializeToString() for user in range(VARIANTS)]


def message_batch(size: int) -> list[bytes]:
    """Return requests of BatchProduce."""
    return [
        EventBatch(events=[event(first + at) for at in range(size)]).SerializeToString()
        for first in range(BATCH_VARIANTS)
    ]


def event(user: int) -> Event:
    """Return the documented event of one of many users."""
    return json_format.Parse(json_event(user), Event())


def bodies(protocol: str, events: int) -> list[bytes]:
    """Return bodies for `http` or `grpc` of this number of events each."""
    one: Callable[[], list[bytes]]
    one, batch = {"http": (json_one, json_batch), "grpc": (message_one, message_batch)}[protocol]
    return one() if events == 1 else batch(events)
