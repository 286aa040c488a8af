"""From accepted events to what Kafka stores: each gets its identity, the time of receipt and its key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from ugc.v1.event_pb2 import Event

from services.ingest.events.identity import new_identities, parse_identity
from services.ingest.events.wire import received_at_bytes, record_bytes

# Names and values that travel beside a Kafka message.
Headers = list[tuple[str, str | bytes | None]]


class Record(NamedTuple):
    """What becomes a Kafka message."""

    key: bytes
    value: bytes


def receipt_milliseconds() -> int:
    """Return the time of receipt of what is received now."""
    return time.time_ns() // 1_000_000


def stamp(encoded: Sequence[bytes], events: Sequence[Event], now: int) -> tuple[list[bytes], list[Record]]:
    """Give accepted events their identity and time of receipt: the identities, and the records for Kafka.

    `encoded` are the bytes of the same events as they came, `now` the time in milliseconds.
    """
    ending = received_at_bytes(now)
    chosen = [event.event_id for event in events]
    fresh = iter(new_identities(chosen.count(""), now))
    identities = [parse_identity(text) if text else next(fresh) for text in chosen]
    # Upper and lower case are the same user, so they must be the same key.
    keys = [event.payload.user_id.lower().encode() for event in events]
    values = [record_bytes(one, identity, ending) for one, identity in zip(encoded, identities, strict=True)]
    return identities, list(map(Record._make, zip(keys, values, strict=True)))
