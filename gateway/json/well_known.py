"""Readers of the well-known types, whose JSON is not an object of their fields."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar, cast

from google.protobuf import struct_pb2, wrappers_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.json.context import ReadContext
from gateway.json.scalars import InvalidValueError, read_double
from gateway.json.text import Members, Number, Value, show

M = TypeVar("M", bound=Message)
WellKnownReader: TypeAlias = Callable[[ReadContext, Message, Value], None]

TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
DURATION = re.compile(r"([+-]?)(?:(0|[1-9]\d*)(?:\.(\d{0,9}))?|\.(\d{0,9}))s", re.ASCII)
CAMEL_PATH = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*", re.ASCII)
DURATION_SECONDS_MAX = 315_576_000_000
DURATION_DIGITS_MAX = 12
TIMESTAMP_SECONDS = range(-62_135_596_800, 253_402_300_800)
# The calendar repeats itself after so many years.
CYCLE_YEARS, CYCLE_SECONDS = 400, 146_097 * 86_400
# Limits of a time zone offset in Go's time.Parse.
HOURS_MAX, MINUTES_MAX = 24, 60


def timestamp(context: ReadContext, target: Timestamp, value: Value) -> None:
    """Read RFC 3339 with at most nine digits after the second."""
    match = TIMESTAMP.fullmatch(text(context, target, value))
    if match is None:
        raise context.invalid(target.DESCRIPTOR.full_name, value)
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    try:
        # Python has no year 0, which a time zone offset can turn into year 1.
        moment = dt.datetime(year or CYCLE_YEARS, month, day, hour, minute, second, tzinfo=dt.UTC)
    except ValueError as error:
        raise context.invalid(target.DESCRIPTOR.full_name, value) from error
    offset = int(hours or 0) * 3_600 + int(minutes or 0) * 60
    seconds = calendar.timegm(moment.utctimetuple()) - (-offset if sign == "-" else offset)
    seconds -= 0 if year else CYCLE_SECONDS
    if int(hours or 0) > HOURS_MAX or int(minutes or 0) > MINUTES_MAX or seconds not in TIMESTAMP_SECONDS:
        raise context.invalid(target.DESCRIPTOR.full_name, value)
    target.seconds, target.nanos = seconds, int((fraction or "").ljust(9, "0"))


def duration(context: ReadContext, target: Duration, value: Value) -> None:
    """Read seconds with at most nine digits after the point and an `s`."""
    match = DURATION.fullmatch(text(context, target, value))
    if match is None or len(match[2] or "") > DURATION_DIGITS_MAX or int(match[2] or 0) > DURATION_SECONDS_MAX:
        raise context.invalid(target.DESCRIPTOR.full_name, value)
    sign = -1 if match[1] == "-" else 1
    nanos = int((match[3] or match[4] or "").ljust(9, "0"))
    target.seconds, target.nanos = sign * int(match[2] or 0), sign * nanos


def field_mask(context: ReadContext, target: FieldMask, value: Value) -> None:
    """Read paths in camelCase with commas between them."""
    given = text(context, target, value).strip()
    for path in given.split(",") if given else ():
        if not CAMEL_PATH.fullmatch(path):
            raise context.invalid(target.DESCRIPTOR.full_name, value)
        target.paths.append(re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), path))


def struct(context: ReadContext, target: struct_pb2.Struct, value: Value) -> None:
    """Read any object."""
    if not isinstance(value, Members):
        raise context.error(f"must be an object, not {show(value)}")
    for key, item in value:
        context.path.append(key)
        if key in target.fields:
            raise context.error("duplicate map key")
        any_value(context, target.fields[key], item)
        context.path.pop()


def list_value(context: ReadContext, target: struct_pb2.ListValue, value: Value) -> None:
    """Read any array."""
    if not isinstance(value, list) or isinstance(value, Members):
        raise context.error(f"must be an array, not {show(value)}")
    for position, item in enumerate(value):
        context.path.append(f"[{position}]")
        any_value(context, target.values.add(), item)
        context.path.pop()


def any_value(context: ReadContext, target: struct_pb2.Value, value: Value) -> None:
    """Read any JSON value."""
    context.note_depth()
    match value:
        case None:
            target.null_value = struct_pb2.NULL_VALUE
        case bool():
            target.bool_value = value
        case Number():
            try:
                target.number_value = read_double(value)
            except InvalidValueError as error:
                raise context.invalid("double", value) from error
        case str():
            target.string_value = value
        case Members():
            target.struct_value.SetInParent()
            struct(context, target.struct_value, value)
        case list():
            target.list_value.SetInParent()
            list_value(context, target.list_value, value)


def text(context: ReadContext, target: Message, value: Value) -> str:
    """Return a string, or refuse any other value."""
    if isinstance(value, Number) or not isinstance(value, str):
        raise context.invalid(target.DESCRIPTOR.full_name, value)
    return value


def well_known(kind: type[M], read: Callable[[ReadContext, M, Value], None]) -> tuple[str, WellKnownReader]:
    """Return a reader by the name of its type; the pool's own class of that type has the same fields."""
    return kind.DESCRIPTOR.full_name, cast("WellKnownReader", read)


READERS: Mapping[str, WellKnownReader] = dict((
    well_known(Timestamp, timestamp),
    well_known(Duration, duration),
    well_known(FieldMask, field_mask),
    well_known(struct_pb2.Struct, struct),
    well_known(struct_pb2.ListValue, list_value),
    well_known(struct_pb2.Value, any_value),
))  # fmt: skip
# Messages whose JSON is the scalar inside them.
WRAPPERS = frozenset(message.full_name for message in wrappers_pb2.DESCRIPTOR.message_types_by_name.values())
# Every message whose JSON is not an object of its fields.
SPECIAL_TYPES = frozenset({*READERS, *WRAPPERS, "google.protobuf.Any"})
