"""Identities of events, as 16 bytes in network order: the client's UUID or a generated UUIDv7 (RFC 9562)."""

from __future__ import annotations

import os
import struct
from functools import lru_cache

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


def new_identities(count: int, now_milliseconds: int, *, before: bytes = b"", after: bytes = b"") -> list[bytes]:
    """Return `count` new UUIDv7 of a time in milliseconds since the Unix epoch, each between two given texts."""
    # One system call for all identities of a batch.
    random = os.urandom(RANDOM_BYTES * count)
    if count >= COLUMNS_MIN:
        return identities_of_columns(random, now_milliseconds, before, after)
    fixed = now_milliseconds << TIME_SHIFT | FIXED_BITS
    numbers = [int.from_bytes(drawn, "big") & RANDOM_BITS for drawn in cut(random, RANDOM_BYTES)]
    return [before + (fixed | number).to_bytes(IDENTITY_BYTES, "big") + after for number in numbers]


class IdentitySource:
    """New UUIDv7, one at a time; their random bytes are drawn for many at once."""

    def __init__(self) -> None:
        self._tails: list[bytes] = []

    def next(self, now_milliseconds: int) -> bytes:
        """Return a new UUIDv7 of a time in milliseconds since the Unix epoch."""
        if not self._tails:
            self._tails = [identity[TIME_BYTES:] for identity in new_identities(DRAWN_AT_ONCE, 0)]
        return now_milliseconds.to_bytes(TIME_BYTES, "big") + self._tails.pop()


def identities_of_columns(random: bytes, now_milliseconds: int, before: bytes, after: bytes) -> list[bytes]:
    """Return identities of random bytes, each byte of all identities written at once."""
    count = len(random) // RANDOM_BYTES
    one = before + now_milliseconds.to_bytes(TIME_BYTES, "big") + bytes(RANDOM_BYTES) + after
    packed, first = bytearray(one) * count, len(before) + TIME_BYTES
    for place, translation in enumerate(TRANSLATIONS):
        column = random[place * count : (place + 1) * count]
        packed[first + place :: len(one)] = column if translation is None else column.translate(translation)
    return cut(packed, len(one))


def cut(packed: bytes | bytearray, size: int) -> list[bytes]:
    """Return the pieces of a size that are in succession."""
    return list(pieces(size, len(packed) // size).unpack(packed))


@lru_cache(maxsize=64)
def pieces(size: int, count: int) -> struct.Struct:
    """Return what cuts a text into pieces; kept, as batches have few sizes."""
    return struct.Struct(f"{size}s" * count)


def parse_identity(text: str) -> bytes:
    """Return the bytes of a UUID that is known to be valid."""
    return bytes.fromhex(text.replace("-", ""))


def format_identity(identity: bytes) -> str:
    """Return 16 bytes as a UUID in lower case with hyphens."""
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
