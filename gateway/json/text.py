"""JSON text to values that lose nothing: numbers as written, members in their order with their duplicates."""

from __future__ import annotations

import codecs
import json
from typing import NoReturn, TypeAlias

from gateway.errors import UndecodableError


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Members(list[tuple[str, "Value"]]):
    """The members of an object as they were written."""

    __slots__ = ()


Value: TypeAlias = "Members | list[Value] | str | Number | bool | None"


def refuse_constant(name: str) -> NoReturn:
    """Refuse what Python's json reads beyond JSON: NaN and the infinities."""
    raise UndecodableError(f"malformed JSON: {name} is not a JSON value")


DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=refuse_constant
)


# By their byte order marks, the longer first.
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
    """Refuse an escape that is half of a pair: no UTF-8 can hold it."""
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
    """Return a value as it may stand in a message: short, and JSON again."""
    # Cut before it is escaped: it may have megabytes.
    short = str(value[: characters_max + 1]) if isinstance(value, str) else plain(value)
    text = str(short) if isinstance(value, Number) else json.dumps(short, ensure_ascii=True)
    return text if len(text) <= characters_max else text[:characters_max] + "..."


def plain(value: Value) -> object:
    """Return a scalar as it is; a container, whose inside does not matter here, as its brackets."""
    return {} if isinstance(value, Members) else [] if isinstance(value, list) else value
