"""Schemas of the OpenAPI document: a component for each message and enum by its full name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.descriptors import Schema
from gateway.json.text import JsonValue
from gateway.openapi.examples import example, without_example
from gateway.openapi.rules import apply_rules, is_required

Json: TypeAlias = "dict[str, Any]"

STATUS = "google.rpc.Status"
SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_SINT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_SFIXED64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64"},
    FieldDescriptor.TYPE_FIXED64: {"type": "string", "format": "uint64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SINT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "format": "int64"},
    FieldDescriptor.TYPE_FIXED32: {"type": "integer", "format": "int64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
}
TYPE_NAME = {"type": "string", "description": "A URL that names the type of the message beside it."}
ANY: Json = {"type": "object", "properties": {"@type": TYPE_NAME}, "additionalProperties": True}
WELL_KNOWN: dict[str, Json] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string"},
    "FieldMask": {"type": "string"},
    "StringValue": {"type": "string"},
    "BytesValue": {"type": "string", "format": "byte"},
    "Int32Value": {"type": "integer", "format": "int32"},
    "UInt32Value": {"type": "integer", "format": "int64"},
    "Int64Value": {"type": "string", "format": "int64"},
    "UInt64Value": {"type": "string", "format": "uint64"},
    "FloatValue": {"type": "number", "format": "float"},
    "DoubleValue": {"type": "number", "format": "double"},
    "BoolValue": {"type": "boolean"},
    "Empty": {"type": "object"},
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array", "items": {}},
    "NullValue": {"type": "null"},
    "Any": ANY,
}
WELL_KNOWN_PACKAGE = "google.protobuf."
STATUS_SCHEMA: Json = {
    "type": "object",
    "description": "The Status type defines a logical error model suitable for different programming environments.",
    "properties": {
        "code": {
            "type": "integer",
            "format": "int32",
            "description": "The status code, which should be an enum value of google.rpc.Code.",
        },
        "message": {"type": "string", "description": "A developer-facing error message."},
        "details": {
            "type": "array",
            "description": "A list of messages that carry the error details.",
            "items": ANY,
        },
    },
}


class SchemaBuilder:
    """Collects the components that are referred to."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.schemas: dict[str, Json] = {}

    def comment(self, full_name: str) -> str:
        """Return the comment of an element, empty when it has none."""
        return without_example(self._schema.comments.get(full_name, ""))

    def example(self, full_name: str) -> JsonValue:
        """Return the example of a message, None when its comment has none."""
        return example(self._schema.comments.get(full_name, ""), full_name)

    def is_well_known(self, full_name: str) -> bool:
        """Whether a message has a JSON form of its own."""
        return well_known(full_name) is not None

    def add_status(self) -> None:
        """Add the schema of errors."""
        self.schemas.setdefault(STATUS, STATUS_SCHEMA)

    def message(self, message: Descriptor) -> Json:
        """Return a reference to a message's component, or a well-known type in place."""
        known = well_known(message.full_name)
        if known is not None:
            return dict(known)
        if message.full_name == STATUS:
            self.add_status()
        elif message.full_name not in self.schemas:
            self.schemas[message.full_name] = {}  # a message may contain itself
            self.schemas[message.full_name] = self.inline(message)
        return reference(message.full_name)

    def inline(self, message: Descriptor, leave_out: Iterable[str] = ()) -> Json:
        """Describe a message in place, without the fields that a path sets."""
        left_out = frozenset(leave_out)
        fields = [field for field in message.fields if field.name not in left_out]
        schema: Json = {"type": "object"}
        if text := self.comment(message.full_name):
            schema["description"] = text
        if (shown := self.example(message.full_name)) is not None:
            schema["examples"] = [shown]
        if fields:
            schema["properties"] = {field.json_name: self.property(field) for field in fields}
        required = [field.json_name for field in fields if is_required(self._schema.field_rules(field))]
        if required:
            schema["required"] = required
        groups = [self.oneof(group.fields) for group in message.oneofs if len(group.fields) > 1]
        if len(groups) == 1:
            schema["oneOf"] = groups[0]
        elif groups:
            schema["allOf"] = [{"oneOf": group} for group in groups]
        if message.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema

    def oneof(self, fields: Sequence[FieldDescriptor]) -> list[Json]:
        """Describe that at most one of the fields may be set."""
        none_set = {"type": "object", "not": {"anyOf": [{"required": [field.json_name]} for field in fields]}}
        each = [
            {"type": "object", "properties": {field.json_name: self.field(field)}, "required": [field.json_name]}
            for field in fields
        ]
        return [none_set, *each]

    def property(self, field: FieldDescriptor) -> Json:
        """Describe a field with its comment."""
        schema = self.field(field)
        if text := self.comment(field.full_name):
            schema = {**schema, "description": text}
        if field.GetOptions().deprecated:
            schema = {"allOf": [schema], "deprecated": True} if "$ref" in schema else {**schema, "deprecated": True}
        return schema

    def field(self, field: FieldDescriptor) -> Json:
        """Describe the values of a field, with its rules."""
        schema = self.container(field)
        return schema if "$ref" in schema else apply_rules(schema, self._schema.field_rules(field))

    def container(self, field: FieldDescriptor) -> Json:
        """Describe a list, a map or a single value."""
        if not field.is_repeated:
            return self.scalar(field)
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self.scalar(message.fields_by_name["value"])}
        return {"type": "array", "items": self.scalar(field)}

    def scalar(self, field: FieldDescriptor) -> Json:
        """Describe one value."""
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self.enum(field.enum_type)
        return dict(SCALARS[field.type])

    def enum(self, enum: EnumDescriptor) -> Json:
        """Return a reference to an enum's component."""
        known = well_known(enum.full_name)
        if known is not None:
            return dict(known)
        if enum.full_name not in self.schemas:
            text = self.comment(enum.full_name)
            self.schemas[enum.full_name] = {
                "type": "string",
                **({"description": text} if text else {}),
                "enum": [value.name for value in enum.values],
            }
        return reference(enum.full_name)


def reference(full_name: str) -> Json:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{full_name}"}


def well_known(full_name: str) -> Json | None:
    """Return the schema of a well-known type, or None."""
    return (
        WELL_KNOWN.get(full_name.removeprefix(WELL_KNOWN_PACKAGE)) if full_name.startswith(WELL_KNOWN_PACKAGE) else None
    )
