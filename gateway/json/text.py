"""JSON text to values that keep everything, such as numbers as written and duplicate members; and values to text."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

from gateway.errors import UndecodableError


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Members(list[tuple[str, "Value"]]):
    """The members of an object as they were written."""

    __slots__ = ()


# A JSON value as it was written.
Value: TypeAlias = "Members | list[Value] | str | Number | bool | None"
# A JSON value to be written.
JsonValue: TypeAlias = "JsonObject | Sequence[JsonValue] | str | int | float | bool | None"
JsonObject: TypeAlias = Mapping[str, "JsonValue"]


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's json accepts beyond JSON."""
    raise UndecodableError(f"malformed JSON: {name} is not a JSON value")


DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=refuse_constant
)

# By byte order mark, the longer ones first.
ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    codecs.BOM_UTF8: "UTF-8",
}


def is_blank(body: bytes) -> bool:
    """Whether a body holds no JSON value at all."""
    return not body.strip(b" \t\r\n")


def parse(body: bytes) -> Value:
    """Read one JSON value; UndecodableError when the body is anything else."""
    mark = next((name for start, name in ENCODINGS.items() if body.startswith(start)), None)
    if mark is not None:
        raise UndecodableError(
            f"malformed JSON: the body begins with a byte order mark of {mark}: send UTF-8 without one"
        )
    if b"\0" in body[:4]:
        raise UndecodableError("malformed JSON: the body looks like UTF-16 or UTF-32: send UTF-8")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise UndecodableError(f"malformed JSON: invalid UTF-8 at byte {error.start}") from error
    try:
        value: Value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UndecodableError(f"malformed JSON: {error.msg} ({place})") from error
    except RecursionError as error:
        raise UndecodableError("malformed JSON: nested too deep") from error
    if "\\u" in text:
        refuse_surrogates(value)
    return value


def refuse_surrogates(value: Value) -> None:
    """Refuse a lone surrogate, which has no form in UTF-8."""
    waiting: list[Value] = [value]
    while waiting:
        match waiting.pop():
            case Members() as members:
                for name, member in members:
                    waiting += (name, member)
            case list() as items:
                waiting += items
            case str() as text if not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    raise UndecodableError("malformed JSON: lone surrogate in a string") from error


def show(value: Value, characters_max: int = 60) -> str:
    """Return a value as JSON for an error message, cut when it is long."""
    # Cut before it is escaped, because it may have megabytes.
    short = str(value[: characters_max + 1]) if isinstance(value, str) else plain(value)
    text = str(short) if isinstance(value, Number) else json.dumps(short, ensure_ascii=True)
    return text if len(text) <= characters_max else text[:characters_max] + "..."


def plain(value: Value) -> object:
    """Return a scalar unchanged, and a container as its empty brackets."""
    return {} if isinstance(value, Members) else [] if isinstance(value, list) else value


def to_json(value: JsonValue) -> bytes:
    """Return a value as JSON in UTF-8, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
