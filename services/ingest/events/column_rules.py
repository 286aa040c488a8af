"""Compiles buf.validate rules into checks of whole columns. Pure.

A rule that is not listed here has no check: then events are not decided by columns, and protovalidate validates them. A
check may reject a valid value, which is then decided by protovalidate, but accepts no invalid one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from services.ingest.events.column_classes import Column, Path

# Takes a column of at least one value and the size of the largest event in bytes; returns whether all values are valid.
# A copy of a column is read faster than the column itself.
Check: TypeAlias = Callable[[Sequence[Any], int], bool]
HEXADECIMAL = b"0123456789abcdefABCDEF"
DIGITS_ALIKE = bytes.maketrans(HEXADECIMAL, b"0" * len(HEXADECIMAL))
UUID_LINE = b"00000000-0000-0000-0000-000000000000\n"
ZERO_VALUES: dict[int, str | int] = {FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_INT64: 0}
# Classes of ASCII characters with a number of repetitions: what RE2 and Python's `re` read alike.
PATTERN = re.compile(r"\^((?:\[[A-Za-z0-9_.:-]+\](?:\{[0-9]{1,3}(?:,[0-9]{1,3})?\})?)+)\$", re.ASCII)
# Different values of a column that are remembered as valid.
VALUES_REMEMBERED_MAX = 1_000


class UnsupportedRuleError(Exception):
    """The descriptors have a rule, or a kind of field, that no check covers."""


class ColumnRule(NamedTuple):
    """The rule of a column."""

    column: Column
    check: Check | None
    # Whether an event without the field is invalid.
    is_required: bool
    is_uuid: bool
    # Whether it is a text whose check reads each value; a limit of bytes is compared with the largest event first.
    is_each_text_read: bool


class CompiledRules(NamedTuple):
    """The rules of an event."""

    # The field of the batch.
    events: FieldDescriptor
    columns: list[ColumnRule]
    # The messages in an event by their paths, and whether an event without them is invalid.
    messages: dict[Path, bool]


def compile_rules(batch: Descriptor) -> CompiledRules:
    """Return the checks of a message that is a list of events; UnsupportedRuleError if they do not cover all rules.

    The number of events is not checked here.
    """
    check_message(batch)
    events = batch.fields[0]
    if len(batch.fields) > 1 or not events.is_repeated or events.message_type is None:
        raise UnsupportedRuleError(f"{batch.full_name} is not a list of messages")
    only_keys(rules_of(events), {"repeated"}, events)
    only_keys(rules_of(events).repeated, {"min_items", "max_items"}, events)
    compiled = CompiledRules(events, [], {})
    add_message(compiled, events.message_type, (), ())
    return compiled


def add_message(compiled: CompiledRules, descriptor: Descriptor, path: Path, parents: tuple[Descriptor, ...]) -> None:
    """Add the fields of a message, and of those in it."""
    check_message(descriptor)
    if descriptor in parents:
        raise UnsupportedRuleError(f"{descriptor.full_name} contains itself")
    for field in descriptor.fields:
        if field.is_repeated:
            raise UnsupportedRuleError(f"{field.full_name} is repeated")
        if field.message_type is not None:
            rules = rules_of(field)
            only_keys(rules, {"required"}, field)
            compiled.messages[*path, field.name] = rules.required
            add_message(compiled, field.message_type, (*path, field.name), (*parents, descriptor))
        else:
            compiled.columns.append(column_rule(field, path))


def check_message(descriptor: Descriptor) -> None:
    """Raise UnsupportedRuleError if a message has rules as a whole, or fields that are not in its list."""
    options = descriptor.GetOptions()
    has_rules = options.HasExtension(validate_pb2.message)  # type: ignore[arg-type]  # see rules_of
    if has_rules or descriptor.oneofs or descriptor.is_extendable:
        raise UnsupportedRuleError(f"{descriptor.full_name} has rules of the message, a oneof or extensions")


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Return the rules of a field."""
    # protoc types an extension as a plain descriptor, types-protobuf wants its own class.
    return field.GetOptions().Extensions[validate_pb2.field]  # type: ignore[index]  # see above


def only_keys(rules: Message, supported: set[str], field: FieldDescriptor) -> None:
    """Raise UnsupportedRuleError if rules have another key than the supported ones."""
    found = {key.full_name if key.is_extension else key.name for key, _value in rules.ListFields()}
    if not found <= supported or len(UnknownFieldSet(rules)):
        raise UnsupportedRuleError(f"{field.full_name}: {', '.join(sorted(found - supported)) or 'unknown rules'}")


