"""The identity of an event: its event_id and its user, 16 bytes each. Two users may use the same event_id. Pure."""

from __future__ import annotations

from binascii import unhexlify

import pyarrow as pa
import pyarrow.compute as pc

HEX = "[0-9a-fA-F]"
UUID_PATTERN = rf"\A{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}\z"
UUID_BYTES, UUID_CHARACTERS = 16, 36
# Replaces an id that is not a valid UUID.
NIL = "00000000-0000-0000-0000-000000000000"
NO_SEPARATOR = pa.scalar(b"", pa.binary())


def identities(event_ids: pa.Array, users: pa.Array) -> list[bytes]:
    """Concatenate event_ids of 16 bytes and users given as text, all valid UUIDs, into 32 bytes an event."""
    joined: list[bytes] = pc.binary_join_element_wise(event_ids, uuid_bytes(users), NO_SEPARATOR).to_pylist()
    return joined


def uuid_bytes(texts: pa.Array) -> pa.Array:
    """Return UUIDs in text, which match UUID_PATTERN, as 16 bytes each; upper and lower case give the same bytes."""
    fixed = texts.cast(pa.binary()).cast(pa.binary(UUID_CHARACTERS))
    begin, length = fixed.offset * UUID_CHARACTERS, len(fixed) * UUID_CHARACTERS
    # The texts are adjacent in the buffer, so one call converts them all.
    packed = unhexlify(fixed.buffers()[1].slice(begin, length).to_pybytes().translate(None, b"-"))
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(UUID_BYTES), len(fixed), [None, pa.py_buffer(packed)])
    return array.cast(pa.binary())


def readable(event_ids: pa.Array, users: pa.Array) -> list[tuple[bytes, bytes]]:
    """Return event_ids and users of rows that may not be valid: 16 bytes each, or empty."""
    is_uuid = pc.fill_null(pc.match_substring_regex(users, UUID_PATTERN), fill_value=False)
    known_users = uuid_bytes(pc.if_else(is_uuid, users, NIL)).to_pylist()
    return [
        (event_id if event_id and len(event_id) == UUID_BYTES else b"", user if known else b"")
        for event_id, user, known in zip(event_ids.to_pylist(), known_users, is_uuid.to_pylist(), strict=True)
    ]


def split(identity: bytes) -> tuple[bytes, bytes]:
    """Return the event_id and the user of an identity."""
    return identity[:UUID_BYTES], identity[UUID_BYTES:]
