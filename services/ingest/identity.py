"""Identities of events as 16 bytes in network order: the client's UUID, or a UUIDv7 (RFC 9562) made here."""

from __future__ import annotations

import os

RANDOM_BYTES = 10
VERSION_7 = 0x70
VARIANT = 0x80


def new_identities(count: int, now_milliseconds: int) -> list[bytes]:
    """Make `count` UUIDv7 of the given time, in milliseconds since the Unix epoch."""
    time = now_milliseconds.to_bytes(6, "big")
    # One system call for all of a batch.
    random = os.urandom(RANDOM_BYTES * count)
    return [stamp(time, random[at : at + RANDOM_BYTES]) for at in range(0, len(random), RANDOM_BYTES)]


def stamp(time: bytes, random: bytes) -> bytes:
    """Lay out 6 bytes of time and 10 of randomness as a UUIDv7."""
    version = VERSION_7 | random[0] & 0x0F
    variant = VARIANT | random[2] & 0x3F
    return time + bytes((version, random[1], variant)) + random[3:]


def parse_identity(text: str) -> bytes:
    """Read a UUID that validation has accepted."""
    return bytes.fromhex(text.replace("-", ""))


def format_identity(identity: bytes) -> str:
    """Write 16 bytes as a UUID in lower case, with its hyphens."""
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
