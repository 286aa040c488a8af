"""Messages to JSON as grpc-gateway writes them: camelCase, unset fields printed, 64-bit integers as strings."""

from __future__ import annotations

import base64
import decimal
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from gateway.dynamic import Dynamic
from gateway.errors import opaque
from gateway.json.shapes import NULL_VALUE, Member, Shapes
from gateway.json.well_known import READERS, wrapper

# From here on Go, too, writes an exponent.
INTEGRAL_MAX = 1e21
# With so many digits every float reads back as itself.
FLOAT_DIGITS = 9


class JsonWriter:
    """Writes messages of one pool; inside a google.protobuf.Any, also of the others."""

    def __init__(self, shapes: Shapes, *pools: DescriptorPool) -> None:
        self.shapes = shapes
        self._pools = pools

    def message(self, message: Message) -> Dynamic:
        """Return a message as what json.dumps takes."""
        shape = self.shapes.of(message.DESCRIPTOR)
        special = SPECIAL.get(shape.full_name)
        if special is not None:
            return special(self, message)
        values: dict[str, Any] = {}
        for member in shape.members:
            if member.is_list or member.is_map:
                values[member.json_name] = self.container(getattr(message, member.name), member)
            elif not member.descriptor.has_presence or message.HasField(member.name):
                values[member.json_name] = self.value(getattr(message, member.name), member)
            elif member.oneof is None:
                values[member.json_name] = None
        return values

    def container(self, field: Dynamic, member: Member) -> Dynamic:
        """Return a repeated or a map field."""
        if member.is_list:
            return [self.value(item, member) for item in field]
        entry = self.shapes.of(member.message)
        return {map_key(key): self.value(value, entry.by_name["value"]) for key, value in field.items()}

    def value(self, value: Dynamic, member: Member) -> Dynamic:
        """Return one value of a field."""
        if member.message is not None:
            return self.message(value)
        if member.descriptor.enum_type is not None:
            return enum_name(value, member.descriptor)
        write = WRITERS.get(member.descriptor.type)
        return value if write is None else write(value)

    def any(self, packed: Dynamic) -> dict[str, Any] | None:
        """Return a google.protobuf.Any with the members of its message, or None when nobody knows its type."""
        inner = self._unpack(packed)
        if inner is None:
            return None
        written = self.message(inner)
        if inner.DESCRIPTOR.full_name in READERS:
            return {"@type": packed.type_url, "value": written}
        return {"@type": packed.type_url, **written}

    def _unpack(self, packed: Dynamic) -> Message | None:
        name = packed.type_url.rpartition("/")[2]
        for pool in self._pools:
            try:
                descriptor = pool.FindMessageTypeByName(name)
            except KeyError:
                continue
            try:
                return message_factory.GetMessageClass(descriptor).FromString(packed.value)
            except DecodeError:
                return None
        return None


def map_key(key: Dynamic) -> str:
    """Return a map's key as JSON's string."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def enum_name(number: int, field: FieldDescriptor) -> str | int | None:
    """Return an enum value by its name, or by its number when it has none."""
    enum: Dynamic = field.enum_type
    if enum.full_name == NULL_VALUE:
        return None
    named = enum.values_by_number.get(number)
    return named.name if named is not None else number


def write_double(value: float) -> float | int | str:
    """Return a double; what JSON has no number for as a word."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # By way of its shortest digits: int() would write more of them than the double knows.
    return int(decimal.Decimal(repr(value))) if value.is_integer() and abs(value) < INTEGRAL_MAX else value


def write_float(value: float) -> float | int | str:
    """Return a float with the fewest digits that read back as it."""
    return write_double(shortest(value)) if math.isfinite(value) else write_double(value)


def shortest(value: float) -> float:
    """Return the double with the fewest digits that rounds to this 32-bit float."""
    for digits in range(1, FLOAT_DIGITS):
        short = float(f"{value:.{digits}g}")
        if single(short) == value:
            return short
    return float(f"{value:.{FLOAT_DIGITS}g}")


def single(value: float) -> float:
    """Round to 32 bits."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.inf
    return rounded


def write_any(writer: JsonWriter, packed: Dynamic) -> Dynamic:
    """Write a google.protobuf.Any; one of unknown type as opaque."""
    return (writer.any(packed) or opaque(packed)) if packed.type_url else {}


def write_wrapper(writer: JsonWriter, message: Dynamic) -> Dynamic:
    """Write the wrapped scalar itself."""
    return writer.value(message.value, writer.shapes.of(message.DESCRIPTOR).by_name["value"])


def write_struct(writer: JsonWriter, struct: Dynamic) -> Dynamic:
    """Write any object."""
    return {key: write_value(writer, value) for key, value in struct.fields.items()}


def write_list(writer: JsonWriter, values: Dynamic) -> Dynamic:
    """Write any array."""
    return [write_value(writer, value) for value in values.values]


def write_value(writer: JsonWriter, value: Dynamic) -> Dynamic:
    """Write any JSON value."""
    match value.WhichOneof("kind"):
        case "number_value":
            return write_double(value.number_value)
        case "string_value" | "bool_value" as kind:
            return getattr(value, kind)
        case "struct_value":
            return write_struct(writer, value.struct_value)
        case "list_value":
            return write_list(writer, value.list_value)
    return None


def write_text(_writer: JsonWriter, message: Dynamic) -> Dynamic:
    """Write a timestamp, a duration or a field mask."""
    return message.ToJsonString()


WRITERS: Mapping[int, Callable[[Dynamic], Any]] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_DOUBLE: write_double,
    FieldDescriptor.TYPE_FLOAT: write_float,
    FieldDescriptor.TYPE_BYTES: lambda value: base64.b64encode(value).decode(),
}
SPECIAL: Mapping[str, Callable[[JsonWriter, Dynamic], Dynamic]] = {
    "google.protobuf.Any": write_any,
    "google.protobuf.Struct": write_struct,
    "google.protobuf.ListValue": write_list,
    "google.protobuf.Value": write_value,
    **{f"google.protobuf.{name}": write_text for name in ("Timestamp", "Duration", "FieldMask")},
    **{name: write_wrapper for name, read in READERS.items() if read is wrapper},
}
