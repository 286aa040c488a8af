"""What the reader and the writer of JSON need of a message type, computed once for each type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from gateway.json.limits import ItemRule, ItemRules, no_rule
from gateway.json.scalars import SCALARS, FieldReader, InvalidValueError, Scalar, enum_reader
from gateway.json.text import Value

NULL_VALUE = "google.protobuf.NullValue"
ANY_VALUE = "google.protobuf.Value"


@dataclass
class Field:
    """A field: its names, what kind of container it is, and how one value of it is read."""

    descriptor: FieldDescriptor
    name: str
    json_name: str
    is_map: bool
    is_list: bool
    # The type of a message. It is looked up when it is needed, because types may contain themselves.
    message: Descriptor | None
    type_name: str
    read: FieldReader
    # The full name of the oneof, which no name of a field equals.
    oneof: str | None
    # Whether JSON null is a value of the field rather than its absence.
    takes_null: bool
    # How many items the list may have, None when it has no rule.
    rule: ItemRule | None

    @property
    def is_message(self) -> bool:
        """Whether the field is a single message."""
        return self.message is not None and not self.is_list and not self.is_map


@dataclass
class MessageType:
    """A message type: its fields in their order, and by every name that JSON may have for them."""

    full_name: str
    fields: list[Field]
    by_name: dict[str, Field] = field(default_factory=dict)


class MessageTypes:
    """The message types of a descriptor pool."""

    def __init__(self, rules: ItemRules = no_rule) -> None:
        """`rules` returns how many items a list may have."""
        self._rules = rules
        self._types: dict[str, MessageType] = {}

    def of(self, message: Message) -> MessageType:
        """Return the type of a message."""
        known = self._types.get(message.DESCRIPTOR.full_name)
        return known if known is not None else self.of_descriptor(cast("Descriptor", message.DESCRIPTOR))

    def of_descriptor(self, descriptor: Descriptor) -> MessageType:
        """Return the type that a descriptor describes."""
        known = self._types.get(descriptor.full_name)
        if known is None:
            known = self._types[descriptor.full_name] = message_type(descriptor, self._rules)
        return known

    def new(self, full_name: str, beside: Message) -> Message | None:
        """Return an empty message by the name of its type, or None when the pool of the message beside has none."""
        pool = cast("DescriptorPool", beside.DESCRIPTOR.file.pool)
        try:
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))()
        except KeyError:
            return None


def message_type(descriptor: Descriptor, rules: ItemRules) -> MessageType:
    """Compute a message type."""
    fields = [message_field(found, rules) for found in descriptor.fields]
    by_name = {one.name: one for one in fields}
    by_name |= {one.json_name: one for one in fields}
    # The default JSON name is accepted beside an explicit one: responses of the same service may use it.
    for one in fields:
        by_name.setdefault(camel_case(one.name), one)
    return MessageType(descriptor.full_name, fields, by_name)


def camel_case(name: str) -> str:
    """Return the JSON name that a field has by default."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def message_field(found: FieldDescriptor, rules: ItemRules) -> Field:
    """Compute a field."""
    message, oneof = found.message_type, found.containing_oneof
    is_map = message is not None and message.GetOptions().map_entry
    type_name, read = reader_of(found)
    return Field(
        descriptor=found,
        name=found.name,
        json_name=found.json_name,
        is_map=is_map,
        is_list=found.is_repeated and not is_map,
        message=message,
        type_name=type_name,
        read=read,
        oneof=oneof.full_name if oneof is not None else None,
        takes_null=(message is not None and message.full_name == ANY_VALUE)
        or (found.enum_type is not None and found.enum_type.full_name == NULL_VALUE),
        rule=rules(found),
    )


def reader_of(found: FieldDescriptor) -> tuple[str, FieldReader]:
    """Return the name of a field's type, and what reads one scalar value of it."""
    if found.enum_type is not None:
        read_enum = enum_reader(found.enum_type)
        if found.enum_type.full_name == NULL_VALUE:
            return "enum", lambda value: 0 if value is None else read_enum(value)
        return "enum", read_enum
    if found.message_type is not None:
        return found.message_type.full_name, no_scalar
    return SCALARS[found.type]


def no_scalar(_value: Value) -> Scalar:
    """Refuse a scalar for a message."""
    raise InvalidValueError
