"""JSON scalars to Protobuf scalars, accepting exactly what protobuf-go's protojson accepts."""

from __future__ import annotations

import base64
import binascii
import decimal
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from gateway.json.text import Number, Value

Scalar: TypeAlias = bool | int | float | str | bytes
ScalarReader: TypeAlias = Callable[[Value], Scalar]
# Returns None for the name of an enum value that the enum does not have.
FieldReader: TypeAlias = Callable[[Value], Scalar | None]

JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
JSON_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})", re.ASCII)
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
FLOAT_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# No 64-bit integer has more digits before its point.
INTEGER_DIGITS_MAX = 20
# An exponent beyond this is out of the range of every type, and decimal would refuse it.
EXPONENT_DIGITS_MAX = 6


class InvalidValueError(ValueError):
    """The value is not a JSON form of the type; the reader raises it again with the name of the field."""


def number_text(value: Value) -> str:
    """Return the digits of a number, which may be a string."""
    if isinstance(value, str) and (isinstance(value, Number) or JSON_NUMBER.fullmatch(value)):
        return value
    raise InvalidValueError


def read_string(value: Value) -> str:
    """Read a string field."""
    if isinstance(value, Number) or not isinstance(value, str):
        raise InvalidValueError
    return value


def read_bool(value: Value) -> bool:
    """Read a bool field; a string is not one."""
    if value is True or value is False:
        return value
    raise InvalidValueError


def integer_reader(low: int, high: int) -> ScalarReader:
    """Return the reader of an integer type, which reads `5`, `"5"`, `5.0` and `5e0` alike."""

    def read(value: Value) -> int:
        text = number_text(value)
        number = int(text) if JSON_INTEGER.fullmatch(text) else whole(text)
        if not low <= number <= high:
            raise InvalidValueError
        return number

    return read


def whole(text: str) -> int:
    """Return the integer value of a number with a point or an exponent."""
    digits, _, exponent = text.lower().partition("e")
    if not digits.strip("-0."):
        return 0
    if len(exponent.lstrip("+-").lstrip("0")) > EXPONENT_DIGITS_MAX:
        raise InvalidValueError
    number = decimal.Decimal(text)
    if number.adjusted() > INTEGER_DIGITS_MAX or number != number.to_integral_value():
        raise InvalidValueError
    return int(number)


def read_double(value: Value) -> float:
    """Read a double field; overflow is refused, not rounded to infinity."""
    if isinstance(value, str) and not isinstance(value, Number) and value in FLOAT_WORDS:
        return FLOAT_WORDS[value]
    number = float(number_text(value))
    if math.isinf(number):
        raise InvalidValueError
    return number


def read_float(value: Value) -> float:
    """Read a float field; a number beyond 32 bits is refused."""
    number = read_double(value)
    if not number or not math.isfinite(number):
        return number
    exact, near = decimal.Decimal(number_text(value)), decimal.Decimal(number)
    if exact != near and is_even(number):
        # It is rounded twice: to an odd double first, so that one near the middle of two floats goes the right way.
        number = math.nextafter(number, math.inf if exact > near else -math.inf)
    try:
        struct.pack("<f", number)
    except OverflowError as error:
        raise InvalidValueError from error
    return number


def is_even(number: float) -> bool:
    """Whether the last bit of a double's fraction is 0."""
    return not struct.pack("<d", number)[0] & 1


def read_bytes(value: Value) -> bytes:
    """Read a bytes field: base64 of either alphabet, padded or not."""
    text = read_string(value)
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise InvalidValueError
        text = text.replace("-", "+").replace("_", "/")
    is_padded = len(text) % 4 == 0
    # As in Go's decoder, line ends are ignored, but count when padding is decided.
    text = text.replace("\r", "").replace("\n", "")
    if not is_padded:
        if "=" in text:
            raise InvalidValueError
        text += "=" * (-len(text) % 4)
    if not BASE64.fullmatch(text):
        raise InvalidValueError
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidValueError from error


read_int32 = integer_reader(-(2**31), 2**31 - 1)
read_uint32 = integer_reader(0, 2**32 - 1)
read_int64 = integer_reader(-(2**63), 2**63 - 1)
read_uint64 = integer_reader(0, 2**64 - 1)


def enum_reader(enum: EnumDescriptor) -> Callable[[Value], int | None]:
    """Return the reader of an enum: a name or any 32-bit number; None for an unknown name."""
    numbers = {name: value.number for name, value in enum.values_by_name.items()}

    def read(value: Value) -> int | None:
        if isinstance(value, str) and not isinstance(value, Number):
            return numbers.get(value)
        number = read_int32(value)
        return int(number)

    return read


# By FieldDescriptor.type: the name in error messages, and the reader.
SCALARS: Mapping[int, tuple[str, ScalarReader]] = {
    FieldDescriptor.TYPE_DOUBLE: ("double", read_double),
    FieldDescriptor.TYPE_FLOAT: ("float", read_float),
    FieldDescriptor.TYPE_INT64: ("int64", read_int64),
    FieldDescriptor.TYPE_UINT64: ("uint64", read_uint64),
    FieldDescriptor.TYPE_INT32: ("int32", read_int32),
    FieldDescriptor.TYPE_FIXED64: ("fixed64", read_uint64),
    FieldDescriptor.TYPE_FIXED32: ("fixed32", read_uint32),
    FieldDescriptor.TYPE_BOOL: ("bool", read_bool),
    FieldDescriptor.TYPE_STRING: ("string", read_string),
    FieldDescriptor.TYPE_BYTES: ("bytes", read_bytes),
    FieldDescriptor.TYPE_UINT32: ("uint32", read_uint32),
    FieldDescriptor.TYPE_SFIXED32: ("sfixed32", read_int32),
    FieldDescriptor.TYPE_SFIXED64: ("sfixed64", read_int64),
    FieldDescriptor.TYPE_SINT32: ("sint32", read_int32),
    FieldDescriptor.TYPE_SINT64: ("sint64", read_int64),
}
