"""The OpenAPI 3.1 document, pure, from descriptors: as grpc-gateway's v3 generator writes it, with rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from gateway.descriptors import Schema
from gateway.dynamic import Dynamic
from gateway.openapi.schemas import STATUS, Json, SchemaBuilder, reference
from gateway.routing.routes import WHOLE_BODY, Route, Routes, field_at

VERSION = "3.1.0"
API_VERSION = "1.0.0"
METHODS_WITH_BODY = ("POST", "PUT", "PATCH")
METHODS_DESCRIBED = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
# A query can name fields of fields; this deep within one type that contains itself.
RECURSION_MAX = 3
# The servicer chooses the success status by x-http-code; descriptors do not know which.
ANY_SUCCESS = "2XX"


def document(schema: Schema, routes: Routes) -> Json:
    """Return the document of a descriptor set's routes, the same for the same set."""
    builder = SchemaBuilder(schema)
    paths: dict[str, Json] = {}
    for route in routes.all:
        if route.http_method in METHODS_DESCRIBED:
            item = paths.setdefault(route.template.openapi, {})
            item[route.http_method.lower()] = operation(builder, route)
    builder.add_status()
    services = {route.method.containing_service.full_name: route.method.containing_service for route in routes.all}
    return {
        "openapi": VERSION,
        "info": {"title": ", ".join(service.name for service in services.values()), "version": API_VERSION},
        "paths": paths,
        "components": {"schemas": dict(sorted(builder.schemas.items()))},
        "tags": [
            {"name": service.name, **described(schema.comments.get(name, ""))} for name, service in services.items()
        ],
    }


def to_text(openapi: Json) -> str:
    """Return the document as it is served and committed: the same bytes each time."""
    return json.dumps(openapi, ensure_ascii=False, indent=2) + "\n"


def operation(builder: SchemaBuilder, route: Route) -> Json:
    """Describe one binding of a method."""
    method = route.method
    summary, _, description = builder.comment(method.full_name).partition("\n\n")
    name = f"{method.containing_service.name}_{method.name}"
    described_operation: Json = {
        "tags": [method.containing_service.name],
        "operationId": f"{name}_{route.index}" if route.index else name,
    }
    if summary:
        described_operation["summary"] = summary.strip()
    if description:
        described_operation["description"] = description.strip()
    parameters = [*path_parameters(builder, route), *query_parameters(builder, route)]
    if parameters:
        described_operation["parameters"] = parameters
    if route.body and route.http_method in METHODS_WITH_BODY:
        content = json_content(body_schema(builder, route), body_example(builder, route))
        described_operation["requestBody"] = {"content": content, "required": True}
    described_operation["responses"] = responses(builder, route)
    if method.GetOptions().deprecated:
        described_operation["deprecated"] = True
    return described_operation


def path_parameters(builder: SchemaBuilder, route: Route) -> Iterator[Json]:
    """Describe the wildcards of the path."""
    for name, path in route.template.parameters:
        field = field_at(route.method, path)
        yield {"name": name, "in": "path", "required": True, **parameter(builder, field)}


def query_parameters(builder: SchemaBuilder, route: Route) -> Iterator[Json]:
    """Describe the fields that neither path nor body set."""
    if route.body == WHOLE_BODY:
        return
    for field in route.method.input_type.fields:
        if field.name != route.body and not taken_by_oneof(field, route):
            yield from flattened(builder, field, "", "", route.template.fields, {})


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
) -> Iterator[Json]:
    """Describe a field as query parameters: a message by its fields, a map by its key, a list by its items."""
    name, path = prefix + field.json_name, path_prefix + field.name
    if path in taken:
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
            yield from flattened(builder, inner, f"{name}.", f"{path}.", taken, deeper)


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


def body_example(builder: SchemaBuilder, route: Route) -> Dynamic:
    """Return an example of the body: that of its message, in a list where the body is a list; or None."""
    if route.body == WHOLE_BODY:
        return builder.example(route.method.input_type.full_name)
    field = field_at(route.method, route.body)
    shown = builder.example(field.message_type.full_name) if field.message_type is not None else None
    return [shown] if shown is not None and field.is_repeated else shown


def responses(builder: SchemaBuilder, route: Route) -> Json:
    """Describe the answers: any success status with the method's message, everything else with google.rpc.Status."""
    answer = route.method.output_type
    schema = (
        builder.field(answer.fields_by_name[route.response_body]) if route.response_body else builder.message(answer)
    )
    text = builder.comment(answer.full_name) or "A successful response."
    return {
        ANY_SUCCESS: {"description": text, "content": json_content(schema)},
        "default": {"description": "An unexpected error response.", "content": json_content(reference(STATUS))},
    }


def json_content(schema: Json, example: Dynamic = None) -> Json:
    """Return a body that is JSON of a schema."""
    return {"application/json": {"schema": schema, **({} if example is None else {"example": example})}}


def described(text: str) -> dict[str, Any]:
    """Return a description where there is one."""
    return {"description": text} if text else {}
