"""UUIDv7 identities: the layout of RFC 9562, their time, and their uniqueness."""

from __future__ import annotations

import uuid

from services.ingest.events.identity import format_identity, new_identities, parse_identity

NOW = 1_700_000_000_123


def test_layout() -> None:
    """A new identity is a UUID of version 7 and the RFC's variant, and contains its time."""
    for identity in new_identities(1000, NOW):
        made = uuid.UUID(bytes=identity)

        assert made.version == 7
        assert made.variant == uuid.RFC_4122
        assert made.int >> 80 == NOW


def test_no_repetition() -> None:
    """Identities of one millisecond differ."""
    assert len(set(new_identities(10_000, NOW))) == 10_000


def test_text_and_bytes() -> None:
    """Text in any case becomes the bytes of the UUID, and is formatted in lower case."""
    known = uuid.uuid4()

    assert parse_identity(str(known).upper()) == known.bytes
    assert format_identity(known.bytes) == str(known)
