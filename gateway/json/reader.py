"""JSON to messages, accepting exactly what protobuf-go's protojson accepts with DiscardUnknown."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.dynamic import Dynamic
from gateway.errors import UndecodableError
from gateway.json.scalars import JSON_INTEGER, NotThisType
from gateway.json.shapes import Member, Shapes
from gateway.json.text import Members, Value, show
from gateway.json.well_known import READERS
from gateway.quoting import QUOTED_CHARACTERS_MAX, quoted

# Unknown keys beyond this are counted in no list: they end up in a header.
UNKNOWN_NAMES_MAX = 20
# Protobuf readers refuse 100 levels. A level of JSON may be three of Protobuf: from here on we look.
SHALLOW_LEVELS_MAX = 30
NAME_CHARACTERS_MAX = 60
# Steps of a place that a message or a header names.
PLACE_STEPS_MAX = 20


class Reading:
    """One body being read: where we are in it, and which keys we did not know.

    With `strict` an unknown key or enum name is an error, without it is passed over.
    """

    def __init__(self, shapes: Shapes, *, strict: bool) -> None:
        self.shapes = shapes
        self.strict = strict
        self.trail: list[str] = []
        self.unknown: dict[str, None] = {}
        self.is_deep = False
        self.any_levels = 0

    def message(self, target: Message, value: Value) -> None:
        """Set the fields of a message from an object."""
        self.note_depth()
        shape = self.shapes.of(target.DESCRIPTOR)
        special = READERS.get(shape.full_name)
        if special is not None:
            special(self, target, value)
            return
        if not isinstance(value, Members):
            raise self.wrong(f"{shape.full_name} must be an object, not {show(value)}")
        seen: set[str] = set()
        for key, item in value:
            member = shape.by_name.get(key)
            if member is None:
                self.unknown_key(key)
                continue
            self.trail.append(key)
            if member.name in seen:
                raise UndecodableError(f'duplicate field "{self.place()}"')
            seen.add(member.name)
            if item is not None or member.takes_null:
                if member.oneof is not None:
                    self.refuse_second(member.oneof, seen)
                self.member(target, member, item)
            self.trail.pop()

    def refuse_second(self, oneof: str, seen: set[str]) -> None:
        """Refuse a second member of a oneof; a full name cannot be mistaken for a field's."""
        if oneof in seen:
            raise self.wrong(f'oneof "{oneof}" is already set')
        seen.add(oneof)

    def member(self, target: Message, member: Member, value: Value) -> None:
        """Set one field, whatever container it is."""
        if member.is_map:
            self.map(target, member, value)
        elif member.is_list:
            self.items(target, member, value)
        elif member.message is not None:
            inner = getattr(target, member.name)
            inner.SetInParent()
            self.message(inner, value)
        else:
            scalar = self.scalar(member, value)
            if scalar is not None:
                setattr(target, member.name, scalar)

    def items(self, target: Message, member: Member, value: Value) -> None:
        """Append the items of an array to a repeated field."""
        if not isinstance(value, list) or isinstance(value, Members):
            raise self.wrong(f"must be an array, not {show(value)}")
        if member.rule is not None:
            member.rule.check(value)
        field = getattr(target, member.name)
        for position, item in enumerate(value):
            self.trail.append(f"[{position}]")
            if member.message is not None:
                self.message(field.add(), item)
            else:
                scalar = self.scalar(member, item)
                if scalar is not None:
                    field.append(scalar)
            self.trail.pop()

    def map(self, target: Message, member: Member, value: Value) -> None:
        """Set the entries of a map field from an object."""
        if not isinstance(value, Members) or member.message is None:
            raise self.wrong(f"must be an object, not {show(value)}")
        shape = self.shapes.of(member.message)
        field = getattr(target, member.name)
        entry = shape.by_name["value"]
        for text, item in value:
            self.trail.append(text)
            key = self.map_key(shape.by_name["key"], text)
            if key in field:
                raise UndecodableError(f'duplicate map key "{self.place()}"')
            if entry.message is not None:
                self.message(field[key], item)
            else:
                scalar = self.scalar(entry, item)
                if scalar is not None:
                    field[key] = scalar
            self.trail.pop()

    def map_key(self, member: Member, text: str) -> Dynamic:
        """Read the key of a map, which JSON has as a string."""
        if member.descriptor.type == FieldDescriptor.TYPE_STRING:
            return text
        if member.descriptor.type == FieldDescriptor.TYPE_BOOL:
            if text not in ("true", "false"):
                raise self.wrong(f"invalid bool key {show(text)}")
            return text == "true"
        if not JSON_INTEGER.fullmatch(text):
            raise self.wrong(f"invalid {member.type_name} key {show(text)}")
        return self.scalar(member, text)

    def scalar(self, member: Member, value: Value) -> Dynamic:
        """Read a scalar or an enum; None is an enum name to be passed over."""
        try:
            scalar = member.read(value)
        except NotThisType as error:
            raise self.invalid(member.type_name, value) from error
        if scalar is None and self.strict:
            raise self.invalid(member.type_name, value)
        return scalar

    def note_depth(self) -> None:
        """Remember that the message may be nested too deep for its reader."""
        if len(self.trail) > SHALLOW_LEVELS_MAX:
            self.is_deep = True

    def unknown_key(self, key: str) -> None:
        """Note a key that the message does not have, once wherever in a list it stands."""
        if self.strict:
            raise UndecodableError(f'unknown field "{self.place(key)}"')
        if len(self.unknown) < UNKNOWN_NAMES_MAX:
            # Cut, because a map's key may have megabytes, and levels may be hundreds: for every unknown key again.
            named = [step for step in (*self.trail[:PLACE_STEPS_MAX], key) if not step.startswith("[")]
            self.unknown[".".join(step[: QUOTED_CHARACTERS_MAX + 1] for step in named)] = None

    def invalid(self, type_name: str, value: Value) -> UndecodableError:
        """Return the error for a value that is no JSON form of a type."""
        return UndecodableError(f"invalid value for {type_name} field {self.place()}: {show(value)}")

    def wrong(self, what: str) -> UndecodableError:
        """Return an error at the present place."""
        return UndecodableError(f"{self.place() or 'the body'}: {what}")

    def place(self, *more: str) -> str:
        """Name the present place, as in `events[2].labels`."""
        steps = [*self.trail, *more]
        if len(steps) > PLACE_STEPS_MAX:
            steps = [*steps[: PLACE_STEPS_MAX // 2], "...", *steps[-PLACE_STEPS_MAX // 2 :]]
        return ".".join(quoted(step, NAME_CHARACTERS_MAX) for step in steps).replace(".[", "[")
