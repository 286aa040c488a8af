"""Mutations of JSON bodies."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.support.inputs.mutations import Mutation, break_text, place, repeat, splice, truncate

NESTING_MAX = 3_000
DIGITS_MAX = 5_000
TOKENS = (
    b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"{}", b"[]", b'""', b"0", b"-0", b"01", b"1.0", b"1e3",
    b"1e999999999", b"9223372036854775808", b'"5"', b'"\\ud800"', b'"\\u0000"', b'"\\ud83d\\ude00"', b'"a\\\\"',
    b'"payload":', b'"event_id":', b'"eventId":', b'"nope":', b'"movie_id":', b",", b":", b"\xef\xbb\xbf",
    b"//", b"\x1f\x8b",
)  # fmt: skip
OPENERS = (b"[", b'{"a":', b'{"payload":', b"[{}", b'"\\')


def overwrite(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Overwrite a byte."""
    at = place(body, chance)
    return body[:at] + chance.randbytes(1) + body[at + 1 :]


def put_token(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Insert a token, or replace the following text by it."""
    at = place(body, chance)
    return body[:at] + chance.choice(TOKENS) + body[at + chance.choice((0, 0, 1, 4, 38)) :]


def replace_value(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Replace the value of a name."""
    names = [at for at in range(len(body)) if body.startswith(b'": ', at)]
    if not names:
        return body
    begin = chance.choice(names) + len(b'": ')
    end = min((found for found in (body.find(end, begin) for end in (b", ", b"}")) if found >= 0), default=len(body))
    return body[:begin] + chance.choice(TOKENS) + body[end:]


def nest(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Nest many containers, and seldom close them."""
    at, opener, depth = place(body, chance), chance.choice(OPENERS), chance.randint(1, NESTING_MAX)
    closer = {b"[": b"]", b'{"a":': b"}"}.get(opener, b"") if chance.random() < 0.5 else b""
    return body[:at] + opener * depth + b"1" + closer * depth + body[at:]


def long_number(body: bytes, chance: random.Random, _good: Sequence[bytes]) -> bytes:
    """Insert a number of very many digits."""
    at = place(body, chance)
    return body[:at] + b"9" * chance.randint(1, DIGITS_MAX) + chance.choice((b"", b".5", b"e9", b"e-9")) + body[at:]


JSON_MUTATIONS: tuple[Mutation, ...] = (
    overwrite,
    truncate,
    splice,
    repeat,
    put_token,
    replace_value,
    nest,
    long_number,
    break_text,
)
