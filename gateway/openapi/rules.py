"""buf.validate's field rules as JSON Schema keywords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

if TYPE_CHECKING:
    from buf.validate.validate_pb2 import FieldRules, StringRules

FORMATS = {
    "uuid": "uuid",
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri_ref": "uri-reference",
}
# A text has no more characters than bytes; where both are limited, the characters' limit is the one that is shown.
STRING_KEYWORDS = {"pattern": "pattern", "min_len": "minLength", "max_bytes": "maxLength", "max_len": "maxLength"}
LIST_KEYWORDS = {"min_items": "minItems", "max_items": "maxItems"}
MAP_KEYWORDS = {"min_pairs": "minProperties", "max_pairs": "maxProperties"}
NUMBER_KEYWORDS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
INTEGER_TYPES_AS_STRINGS = frozenset({"int64", "sint64", "sfixed64", "uint64", "fixed64"})
NUMBER_TYPES = INTEGER_TYPES_AS_STRINGS | {"int32", "sint32", "sfixed32", "uint32", "fixed32", "double", "float"}


def is_required(rules: FieldRules | None) -> bool:
    """Whether a field must be set."""
    return rules is not None and bool(rules.required)


def apply_rules(schema: dict[str, Any], rules: FieldRules | None) -> dict[str, Any]:
    """Return a schema that says what the field's rules say, as far as JSON Schema can."""
    kind = rules.WhichOneof("type") if rules is not None else None
    if rules is None or kind is None:
        return schema
    typed = getattr(rules, kind)
    if kind == "string":
        schema = {**schema, **keywords(typed, STRING_KEYWORDS), **string_format(typed, schema)}
    elif kind == "repeated":
        schema = {**schema, **keywords(typed, LIST_KEYWORDS)}
        if typed.unique:
            schema["uniqueItems"] = True
        schema["items"] = schema["items"] if "$ref" in schema["items"] else apply_rules(schema["items"], typed.items)
    elif kind == "map":
        schema = {**schema, **keywords(typed, MAP_KEYWORDS)}
    elif kind in NUMBER_TYPES:
        schema = number(schema, kind, typed)
    return schema


def keywords(rules: Message, names: dict[str, str]) -> dict[str, Any]:
    """Return the keywords of the rules that are set."""
    return {keyword: getattr(rules, rule) for rule, keyword in names.items() if rules.HasField(rule)}


def string_format(rules: StringRules, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the format that a string rule names, or the one that the type has."""
    name = rules.WhichOneof("well_known")
    if name in FORMATS and getattr(rules, name):
        return {"format": FORMATS[name]}
    return {"format": schema["format"]} if "format" in schema else {}


def number(schema: dict[str, Any], kind: str, rules: Message) -> dict[str, Any]:
    """Bound a number. 64-bit integers are accepted as JSON numbers and strings, and only numbers have bounds."""
    bounds = keywords(rules, NUMBER_KEYWORDS)
    if bounds and kind in INTEGER_TYPES_AS_STRINGS:
        return {**schema, "type": ["integer", "string"], "pattern": "^-?[0-9]+$", **bounds}
    return {**schema, **bounds}
