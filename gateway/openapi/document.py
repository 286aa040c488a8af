"""The OpenAPI 3.1 document of a descriptor set's routes, as grpc-gateway's v3 generator writes it, with more detail."""

from __future__ import annotations

import json
from collections.abc import Collection

from gateway.descriptors import Schema
from gateway.openapi.declarations import Declarations, with_extensions
from gateway.openapi.introduction import introduction
from gateway.openapi.operations import Operations, described
from gateway.openapi.responses import HEADERS, shared_responses
from gateway.openapi.schemas import Json, SchemaBuilder
from gateway.routing.routes import Routes

VERSION = "3.1.0"
METHODS_DESCRIBED = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")


def document(schema: Schema, routes: Routes, version: str, served: Collection[str] = ()) -> Json:
    """Return the document of the routes, the same for the same descriptors.

    `version` is that of the API where the descriptors declare none. `served` are the optional services that the server
    runs; other optional ones are left out.
    """
    declarations, builder = Declarations(schema), SchemaBuilder(schema)
    services = {
        service.full_name: service
        for route in routes.all
        if (service := route.method.containing_service).full_name in served or not declarations.is_optional(service)
    }
    declared = declarations.document(services.values())
    tags = {
        name: {"name": service.name, **described(builder.comment(name)), **declarations.tag(service)}
        for name, service in services.items()
    }
    operations = Operations(builder, declarations, declared)
    paths: dict[str, Json] = {}
    for route in routes.all:
        tag = tags.get(route.method.containing_service.full_name)
        if tag is not None and route.http_method in METHODS_DESCRIBED:
            item = paths.setdefault(route.template.openapi, {})
            item[route.http_method.lower()] = operations.operation(route, tag["name"])
    builder.add_status()
    statuses = {status for item in paths.values() for made in item.values() for status in made["responses"]}
    title = ", ".join(service.name for service in services.values())
    info = {"title": title, "version": version, **declared.pop("info", {})}
    names = {tag["name"] for tag in tags.values()}
    more_tags = [with_extensions(tag) for tag in declared.pop("tags", []) if tag["name"] not in names]
    schemes = declared.pop("securitySchemes", {})
    return {
        "openapi": VERSION,
        "info": {**info, "description": introduction(info.get("description", ""))},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(builder.schemas.items())),
            "responses": shared_responses(statuses),
            "headers": HEADERS,
            **({"securitySchemes": schemes} if schemes else {}),
        },
        "tags": [*tags.values(), *more_tags],
        **declared,
    }


def to_text(openapi: Json) -> str:
    """Return the document as it is served and committed: the same bytes each time."""
    return json.dumps(openapi, ensure_ascii=False, indent=2) + "\n"
