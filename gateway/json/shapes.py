"""The shapes of ordinary JSON: which fields of a message type msgspec reads, and into which types.

msgspec ignores repeated names without an error, but JSON that it accepts must mean the same to it and to the exact
reader. Therefore a shape has only fields whose JSON msgspec reads exactly, other names are refused as unknown, and
each shape has the number of quotes of its JSON, by which a reader recognizes a repeated name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, Literal, TypeAlias, cast

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.json.limits import ItemRule, ItemRules
from gateway.json.well_known import SPECIAL_TYPES
from gateway.json.wire import NUMBERS

QUOTES_OF_A_STRING = 2
QUOTES_OF_A_NAME = 2
# A shape is made for every place of a message type, and their number grows fast with the levels.
LEVELS_MAX = 6
PLACES_MAX = 200

# A type that msgspec decodes, made of descriptors when the program runs.
DecodedType: TypeAlias = type[Any]


@dataclass(frozen=True)
class MessageShape:
    """A message as msgspec reads it: a structure in which an absent field is None."""

    typed: DecodedType
    # In the order of their numbers, as they are serialized.
    fields: tuple[FieldShape, ...]
    # Quotes of the JSON with all fields, without the items of lists.
    quotes: int


@dataclass(frozen=True)
class FieldShape:
    """A field as msgspec reads it."""

    descriptor: FieldDescriptor
    # Of one value, which a list has any number of.
    value_type: DecodedType
    value_quotes: int
    # The shape of a message, None for a scalar.
    message: MessageShape | None
    rule: ItemRule | None

    @property
    def is_list(self) -> bool:
        """Whether the field is repeated."""
        return self.descriptor.is_repeated

    @property
    def typed(self) -> DecodedType:
        """What msgspec reads of the field."""
        return cast("DecodedType", GenericAlias(list, (self.value_type,))) if self.is_list else self.value_type

    @property
    def quotes(self) -> int:
        """Quotes of a value, or of a list without its items."""
        return 0 if self.is_list else self.value_quotes

    @property
    def attribute(self) -> str:
        """The name of the field in the structure; names of descriptors are not part of generated source."""
        return f"f{self.descriptor.number}"


class ShapeMaker:
    """Makes the shapes of one message type and of what it contains."""

    def __init__(self, rules: ItemRules) -> None:
        self._rules = rules
        self._places = iter(range(PLACES_MAX))

    def message(self, descriptor: Descriptor, within: tuple[str, ...] = ()) -> MessageShape | None:
        """Return the shape of a message, None when the exact reader must read it.

        Fields of a type that contains it are left out, and so are those of messages beyond the limits: types that
        contain one another have more places than can be built.
        """
        if any(found.is_required for found in descriptor.fields):
            return None  # its absence is an error of the serializer
        names = Counter(found.json_name for found in descriptor.fields)
        fields = [
            field
            for found in sorted(descriptor.fields, key=lambda field: field.number)
            if names[found.json_name] == 1 and is_readable(found.json_name)
            if (field := self.field(found, (*within, descriptor.full_name))) is not None
        ]
        typed = msgspec.defstruct(
            "Message",
            [(field.attribute, field.typed | None, None) for field in fields],
            rename={field.attribute: field.descriptor.json_name for field in fields},
            forbid_unknown_fields=True,
            gc=False,  # a structure cannot contain itself
        )
        return MessageShape(typed, tuple(fields), sum(QUOTES_OF_A_NAME + field.quotes for field in fields))

    def field(self, found: FieldDescriptor, within: tuple[str, ...]) -> FieldShape | None:
        """Return the shape of a field, None to leave it to the exact reader."""
        oneof = found.containing_oneof
        if oneof is not None and len(oneof.fields) > 1:
            return None  # only one field of a oneof may be set
        rule = self._rules(found)
        if found.type == FieldDescriptor.TYPE_MESSAGE:
            shape = self._inner(found, within)
            return None if shape is None else FieldShape(found, shape.typed, shape.quotes, shape, rule)
        if found.enum_type is not None:
            names = cast("DecodedType", Literal[tuple(found.enum_type.values_by_name)])
            return FieldShape(found, names, QUOTES_OF_A_STRING, None, rule)
        if found.type == FieldDescriptor.TYPE_STRING:
            return FieldShape(found, str, QUOTES_OF_A_STRING, None, rule)
        typed = bool if found.type == FieldDescriptor.TYPE_BOOL else int if found.type in NUMBERS else None
        return None if typed is None else FieldShape(found, typed, 0, None, rule)

    def _inner(self, found: FieldDescriptor, within: tuple[str, ...]) -> MessageShape | None:
        """Return the shape of the message that a field holds, None to leave it to the exact reader."""
        message = cast("Descriptor", found.message_type)
        is_nested_or_deep = message.full_name in within or len(within) >= LEVELS_MAX
        if is_nested_or_deep or message.full_name in SPECIAL_TYPES or message.GetOptions().map_entry:
            return None
        if next(self._places, None) is None:
            return None
        return self.message(message, within)


def is_readable(name: str) -> bool:
    """Whether msgspec reads this JSON name as the exact reader does, whatever the text of the body is."""
    return name.isascii() and name.isprintable() and not {'"', "\\"} & set(name)
