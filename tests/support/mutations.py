"""Protobuf bodies with something wrong: seeded mutations of good ones, as a broken or hostile client would send."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from services.ingest.wire import varint

Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
# Mostly one: most bodies with several are only garbage.
MUTATIONS_EACH = (1, 1, 1, 2, 4)
NESTING_MAX = 400
LENGTHS = (0x7F, 0x80, 0x3FFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)
# Alone, cut short, overlong, a surrogate, past the last code point.
BAD_UTF8 = (b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xff")


def mutated(good: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` bodies, each a good one with 1 to 4 mutations; the same seed gives the same."""
    chance = random.Random(seed)
    for _ in range(count):
        body = chance.choice(good)
        for _ in range(chance.choice(MUTATIONS_EACH)):
            body = chance.choice(MUTATIONS)(body, chance, good)
        yield body


def flip_bits(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Turn over one to eight bits."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Cut the end off, or the beginning."""
    at = place(body, chance)
    return body[:at] if chance.random() < 0.8 else body[at:]


def splice(body: bytes, chance: random.Random, good: Sequence[bytes]) -> bytes:
    """Put a piece of another body in."""
    other, at = chance.choice(good), place(body, chance)
    begin = place(other, chance)
    return body[:at] + other[begin : begin + chance.randrange(64)] + body[at + chance.randrange(8) :]


def repeat(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Repeat a piece."""
    at = place(body, chance)
    return body[:at] + body[at : at + chance.randrange(40)] * chance.randint(2, 5) + body[at:]


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


def break_text(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Overwrite bytes by such as are never in UTF-8."""
    at, bad = place(body, chance), chance.choice(BAD_UTF8)
    return body[:at] + bad + body[at + len(bad) :]


def noise(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Put random bytes in."""
    at = place(body, chance)
    return body[:at] + chance.randbytes(chance.randint(1, 16)) + body[at:]


def place(body: bytes, chance: random.Random) -> int:
    """Choose a position."""
    return chance.randint(0, len(body))


MUTATIONS: tuple[Mutation, ...] = (
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
