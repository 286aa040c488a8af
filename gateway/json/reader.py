"""JSON to messages, accepting exactly what protobuf-go's protojson accepts with DiscardUnknown."""

from __future__ import annotations

from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.errors import UndecodableError
from gateway.json.context import ReadContext
from gateway.json.message_types import Field, MessageTypes
from gateway.json.scalars import JSON_INTEGER, InvalidValueError, Scalar
from gateway.json.text import Members, Number, Value, show
from gateway.json.well_known import READERS, SPECIAL_TYPES, WRAPPERS

# Each level of google.protobuf.Any copies the bytes of the levels inside it.
ANY_LEVELS_MAX = 32
ANY = any_pb2.Any.DESCRIPTOR.full_name
TYPE_NAME = "@type"


class JsonReader(ReadContext):
    """Reads one body."""

    def __init__(self, types: MessageTypes, *, strict: bool) -> None:
        """With `strict` an unknown name of a field or an enum value is an error; without it is ignored."""
        super().__init__(strict=strict)
        self._types = types
        self._any_levels = 0

    def message(self, target: Message, value: Value) -> None:
        """Set the fields of a message from a JSON value."""
        self.note_depth()
        kind = self._types.of(target)
        if kind.full_name in SPECIAL_TYPES:
            self._special(kind.full_name, target, value)
            return
        if not isinstance(value, Members):
            raise self.error(f"{kind.full_name} must be an object, not {show(value)}")
        seen: set[str] = set()
        for name, item in value:
            field = kind.by_name.get(name)
            if field is None:
                self.unknown_name(name)
                continue
            self.path.append(name)
            if field.name in seen:
                raise UndecodableError(f'duplicate field "{self.location()}"')
            seen.add(field.name)
            if item is not None or field.takes_null:
                if field.oneof is not None:
                    if field.oneof in seen:
                        raise self.error(f'oneof "{field.oneof}" is already set')
                    seen.add(field.oneof)
                self.field(target, field, item)
            self.path.pop()

    def field(self, target: Message, field: Field, value: Value) -> None:
        """Set one field of a message, whatever container it is."""
        if field.is_map:
            self._map(target, field, value)
        elif field.is_list:
            self._list(target, field, value)
        elif field.message is not None:
            inner = getattr(target, field.name)
            inner.SetInParent()
            self.message(inner, value)
        else:
            scalar = self._scalar(field, value)
            if scalar is not None:
                setattr(target, field.name, scalar)

    def _list(self, target: Message, field: Field, value: Value) -> None:
        """Append the items of an array to a repeated field."""
        if not isinstance(value, list) or isinstance(value, Members):
            raise self.error(f"must be an array, not {show(value)}")
        if field.rule is not None:
            field.rule.check(value)
        items = getattr(target, field.name)
        for position, item in enumerate(value):
            self.path.append(f"[{position}]")
            if field.message is not None:
                self.message(items.add(), item)
            else:
                scalar = self._scalar(field, item)
                if scalar is not None:
                    items.append(scalar)
            self.path.pop()

    def _map(self, target: Message, field: Field, value: Value) -> None:
        """Set the entries of a map field from an object."""
        if not isinstance(value, Members) or field.message is None:
            raise self.error(f"must be an object, not {show(value)}")
        entry = self._types.of_descriptor(field.message).by_name
        entries = getattr(target, field.name)
        for text, item in value:
            self.path.append(text)
            key = self._map_key(entry["key"], text)
            if key in entries:
                raise UndecodableError(f'duplicate map key "{self.location()}"')
            if entry["value"].message is not None:
                self.message(entries[key], item)
            else:
                scalar = self._scalar(entry["value"], item)
                if scalar is not None:
                    entries[key] = scalar
            self.path.pop()

    def _map_key(self, field: Field, text: str) -> Scalar | None:
        """Read the key of a map, which is a string in JSON."""
        if field.descriptor.type == FieldDescriptor.TYPE_STRING:
            return text
        if field.descriptor.type == FieldDescriptor.TYPE_BOOL:
            if text not in ("true", "false"):
                raise self.error(f"invalid bool key {show(text)}")
            return text == "true"
        if not JSON_INTEGER.fullmatch(text):
            raise self.error(f"invalid {field.type_name} key {show(text)}")
        return self._scalar(field, text)

    def _scalar(self, field: Field, value: Value) -> Scalar | None:
        """Read a scalar or an enum; None for an unknown name of an enum value, which is ignored."""
        try:
            scalar = field.read(value)
        except InvalidValueError as error:
            raise self.invalid(field.type_name, value) from error
        if scalar is None and self.strict:
            raise self.invalid(field.type_name, value)
        return scalar

    def _special(self, full_name: str, target: Message, value: Value) -> None:
        """Set a message whose JSON is not an object of its fields."""
        if full_name in WRAPPERS:
            field = self._types.of(target).by_name["value"]
            setattr(target, field.name, self._scalar(field, value))
        elif full_name == ANY:
            self._any(target, value)
        else:
            READERS[full_name](self, target, value)

    def _any(self, target: Message, value: Value) -> None:
        """Read a google.protobuf.Any: the fields of the message that `@type` names, beside that name."""
        if not isinstance(value, Members):
            raise self.error(f"must be an object, not {show(value)}")
        types = [item for name, item in value if name == TYPE_NAME]
        if not value or (not types and not self.strict):
            return  # as in protobuf-go: without a type its members are unknown names, which are ignored
        if len(types) != 1 or not isinstance(types[0], str) or isinstance(types[0], Number) or not types[0]:
            raise self.error('must have one "@type" that names a message')
        if self._any_levels == ANY_LEVELS_MAX:
            raise self.error(f"more than {ANY_LEVELS_MAX} levels of google.protobuf.Any in one another")
        self._any_levels += 1
        inner = self._types.new(types[0].rpartition("/")[2], beside=target)
        if inner is None:
            raise self.error(f'unknown message type {show(types[0])} in "@type"')
        self._any_content(inner, Members(pair for pair in value if pair[0] != TYPE_NAME))
        self._any_levels -= 1
        setattr(target, "type_url", types[0])  # noqa: B010 -- a class of the pool, which mypy does not know
        setattr(target, "value", inner.SerializeToString(deterministic=True))  # noqa: B010 -- as above

    def _any_content(self, inner: Message, members: Members) -> None:
        """Read the message inside a google.protobuf.Any: its fields, or for a well-known type its `value`."""
        name = inner.DESCRIPTOR.full_name
        if name not in SPECIAL_TYPES:
            self.message(inner, members)
            return
        values = [item for key, item in members if key == "value"]
        if len(values) != 1:
            raise self.error('must have "@type" and "value"')
        for key, _item in members:
            if key != "value":
                self.unknown_name(key)
        self.message(inner, values[0])
