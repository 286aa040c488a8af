"""Messages to JSON as grpc-gateway writes them: camelCase, unset fields printed, 64-bit integers as strings."""

from __future__ import annotations

import base64
import decimal
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from google.protobuf import any_pb2, message_factory, struct_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.json.message_types import NULL_VALUE, Field, MessageType, MessageTypes
from gateway.json.scalars import Scalar
from gateway.json.text import JsonObject, JsonValue
from gateway.json.well_known import SPECIAL_TYPES, WRAPPERS

# From this value on Go writes an exponent too.
INTEGRAL_MAX = 1e21
# Every 32-bit float has a decimal form of so many digits that reads back as itself.
FLOAT_DIGITS = 9


M = TypeVar("M", bound=Message)


class JsonWriter:
    """Writes messages of one pool, and those of other pools inside a google.protobuf.Any."""

    def __init__(self, types: MessageTypes, *pools: DescriptorPool) -> None:
        self.types = types
        self._pools = pools

    def message(self, message: Message) -> JsonValue:
        """Return the JSON of a message."""
        kind = self.types.of(message)
        special = SPECIAL.get(kind.full_name)
        return special(self, message) if special is not None else self.fields(kind, message)

    def fields(self, kind: MessageType, message: Message) -> dict[str, JsonValue]:
        """Return the JSON object of a message's fields."""
        values: dict[str, JsonValue] = {}
        for field in kind.fields:
            if field.is_list:
                values[field.json_name] = [self.value(item, field) for item in getattr(message, field.name)]
            elif field.is_map:
                values[field.json_name] = self.map(getattr(message, field.name), field)
            elif not field.descriptor.has_presence or message.HasField(field.name):
                values[field.json_name] = self.value(getattr(message, field.name), field)
            elif field.oneof is None:
                values[field.json_name] = None
        return values

    def map(self, entries: Mapping[Scalar, Message | Scalar], field: Field) -> JsonObject:
        """Return the JSON of a map field, whose descriptor is that of its entries."""
        value = self.types.of_descriptor(cast("Descriptor", field.message)).by_name["value"]
        return {map_key(key): self.value(item, value) for key, item in entries.items()}

    def value(self, value: Message | Scalar, field: Field) -> JsonValue:
        """Return the JSON of one value of a field."""
        if isinstance(value, Message):
            return self.message(value)
        kind = field.descriptor.type
        if kind == FieldDescriptor.TYPE_ENUM:
            return enum_name(cast("int", value), field.descriptor)
        write = WRITERS.get(kind)
        return cast("JsonValue", value) if write is None else write(value)

    def any(self, packed: any_pb2.Any) -> JsonObject | None:
        """Return the JSON of a google.protobuf.Any, or None when no pool has its type."""
        inner = self._unpack(packed)
        if inner is None:
            return None
        kind = self.types.of(inner)
        if kind.full_name in SPECIAL_TYPES:
            return {"@type": packed.type_url, "value": self.message(inner)}
        return {"@type": packed.type_url, **self.fields(kind, inner)}

    def _unpack(self, packed: any_pb2.Any) -> Message | None:
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


def opaque_any(packed: any_pb2.Any) -> JsonObject:
    """Return the JSON of a google.protobuf.Any whose type is unknown."""
    return {"@type": packed.type_url, "value": base64.b64encode(packed.value).decode()}


def map_key(key: Scalar) -> str:
    """Return a map key as a JSON string."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def enum_name(number: int, field: FieldDescriptor) -> str | int | None:
    """Return an enum value by its name, or by its number when it has no name."""
    enum = cast("EnumDescriptor", field.enum_type)
    if enum.full_name == NULL_VALUE:
        return None
    value = enum.values_by_number.get(number)
    return value.name if value is not None else number


def write_double(value: float) -> float | int | str:
    """Return a double; one that is not a JSON number by its name."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # From its shortest digits, because int() would write more of them than the double has.
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


def write_any(writer: JsonWriter, packed: any_pb2.Any) -> JsonValue:
    """Write a google.protobuf.Any; an empty one as an empty object."""
    return (writer.any(packed) or opaque_any(packed)) if packed.type_url else {}


def write_wrapper(writer: JsonWriter, message: Message) -> JsonValue:
    """Write the scalar inside a wrapper."""
    field = writer.types.of(message).by_name["value"]
    return writer.value(getattr(message, field.name), field)


def write_struct(writer: JsonWriter, message: struct_pb2.Struct) -> JsonValue:
    """Write any object."""
    return {key: write_value(writer, value) for key, value in message.fields.items()}


def write_list(writer: JsonWriter, message: struct_pb2.ListValue) -> JsonValue:
    """Write any array."""
    return [write_value(writer, value) for value in message.values]


def write_value(writer: JsonWriter, message: struct_pb2.Value) -> JsonValue:
    """Write any JSON value."""
    match message.WhichOneof("kind"):
        case "number_value":
            return write_double(message.number_value)
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return write_struct(writer, message.struct_value)
        case "list_value":
            return write_list(writer, message.list_value)
    return None


def write_text(_writer: JsonWriter, message: Timestamp | Duration | FieldMask) -> JsonValue:
    """Write a message whose Python class has its JSON form."""
    return message.ToJsonString()


def special(kind: type[M], write: Callable[[JsonWriter, M], JsonValue]) -> tuple[str, SpecialWriter]:
    """Return a writer by the name of its type; the pool's own class of that type has the same fields."""
    return kind.DESCRIPTOR.full_name, cast("SpecialWriter", write)


# The type of a value follows from its descriptor.
ScalarWriter: TypeAlias = Callable[[Any], JsonValue]
WRITERS: Mapping[int, ScalarWriter] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_DOUBLE: write_double,
    FieldDescriptor.TYPE_FLOAT: write_float,
    FieldDescriptor.TYPE_BYTES: lambda value: base64.b64encode(value).decode(),
}
SpecialWriter: TypeAlias = Callable[[JsonWriter, Message], JsonValue]
SPECIAL: Mapping[str, SpecialWriter] = {
    **dict.fromkeys(WRAPPERS, write_wrapper),
    **dict((
        special(any_pb2.Any, write_any),
        special(struct_pb2.Struct, write_struct),
        special(struct_pb2.ListValue, write_list),
        special(struct_pb2.Value, write_value),
        special(Timestamp, write_text),
        special(Duration, write_text),
        special(FieldMask, write_text),
    )),
}  # fmt: skip
