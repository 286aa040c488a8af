"""Query parameters and path variables to fields, as grpc-gateway's DefaultQueryParser reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.dynamic import Dynamic
from gateway.errors import RequestError, UndecodableError
from gateway.json_reader import Reading
from gateway.json_text import Number
from gateway.scalars import NotThisType
from gateway.shapes import Member, Shapes
from gateway.templates import PERCENT

KEY_OF_MAP = re.compile(r"(.*)\[(.*)\]", re.DOTALL)
BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
GO_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
PARAMETERS_MAX = 1_000


def parse_query(text: str) -> dict[str, list[str]]:
    """Split a query string or a form; RequestError when it is malformed."""
    pairs: dict[str, list[str]] = {}
    parts = text.split("&", PARAMETERS_MAX) if text else []
    if len(parts) > PARAMETERS_MAX:
        raise RequestError(f"more than {PARAMETERS_MAX} query parameters")
    for part in parts:
        if not part:
            continue
        if ";" in part or PERCENT.search(part):
            raise RequestError("malformed query string")
        key, _, value = part.partition("=")
        pairs.setdefault(unescape(key), []).append(unescape(value))
    return pairs


def unescape(text: str) -> str:
    """Undo the encoding of a query's part."""
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise RequestError("the query string is not UTF-8") from error


class FieldSetter:
    """Sets fields of messages by dotted paths of either kind of name."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def from_path(self, message: Message, fields: Mapping[str, str]) -> None:
        """Set the fields that a path template named."""
        for path, value in fields.items():
            self._set(message, path.split("."), [value], has_key=False)

    def from_query(self, message: Message, pairs: Mapping[str, list[str]], taken: Iterable[str]) -> set[str]:
        """Set the fields that a query names, except those that body and path set; return the names of no field."""
        unknown: set[str] = set()
        seen: set[str] = set()
        for given, given_values in pairs.items():
            key, values, suffix = given, given_values, ""
            if match := KEY_OF_MAP.fullmatch(given):
                key, suffix, values = match[1], f"[{match[2]}]", [match[2], *given_values]
            path = self._normal(message, key.split("."))
            if path is None:
                unknown.add(given)
                continue
            name = ".".join(path)
            if any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in taken):
                continue
            if name + suffix in seen:
                raise RequestError(f'duplicate field "{name}{suffix}"')
            seen.add(name + suffix)
            self._set(message, path, values, has_key=bool(suffix))
        return unknown

    def _normal(self, message: Message, path: list[str]) -> list[str] | None:
        """Return a path by proto names, or None when it names no field."""
        descriptor: Any = message.DESCRIPTOR
        names: list[str] = []
        for name in path:
            member = self._shapes.of(descriptor).by_name.get(name) if descriptor is not None else None
            if member is None:
                return None
            names.append(member.name)
            descriptor = None if member.is_list or member.is_map else member.message
        return names

    def _set(self, message: Dynamic, path: list[str], values: list[str], *, has_key: bool) -> None:
        for name in path[:-1]:
            member = self._shapes.of(message.DESCRIPTOR).by_name[name]
            refuse_taken_oneof(message, member)
            message = getattr(message, name)
            message.SetInParent()
        member = self._shapes.of(message.DESCRIPTOR).by_name[path[-1]]
        refuse_taken_oneof(message, member)
        if has_key and not member.is_map:
            raise RequestError(f'field "{member.name}" is not a map')
        if member.is_map:
            self._set_entry(message, member, values)
        elif member.is_list:
            for value in values:
                self._append(message, member, value)
        elif len(values) > 1:
            raise RequestError(f'too many values for field "{member.name}": {", ".join(values)}')
        else:
            self._set_one(message, member, values[0])

    def _set_entry(self, message: Dynamic, member: Member, values: list[str]) -> None:
        entry = self._shapes.of(member.message).by_name
        if len(values) != 2 or entry["value"].message is not None:
            raise RequestError(f'field "{member.name}" takes one value a key, as in {member.name}[key]=value')
        getattr(message, member.name)[parse_field(entry["key"], values[0])] = parse_field(entry["value"], values[1])

    def _append(self, message: Dynamic, member: Member, value: str) -> None:
        field = getattr(message, member.name)
        if member.message is not None:
            self._read_message(field.add(), member, value)
        else:
            field.append(parse_field(member, value))

    def _set_one(self, message: Dynamic, member: Member, value: str) -> None:
        if member.message is not None:
            inner = getattr(message, member.name)
            inner.SetInParent()
            self._read_message(inner, member, value)
        else:
            setattr(message, member.name, parse_field(member, value))

    def _read_message(self, target: Dynamic, member: Member, value: str) -> None:
        """Read a well-known type from its text; other messages have none."""
        reading = Reading(self._shapes, strict=False)
        inner = self._shapes.of(member.message).by_name.get("value")
        try:
            if inner is not None and inner.read is not None and len(member.message.fields) == 1:
                target.value = parse_field(inner, value)
            elif member.message.full_name in TEXTUAL:
                reading.message(target, value)
            else:
                raise RequestError(f'parsing field "{member.name}": {member.message.full_name} has no text form')
        except UndecodableError as error:
            raise RequestError(f'parsing field "{member.name}": {error.message}') from error


def refuse_taken_oneof(message: Dynamic, member: Member) -> None:
    """Refuse a second member of a oneof."""
    oneof = member.descriptor.containing_oneof
    if oneof is not None and len(oneof.fields) > 1 and message.WhichOneof(oneof.name) not in (None, member.name):
        raise RequestError(f'field already set for oneof "{oneof.name}"')


def parse_field(member: Member, value: str) -> Dynamic:
    """Read a scalar from its text, as Go's strconv does."""
    try:
        return TEXT_READERS.get(member.descriptor.type, read_number)(member, value)
    except NotThisType as error:
        shown = f'"{value}" is no {member.type_name}'
        raise RequestError(f'parsing field "{member.name}": {shown}') from error


def read_number(member: Member, value: str) -> Dynamic:
    """Read an integer or a floating-point number."""
    is_float = member.descriptor.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
    if not is_float and not GO_INTEGER.fullmatch(value):
        raise NotThisType
    if is_float:
        return member.read(value)
    return member.read(Number(int(value)))


def read_boolean(_member: Member, value: str) -> bool:
    """Read a truth value."""
    if value not in BOOLEANS:
        raise NotThisType
    return BOOLEANS[value]


def read_enum(member: Member, value: str) -> int:
    """Read an enum by a name or a number that it has."""
    enum: Dynamic = member.descriptor.enum_type
    named = enum.values_by_name.get(value)
    if named is None and GO_INTEGER.fullmatch(value):
        named = enum.values_by_number.get(int(value))
    if named is None:
        raise NotThisType
    number: int = named.number
    return number


def read_same(member: Member, value: str) -> Dynamic:
    """Read a string or base64."""
    return member.read(value)


TEXTUAL = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})
TEXT_READERS: Mapping[int, Callable[[Member, str], Any]] = {
    FieldDescriptor.TYPE_BOOL: read_boolean,
    FieldDescriptor.TYPE_ENUM: read_enum,
    FieldDescriptor.TYPE_STRING: read_same,
    FieldDescriptor.TYPE_BYTES: read_same,
}
