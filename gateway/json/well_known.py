"""The well-known types, whose JSON is not that of a message: how each is read."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.dynamic import Dynamic
from gateway.json.scalars import NotThisType, read_double
from gateway.json.text import Members, Number, Value, show

if TYPE_CHECKING:
    from gateway.json.reader import Reading

Special: TypeAlias = "Callable[[Reading, Any, Value], None]"

TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
DURATION = re.compile(r"([+-]?)(?:(0|[1-9]\d*)(?:\.(\d{0,9}))?|\.(\d{0,9}))s", re.ASCII)
CAMEL_PATH = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*", re.ASCII)
DURATION_SECONDS_MAX = 315_576_000_000
DURATION_DIGITS_MAX = 12
TIMESTAMP_SECONDS = range(-62_135_596_800, 253_402_300_800)
# Of google.protobuf.Any in one another: each level copies what is in it.
ANY_LEVELS_MAX = 32
# After so many years the calendar repeats itself.
CYCLE_YEARS, CYCLE_SECONDS = 400, 146_097 * 86_400
# Of an offset, as Go's time.Parse has them.
HOURS_MAX, MINUTES_MAX = 24, 60


def timestamp(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read RFC 3339 with at most nine digits of a second."""
    match = TIMESTAMP.fullmatch(text(reading, target, value))
    if match is None:
        raise reading.invalid(target.DESCRIPTOR.full_name, value)
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    try:
        # Python has no year 0, of which an offset can make the year 1.
        moment = dt.datetime(year or CYCLE_YEARS, month, day, hour, minute, second, tzinfo=dt.UTC)
    except ValueError as error:
        raise reading.invalid(target.DESCRIPTOR.full_name, value) from error
    offset = int(hours or 0) * 3_600 + int(minutes or 0) * 60
    seconds = calendar.timegm(moment.utctimetuple()) - (-offset if sign == "-" else offset)
    seconds -= 0 if year else CYCLE_SECONDS
    if int(hours or 0) > HOURS_MAX or int(minutes or 0) > MINUTES_MAX or seconds not in TIMESTAMP_SECONDS:
        raise reading.invalid(target.DESCRIPTOR.full_name, value)
    target.seconds, target.nanos = seconds, int((fraction or "").ljust(9, "0"))


def duration(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read seconds with at most nine digits after the point and an `s`."""
    match = DURATION.fullmatch(text(reading, target, value))
    if match is None or len(match[2] or "") > DURATION_DIGITS_MAX or int(match[2] or 0) > DURATION_SECONDS_MAX:
        raise reading.invalid(target.DESCRIPTOR.full_name, value)
    sign = -1 if match[1] == "-" else 1
    nanos = int((match[3] or match[4] or "").ljust(9, "0"))
    target.seconds, target.nanos = sign * int(match[2] or 0), sign * nanos


def field_mask(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read paths in camelCase with commas between them."""
    given = text(reading, target, value).strip()
    for path in given.split(",") if given else ():
        if not CAMEL_PATH.fullmatch(path):
            raise reading.invalid(target.DESCRIPTOR.full_name, value)
        target.paths.append(re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), path))


def struct(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read any object."""
    if not isinstance(value, Members):
        raise reading.wrong(f"must be an object, not {show(value)}")
    for key, item in value:
        reading.trail.append(key)
        if key in target.fields:
            raise reading.wrong("duplicate map key")
        any_value(reading, target.fields[key], item)
        reading.trail.pop()


def list_value(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read any array."""
    if not isinstance(value, list) or isinstance(value, Members):
        raise reading.wrong(f"must be an array, not {show(value)}")
    for position, item in enumerate(value):
        reading.trail.append(f"[{position}]")
        any_value(reading, target.values.add(), item)
        reading.trail.pop()


def any_value(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read any JSON value."""
    reading.note_depth()
    match value:
        case None:
            target.null_value = 0
        case bool():
            target.bool_value = value
        case Number():
            try:
                target.number_value = read_double(value)
            except NotThisType as error:
                raise reading.invalid("double", value) from error
        case str():
            target.string_value = value
        case Members():
            target.struct_value.SetInParent()
            struct(reading, target.struct_value, value)
        case list():
            target.list_value.SetInParent()
            list_value(reading, target.list_value, value)


def wrapper(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read the wrapped scalar itself."""
    member = reading.shapes.of(target.DESCRIPTOR).by_name["value"]
    target.value = reading.scalar(member, value)


def packed(reading: Reading, target: Dynamic, value: Value) -> None:
    """Read a google.protobuf.Any: the message that `@type` names, its members beside that name."""
    if not isinstance(value, Members):
        raise reading.wrong(f"must be an object, not {show(value)}")
    types = [item for key, item in value if key == "@type"]
    if not value or (not types and not reading.strict):
        return  # as protobuf-go: without a type its members are unknown, and passed over
    if len(types) != 1 or not isinstance(types[0], str) or isinstance(types[0], Number) or not types[0]:
        raise reading.wrong('must have one "@type" that names a message')
    if reading.any_levels == ANY_LEVELS_MAX:
        raise reading.wrong(f"more than {ANY_LEVELS_MAX} levels of google.protobuf.Any in one another")
    reading.any_levels += 1
    inner = reading.shapes.new(target.DESCRIPTOR.file.pool, types[0].rpartition("/")[2])
    if inner is None:
        raise reading.wrong(f'unknown message type {show(types[0])} in "@type"')
    rest = Members(pair for pair in value if pair[0] != "@type")
    if inner.DESCRIPTOR.full_name in READERS and inner.DESCRIPTOR.full_name != "google.protobuf.Empty":
        found = [item for key, item in rest if key == "value"]
        if len(found) != 1:
            raise reading.wrong('must have "@type" and "value"')
        for key, _item in rest:
            if key != "value":
                reading.unknown_key(key)
        reading.message(inner, found[0])
    else:
        reading.message(inner, rest)
    reading.any_levels -= 1
    target.type_url, target.value = types[0], inner.SerializeToString(deterministic=True)


def text(reading: Reading, target: Dynamic, value: Value) -> str:
    """Return a string, or refuse any other value."""
    if isinstance(value, Number) or not isinstance(value, str):
        raise reading.invalid(target.DESCRIPTOR.full_name, value)
    return value


READERS: Mapping[str, Special] = {
    "google.protobuf.Timestamp": timestamp,
    "google.protobuf.Duration": duration,
    "google.protobuf.FieldMask": field_mask,
    "google.protobuf.Struct": struct,
    "google.protobuf.ListValue": list_value,
    "google.protobuf.Value": any_value,
    "google.protobuf.Any": packed,
    **{
        f"google.protobuf.{name}Value": wrapper
        for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
