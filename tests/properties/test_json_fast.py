"""The fast JSON reader and writer against the exact ones, for a message with a field of every kind."""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UndecodableError
from gateway.json.fast import FastReader
from gateway.json.fast_writer import FastWriter
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import parse, to_json
from gateway.json.wire import LENGTHS_MAX
from gateway.json.writer import JsonWriter
from tests.support.inputs.every_kind import INTEGERS, KINDS, SCALARS, SYNTAXES, every_kind
from tests.support.inputs.json_mutations import JSON_MUTATIONS
from tests.support.inputs.mutations import BAD_UTF8, mutated

MUTATIONS = 20_000
SEED = 20_261_127
SETTINGS = settings(max_examples=300, deadline=None)
# Numbers on both sides of each length of a varint.
EDGES = [sign * 2**bits + more for bits in range(65) for more in (-1, 0, 1) for sign in (1, -1)]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", '\\"', "a\\", "\0", "\x80\xff", "Ы", "\\u0041", "x" * LENGTHS_MAX, "я" * (LENGTHS_MAX // 2)]
)
STYLES = st.fixed_dictionaries({"indent": st.sampled_from([None, 1]), "ensure_ascii": st.booleans()})
# What the fast reader leaves to the exact one.
UNUSUAL = [
    '"int64": null',
    '"int64": "5"',
    '"int32": 5.0',
    '"int32": 2147483648',
    '"int64": 9223372036854775808',
    '"uint32": -1',
    '"uint64": 18446744073709551616',
    '"kind": 1',
    '"kind": "KIND_NOPE"',
    '"kindList": ["KIND_NOPE"]',
    '"string": "\\ud800"',
    '"string": "a", "string": "a"',
    '"string": "a", "string": "\\""',
    '"inner": {"text": "a", "text": "b"}',
    '"inner": {}, "inner": {"text": "a"}',
    '"int32": 1, "int32": 1',
    '"inner": null',
    '"stringList": [null]',
    '"string_list": ["a"]',
    '"nope": 1',
    '"first": "a"',
    '"data": "AQI="',
    '"ratio": 1.5',
    '"moment": "2026-01-02T03:04:05Z"',
    '"self": {"string": "a"}',
    '"inner": {"inner": []}',
]


class Readers(NamedTuple):
    """The two readers of a message."""

    kind: type[Message]
    types: MessageTypes
    fast: FastReader

    def exactly(self, body: bytes) -> tuple[bytes, list[str]] | None:
        """Return the message of the exact reader and the unknown names, None when it refuses the body."""
        message, reader = self.kind(), JsonReader(self.types, strict=False)
        try:
            reader.message(message, parse(body))
        except UndecodableError:
            return None
        return message.SerializeToString(), list(reader.unknown)


@cache
def readers_of(syntax: str) -> Readers:
    """Return the readers of the message in a syntax of Protobuf."""
    schema, types = every_kind(syntax), MessageTypes()
    kind = schema.message_class(schema.pool.FindMessageTypeByName("t.All"))
    return Readers(kind, types, FastReader(kind))


class Writers(NamedTuple):
    """The two writers of an answer."""

    kind: type[Message]
    fast: FastWriter
    exact: JsonWriter


@cache
def writers_of(syntax: str) -> Writers:
    """Return the writers of an answer in a syntax of Protobuf."""
    schema = every_kind(syntax)
    kind = schema.message_class(schema.pool.FindMessageTypeByName("t.Answer"))
    return Writers(kind, FastWriter(kind), JsonWriter(MessageTypes()))


def values(kind: str) -> st.SearchStrategy[object]:
    """Return values of a scalar type as JSON has them."""
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        return st.integers(low, high) | st.sampled_from([0, *(edge for edge in EDGES if low <= edge <= high)])
    return {"bool": st.booleans(), "string": TEXTS, "Kind": st.sampled_from(KINDS)}[kind]


