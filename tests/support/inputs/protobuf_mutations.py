"""Mutations of Protobuf bodies."""

from __future__ import annotations

import random
from collections.abc import Sequence

from services.ingest.events.wire import varint
from tests.support.inputs.mutations import Mutation, break_text, place, repeat, splice, truncate

NESTING_MAX = 400
LENGTHS = (0x7F, 0x80, 0x3FFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)


def flip_bits(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def false_length(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Replace a length by one that exceeds the body, or any memory."""
    at = place(body, chance)
    return body[:at] + bytes((chance.choice((0x0A, 0x12, 0x3A, 0xFA)),)) + varint(chance.choice(LENGTHS)) + body[at:]


def endless_varint(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Insert a varint of too many bytes."""
    at = place(body, chance)
    return body[:at] + b"\x28" + b"\xff" * chance.randint(9, 30) + body[at:]


def nest_groups(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Nest groups, and close all of them or not."""
    at, depth = place(body, chance), chance.randint(1, NESTING_MAX)
    return body[:at] + b"\x0b" * depth + b"\x0c" * (depth - chance.randrange(2)) + body[at:]


def nest_messages(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Wrap the body in messages, many times."""
    for _ in range(chance.randint(1, NESTING_MAX // 8)):
        body = b"\x0a" + varint(len(body)) + body
    return body


def noise(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Insert random bytes."""
    at = place(body, chance)
    return body[:at] + chance.randbytes(chance.randint(1, 16)) + body[at:]


PROTOBUF_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    splice,
    repeat,
    false_length,
    endless_varint,
    nest_groups,
    nest_messages,
    break_text,
    noise,
)
