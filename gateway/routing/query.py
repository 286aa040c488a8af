"""Query parameters and path variables to fields, as grpc-gateway's DefaultQueryParser reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.message import Message

from gateway.dynamic import Dynamic
from gateway.errors import RequestError
from gateway.json.shapes import Member, Shapes
from gateway.json.text_values import read_message, read_scalar
from gateway.quoting import quoted
from gateway.routing.templates import PERCENT

PARAMETERS_MAX = 1_000
# Of a parameter's name, decoded: a path of fields, perhaps with the key of a map.
KEY_CHARACTERS_MAX = 1_000


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
        name, _, value = part.partition("=")
        key = unescape(name)
        if len(key) > KEY_CHARACTERS_MAX:
            raise RequestError(
                f'query parameter "{quoted(key)}": the name is longer than {KEY_CHARACTERS_MAX} characters'
            )
        pairs.setdefault(key, []).append(unescape(value))
    return pairs


def key_of_map(name: str) -> tuple[str, str] | None:
    """Split `labels[a]` into `labels` and `a`, at the last bracket; None when a name has no key of a map."""
    start = name.rfind("[") if name.endswith("]") else -1
    return (name[:start], name[start + 1 : -1]) if start >= 0 else None


def unescape(text: str) -> str:
    """Undo the encoding of a query's part, as far as it is UTF-8."""
    # What is not UTF-8 matters only where a field takes it.
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="surrogateescape")


class FieldSetter:
    """Sets fields of messages by dotted paths of either kind of name."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def from_path(self, message: Message, fields: Mapping[str, str]) -> None:
        """Set the fields that a path template named."""
        for path, value in fields.items():
            self._set(message, path.split("."), [value], has_key=False, of_path="." not in path)

    def from_query(self, message: Message, pairs: Mapping[str, list[str]], taken: Iterable[str]) -> set[str]:
        """Set the fields that a query names, except those that body and path set; return the names of no field."""
        unknown: set[str] = set()
        seen: set[str] = set()
        for given, given_values in pairs.items():
            key, values, suffix = given, given_values, ""
            if split := key_of_map(given):
                key, suffix, values = split[0], f"[{split[1]}]", [split[1], *given_values]
            path = self._normal(message, key.split("."))
            name = ".".join(path)
            if any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in taken):
                continue
            if name + suffix in seen:
                raise RequestError(f'duplicate field "{quoted(name + suffix)}"')
            seen.add(name + suffix)
            if not self._set(message, path, values, has_key=bool(suffix), of_path=False):
                unknown.add(given)
        return unknown

    def _normal(self, message: Message, path: list[str]) -> list[str]:
        """Return a path by proto names; as it was given when it leads to no field."""
        descriptor: Any = message.DESCRIPTOR
        names: list[str] = []
        for name in path:
            member = self._shapes.of(descriptor).by_name.get(name) if descriptor is not None else None
            if member is None:
                return path
            names.append(member.name)
            descriptor = None if member.is_list or member.is_map else member.message
        return names

    def _set(self, message: Dynamic, path: list[str], values: list[str], *, has_key: bool, of_path: bool) -> bool:
        """Set the field at a path; False when there is none, and then the messages on the way to it are set."""
        for name in path[:-1]:
            member = self._shapes.of(message.DESCRIPTOR).by_name.get(name)
            if member is None:
                return False
            refuse_taken_oneof(message, member)
            if member.message is None or member.is_list or member.is_map:
                raise RequestError(f'invalid path: "{name}" is not a message')
            message = getattr(message, member.name)
            message.SetInParent()
        member = self._shapes.of(message.DESCRIPTOR).by_name.get(path[-1])
        if member is None:
            return False
        refuse_taken_oneof(message, member)
        if has_key and not member.is_map:
            raise RequestError(f'field "{member.name}" is not a map')
        if member.is_map:
            self._set_entry(message, member, values, of_path=of_path)
        elif member.is_list:
            for value in values:
                self._append(message, member, value, of_path=of_path)
        elif len(values) > 1:
            raise RequestError(f'too many values for field "{member.name}": {quoted(", ".join(values))}')
        else:
            self._set_one(message, member, values[0], of_path=of_path)
        return True

    def _set_entry(self, message: Dynamic, member: Member, values: list[str], *, of_path: bool) -> None:
        entry = self._shapes.of(member.message).by_name
        if len(values) != 2:
            raise RequestError(f'field "{member.name}" takes one value a key, as in {member.name}[key]=value')
        field, key = getattr(message, member.name), read_scalar(entry["key"], values[0])
        if entry["value"].message is not None:
            read_message(self._shapes, field[key], entry["value"], values[1], of_path=of_path)
        else:
            field[key] = read_scalar(entry["value"], values[1])

    def _append(self, message: Dynamic, member: Member, value: str, *, of_path: bool) -> None:
        field = getattr(message, member.name)
        if member.message is not None:
            read_message(self._shapes, field.add(), member, value, of_path=of_path)
        else:
            field.append(read_scalar(member, value))

    def _set_one(self, message: Dynamic, member: Member, value: str, *, of_path: bool) -> None:
        if member.message is not None:
            read_message(self._shapes, getattr(message, member.name), member, value, of_path=of_path)
        else:
            setattr(message, member.name, read_scalar(member, value))


def refuse_taken_oneof(message: Dynamic, member: Member) -> None:
    """Refuse a second member of a oneof."""
    oneof = member.descriptor.containing_oneof
    if oneof is not None and len(oneof.fields) > 1 and message.WhichOneof(oneof.name) not in (None, member.name):
        raise RequestError(f'field already set for oneof "{oneof.name}"')
