"""Query parameters and path variables to fields, as grpc-gateway's DefaultQueryParser reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gateway.errors import RequestError, quoted
from gateway.json.message_types import Field, MessageTypes
from gateway.json.text_values import read_message, read_scalar
from gateway.routing.templates import PERCENT

PARAMETERS_MAX = 1_000
# Of the decoded name of a parameter: a path of fields, perhaps with the key of a map.
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
    """Split `labels[a]` into `labels` and `a`, at the last bracket; None for a name without a key."""
    start = name.rfind("[") if name.endswith("]") else -1
    return (name[:start], name[start + 1 : -1]) if start >= 0 else None


def unescape(text: str) -> str:
    """Return a part of a query without its encoding; the field that reads it refuses what is not UTF-8."""
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="surrogateescape")


class FieldSetter:
    """Sets fields of messages by dotted paths of proto or JSON names."""

    def __init__(self, types: MessageTypes) -> None:
        self._types = types

    def from_path(self, message: Message, fields: Mapping[str, str]) -> None:
        """Set the fields that a path template named."""
        for path, value in fields.items():
            self._set(message, path.split("."), [value], has_key=False, of_path="." not in path)

    def from_query(self, message: Message, pairs: Mapping[str, list[str]], taken: Iterable[str]) -> set[str]:
        """Set the fields that a query names, except those that body and path set; return the unknown names."""
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
        """Return a path in proto names; unchanged when it does not lead to a field."""
        descriptor: Descriptor | None = cast("Descriptor", message.DESCRIPTOR)
        names: list[str] = []
        for name in path:
            field = self._types.of_descriptor(descriptor).by_name.get(name) if descriptor is not None else None
            if field is None:
                return path
            names.append(field.name)
            descriptor = None if field.is_list or field.is_map else field.message
        return names

    def _set(self, message: Message, path: list[str], values: list[str], *, has_key: bool, of_path: bool) -> bool:
        """Set the field at a path; False when it does not exist, though the messages on the path to it are set then."""
        for name in path[:-1]:
            field = self._types.of(message).by_name.get(name)
            if field is None:
                return False
            refuse_taken_oneof(message, field)
            if not field.is_message:
                raise RequestError(f'invalid path: "{name}" is not a message')
            message = getattr(message, field.name)
            message.SetInParent()
        field = self._types.of(message).by_name.get(path[-1])
        if field is None:
            return False
        refuse_taken_oneof(message, field)
        if has_key and not field.is_map:
            raise RequestError(f'field "{field.name}" is not a map')
        if field.is_map:
            self._set_entry(message, field, values, of_path=of_path)
        elif field.is_list:
            for value in values:
                self._append(message, field, value, of_path=of_path)
        elif len(values) > 1:
            raise RequestError(f'too many values for field "{field.name}": {quoted(", ".join(values))}')
        else:
            self._set_one(message, field, values[0], of_path=of_path)
        return True

    def _set_entry(self, message: Message, field: Field, values: list[str], *, of_path: bool) -> None:
        entry = self._types.of_descriptor(cast("Descriptor", field.message)).by_name
        if len(values) != 2:
            raise RequestError(f'field "{field.name}" takes one value a key, as in {field.name}[key]=value')
        entries, key = getattr(message, field.name), read_scalar(entry["key"], values[0])
        if entry["value"].message is not None:
            read_message(self._types, entries[key], entry["value"], values[1], of_path=of_path)
        else:
            entries[key] = read_scalar(entry["value"], values[1])

    def _append(self, message: Message, field: Field, value: str, *, of_path: bool) -> None:
        items = getattr(message, field.name)
        if field.message is not None:
            read_message(self._types, items.add(), field, value, of_path=of_path)
        else:
            items.append(read_scalar(field, value))

    def _set_one(self, message: Message, field: Field, value: str, *, of_path: bool) -> None:
        if field.message is not None:
            read_message(self._types, getattr(message, field.name), field, value, of_path=of_path)
        else:
            setattr(message, field.name, read_scalar(field, value))


def refuse_taken_oneof(message: Message, field: Field) -> None:
    """Refuse a second field of a oneof."""
    oneof = field.descriptor.containing_oneof
    if oneof is not None and len(oneof.fields) > 1 and message.WhichOneof(oneof.name) not in (None, field.name):
        raise RequestError(f'field already set for oneof "{oneof.name}"')
