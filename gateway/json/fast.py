"""The fast way from JSON to a message: msgspec into dictionaries, checked by counting quotes, then one constructor.

msgspec passes over unknown and repeated names in silence, and JSON that it takes must not mean another thing than to
the exact reader. So every type lists only the fields whose plain JSON it reads exactly, and the quotes of what it kept
are counted: a name costs two, a string value two. A body has more of them if and only if a name was passed over
(a value never lowers the count). Whatever is refused here is not wrong: the exact reader decides, and explains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.dynamic import Dynamic
from gateway.json.limits import ItemRule, ItemRules, no_rule
from gateway.json.well_known import READERS

# What the constructor of a message says to a value out of range or not in UTF-8.
REFUSALS = (msgspec.MsgspecError, UnicodeError, ValueError, TypeError, RecursionError)
PLAIN_TYPES: dict[int, type] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_INT32: int,
    FieldDescriptor.TYPE_INT64: int,
    FieldDescriptor.TYPE_UINT32: int,
    FieldDescriptor.TYPE_UINT64: int,
    FieldDescriptor.TYPE_SINT32: int,
    FieldDescriptor.TYPE_SINT64: int,
    FieldDescriptor.TYPE_FIXED32: int,
    FieldDescriptor.TYPE_FIXED64: int,
    FieldDescriptor.TYPE_SFIXED32: int,
    FieldDescriptor.TYPE_SFIXED64: int,
}
# An escaped backslash before a quote would make the count wrong: such a body is read exactly.
ESCAPED_BACKSLASH = b"\\\\"
ESCAPED_QUOTE = b'\\"'
QUOTES_OF_A_STRING = 2
# Types are made for every place in which a message stands: types of types grow fast.
LEVELS_MAX = 6

Counter = Callable[[Dynamic], int]


class FastReader:
    """Reads the bodies of one message type, or of one field of it."""

    def __init__(self, kind: type[Message], body_field: Dynamic, rules: ItemRules = no_rule) -> None:
        """`body_field` is the field that a body stands for, None when it is the whole message."""
        self._kind = kind
        self._field = body_field.name if body_field is not None else None
        counter: Counter
        if body_field is None:
            whole = plain_message(kind.DESCRIPTOR, (), rules)
            typed, counter = whole.typed, whole.quotes
        else:
            typed, found = plain_field(body_field, (kind.DESCRIPTOR.full_name,), rules) or (None, None)
            counter = found or quotes_of_a_string
        self._quotes = counter
        self._decoder = msgspec.json.Decoder(typed) if typed is not None else None

    def read(self, body: bytes) -> Message | None:
        """Return the message, or None when the exact reader must decide; TooManyItemsError by a rule."""
        if self._decoder is None or ESCAPED_BACKSLASH in body:
            return None
        try:
            values = self._decoder.decode(body)
            if self._quotes(values) != body.count(b'"') - body.count(ESCAPED_QUOTE):
                return None
            return self._kind(**(values if self._field is None else {self._field: values}))
        except REFUSALS:
            return None


@dataclass
class PlainMessage:
    """A message type as msgspec reads it; `quotes` counts what a dictionary cost and gives it the proto's names."""

    typed: Dynamic
    # Fields whose values are no strings, with what their values cost.
    others: list[tuple[str, Counter]] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)

    def quotes(self, values: Dynamic) -> int:
        """Return the quotes of the JSON that gave these values."""
        strings = len(values)
        inside = 0
        for name, counter in self.others:
            if name in values:
                strings -= 1
                inside += counter(values[name])
        total = QUOTES_OF_A_STRING * (len(values) + strings) + inside
        for json_name, name in self.renamed:
            if json_name in values:
                values[name] = values.pop(json_name)
        return total


def plain_message(descriptor: Dynamic, within: tuple[str, ...], rules: ItemRules) -> PlainMessage:
    """Return how a message is read; fields that lead back into the types around it are left to the exact reader."""
    plain = PlainMessage(None)
    types: dict[str, Dynamic] = {}
    for found in descriptor.fields:
        read = plain_field(found, (*within, descriptor.full_name), rules)
        if read is None:
            continue
        types[found.json_name], counter = read
        if counter is not None:
            plain.others.append((found.json_name, counter))
        if found.json_name != found.name:
            plain.renamed.append((found.json_name, found.name))
    # A class made of names that only the descriptors know.
    make: Dynamic = TypedDict
    plain.typed = make(descriptor.name, types, total=False)
    return plain


def plain_field(
    found: FieldDescriptor, within: tuple[str, ...], rules: ItemRules
) -> tuple[Dynamic, Counter | None] | None:
    """Return the type of a field's values and what counts their quotes (None: a string), or None to leave it out."""
    oneof = found.containing_oneof
    if oneof is not None and len(oneof.fields) > 1:
        return None  # that only one member is set, the constructor does not check
    single = plain_value(found, within, rules)
    if single is None or not found.is_repeated:
        return single
    typed, counter = single
    # A type made of a type that only the descriptors know.
    make: Dynamic = list
    counter_of_list = of_strings if counter is None else of_items(counter)
    rule = rules(found)
    return make[typed], counter_of_list if rule is None else within_rule(counter_of_list, rule)


def plain_value(
    found: FieldDescriptor, within: tuple[str, ...], rules: ItemRules
) -> tuple[Dynamic, Counter | None] | None:
    """Return the type of one value and its counter, or None."""
    message = found.message_type
    if message is not None:
        inside_itself_or_deep = message.full_name in within or len(within) >= LEVELS_MAX
        if inside_itself_or_deep or message.full_name in READERS or message.GetOptions().map_entry:
            return None
        plain = plain_message(message, within, rules)
        return plain.typed, plain.quotes
    if found.enum_type is not None:
        return Literal[tuple(found.enum_type.values_by_name)], None
    typed = PLAIN_TYPES.get(found.type)
    if typed is None:
        return None
    return typed, None if typed is str else no_quotes


def no_quotes(_value: Dynamic) -> int:
    """Count a number or a truth value."""
    return 0


def quotes_of_a_string(_value: Dynamic) -> int:
    """Count a string."""
    return QUOTES_OF_A_STRING


def of_strings(values: list[str]) -> int:
    """Count a list of strings."""
    return QUOTES_OF_A_STRING * len(values)


def of_items(counter: Counter) -> Counter:
    """Return what counts a list of anything else."""

    def count(values: Dynamic) -> int:
        return sum(map(counter, values))

    return count


def within_rule(counter: Counter, rule: ItemRule) -> Counter:
    """Return what counts a list that has a rule; it is looked at before a message is made of it."""

    def count(values: Dynamic) -> int:
        rule.check(values)
        return counter(values)

    return count
