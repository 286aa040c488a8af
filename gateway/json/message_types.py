"""What the reader and the writer of JSON know of a message type, looked up once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from gateway.dynamic import Dynamic
from gateway.json.limits import ItemRule, ItemRules, no_rule
from gateway.json.scalars import SCALARS, enum_reader
from gateway.json.text import Value

NULL_VALUE = "google.protobuf.NullValue"
ANY_VALUE = "google.protobuf.Value"


@dataclass
class Member:
    """A field: its names, what kind of container it is, and how one value of it is read."""

    descriptor: FieldDescriptor
    name: str
    json_name: str
    is_map: bool
    is_list: bool
    # A message type's shape is asked for when it is needed: types may contain themselves.
    message: Dynamic
    type_name: str
    read: Dynamic
    oneof: str | None
    # Whether JSON null is a value of the field rather than its absence.
    takes_null: bool
    # How many items the list may have, None when it has no rule.
    rule: ItemRule | None


@dataclass
class Shape:
    """A message type: its fields by both of their names, and in their order."""

    descriptor: Descriptor
    full_name: str
    by_name: dict[str, Member] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)


class Shapes:
    """The shapes of a descriptor pool's messages."""

    def __init__(self, rules: ItemRules = no_rule) -> None:
        """`rules` says how many items a list may have."""
        self._rules = rules
        self._known: dict[str, Shape] = {}

    def of(self, descriptor: Dynamic) -> Shape:
        """Return the shape of a message type."""
        known = self._known.get(descriptor.full_name)
        if known is None:
            known = self._known[descriptor.full_name] = shape_of(descriptor, self._rules)
        return known

    def new(self, pool: DescriptorPool, full_name: str) -> Message | None:
        """Return an empty message by its type's name, or None when the pool does not have it."""
        try:
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))()
        except KeyError:
            return None


def shape_of(descriptor: Descriptor, rules: ItemRules) -> Shape:
    """Look a message type up."""
    shape = Shape(descriptor, descriptor.full_name)
    shape.members = [member_of(found, rules) for found in descriptor.fields]
    for member in shape.members:
        shape.by_name[member.name] = member
    for member in shape.members:
        shape.by_name[member.json_name] = member
    # A field that has a JSON name of its own can be sent by the usual one too: answers of the same service may use it.
    for member in shape.members:
        shape.by_name.setdefault(camel(member.name), member)
    return shape


def camel(name: str) -> str:
    """Return the JSON name that a field has by default."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def member_of(found: FieldDescriptor, rules: ItemRules) -> Member:
    """Look a field up."""
    message = found.message_type
    is_map = message is not None and message.GetOptions().map_entry
    type_name, read = reader_of(found)
    oneof = found.containing_oneof
    return Member(
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


def reader_of(found: FieldDescriptor) -> tuple[str, Callable[[Value], Any] | None]:
    """Return the name of a field's type, and what reads one value of it unless that is a message."""
    if found.enum_type is not None:
        if found.enum_type.full_name == NULL_VALUE:
            read_enum = enum_reader(found.enum_type)
            return "enum", lambda value: 0 if value is None else read_enum(value)
        return "enum", enum_reader(found.enum_type)
    if found.message_type is not None:
        return found.message_type.full_name, None
    return SCALARS[found.type]
