"""Identities of events, as 16 bytes in network order: the client's UUID or a generated UUIDv7 (RFC 9562)."""

from __future__ import annotations

import os

RANDOM_BYTES = 10
TIME_SHIFT = 80
# The bits of version 7 and of the RFC's variant lie between the random bits.
FIXED_BITS = 0x7 << 76 | 0b10 << 62
RANDOM_BITS = (1 << TIME_SHIFT) - 1 & ~(0xF << 76 | 0b11 << 62)


def new_identities(count: int, now_milliseconds: int) -> list[bytes]:
    """Return `count` new UUIDv7 of a time in milliseconds since the Unix epoch."""
    fixed = now_milliseconds << TIME_SHIFT | FIXED_BITS
    # One system call for all identities of a batch.
    random = os.urandom(RANDOM_BYTES * count)
    return [
        (fixed | int.from_bytes(random[at : at + RANDOM_BYTES], "big") & RANDOM_BITS).to_bytes(16, "big")
        for at in range(0, len(random), RANDOM_BYTES)
    ]


def parse_identity(text: str) -> bytes:
    """Return the bytes of a UUID that is known to be valid."""
    return bytes.fromhex(text.replace("-", ""))


def format_identity(identity: bytes) -> str:
    """Return 16 bytes as a UUID in lower case with hyphens."""
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
