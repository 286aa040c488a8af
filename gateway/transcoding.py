"""HTTP to gRPC and back, pure: a request's body, path and query to message bytes; an answer's bytes to JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, EncodeError
from google.rpc import code_pb2, error_details_pb2

from gateway.descriptors import Schema
from gateway.dynamic import Dynamic
from gateway.errors import CallError, UndecodableError, status_of
from gateway.json.fast import FastReader
from gateway.json.limits import VALUES_MAX, BodyLimits
from gateway.json.reader import Reading
from gateway.json.shapes import Shapes
from gateway.json.text import is_blank, parse
from gateway.json.writer import JsonWriter
from gateway.routing.query import FieldSetter, parse_query
from gateway.routing.routes import WHOLE_BODY, Found, Route

# Importing it is what makes the standard error details known to the default pool.
STANDARD_DETAILS = error_details_pb2.DESCRIPTOR.name


@dataclass(frozen=True)
class Request:
    """What a call needs of an HTTP request: the message, and the JSON names that it does not have."""

    message: bytes
    unknown_fields: tuple[str, ...]


@dataclass(frozen=True)
class Bodies:
    """How the bodies of a route are read, and what they may hold."""

    reader: FastReader
    limits: BodyLimits


class Transcoder:
    """Translates for one descriptor set."""

    def __init__(self, schema: Schema, values_max: int = VALUES_MAX) -> None:
        """`values_max` limits the JSON values of a body."""
        self._schema = schema
        self._values_max = values_max
        self._shapes = Shapes(schema.item_rule)
        self._bodies: dict[Route, Bodies] = {}
        self._setter = FieldSetter(self._shapes)
        self._writer = JsonWriter(self._shapes, schema.pool, Default())

    def prepare(self, routes: Iterable[Route]) -> None:
        """Make the types that the bodies of routes are read with, so that no request has to wait for them."""
        for route in routes:
            if route.body:
                self._bodies_of(route)

    def limits(self, route: Route) -> BodyLimits | None:
        """Return the limits of a route's bodies, None when it reads none."""
        return self._bodies_of(route).limits if route.body else None

    def request(self, found: Found, query: str, body: bytes, *, strict: bool) -> Request:
        """Return the message of a request; RequestError names what is wrong with it.

        With `strict` an unknown JSON name is an error.
        """
        route = found.route
        reading = Reading(self._shapes, strict=strict)
        try:
            message = self._read_body(reading, route, body)
            self._setter.from_path(message, found.fields)
            if route.body != WHOLE_BODY:
                taken = [*found.fields, *([route.body] if route.body else [])]
                self._setter.from_query(message, parse_query(query), taken)
            data = message.SerializeToString()
            if reading.is_deep:
                message.ParseFromString(data)
            return Request(data, tuple(reading.unknown))
        except (RecursionError, EncodeError, DecodeError) as error:
            raise UndecodableError("the body is nested deeper than a Protobuf message can be") from error

    def _read_body(self, reading: Reading, route: Route, body: bytes) -> Dynamic:
        """Return the message with what the body sets."""
        kind = self._schema.message_class(route.method.input_type)
        if not route.body:
            return kind()
        if is_blank(body):
            return self._without_body(route, kind())
        bodies = self._bodies_of(route)
        bodies.limits.check(body)
        fast = bodies.reader.read(body)
        if fast is not None:
            return fast
        bodies.limits.check_items(body)
        return self._read_exactly(reading, route, kind(), body)

    def _without_body(self, route: Route, message: Dynamic) -> Dynamic:
        """Return the message of an empty body: a field that is a message is there all the same, as in grpc-gateway."""
        if route.body != WHOLE_BODY:
            member = self._shapes.of(message.DESCRIPTOR).by_name[route.body]
            if member.message is not None and not member.is_list and not member.is_map:
                getattr(message, member.name).SetInParent()
        return message

    def _bodies_of(self, route: Route) -> Bodies:
        known = self._bodies.get(route)
        if known is None:
            kind = self._schema.message_class(route.method.input_type)
            field = None if route.body == WHOLE_BODY else kind.DESCRIPTOR.fields_by_name[route.body]
            rules = self._schema.item_rule
            known = self._bodies[route] = Bodies(
                FastReader(kind, field, rules), BodyLimits(kind.DESCRIPTOR, field, rules, self._values_max)
            )
        return known

    def _read_exactly(self, reading: Reading, route: Route, message: Dynamic, body: bytes) -> Dynamic:
        value = parse(body)
        if route.body == WHOLE_BODY:
            reading.message(message, value)
            return message
        member = self._shapes.of(message.DESCRIPTOR).by_name[route.body]
        # As grpc-gateway: null is an empty list or map, but no message.
        is_message = member.message is not None and not member.is_list and not member.is_map
        if value is not None or member.takes_null or is_message:
            reading.member(message, member, value)
        return message

    def answer(self, route: Route, data: bytes) -> bytes:
        """Return the JSON of an answer; CallError when the service sent something else than its method says."""
        message: Any = self._schema.message_class(route.method.output_type)()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            text = f"the service's answer is no {route.method.output_type.full_name}"
            raise CallError(status_of(code_pb2.INTERNAL, text, None)) from error
        try:
            written = self._writer.message(message) if not route.response_body else self._part(route, message)
        except ValueError as error:  # a timestamp or a duration out of range
            text = f"the service's answer has no JSON form: {error}"
            raise CallError(status_of(code_pb2.UNKNOWN, text, None)) from error
        return to_json(written)

    def _part(self, route: Route, message: Dynamic) -> Dynamic:
        """Return the one field that is the answer; a message that is not set is an empty one, as in grpc-gateway."""
        member = self._shapes.of(message.DESCRIPTOR).by_name[route.response_body]
        if member.message is not None and not member.is_list and not member.is_map:
            return self._writer.message(getattr(message, member.name))
        return self._writer.message(message).get(member.json_name)

    def detail(self, packed: Dynamic) -> dict[str, Any] | None:
        """Return an error's detail as JSON, or None when its type is unknown."""
        try:
            return self._writer.any(packed)
        except ValueError:  # a duration out of range: the service's mistake must not hide its error
            return None


def to_json(value: Dynamic) -> bytes:
    """Return JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