def column_rule(field: FieldDescriptor, path: Path) -> ColumnRule:
    """Return the rule of a text or a number."""
    rules = rules_of(field)
    zero = ZERO_VALUES.get(field.type)
    kind = {FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_INT64: "int64"}.get(field.type)
    if zero is None or kind is None or field.has_presence:
        raise UnsupportedRuleError(f"{field.full_name} is not a plain string or int64")
    only_keys(rules, {"required", "ignore", kind}, field)
    if rules.ignore not in (validate_pb2.IGNORE_UNSPECIFIED, validate_pb2.IGNORE_IF_ZERO_VALUE):
        raise UnsupportedRuleError(f"{field.full_name}: ignore")
    if rules.string.uuid:
        only_keys(rules.string, {"uuid"}, field)
        checks: list[Check] = [are_uuids]
    else:
        checks = string_checks(rules.string, field) if kind == "string" else integer_checks(rules.int64, field)
    is_zero_valid = not rules.string.uuid and all(check([zero], 1 << 62) for check in checks)
    if rules.required and is_zero_valid:
        checks.append(without(zero))
    is_required = rules.required or not (is_zero_valid or rules.ignore)
    column = Column(path, field, is_ascii=rules.string.uuid)
    is_each_text_read = any(rules.string.HasField(rule) for rule in ("uuid", "max_len", "pattern"))
    return ColumnRule(column, all_of(checks), is_required, rules.string.uuid, is_each_text_read)


def string_checks(rules: validate_pb2.StringRules, field: FieldDescriptor) -> list[Check]:
    """Return the checks of the rules of a text."""
    only_keys(rules, {"max_len", "max_bytes", "pattern"}, field)
    checks: list[Check] = []
    if rules.HasField("max_len"):
        checks.append(characters_at_most(rules.max_len))
    if rules.HasField("max_bytes"):
        checks.append(bytes_at_most(rules.max_bytes))
    if rules.HasField("pattern"):
        found = PATTERN.fullmatch(rules.pattern)
        if found is None:
            raise UnsupportedRuleError(f"{field.full_name}: a pattern that is not a list of character classes")
        checks.append(matching(re.compile(found[1], re.ASCII)))
    return checks


def integer_checks(rules: validate_pb2.Int64Rules, field: FieldDescriptor) -> list[Check]:
    """Return the checks of the rules of a number."""
    only_keys(rules, {"gte", "lte"}, field)
    low = rules.gte if rules.HasField("gte") else -(1 << 63)
    high = rules.lte if rules.HasField("lte") else (1 << 63) - 1
    if low > high:
        # Then protovalidate allows what is outside.
        raise UnsupportedRuleError(f"{field.full_name}: gte is above lte")
    return [between(low, high)] if rules.ListFields() else []


def all_of(checks: Sequence[Check]) -> Check | None:
    """Return one check for several, None for none."""
    if len(checks) <= 1:
        return checks[0] if checks else None
    return lambda values, largest: all(check(values, largest) for check in checks)


def characters_at_most(count: int) -> Check:
    """Return a check of the number of characters."""
    return lambda values, _largest: max(map(len, values[:])) <= count


def bytes_at_most(count: int) -> Check:
    """Return a check of the number of bytes; no text is larger than its event."""
    return lambda values, largest: largest <= count or max(len(value.encode()) for value in values) <= count


def between(low: int, high: int) -> Check:
    """Return a check of a range."""

    def check(values: Sequence[int], _largest: int) -> bool:
        numbers = values[:]
        return low <= min(numbers) and max(numbers) <= high

    return check


def without(zero: str | int) -> Check:
    """Return a check that no value is the one that counts as absent."""
    return lambda values, _largest: zero not in values


def matching(pattern: re.Pattern[str]) -> Check:
    """Return a check of a pattern; columns have few different values, so those that match are remembered."""
    remembered: set[str] = set()

    def check(values: Sequence[str], _largest: int) -> bool:
        different = set(values[:])
        if different <= remembered:
            return True
        if not all(map(pattern.fullmatch, different)):
            return False
        if len(remembered) + len(different) > VALUES_REMEMBERED_MAX:
            remembered.clear()
        if len(different) <= VALUES_REMEMBERED_MAX:
            remembered.update(different)
        return True

    return check


def are_uuids(values: Sequence[bytes], _largest: int) -> bool:
    """Return whether all values are UUIDs in their usual form."""
    return uuid_lines(values) is not None


def uuid_lines(values: Sequence[bytes]) -> bytes | None:
    """Return a column of UUIDs as lines without the last line feed, None if one is not a UUID in its usual form."""
    lines = b"\n".join(values[:])
    # Each digit as the same digit: then the lines of all columns of UUIDs are the same.
    return lines if lines.translate(DIGITS_ALIKE) == (UUID_LINE * len(values))[:-1] else None
