"""Text, as it stands in a query or a path, to values of fields: as Go's strconv and time packages read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from gateway.dynamic import Dynamic
from gateway.errors import RequestError, UndecodableError
from gateway.json.reader import Reading
from gateway.json.scalars import FLOAT_WORDS, NotThisType
from gateway.json.shapes import Member, Shapes
from gateway.json.text import Number, parse
from gateway.json.well_known import READERS, wrapper
from gateway.quoting import quoted

BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
SIGNED = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
UNSIGNED = re.compile(r"[0-9]{1,20}", re.ASCII)
FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
INT32 = range(-(2**31), 2**31)
# Digits of a second beyond these are cut off.
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
# Of a part of a duration: more before the point do not fit in 64 bits, and Go, too, passes over more behind it.
DURATION_DIGITS_MAX = 18
SECOND_NANOS = 1_000_000_000


def read_scalar(member: Member, text: str) -> Dynamic:
    """Return a scalar or an enum; RequestError names the field."""
    try:
        text.encode()
        return SCALARS.get(member.descriptor.type, read_number)(member, text)
    except UnicodeEncodeError as error:
        raise RequestError(f'parsing field "{member.name}": the text is not UTF-8') from error
    except NotThisType as error:
        raise RequestError(f'parsing field "{member.name}": "{quoted(text)}" is no {member.type_name}') from error


def read_message(shapes: Shapes, target: Dynamic, member: Member, text: str, *, of_path: bool) -> None:
    """Set a well-known type from its text; no other message has one. A path's are as in JSON, without the quotes."""
    name = target.DESCRIPTOR.full_name
    try:
        if READERS.get(name) is wrapper:
            target.value = read_scalar(shapes.of(target.DESCRIPTOR).by_name["value"], text)
        elif of_path and name in AS_IN_JSON:
            Reading(shapes, strict=False).message(target, text.strip('"'))
        elif name in MESSAGES:
            MESSAGES[name](shapes, target, text)
        else:
            raise RequestError(f'parsing field "{member.name}": unsupported message type: "{name}"')
        target.SetInParent()
    except UndecodableError as error:
        raise RequestError(f'parsing field "{member.name}": {error.message}') from error
    except NotThisType as error:
        raise RequestError(f'parsing field "{member.name}": "{quoted(text)}" is no {name}') from error


def read_number(member: Member, text: str) -> Dynamic:
    """Read an integer or a floating-point number."""
    if member.descriptor.type in FLOATS:
        if text not in FLOAT_WORDS and not FLOAT.fullmatch(text):
            raise NotThisType
        return member.read(text if text in FLOAT_WORDS else Number(text))
    if not (UNSIGNED if member.descriptor.type in UNSIGNEDS else SIGNED).fullmatch(text):
        raise NotThisType
    return member.read(Number(int(text)))


def read_boolean(_member: Member, text: str) -> bool:
    """Read a truth value."""
    if text not in BOOLEANS:
        raise NotThisType
    return BOOLEANS[text]


def read_enum(member: Member, text: str) -> int:
    """Read an enum by a name or a number that it has."""
    enum: Dynamic = member.descriptor.enum_type
    named = enum.values_by_name.get(text)
    if named is None and SIGNED.fullmatch(text) and int(text) in INT32:
        named = enum.values_by_number.get(int(text))
    if named is None:
        raise NotThisType
    number: int = named.number
    return number


def read_same(member: Member, text: str) -> Dynamic:
    """Read a string or base64."""
    return member.read(text)


def timestamp(shapes: Shapes, target: Dynamic, text: str) -> None:
    """Read RFC 3339."""
    Reading(shapes, strict=False).message(target, LONG_FRACTION.sub(r"\1", text))


def duration(_shapes: Shapes, target: Dynamic, text: str) -> None:
    """Read what Go calls a duration, such as `1h2m3.5s`."""
    if text.lstrip("+-") == "0" and len(text) <= len("+0"):
        return
    if not DURATION.fullmatch(text):
        raise NotThisType
    total = 0
    for whole, fraction, unit in DURATION_PART.findall(text):
        nanos, digits, part = UNIT_NANOS[unit], whole.lstrip("0"), fraction[:DURATION_DIGITS_MAX]
        if len(digits) > DURATION_DIGITS_MAX + 1:
            raise NotThisType
        total += int(digits or 0) * nanos + int(part or 0) * nanos // 10 ** len(part)
    is_negative = text.startswith("-")
    if total > NANOS_MAX + is_negative:
        raise NotThisType
    seconds, nanos = divmod(total, SECOND_NANOS)
    sign = -1 if is_negative else 1
    target.seconds, target.nanos = sign * seconds, sign * nanos


def field_mask(_shapes: Shapes, target: Dynamic, text: str) -> None:
    """Read paths as they are in the proto."""
    target.paths.extend(text.split(",") if text else ())


def from_json(shapes: Shapes, target: Dynamic, text: str) -> None:
    """Read JSON."""
    Reading(shapes, strict=True).message(target, parse(text.encode()))


def empty(_shapes: Shapes, _target: Dynamic, text: str) -> None:
    """Read nothing."""
    if text not in ("", "{}"):
        raise NotThisType


FLOATS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
UNSIGNEDS = frozenset({
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
})  # fmt: skip
SCALARS: Mapping[int, Callable[[Member, str], Any]] = {
    FieldDescriptor.TYPE_BOOL: read_boolean,
    FieldDescriptor.TYPE_ENUM: read_enum,
    FieldDescriptor.TYPE_STRING: read_same,
    FieldDescriptor.TYPE_BYTES: read_same,
}
AS_IN_JSON = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})
MESSAGES: Mapping[str, Callable[[Shapes, Dynamic, str], None]] = {
    "google.protobuf.Timestamp": timestamp,
    "google.protobuf.Duration": duration,
    "google.protobuf.FieldMask": field_mask,
    "google.protobuf.Value": from_json,
    "google.protobuf.Struct": from_json,
    "google.protobuf.Empty": empty,
}
