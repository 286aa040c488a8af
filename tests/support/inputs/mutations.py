"""Invalid bodies: seeded mutations of valid ones of any format, as a broken or hostile client sends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
# Mostly one, as most bodies with several are garbage for every parser.
MUTATIONS_EACH = (1, 1, 1, 2, 4)
# A continuation byte, a truncated and an overlong sequence, a surrogate, a code point above the last.
BAD_UTF8 = (b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xff")


def mutated(good: Sequence[bytes], mutations: Sequence[Mutation], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` bodies, each a valid one with 1 to 4 mutations; the same seed gives the same bodies."""
    chance = random.Random(seed)
    for _ in range(count):
        body = chance.choice(good)
        for _ in range(chance.choice(MUTATIONS_EACH)):
            body = chance.choice(mutations)(body, chance, good)
        yield body


def truncate(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Remove the end or the beginning."""
    at = place(body, chance)
    return body[:at] if chance.random() < 0.8 else body[at:]


def splice(body: bytes, chance: random.Random, good: Sequence[bytes]) -> bytes:
    """Insert a piece of another body."""
    other, at = chance.choice(good), place(body, chance)
    begin = place(other, chance)
    return body[:at] + other[begin : begin + chance.randrange(64)] + body[at + chance.randrange(8) :]


def repeat(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Repeat a piece."""
    at = place(body, chance)
    return body[:at] + body[at : at + chance.randrange(80)] * chance.randint(2, 5) + body[at:]


def break_text(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Overwrite bytes with invalid UTF-8."""
    at, bad = place(body, chance), chance.choice(BAD_UTF8)
    return body[:at] + bad + body[at + len(bad) :]


def place(body: bytes, chance: random.Random) -> int:
    """Choose a position."""
    return chance.randint(0, len(body))
