"""Routes: which method of a service an HTTP method and path call, from google.api.http alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from gateway.descriptors import Schema
from gateway.errors import DescriptorError, NotFoundError, WrongMethodError
from gateway.routing.templates import Template, compile_template

if TYPE_CHECKING:
    from google.api.http_pb2 import HttpRule

WHOLE_BODY = "*"


@dataclass(frozen=True, eq=False)  # compared by identity: a hash of its parts would cost each request a microsecond
class Route:
    """One binding of a method. `body` is "*", the name of a field, or "" for none."""

    method: MethodDescriptor
    # Position among the method's bindings, 0 for the rule itself.
    index: int
    http_method: str
    template: Template
    body: str
    response_body: str

    @cached_property
    def call(self) -> str:
        """The method as gRPC names it, as in `/package.Service/Method`."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


@dataclass(frozen=True)
class Match:
    """A route that a request matches, and the fields that its path sets."""

    route: Route
    fields: dict[str, str]


class Routes:
    """All routes of a descriptor set, looked up by method and path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.all = routes
        # As in grpc-gateway, the last route that matches is taken.
        self._by_method: dict[str, list[Route]] = {}
        for route in reversed(routes):
            self._by_method.setdefault(route.http_method, []).append(route)
        # The matches of paths that are templates themselves.
        self._literal = {
            (one.http_method, one.template.text): self._find(one.http_method, one.template.text) for one in routes
        }

    def match(self, http_method: str, path: str) -> Match:
        """Return the route of a request; NotFoundError, or WrongMethodError when other methods have the path."""
        found = self._literal.get((http_method, path)) or self._find(http_method, path)
        if found is not None:
            return found
        others = self.methods(path)
        if others:
            raise WrongMethodError(others)
        raise NotFoundError("Not Found")

    def _find(self, http_method: str, path: str) -> Match | None:
        for route in self._by_method.get(http_method, ()):
            fields = route.template.match(path)
            if fields is not None:
                return Match(route, fields)
        return None

    def template(self, path: str) -> str | None:
        """Return the template of a path, whatever the method; None when there is none."""
        return next((route.template.text for route in self.all if route.template.match(path) is not None), None)

    def methods(self, path: str) -> list[str]:
        """Return the HTTP methods that have routes of a path."""
        return sorted({route.http_method for route in self.all if route.template.match(path) is not None})


def load_routes(schema: Schema) -> Routes:
    """Derive the routes of all services; DescriptorError for a rule that does not match its messages."""
    routes = [
        route
        for service in schema.services()
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
        for route in method_routes(schema, method)
    ]
    if not routes:
        raise DescriptorError("no method has a google.api.http option")
    return Routes(routes)


def method_routes(schema: Schema, method: MethodDescriptor) -> Iterator[Route]:
    """Yield the bindings of a method: its rule, then the additional ones."""
    rule = schema.http_rule(method)
    if rule is None:
        return
    for index, binding in enumerate((rule, *rule.additional_bindings)):
        yield checked(route_of(method, index, binding))


def route_of(method: MethodDescriptor, index: int, binding: HttpRule) -> Route:
    """Read one binding."""
    kind = binding.WhichOneof("pattern")
    if kind is None:
        raise DescriptorError(f"{method.full_name}: a google.api.http rule without a method and path")
    http_method, path = (
        (binding.custom.kind, binding.custom.path) if kind == "custom" else (kind.upper(), getattr(binding, kind))
    )
    return Route(method, index, http_method, compile_template(path), binding.body, binding.response_body)


def checked(route: Route) -> Route:
    """Return a route; DescriptorError when it names a field that does not exist."""
    for path in route.template.fields:
        field_at(route.method, path)
    if route.body not in ("", WHOLE_BODY):
        field_at(route.method, route.body)
    if route.response_body and route.response_body not in route.method.output_type.fields_by_name:
        raise DescriptorError(f"{route.method.full_name}: response_body {route.response_body!r} is not a field")
    return route


def field_at(method: MethodDescriptor, path: str) -> FieldDescriptor:
    """Return the request's field at a dotted path of proto names; DescriptorError when there is none."""
    message: Descriptor | None = method.input_type
    for name in path.split("."):
        field = message.fields_by_name.get(name) if message is not None else None
        if field is None:
            raise DescriptorError(f"{method.full_name}: {path!r} is not a field of {method.input_type.full_name}")
        message = field.message_type
    return cast("FieldDescriptor", field)
