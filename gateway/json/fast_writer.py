"""The fast path from the bytes of a message to JSON, for messages of plain values whose lists are empty.

A message that the fast path does not write goes to the exact writer; both write the same.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from gateway.json.message_types import NULL_VALUE
from gateway.json.well_known import SPECIAL_TYPES

# Returns a value as JSON; its type follows from the descriptor.
ValueWriter: TypeAlias = Callable[[Any], str]
# Returns a field of a message as JSON; UnusualError when the exact writer must write it.
FieldWriter: TypeAlias = Callable[[Message], str]

VALUE_WRITERS: dict[int, ValueWriter] = {
    FieldDescriptor.TYPE_STRING: encode_basestring,
    FieldDescriptor.TYPE_BOOL: {False: "false", True: "true"}.__getitem__,
    **dict.fromkeys(
        (
            FieldDescriptor.TYPE_INT32,
            FieldDescriptor.TYPE_UINT32,
            FieldDescriptor.TYPE_SINT32,
            FieldDescriptor.TYPE_FIXED32,
            FieldDescriptor.TYPE_SFIXED32,
        ),
        str,
    ),
    **dict.fromkeys(
        (
            FieldDescriptor.TYPE_INT64,
            FieldDescriptor.TYPE_UINT64,
            FieldDescriptor.TYPE_SINT64,
            FieldDescriptor.TYPE_FIXED64,
            FieldDescriptor.TYPE_SFIXED64,
        ),
        '"{}"'.format,
    ),
}


class UnusualError(Exception):
    """The exact writer must write the message."""


class FastWriter:
    """Writes the messages of one type."""

    def __init__(self, kind: type[Message]) -> None:
        self._parse = kind.FromString
        self._fields = field_writers(cast("Descriptor", kind.DESCRIPTOR))

    def write(self, data: bytes) -> bytes | None:
        """Return the JSON of a serialized message, None when the exact writer must write it."""
        if self._fields is None:
            return None
        try:
            message = self._parse(data)
            return "".join(["{", ",".join([write(message) for write in self._fields]), "}"]).encode()
        except (DecodeError, UnusualError):
            return None


def field_writers(descriptor: Descriptor) -> list[FieldWriter] | None:
    """Return the writers of a message's fields, None when one of them is always left to the exact writer."""
    if descriptor.full_name in SPECIAL_TYPES:
        return None
    writers = [field_writer(field) for field in descriptor.fields]
    return None if None in writers else cast("list[FieldWriter]", writers)


def field_writer(field: FieldDescriptor) -> FieldWriter | None:
    """Return the writer of a field, None when it is always left to the exact writer."""
    name, start = field.name, f"{encode_basestring(field.json_name)}:"
    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return absent_writer(f"{start}{'{}' if is_map else '[]'}", lambda message: bool(getattr(message, name)))
    if field.containing_oneof is not None:
        return None
    if field.has_presence:
        return absent_writer(f"{start}null", lambda message: message.HasField(name))
    write = enum_writer(field) if field.enum_type is not None else VALUE_WRITERS.get(field.type)
    if write is None:
        return None
    return lambda message: start + write(getattr(message, name))


def absent_writer(text: str, is_set: Callable[[Message], bool]) -> FieldWriter:
    """Return the writer of a field that is usually absent."""

    def write(message: Message) -> str:
        if is_set(message):
            raise UnusualError
        return text

    return write


def enum_writer(field: FieldDescriptor) -> ValueWriter | None:
    """Return the writer of an enum."""
    enum = field.enum_type
    if enum is None or enum.full_name == NULL_VALUE:
        return None
    numbers = {value.number for value in enum.values}
    # Of several names of a number the one that a look-up returns, as in the exact writer.
    names = {number: encode_basestring(enum.values_by_number[number].name) for number in numbers}

    def write(number: int) -> str:
        name = names.get(number)
        return str(number) if name is None else name

    return write
