"""The identity of an event: its event_id and its user, 16 bytes each. Two users may use the same event_id. Pure."""

from __future__ import annotations

from binascii import Error, unhexlify

import pyarrow as pa
import pyarrow.compute as pc

HEX = "[0-9a-fA-F]"
UUID_PATTERN = rf"\A{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}\z"
UUID_BYTES, UUID_CHARACTERS, UUID_DIGITS = 16, 36, 32
# The places of the hyphens in the text of a UUID.
HYPHENS = (8, 13, 18, 23)
# Replaces an id that is not a valid UUID.
NIL = "00000000-0000-0000-0000-000000000000"
NO_SEPARATOR = pa.scalar(b"", pa.binary())


def identities(event_ids: pa.Array, users: pa.Array) -> list[bytes]:
    """Concatenate event_ids and users, 16 bytes each, into 32 bytes an event."""
    joined: list[bytes] = pc.binary_join_element_wise(event_ids, users.cast(pa.binary()), NO_SEPARATOR).to_pylist()
    return joined


def packed(texts: pa.Array) -> pa.Array | None:
    """Return UUIDs in text as 16 bytes each, or None unless every text matches UUID_PATTERN.

    Upper and lower case give the same bytes. The whole column is checked and converted by a few calls, which costs less
    than matching the pattern.
    """
    if texts.null_count:
        return None
    try:
        fixed = texts.cast(pa.binary()).cast(pa.binary(UUID_CHARACTERS))
    except pa.ArrowInvalid:
        # A text of another length.
        return None
    count = len(fixed)
    text = fixed.buffers()[1].slice(fixed.offset * UUID_CHARACTERS, count * UUID_CHARACTERS).to_pybytes()
    if any(text[place::UUID_CHARACTERS] != b"-" * count for place in HYPHENS):
        return None
    digits = text.translate(None, b"-")
    if len(digits) != count * UUID_DIGITS:
        return None
    try:
        values = unhexlify(digits)
    except Error:
        return None
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(UUID_BYTES), count, [None, pa.py_buffer(values)])


def readable(event_ids: pa.Array, users: pa.Array) -> list[tuple[bytes, bytes]]:
    """Return event_ids and users of rows that may not be valid: 16 bytes each, or empty."""
    is_uuid = pc.fill_null(pc.match_substring_regex(users, UUID_PATTERN), fill_value=False)
    known_users = packed(pc.if_else(is_uuid, users, NIL))
    assert known_users is not None  # noqa: S101 -- the others were replaced
    return [
        (event_id if event_id and len(event_id) == UUID_BYTES else b"", user if known else b"")
        for event_id, user, known in zip(
            event_ids.to_pylist(), known_users.to_pylist(), is_uuid.to_pylist(), strict=True
        )
    ]


def split(identity: bytes) -> tuple[bytes, bytes]:
    """Return the event_id and the user of an identity."""
    return identity[:UUID_BYTES], identity[UUID_BYTES:]
