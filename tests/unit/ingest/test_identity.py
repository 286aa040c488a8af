"""UUIDv7 identities: the layout of RFC 9562, their time, and their uniqueness."""

from __future__ import annotations

import uuid

import pytest

from services.ingest.events.identity import (
    COLUMNS_MIN,
    DRAWN_AT_ONCE,
    RANDOM_BITS,
    IdentitySource,
    format_identity,
    new_identities,
    parse_identity,
)

NOW = 1_700_000_000_123


@pytest.mark.parametrize("count", [1, COLUMNS_MIN - 1, COLUMNS_MIN, 1000])
def test_layout(count: int) -> None:
    """A new identity is a UUID of version 7 and the RFC's variant, and contains its time."""
    made_at_once = new_identities(count, NOW)

    assert len(made_at_once) == count
    for identity in made_at_once:
        made = uuid.UUID(bytes=identity)

        assert made.version == 7
        assert made.variant == uuid.RFC_4122
        assert made.int >> 80 == NOW


@pytest.mark.parametrize("count", [1, COLUMNS_MIN])
def test_between(count: int) -> None:
    """Identities may be made with what precedes and follows each."""
    for made in new_identities(count, NOW, before=b"before", after=b"after it"):
        identity = uuid.UUID(bytes=made[6:22])

        assert made == b"before" + identity.bytes + b"after it"
        assert (identity.version, identity.variant, identity.int >> 80) == (7, uuid.RFC_4122, NOW)


def test_no_repetition() -> None:
    """Identities of one millisecond differ."""
    assert len(set(new_identities(10_000, NOW))) == 10_000


@pytest.mark.parametrize("count", [1, COLUMNS_MIN])
def test_all_other_bits_are_random(count: int) -> None:
    """Each bit beside the time, the version and the variant is 0 in some identities and 1 in others."""
    numbers = [int.from_bytes(made, "big") for _ in range(500) for made in new_identities(count, NOW)]
    always, ever = -1, 0
    for number in numbers:
        always &= number
        ever |= number

    assert ever & ~always == RANDOM_BITS


def test_one_at_a_time() -> None:
    """Identities made one at a time have the same layout, their own time, and random bits that are used once."""
    source = IdentitySource()
    made = [source.next(NOW + number % 2) for number in range(3 * DRAWN_AT_ONCE)]

    assert len({identity[6:] for identity in made}) == 3 * DRAWN_AT_ONCE
    for number, identity in enumerate(uuid.UUID(bytes=one) for one in made):
        assert (identity.version, identity.variant) == (7, uuid.RFC_4122)
        assert identity.int >> 80 == NOW + number % 2


def test_text_and_bytes() -> None:
    """Text in any case becomes the bytes of the UUID, and is formatted in lower case."""
    known = uuid.uuid4()

    assert parse_identity(str(known).upper()) == known.bytes
    assert format_identity(known.bytes) == str(known)