INNER = st.fixed_dictionaries({}, optional={"text": TEXTS, "count": values("sint64")})
FIELDS = {**{kind.lower(): values(kind) for kind in SCALARS}, "inner": INNER}
SINGLE = FIELDS | {f"{name}Opt": value for name, value in FIELDS.items()}
LISTS = {f"{name}List": st.lists(value, max_size=3) for name, value in FIELDS.items()} | {
    f"{kind.lower()}Other": st.lists(values(kind), max_size=3) for kind in SCALARS if kind != "string"
}
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=1)


def some_of(fields: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """Return objects of some of the fields, in any order."""
    names = st.lists(st.sampled_from(sorted(fields)), max_size=8, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


@pytest.mark.parametrize("syntax", SYNTAXES)
@SETTINGS
@given(some_of(SINGLE | LISTS), STYLES)
def test_ordinary_bodies(syntax: str, value: dict[str, object], style: dict[str, bool]) -> None:
    """The fast reader accepts each ordinary body, and makes the bytes that the exact one makes."""
    body = json.dumps(value, **style).encode()  # type: ignore[arg-type]  # the styles are json.dumps's own arguments
    readers = readers_of(syntax)

    assert (readers.fast.read(body), []) == readers.exactly(body)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("members", UNUSUAL)
def test_unusual_bodies(syntax: str, members: str) -> None:
    """What is not ordinary is left to the exact reader, alone and beside ordinary values."""
    for body in (f"{{{members}}}", f'{{"bool": true, {members}, "stringOpt": "Ы"}}'):
        assert readers_of(syntax).fast.read(body.encode()) is None


@pytest.mark.parametrize("escape", [b"", rb"\u0041", rb"\n"])
@pytest.mark.parametrize("bad", BAD_UTF8)
def test_bodies_that_are_not_utf8(bad: bytes, escape: bytes) -> None:
    """Invalid UTF-8 is left to the exact reader, whatever escapes are beside it."""
    assert readers_of("proto3").fast.read(b'{"string": "\xd0\xab%b %b"}' % (bad, escape)) is None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_mutated_bodies(syntax: str) -> None:
    """Whatever the fast reader accepts, the exact one reads as the same bytes and without unknown names (seeded)."""
    readers = readers_of(syntax)
    good = [
        *(f'{{"bool": true, {members}, "stringOpt": "Ы\\"\\\\\\u0041"}}'.encode() for members in UNUSUAL),
        '{"string": "a text without escapes", "stringList": ["Ы", "a longer text"], "stringOpt": "Ы"}'.encode(),
        b'{"string": "a\\\\", "innerList": [{"text": "a", "count": 5}, {}], "kind": "KIND_ONE", "int64": 1621932759}',
    ]
    accepted = 0
    for body in mutated(good, JSON_MUTATIONS, MUTATIONS, SEED):
        fast = readers.fast.read(body)
        if fast is not None:
            accepted += 1
            assert (fast, []) == readers.exactly(body), body

    assert accepted


@pytest.mark.parametrize("syntax", SYNTAXES)
@SETTINGS
@given(some_of(FIELDS | {"innerList": LISTS["innerList"], "int32List": LISTS["int32List"], "labels": LABELS}))
def test_answers(syntax: str, value: dict[str, object]) -> None:
    """The fast writer writes a message without lists and messages as the exact one does, and leaves the others."""
    kind, fast, exact = writers_of(syntax)
    message = json_format.ParseDict(value, kind())
    written = fast.write(message.SerializeToString())
    is_plain = not any(field.message_type or field.is_repeated for field, _value in message.ListFields())

    assert (written is not None) == (is_plain and (syntax == "proto3" or not message.ListFields()))
    if written is not None:
        assert written == to_json(exact.message(message))


@pytest.mark.parametrize("data", [b"\x0a", b"\x62\x01\xff"])
def test_answers_that_are_not_valid(data: bytes) -> None:
    """What is not a message of the type, or has a text that is not UTF-8, is left to the exact writer."""
    assert writers_of("proto3").fast.write(data) is None
