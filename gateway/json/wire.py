"""Protobuf's wire format as text with one character a byte, so that a message is joined from strings in one step.

Text of Latin-1 has the size of its bytes, and the strings of an ASCII body are such text already.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import TypeAlias, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

ENCODING = "latin-1"
# Lengths below this have a table of their prefixes for each tag, of some 70 KB.
LENGTHS_MAX = 1_024
VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
WIRE_TYPE_BITS = 3
VARINT_BITS, VARINT_VALUES = 7, 128
MASK_64 = 2**64 - 1
# The integers whose varint has five bytes, among them the seconds since 1970 of our time.
FIVE_BYTES_MIN, FIVE_BYTES_END = 1 << 28, 1 << 35
# Each of seven bits of a varint, as one that others follow and as the last.
FOLLOWED = tuple(chr(bits | VARINT_VALUES) for bits in range(VARINT_VALUES))
LAST = tuple(map(chr, range(VARINT_VALUES)))

# Returns the wire text of a number.
NumberWriter: TypeAlias = Callable[[int], str]


class OutOfRangeError(ValueError):
    """A number is not in the range of its field."""


def varint(number: int) -> str:
    """Return a number of at most 64 bits, not negative, as a varint."""
    text = ""
    while number >= VARINT_VALUES:
        text += FOLLOWED[number & VARINT_VALUES - 1]
        number >>= VARINT_BITS
    return text + LAST[number]


def signed_varint(number: int) -> str:
    """Return a number of 64 bits as a varint; a negative one has ten bytes."""
    return varint(number & MASK_64)


def zigzag(number: int) -> str:
    """Return a number of 64 bits as a varint that is short for small negative numbers."""
    return varint((number << 1 ^ number >> 63) & MASK_64)


def fixed(size: int, *, signed: bool) -> NumberWriter:
    """Return the writer of numbers of a fixed size."""
    return lambda number: number.to_bytes(size, "little", signed=signed).decode(ENCODING)


def tag(number: int, wire_type: int) -> str:
    """Return what precedes a value of the field of this number."""
    return varint(number << WIRE_TYPE_BITS | wire_type)


def length_prefix(tag_text: str, length: int) -> str:
    """Return what precedes a text or a message of this length."""
    return tag_text + varint(length)


@cache
def length_prefixes(tag_text: str, *, skips_empty: bool) -> tuple[str, ...]:
    """Return the prefixes of the lengths below the limit; with `skips_empty` an empty value is not written."""
    first = "" if skips_empty else length_prefix(tag_text, 0)
    return (first, *(length_prefix(tag_text, length) for length in range(1, LENGTHS_MAX)))


@cache
def two_followed() -> tuple[str, ...]:
    """Return each 14 bits of a varint as two bytes that others follow; the table has 1.4 MB."""
    return tuple(low + high for high, low in itertools.product(FOLLOWED, FOLLOWED))


def utf8(text: str) -> str:
    """Return the UTF-8 of a text as text with one character a byte; UnicodeEncodeError for a lone surrogate."""
    return text if text.isascii() else text.encode().decode(ENCODING)


# By the type of a field: its lowest and highest number, the wire type, and the writer without tag.
INT_32, INT_64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
UINT_32, UINT_64 = (0, 2**32 - 1), (0, 2**64 - 1)
NUMBERS: dict[int, tuple[tuple[int, int], int, NumberWriter]] = {
    FieldDescriptor.TYPE_INT32: (INT_32, VARINT, signed_varint),
    FieldDescriptor.TYPE_INT64: (INT_64, VARINT, signed_varint),
    FieldDescriptor.TYPE_UINT32: (UINT_32, VARINT, varint),
    FieldDescriptor.TYPE_UINT64: (UINT_64, VARINT, varint),
    FieldDescriptor.TYPE_SINT32: (INT_32, VARINT, zigzag),
    FieldDescriptor.TYPE_SINT64: (INT_64, VARINT, zigzag),
    FieldDescriptor.TYPE_FIXED32: (UINT_32, FIXED_32, fixed(4, signed=False)),
    FieldDescriptor.TYPE_FIXED64: (UINT_64, FIXED_64, fixed(8, signed=False)),
    FieldDescriptor.TYPE_SFIXED32: (INT_32, FIXED_32, fixed(4, signed=True)),
    FieldDescriptor.TYPE_SFIXED64: (INT_64, FIXED_64, fixed(8, signed=True)),
}
# The types of which a number that is not negative is a plain varint.
PLAIN_VARINTS = frozenset(kind for kind, (_range, _wire, write) in NUMBERS.items() if write in {varint, signed_varint})


def number_writer(field: FieldDescriptor, *, tagged: bool, skips_zero: bool) -> NumberWriter:
    """Return what writes a number of a field; OutOfRangeError when the field cannot hold it."""
    (low, high), wire_type, write = NUMBERS[field.type]
    start = tag(field.number, wire_type) if tagged else ""

    def written(value: int) -> str:
        if not low <= value <= high:
            raise OutOfRangeError
        return "" if skips_zero and not value else start + write(value)

    return written


def bool_texts(field: FieldDescriptor, *, tagged: bool, skips_zero: bool) -> tuple[str, str]:
    """Return the texts of False and True."""
    start = tag(field.number, VARINT) if tagged else ""
    return "" if skips_zero else start + LAST[0], start + LAST[1]


def enum_texts(field: FieldDescriptor, *, tagged: bool, skips_zero: bool) -> dict[str, str]:
    """Return the texts of the values of an enum by their names."""
    start = tag(field.number, VARINT) if tagged else ""
    values = cast("EnumDescriptor", field.enum_type).values_by_name
    return {
        name: "" if skips_zero and not value.number else start + signed_varint(value.number)
        for name, value in values.items()
    }
