"""Responses: those of calls, and what every response carries."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp.web import Response, StreamResponse

from gateway.errors import Metadata
from gateway.http.cors import Cors
from gateway.http.head import REQUEST_ID
from gateway.http.metadata import http_code, response_headers
from gateway.http.trailers import add_trailers
from gateway.json.text import JsonValue, to_json
from gateway.request import Request

JSON = "application/json"
UNKNOWN_FIELDS = "X-Unknown-Fields"
HEADER_NAME_CHARACTERS_MAX = 100
# Without the versions that aiohttp would name; browsers must not guess another content type.
COMMON_HEADERS = {"Server": "gateway", "X-Content-Type-Options": "nosniff"}


def json_response(value: JsonValue) -> Response:
    """Return a JSON value as a response."""
    return Response(body=to_json(value), content_type=JSON)


def call_response(body: bytes, initial: Metadata, trailing: Metadata, unknown_fields: Collection[str]) -> Response:
    """Return the response of a call: JSON, the status that the service set, and its metadata."""
    status = http_code(trailing) or http_code(initial) or 200
    response = Response(body=body, status=status, content_type=JSON)
    add_metadata(response, initial, trailing)
    if unknown_fields:
        response.headers[UNKNOWN_FIELDS] = ", ".join(map(header_text, unknown_fields))
    return response


def add_metadata(response: Response, initial: Metadata, trailing: Metadata) -> None:
    """Add the service's metadata to a response, as headers and trailers."""
    for name, value in response_headers(initial):
        response.headers.add(name, value)
    add_trailers(response, trailing)


def complete(response: StreamResponse, request: Request, cors: Cors) -> None:
    """Add what every response to a request carries."""
    response.headers.update(COMMON_HEADERS)
    response.headers[REQUEST_ID] = request.id
    for name, value in cors.headers(request.headers).items():
        response.headers.setdefault(name, value)


def header_text(name: str) -> str:
    """Return a JSON name as an item of a list in a header, which clients and proxies refuse when it is long."""
    printable = name.encode("ascii", "backslashreplace").decode()
    text = "".join(letter if " " < letter <= "~" and letter != "," else "?" for letter in printable)
    return text if len(text) <= HEADER_NAME_CHARACTERS_MAX else text[:HEADER_NAME_CHARACTERS_MAX] + "..."
