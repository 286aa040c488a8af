"""HTTP to gRPC and back: a request's body, path and query to the bytes of a message, and a response's bytes to JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf import any_pb2
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, EncodeError, Message
from google.rpc import code_pb2, error_details_pb2

from gateway.descriptors import Schema
from gateway.errors import RESPONSE_TOO_LARGE, UndecodableError, rpc_error
from gateway.json.fast import FastReader
from gateway.json.fast_writer import FastWriter
from gateway.json.limits import VALUES_MAX, BodyLimits
from gateway.json.message_types import MessageTypes
from gateway.json.reader import JsonReader
from gateway.json.text import JsonObject, JsonValue, is_blank, parse, to_json
from gateway.json.writer import JsonWriter
from gateway.routing.query import FieldSetter, parse_query
from gateway.routing.routes import WHOLE_BODY, Match, Route

# The import adds the standard error details to the default pool.
STANDARD_DETAILS = error_details_pb2.DESCRIPTOR.name
ANSWER_BYTES_MAX = 16_777_216


class CallMessage(NamedTuple):
    """The message of a call in bytes, and the JSON names of the request that its type does not have."""

    message: bytes
    unknown_fields: tuple[str, ...]


@dataclass(frozen=True)
class BodyFormat:
    """How the bodies of a route are read, and their limits."""

    reader: FastReader
    limits: BodyLimits


class Transcoder:
    """Translates for one descriptor set."""

    def __init__(self, schema: Schema, values_max: int = VALUES_MAX, answer_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        """`values_max` limits the JSON values of a body, `answer_bytes_max` the size of a response's message."""
        self._schema = schema
        self._values_max = values_max
        self._answer_bytes_max = answer_bytes_max
        self._types = MessageTypes(schema.item_rule)
        self._formats: dict[Route, BodyFormat] = {}
        self._fast_writers: dict[Route, FastWriter] = {}
        self._setter = FieldSetter(self._types)
        self._writer = JsonWriter(self._types, schema.pool, Default())

    def prepare(self, routes: Iterable[Route]) -> None:
        """Build what the bodies of routes are read and written with, so that no request waits for it."""
        for route in routes:
            if route.body:
                self._format_of(route)
            self._fast_writer_of(route)

    def limits(self, route: Route) -> BodyLimits | None:
        """Return the limits of a route's bodies, None when it reads none."""
        return self._format_of(route).limits if route.body else None

    def request(self, match: Match, query: str, body: bytes, *, strict: bool) -> CallMessage:
        """Return the message of a request; RequestError names what is wrong with it.

        With `strict` an unknown JSON name is an error.
        """
        route = match.route
        ordinary = self.ordinary(route, body)
        if ordinary is not None and not match.fields and (not query or route.body == WHOLE_BODY):
            return CallMessage(ordinary, ())
        reader = JsonReader(self._types, strict=strict)
        try:
            if ordinary is not None:
                message = self._schema.message_class(route.method.input_type).FromString(ordinary)
            else:
                message = self._read_body(reader, route, body)
            self._setter.from_path(message, match.fields)
            if route.body != WHOLE_BODY:
                taken = [*match.fields, *([route.body] if route.body else [])]
                self._setter.from_query(message, parse_query(query), taken)
            data = message.SerializeToString()
            if reader.is_deep:
                message.ParseFromString(data)
            return CallMessage(data, tuple(reader.unknown))
        except (RecursionError, EncodeError, DecodeError) as error:
            raise UndecodableError("the body is nested deeper than a Protobuf message can be") from error

    def ordinary(self, route: Route, body: bytes) -> bytes | None:
        """Return the bytes of the message of an ordinary body, None for all others; RequestError beyond a limit.

        They are the whole message of a request whose path and query set no field.
        """
        if not route.body:
            return None
        body_format = self._format_of(route)
        body_format.limits.check(body)
        return body_format.reader.read(body)

    def _read_body(self, reader: JsonReader, route: Route, body: bytes) -> Message:
        """Return the message with the fields that a body sets, which the fast reader has refused."""
        kind = self._schema.message_class(route.method.input_type)
        if not route.body:
            return kind()
        if is_blank(body):
            return self._without_body(route, kind())
        self._format_of(route).limits.check_items(body)
        return self._read_exactly(reader, route, kind(), body)

    def _without_body(self, route: Route, message: Message) -> Message:
        """Return the message of an empty body; as in grpc-gateway a body field that is a message is set."""
        if route.body != WHOLE_BODY:
            field = self._types.of(message).by_name[route.body]
            if field.is_message:
                getattr(message, field.name).SetInParent()
        return message

    def _read_exactly(self, reader: JsonReader, route: Route, message: Message, body: bytes) -> Message:
        """Return the message with the fields that the exact reader sets."""
        value = parse(body)
        if route.body == WHOLE_BODY:
            reader.message(message, value)
            return message
        field = self._types.of(message).by_name[route.body]
        # As in grpc-gateway, null is an empty list or map, but not a message.
        if value is not None or field.takes_null or field.is_message:
            reader.field(message, field, value)
        return message

    def _format_of(self, route: Route) -> BodyFormat:
        known = self._formats.get(route)
        if known is None:
            message, rules = route.method.input_type, self._schema.item_rule
            name = None if route.body == WHOLE_BODY else route.body
            field = None if name is None else message.fields_by_name[name]
            known = self._formats[route] = BodyFormat(
                FastReader(self._schema.message_class(message), name, rules),
                BodyLimits(message, field, rules, self._values_max),
            )
        return known

    def _fast_writer_of(self, route: Route) -> FastWriter:
        known = self._fast_writers.get(route)
        if known is None:
            kind = self._schema.message_class(route.method.output_type)
            known = self._fast_writers[route] = FastWriter(kind)
        return known

    def answer(self, route: Route, data: bytes) -> bytes:
        """Return the JSON of a response; CallError when it is too large, or not of the type of its method."""
        if len(data) > self._answer_bytes_max:
            raise rpc_error(code_pb2.INTERNAL, RESPONSE_TOO_LARGE)
        if not route.response_body and (answer := self._fast_writer_of(route).write(data)) is not None:
            return answer
        message = self._schema.message_class(route.method.output_type)()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            text = f"the service's response is not a valid {route.method.output_type.full_name}"
            raise rpc_error(code_pb2.INTERNAL, text) from error
        try:
            value = self._part(route, message) if route.response_body else self._writer.message(message)
        except ValueError as error:  # a timestamp or a duration out of range
            text = f"the service's response has no JSON form: {error}"
            raise rpc_error(code_pb2.UNKNOWN, text) from error
        return to_json(value)

    def _part(self, route: Route, message: Message) -> JsonValue:
        """Return the one field that is the response; as in grpc-gateway an unset message is an empty one."""
        kind = self._types.of(message)
        field = kind.by_name[route.response_body]
        if field.is_message:
            return self._writer.message(getattr(message, field.name))
        return self._writer.fields(kind, message).get(field.json_name)

    def detail(self, packed: any_pb2.Any) -> JsonObject | None:
        """Return an error's detail as JSON, or None when its type is unknown."""
        try:
            return self._writer.any(packed)
        except ValueError:  # a duration out of range: the service's mistake must not hide its error
            return None
