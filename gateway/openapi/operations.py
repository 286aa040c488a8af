"""The operations of a document: parameters, body and responses of each HTTP binding of a method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from gateway.json.text import JsonValue
from gateway.openapi.declarations import Declarations
from gateway.openapi.responses import METHODS_WITH_BODY, json_content, responses
from gateway.openapi.schemas import Json, SchemaBuilder
from gateway.routing.routes import WHOLE_BODY, Route, field_at

# A query can name fields of fields; this deep within one type that contains itself.
RECURSION_MAX = 3
FIELDS_MAX = 10_000


class Operations:
    """Describes the operations of one document; `document` is what its descriptors declare about the whole."""

    def __init__(self, builder: SchemaBuilder, declarations: Declarations, document: Json) -> None:
        self._builder = builder
        self._declarations = declarations
        self._schemes: Json = document.get("securitySchemes", {})
        self._security: list[Json] = document.get("security", [])

    def operation(self, route: Route, tag: str) -> Json:
        """Describe one binding of a method: from comments and types, and what the method declares instead."""
        method = route.method
        summary, _, description = self._builder.comment(method.full_name).partition("\n\n")
        name = f"{method.containing_service.name}_{method.name}"
        declared = self._declarations.operation(method, self._schemes)
        made: Json = {"tags": [tag], "operationId": f"{name}_{route.index}" if route.index else name}
        if summary:
            made["summary"] = summary.strip()
        if description:
            made["description"] = description.strip()
        parameters = [*path_parameters(self._builder, route), *query_parameters(self._builder, route)]
        if parameters:
            made["parameters"] = parameters
        if route.body and route.http_method in METHODS_WITH_BODY:
            content = json_content(body_schema(self._builder, route), body_example(self._builder, route))
            made["requestBody"] = {"content": content, "required": True}
        made["responses"] = self._responses(route, is_secured=any(declared.get("security", self._security)))
        if method.GetOptions().deprecated:
            made["deprecated"] = True
        return made | declared

    def _responses(self, route: Route, *, is_secured: bool) -> Json:
        answer = route.method.output_type
        schema = (
            self._builder.field(answer.fields_by_name[route.response_body])
            if route.response_body
            else self._builder.message(answer)
        )
        text = self._builder.comment(answer.full_name) or "A successful response."
        declared = self._declarations.responses(route.method)
        return responses(schema, text, declared, route.http_method, is_secured=is_secured)


def path_parameters(builder: SchemaBuilder, route: Route) -> Iterator[Json]:
    """Describe the wildcards of the path."""
    for name, path in route.template.parameters:
        field = field_at(route.method, path)
        yield {"name": name, "in": "path", "required": True, **parameter(builder, field)}


def query_parameters(builder: SchemaBuilder, route: Route) -> Iterator[Json]:
    """Describe the fields that neither path nor body set."""
    if route.body == WHOLE_BODY:
        return
    budget = iter(range(FIELDS_MAX))
    for field in route.method.input_type.fields:
        if field.name != route.body and not taken_by_oneof(field, route):
            yield from flattened(builder, field, "", "", route.template.fields, {}, budget)


def taken_by_oneof(field: FieldDescriptor, route: Route) -> bool:
    """Whether path or body set another member of the field's oneof."""
    oneof = field.containing_oneof
    if oneof is None:
        return False
    first = {path.partition(".")[0] for path in (*route.template.fields, route.body)}
    return any(other.name in first and other.name != field.name for other in oneof.fields)


def flattened(
    builder: SchemaBuilder,
    field: FieldDescriptor,
    prefix: str,
    path_prefix: str,
    taken: tuple[str, ...],
    depth: dict[str, int],
    budget: Iterator[int],
) -> Iterator[Json]:
    """Describe a field as query parameters: a message by its fields, a map by its key, a list by its items.

    Fields beyond the `budget` are left out: types that contain one another have more paths than can be listed.
    """
    name, path = prefix + field.json_name, path_prefix + field.name
    if path in taken or next(budget, None) is None:
        return
    message = field.message_type
    if message is None or builder.is_well_known(message.full_name):
        yield {"name": name, "in": "query", **parameter(builder, field)}
    elif message.GetOptions().map_entry:
        key = builder.scalar(message.fields_by_name["key"])["type"]
        shown = parameter(builder, message.fields_by_name["value"]) | described(builder.comment(field.full_name))
        yield {"name": f"{name}[{key}]", "in": "query", **shown}
    elif not field.is_repeated and depth.get(message.full_name, 0) < RECURSION_MAX:
        deeper = {**depth, message.full_name: depth.get(message.full_name, 0) + 1}
        for inner in message.fields:
            yield from flattened(builder, inner, f"{name}.", f"{path}.", taken, deeper, budget)


def parameter(builder: SchemaBuilder, field: FieldDescriptor) -> Json:
    """Describe a parameter by its field."""
    deprecated = {"deprecated": True} if field.GetOptions().deprecated else {}
    return {**described(builder.comment(field.full_name)), **deprecated, "schema": builder.field(field)}


def body_schema(builder: SchemaBuilder, route: Route) -> Json:
    """Describe the body: the message without what the path sets, or one field of it."""
    if route.body == WHOLE_BODY:
        if not route.template.fields:
            return builder.message(route.method.input_type)
        return builder.inline(route.method.input_type, leave_out=route.template.fields)
    return builder.field(field_at(route.method, route.body))


def body_example(builder: SchemaBuilder, route: Route) -> JsonValue:
    """Return an example of the body: that of its message, in a list where the body is a list; or None."""
    if route.body == WHOLE_BODY:
        return builder.example(route.method.input_type.full_name)
    field = field_at(route.method, route.body)
    shown = builder.example(field.message_type.full_name) if field.message_type is not None else None
    return [shown] if shown is not None and field.is_repeated else shown


def described(text: str) -> dict[str, Any]:
    """Return a description where there is one."""
    return {"description": text} if text else {}
