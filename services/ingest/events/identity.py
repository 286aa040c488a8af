"""Identities of events, as 16 bytes in network order: the client's UUID or a generated UUIDv7 (RFC 9562)."""

from __future__ import annotations

import os

IDENTITY_BYTES = 16
RANDOM_BYTES = 10
TIME_SHIFT = 80
# The bits of version 7 and of the RFC's variant lie between the random bits.
FIXED_BITS = 0x7 << 76 | 0b10 << 62
RANDOM_BITS = (1 << TIME_SHIFT) - 1 & ~(0xF << 76 | 0b11 << 62)
TIME_BYTES = IDENTITY_BYTES - RANDOM_BYTES
# The same for single bytes: the first random one begins with the version, the third with the variant.
TRANSLATIONS: list[bytes | None] = [None] * RANDOM_BYTES
TRANSLATIONS[0] = bytes(0x70 | number & 0x0F for number in range(256))
TRANSLATIONS[2] = bytes(0x80 | number & 0x3F for number in range(256))
# From this number of identities on, columns of bytes cost less than numbers.
COLUMNS_MIN = 16
# Identities whose random bytes are drawn at once.
DRAWN_AT_ONCE = 256


def new_identities(count: int, now_milliseconds: int) -> list[bytes]:
    """Return `count` new UUIDv7 of a time in milliseconds since the Unix epoch."""
    # One system call for all identities of a batch.
    random = os.urandom(RANDOM_BYTES * count)
    if count >= COLUMNS_MIN:
        return identities_of_columns(random, count, now_milliseconds)
    fixed = now_milliseconds << TIME_SHIFT | FIXED_BITS
    return [
        (fixed | int.from_bytes(random[at : at + RANDOM_BYTES], "big") & RANDOM_BITS).to_bytes(IDENTITY_BYTES, "big")
        for at in range(0, len(random), RANDOM_BYTES)
    ]


class IdentitySource:
    """New UUIDv7, one at a time; their random bytes are drawn for many at once."""

    def __init__(self) -> None:
        self._tails: list[bytes] = []

    def next(self, now_milliseconds: int) -> bytes:
        """Return a new UUIDv7 of a time in milliseconds since the Unix epoch."""
        if not self._tails:
            self._tails = [identity[TIME_BYTES:] for identity in new_identities(DRAWN_AT_ONCE, 0)]
        return now_milliseconds.to_bytes(TIME_BYTES, "big") + self._tails.pop()


def identities_of_columns(random: bytes, count: int, now_milliseconds: int) -> list[bytes]:
    """Return identities of random bytes, each byte of all identities written at once."""
    packed = bytearray(now_milliseconds.to_bytes(TIME_BYTES, "big") + bytes(RANDOM_BYTES)) * count
    for place, translation in enumerate(TRANSLATIONS):
        column = random[place * count : (place + 1) * count]
        packed[TIME_BYTES + place :: IDENTITY_BYTES] = column.translate(translation)
    return cut_identities(bytes(packed))


def cut_identities(packed: bytes) -> list[bytes]:
    """Return the identities that are in succession."""
    return [packed[at : at + IDENTITY_BYTES] for at in range(0, len(packed), IDENTITY_BYTES)]


def parse_identity(text: str) -> bytes:
    """Return the bytes of a UUID that is known to be valid."""
    return bytes.fromhex(text.replace("-", ""))


def format_identity(identity: bytes) -> str:
    """Return 16 bytes as a UUID in lower case with hyphens."""
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
