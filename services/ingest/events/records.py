"""Turns accepted events into the records that Kafka stores, with identity, time of receipt and key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from ugc.v1.event_pb2 import Event

from services.ingest.events.identity import new_identities, parse_identity
from services.ingest.events.wire import received_at_bytes, record_bytes

# Headers of a Kafka message.
Headers = list[tuple[str, str | bytes | None]]


class Record(NamedTuple):
    """Key and value of a Kafka message."""

    key: bytes
    value: bytes


def receipt_milliseconds() -> int:
    """Return the current time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def stamp(encoded: Sequence[bytes], events: Sequence[Event], now: int) -> tuple[list[bytes], list[Record]]:
    """Return the identities of accepted events and their records.

    `encoded` are the bytes of the same events as received, `now` is the time of receipt in milliseconds.
    """
    received_at = received_at_bytes(now)
    client_ids = [event.event_id for event in events]
    generated = iter(new_identities(client_ids.count(""), now))
    identities = [parse_identity(text) if text else next(generated) for text in client_ids]
    keys = [key_of(event) for event in events]
    values = [record_bytes(one, identity, received_at) for one, identity in zip(encoded, identities, strict=True)]
    return identities, list(map(Record._make, zip(keys, values, strict=True)))


def stamp_one(encoded: bytes, event: Event, now: int) -> tuple[bytes, Record]:
    """Return what `stamp` returns, for one event and in a fraction of its time."""
    identity = parse_identity(event.event_id) if event.event_id else new_identities(1, now)[0]
    return identity, Record(key_of(event), record_bytes(encoded, identity, received_at_bytes(now)))


def key_of(event: Event) -> bytes:
    """Return the key of an event's record."""
    # A user_id in upper and in lower case is the same user, so it must give the same key.
    return event.payload.user_id.lower().encode()
