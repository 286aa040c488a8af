"""Mutations of Protobuf bodies."""

from __future__ import annotations

import random
from collections.abc import Sequence

from services.ingest.events.wire import varint
from tests.support.inputs.mutations import Mutation, break_text, place, repeat, splice, truncate

NESTING_MAX = 400
LENGTHS = (0x7F, 0x80, 0x3FFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)


def flip_bits(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Turn over one to eight bits."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def promise_length(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Promise more bytes than there are, or than a machine has."""
    at = place(body, chance)
    return body[:at] + bytes((chance.choice((0x0A, 0x12, 0x3A, 0xFA)),)) + varint(chance.choice(LENGTHS)) + body[at:]


def endless_varint(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Put a number of too many bytes in."""
    at = place(body, chance)
    return body[:at] + b"\x28" + b"\xff" * chance.randint(9, 30) + body[at:]


def nest_groups(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Open groups in one another, and close them all or not."""
    at, depth = place(body, chance), chance.randint(1, NESTING_MAX)
    return body[:at] + b"\x0b" * depth + b"\x0c" * (depth - chance.randrange(2)) + body[at:]


def nest_messages(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Put the body into a message in a message, many times."""
    for _ in range(chance.randint(1, NESTING_MAX // 8)):
        body = b"\x0a" + varint(len(body)) + body
    return body


def noise(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Put random bytes in."""
    at = place(body, chance)
    return body[:at] + chance.randbytes(chance.randint(1, 16)) + body[at:]


PROTOBUF_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    splice,
    repeat,
    promise_length,
    endless_varint,
    nest_groups,
    nest_messages,
    break_text,
    noise,
)
