"""JSON Schemas of single settings, from the types and limits that their classes declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from common.settings import Address, Documented, NeverEmpty
from common.settings_reference import default_of, marks_of
from common.workers.setting import AUTO, WORKERS_MAX

Schema: TypeAlias = dict[str, object]

# Numbers for which a setting accepts words too, by the text that documents its type.
ALTERNATIVES: Mapping[str, Schema] = {
    f"1 to {WORKERS_MAX}, or `{AUTO}`": {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": WORKERS_MAX}, {"const": AUTO}]
    },
}
NUMBERS = {int: "integer", float: "number"}
LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
LENGTHS = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
# The chart declares the port that it finds there, so an empty address and port 0 are not accepted.
LISTEN = r"^\S+:[1-9][0-9]{0,4}$"
# As in clickhouse://user:password@host; Helm stores plain values readable by many.
PASSWORD = "://[^/@]*:[^/@]*@"  # noqa: S105 -- a pattern of one


def setting_schema(name: str, field: FieldInfo) -> Schema:
    """Return the schema of one setting as a plain value."""
    schema = {"description": " ".join((field.description or "").split()), **type_schema(field)}
    if name.endswith(("_url", "_urls")):
        schema["not"] = {"pattern": PASSWORD}
    if field.default_factory is None and default_of(field):
        schema["description"] = f"{schema['description']} Default: {default_of(field)}"
    return schema


def type_schema(field: FieldInfo) -> Schema:
    """Return the type and the limits."""
    kind, marks = base_of(field.annotation), list(marks_of(field))
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if kind is bool:
        return {"type": "boolean"}
    if kind in NUMBERS:
        documented = next((each.type for each in marks if isinstance(each, Documented) and each.type), "")
        return dict(ALTERNATIVES[documented]) if documented else {"type": NUMBERS[kind], **limits(marks, LIMITS)}
    schema: Schema = {"type": "string", **limits(marks, LENGTHS)}
    if kind is Address:
        schema["pattern"] = LISTEN
    if any(isinstance(each, NeverEmpty) for each in marks):
        schema.setdefault("minLength", 1)
    return schema


def is_text(field: FieldInfo) -> bool:
    """Whether a setting is a text, which a Secret may hold; limits that the chart computes with are numbers."""
    return type_schema(field).get("type") == "string"


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret by its type, which no plain value may hold."""
    return base_of(field.annotation) is SecretStr


def base_of(annotation: Any) -> Any:  # noqa: ANN401 -- an annotation may be any object
    """Return the type without Annotated and `| None`."""
    if hasattr(annotation, "__metadata__"):
        return base_of(annotation.__origin__)
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if type(None) in get_args(annotation) and len(parts) == 1:
        return base_of(parts[0])
    return annotation


def limits(marks: list[object], names: Mapping[str, str]) -> Schema:
    """Return the limits among the marks of a setting, by their names in JSON Schema."""
    found = {}
    for mark in marks:
        for name, keyword in names.items():
            if (value := getattr(mark, name, None)) is not None:
                found[keyword] = value
    return found
