"""The fast path from JSON to a message: msgspec into dictionaries, checked by counting quotes, then one constructor.

msgspec ignores unknown and repeated names without an error, but JSON that it accepts must mean the same to it and to
the exact reader. Therefore a type has only fields whose JSON msgspec reads exactly, and the quotes of the kept values
are counted: two for a name, two for a string. The body has more quotes if and only if a name was ignored (a value
never lowers the count). A body that the fast path refuses is not wrong: the exact reader decides and explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, cast

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.json.limits import ItemRule, ItemRules, no_rule
from gateway.json.well_known import SPECIAL_TYPES

# Errors of msgspec, and of the constructor of a message for a value out of range or not in UTF-8.
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
# An escaped backslash before a quote would make the count wrong: such a body goes to the exact reader.
ESCAPED_BACKSLASH = b"\\\\"
ESCAPED_QUOTE = b'\\"'
QUOTES_OF_A_STRING = 2
# Types are made for every place of a message type, and their number grows fast with the levels.
LEVELS_MAX = 6
TYPES_MAX = 1_000

# What msgspec makes of a JSON value of a type below.
PlainValue: TypeAlias = "dict[str, PlainValue] | list[PlainValue] | str | int | bool"
# A type that msgspec decodes, made of descriptors when the program runs.
DecodedType: TypeAlias = type[Any]
# Counts the quotes of the JSON of a value.
QuoteCounter: TypeAlias = Callable[[Any], int]


class FastReader:
    """Reads the bodies of one message type, or of one field of it."""

    def __init__(self, kind: type[Message], body_field: str | None = None, rules: ItemRules = no_rule) -> None:
        """`body_field` is the name of the field that a body sets, None for the whole message."""
        self._kind, self._field = kind, body_field
        descriptor = cast("Descriptor", kind.DESCRIPTOR)
        if body_field is None:
            whole = plain_message(descriptor, (), rules, iter(range(TYPES_MAX)))
            plain: PlainField | None = PlainField(whole.typed, whole.quotes)
        else:
            body = descriptor.fields_by_name[body_field]
            plain = plain_field(body, (descriptor.full_name,), rules, iter(range(TYPES_MAX)))
        self._quotes = plain.quotes if plain is not None and plain.quotes is not None else quotes_of_a_string
        self._decoder = msgspec.json.Decoder(plain.typed) if plain is not None else None

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
    """A message type as msgspec reads it; `quotes` counts quotes, and renames the keys to proto names."""

    typed: DecodedType
    # Fields whose values are not strings, with the counters of their quotes.
    others: list[tuple[str, QuoteCounter]] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)

    def quotes(self, values: dict[str, PlainValue]) -> int:
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


class PlainField(NamedTuple):
    """A field's type as msgspec reads it, and the counter of the quotes of its values, None for a string."""

    typed: DecodedType
    quotes: QuoteCounter | None


def plain_message(
    descriptor: Descriptor, within: tuple[str, ...], rules: ItemRules, budget: Iterator[int]
) -> PlainMessage:
    """Return how a message is read; fields of a type that contains it are left to the exact reader.

    So are those of messages beyond the `budget`: types that contain one another have more paths than can be built.
    """
    plain = PlainMessage(dict)
    types: dict[str, DecodedType] = {}
    for found in descriptor.fields:
        read = plain_field(found, (*within, descriptor.full_name), rules, budget)
        if read is None:
            continue
        types[found.json_name] = read.typed
        if read.quotes is not None:
            plain.others.append((found.json_name, read.quotes))
        if found.json_name != found.name:
            plain.renamed.append((found.json_name, found.name))
    # Called by another name, because mypy takes a call of TypedDict for the declaration of a class.
    make_class = cast("Callable[..., DecodedType]", TypedDict)
    plain.typed = make_class(descriptor.name, types, total=False)
    return plain


def plain_field(
    found: FieldDescriptor, within: tuple[str, ...], rules: ItemRules, budget: Iterator[int]
) -> PlainField | None:
    """Return how a field is read, or None to leave it to the exact reader."""
    oneof = found.containing_oneof
    if oneof is not None and len(oneof.fields) > 1:
        return None  # the constructor does not check that only one field of a oneof is set
    single = plain_value(found, within, rules, budget)
    if single is None or not found.is_repeated:
        return single
    counter = quotes_of_strings if single.quotes is None else quotes_of_items(single.quotes)
    rule = rules(found)
    list_type = cast("DecodedType", GenericAlias(list, (single.typed,)))
    return PlainField(list_type, counter if rule is None else checked_by(rule, counter))


def plain_value(
    found: FieldDescriptor, within: tuple[str, ...], rules: ItemRules, budget: Iterator[int]
) -> PlainField | None:
    """Return how one value of a field is read, or None to leave it to the exact reader."""
    message = found.message_type
    if message is not None:
        is_nested_or_deep = message.full_name in within or len(within) >= LEVELS_MAX
        if is_nested_or_deep or message.full_name in SPECIAL_TYPES or message.GetOptions().map_entry:
            return None
        if next(budget, None) is None:
            return None
        plain = plain_message(message, within, rules, budget)
        return PlainField(plain.typed, plain.quotes)
    if found.enum_type is not None:
        return PlainField(cast("DecodedType", Literal[tuple(found.enum_type.values_by_name)]), None)
    typed = PLAIN_TYPES.get(found.type)
    if typed is None:
        return None
    return PlainField(typed, None if typed is str else no_quotes)


def no_quotes(_value: float) -> int:
    """Count a number or a boolean."""
    return 0


def quotes_of_a_string(_value: str) -> int:
    """Count a string."""
    return QUOTES_OF_A_STRING


def quotes_of_strings(values: list[str]) -> int:
    """Count a list of strings."""
    return QUOTES_OF_A_STRING * len(values)


def quotes_of_items(counter: QuoteCounter) -> QuoteCounter:
    """Return the counter of a list of anything else."""

    def count(values: list[PlainValue]) -> int:
        return sum(map(counter, values))

    return count


def checked_by(rule: ItemRule, counter: QuoteCounter) -> QuoteCounter:
    """Return the counter of a list with a rule, which is checked before a message is made of the list."""

    def count(values: list[PlainValue]) -> int:
        rule.check(values)
        return counter(values)

    return count
