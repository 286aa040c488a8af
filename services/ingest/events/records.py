"""Turns accepted events into the records that Kafka stores, with identity, time of receipt and key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

from ugc.v1.event_pb2 import Event

from services.ingest.events.identity import IdentitySource, new_identities, parse_identity
from services.ingest.events.wire import IDENTITY_TAG, received_at_bytes, record_bytes, record_values

# Headers of a Kafka message.
Headers = list[tuple[str, str | bytes | None]]

IDENTITIES = IdentitySource()
# Upper bound of the framing of a record and its batch in bytes, beside key, value and headers.
FRAMING_BYTES = 128


class Record(NamedTuple):
    """Key and value of a Kafka message."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Records:
    """The keys and the values of several Kafka messages, without an object for each message."""

    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Record]:
        return map(Record, self.keys, self.values)

    def __getitem__(self, index: int) -> Record:
        return Record(self.keys[index], self.values[index])


def receipt_milliseconds() -> int:
    """Return the current time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class EventKeys(NamedTuple):
    """What the records of accepted events need beside the events' bytes; one entry for each event."""

    # The key of the message: the user_id in lower case.
    users: list[bytes]
    # The identity that the client has chosen, 16 bytes, or nothing if the server chooses it.
    identities: list[bytes]

    def selected(self, indexes: Sequence[int]) -> EventKeys:
        """Return the entries at some indexes."""
        return EventKeys([self.users[at] for at in indexes], [self.identities[at] for at in indexes])


def stamp(encoded: Sequence[bytes], keys: EventKeys, now: int) -> Records:
    """Return the records of accepted events.

    `encoded` are the bytes of the same events as received, `now` is the time of receipt in milliseconds.
    """
    received_at, identities = received_at_bytes(now), keys.identities
    missing = identities.count(b"")
    if missing == len(identities):
        tails = new_identities(missing, now, before=IDENTITY_TAG, after=received_at)
        return Records(keys.users, record_values(encoded, tails))
    if missing:
        following = iter(new_identities(missing, now))
        identities = [chosen or next(following) for chosen in identities]
    return Records(keys.users, record_values(encoded, repeat(IDENTITY_TAG), identities, repeat(received_at)))


def stamp_one(encoded: bytes, event: Event, now: int) -> tuple[bytes, Record]:
    """Return the identity of one accepted event and its record, in a fraction of the time of `stamp`."""
    identity = parse_identity(event.event_id) or IDENTITIES.next(now)
    return identity, Record(key_of(event), record_bytes(encoded, identity, received_at_bytes(now)))


def key_of(event: Event) -> bytes:
    """Return the key of a valid event's record."""
    # A user_id in upper and in lower case is the same user, so it must give the same key.
    return event.payload.user_id.lower().encode()


def keys_of(events: Iterable[Event]) -> EventKeys:
    """Return the keys of valid events."""
    pairs = [(key_of(event), parse_identity(event.event_id)) for event in events]
    return EventKeys([user for user, _ in pairs], [identity for _, identity in pairs])


def framing_bytes(headers: Headers | None) -> int:
    """Return an upper bound of what a record and its batch have beside key and value."""
    return FRAMING_BYTES + sum(len(name) + len(value or "") for name, value in headers or ())
