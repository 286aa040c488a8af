"""Text of a query or a path to values of fields, as Go's strconv and time packages read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar, cast

from google.protobuf import struct_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import RequestError, UndecodableError, quoted
from gateway.json.message_types import Field, MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.scalars import FLOAT_WORDS, InvalidValueError, Scalar
from gateway.json.text import Number, parse
from gateway.json.well_known import WRAPPERS

M = TypeVar("M", bound=Message)

BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
SIGNED = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
UNSIGNED = re.compile(r"[0-9]{1,20}", re.ASCII)
FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
INT32 = range(-(2**31), 2**31)
# Digits of a second after the ninth are ignored.
LONG_FRACTION = re.compile(r"([.,]\d{9})\d+", re.ASCII)
DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+", re.ASCII)
DURATION_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
UNIT_NANOS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
NANOS_MAX = 2**63 - 1
# Of a part of a duration: more digits before the point exceed 64 bits, and Go ignores more digits after it too.
DURATION_DIGITS_MAX = 18
SECOND_NANOS = 1_000_000_000


def read_scalar(field: Field, text: str) -> Scalar | None:
    """Return a scalar or an enum; RequestError names the field."""
    try:
        text.encode()
        return SCALARS.get(field.descriptor.type, read_number)(field, text)
    except UnicodeEncodeError as error:
        raise RequestError(f'parsing field "{field.name}": the text is not UTF-8') from error
    except InvalidValueError as error:
        raise RequestError(
            f'parsing field "{field.name}": "{quoted(text)}" is not a valid {field.type_name}'
        ) from error


def read_message(types: MessageTypes, target: Message, field: Field, text: str, *, of_path: bool) -> None:
    """Set a well-known type from its text, which in a path is its JSON without quotes; other messages have no text."""
    name = target.DESCRIPTOR.full_name
    try:
        if name in WRAPPERS:
            value = types.of(target).by_name["value"]
            setattr(target, value.name, read_scalar(value, text))
        elif of_path and name in AS_IN_JSON:
            JsonReader(types, strict=False).message(target, text.strip('"'))
        elif name in MESSAGES:
            MESSAGES[name](types, target, text)
        else:
            raise RequestError(f'parsing field "{field.name}": unsupported message type: "{name}"')
        target.SetInParent()
    except UndecodableError as error:
        raise RequestError(f'parsing field "{field.name}": {error.message}') from error
    except InvalidValueError as error:
        raise RequestError(f'parsing field "{field.name}": "{quoted(text)}" is not a valid {name}') from error


def read_number(field: Field, text: str) -> Scalar | None:
    """Read an integer or a floating-point number."""
    if field.descriptor.type in FLOATS:
        if text not in FLOAT_WORDS and not FLOAT.fullmatch(text):
            raise InvalidValueError
        return field.read(text if text in FLOAT_WORDS else Number(text))
    if not (UNSIGNED if field.descriptor.type in UNSIGNEDS else SIGNED).fullmatch(text):
        raise InvalidValueError
    return field.read(Number(int(text)))


def read_boolean(_field: Field, text: str) -> bool:
    """Read a boolean."""
    if text not in BOOLEANS:
        raise InvalidValueError
    return BOOLEANS[text]


def read_enum(field: Field, text: str) -> int:
    """Read an enum by one of its names or numbers."""
    enum = cast("EnumDescriptor", field.descriptor.enum_type)
    named = enum.values_by_name.get(text)
    if named is None and SIGNED.fullmatch(text) and int(text) in INT32:
        named = enum.values_by_number.get(int(text))
    if named is None:
        raise InvalidValueError
    return named.number


def read_same(field: Field, text: str) -> Scalar | None:
    """Read a string or base64."""
    return field.read(text)


def timestamp(types: MessageTypes, target: Timestamp, text: str) -> None:
    """Read RFC 3339."""
    JsonReader(types, strict=False).message(target, LONG_FRACTION.sub(r"\1", text))


def duration(_types: MessageTypes, target: Duration, text: str) -> None:
    """Read a duration of Go, such as `1h2m3.5s`."""
    if text.lstrip("+-") == "0" and len(text) <= len("+0"):
        return
    if not DURATION.fullmatch(text):
        raise InvalidValueError
    total = 0
    for whole, fraction, unit in DURATION_PART.findall(text):
        nanos, digits, part = UNIT_NANOS[unit], whole.lstrip("0"), fraction[:DURATION_DIGITS_MAX]
        if len(digits) > DURATION_DIGITS_MAX + 1:
            raise InvalidValueError
        total += int(digits or 0) * nanos + int(part or 0) * nanos // 10 ** len(part)
    is_negative = text.startswith("-")
    if total > NANOS_MAX + is_negative:
        raise InvalidValueError
    seconds, nanos = divmod(total, SECOND_NANOS)
    sign = -1 if is_negative else 1
    target.seconds, target.nanos = sign * seconds, sign * nanos


def field_mask(_types: MessageTypes, target: FieldMask, text: str) -> None:
    """Read paths of proto names."""
    target.paths.extend(text.split(",") if text else ())


def from_json(types: MessageTypes, target: struct_pb2.Value | struct_pb2.Struct, text: str) -> None:
    """Read JSON."""
    JsonReader(types, strict=True).message(target, parse(text.encode()))


def empty(_types: MessageTypes, _target: Empty, text: str) -> None:
    """Read an empty message."""
    if text not in ("", "{}"):
        raise InvalidValueError


FLOATS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
UNSIGNEDS = frozenset({
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
})  # fmt: skip
SCALARS: Mapping[int, Callable[[Field, str], Scalar | None]] = {
    FieldDescriptor.TYPE_BOOL: read_boolean,
    FieldDescriptor.TYPE_ENUM: read_enum,
    FieldDescriptor.TYPE_STRING: read_same,
    FieldDescriptor.TYPE_BYTES: read_same,
}
AS_IN_JSON = frozenset({Timestamp.DESCRIPTOR.full_name, Duration.DESCRIPTOR.full_name})
TextReader: TypeAlias = Callable[[MessageTypes, Message, str], None]


def message(kind: type[M], read: Callable[[MessageTypes, M, str], None]) -> tuple[str, TextReader]:
    """Return a reader by the name of its type; the pool's own class of that type has the same fields."""
    return kind.DESCRIPTOR.full_name, cast("TextReader", read)


MESSAGES: Mapping[str, TextReader] = dict((
    message(Timestamp, timestamp),
    message(Duration, duration),
    message(FieldMask, field_mask),
    message(struct_pb2.Value, from_json),
    message(struct_pb2.Struct, from_json),
    message(Empty, empty),
))  # fmt: skip
