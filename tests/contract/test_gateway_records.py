"""The gateway answers the 192 recorded requests as the real grpc-gateway did, over a raw connection."""

from __future__ import annotations

import base64
import http.client
import json
import re
from pathlib import Path
from typing import Any

import pytest

from common.settings import Address

RECORDS = Path(__file__).parent / "grpc_gateway" / "records.jsonl"
Record = dict[str, Any]

# Variants of grpc-gateway's settings that this gateway does not have.
UNSUPPORTED_VARIANTS = {
    "noerrdetails": "a gateway whose binary lacks google.rpc.BadRequest: this one always has the standard details",
    "legacymeta": "forwards Grpc-Metadata-* request headers as grpc-gateway did until 2.32",
}
# Records of intended differences, with the gateway's response. The reasons are in gateway/README.md.
METHOD_NOT_ALLOWED = {"code": 12, "message": "Method Not Allowed", "details": []}
STATUS_ONLY: None = None
DIFFERENT: dict[str, tuple[int, Any]] = {
    "wrong method GET": (405, METHOD_NOT_ALLOWED),
    "wrong method PATCH": (405, METHOD_NOT_ALLOWED),
    "OPTIONS": (405, METHOD_NOT_ALLOWED),
    "POST form overridden to GET": (405, METHOD_NOT_ALLOWED),
    "trailing garbage after JSON": (400, STATUS_ONLY),
    "two JSON values": (400, STATUS_ONLY),
    "batch trailing garbage": (400, STATUS_ONLY),
    "gzip body": (200, STATUS_ONLY),
    "abort with a detail of unknown type": (
        400,
        {"code": 3, "message": "odd", "details": [{"@type": "type.googleapis.com/no.such.Type", "value": "CAE="}]},
    ),
    "abort CANCELLED": (503, {"code": 14, "message": "test CANCELLED", "details": []}),
    "x-http-code in response metadata": (201, STATUS_ONLY),
    "deep nesting": (400, STATUS_ONLY),
}
# Headers that carry metadata of the service, and those of them that belong to its transport.
FROM_THE_SERVICE = ("grpc-metadata-", "www-authenticate")
OF_THE_TRANSPORT = ("Grpc-Metadata-Content-Type", "Grpc-Metadata-Grpc-Accept-Encoding")
# The gateway encodes bytes as base64, and writes a valid challenge for a 401.
HEADERS_IN_ANOTHER_FORM = {"Grpc-Metadata-X-Bin-Bin": "AAH/", "Www-Authenticate": 'Bearer realm="gateway"'}
# Metadata that names the gateway which forwarded a call.
OF_THE_GATEWAY = ("user-agent", "x-forwarded-host", "x-request-id", "traceparent")


def load() -> list[Record]:
    # Not splitlines: a record holds U+2028.
    return [json.loads(line) for line in RECORDS.read_text().rstrip("\n").split("\n")]


def applicable() -> list[Any]:
    return [
        pytest.param(record, id=f"{record['variant']}-{number}-{re.sub('[^a-zA-Z0-9]+', '-', record['name'])[:40]}")
        for number, record in enumerate(load())
        if record["variant"] not in UNSUPPORTED_VARIANTS
    ]


@pytest.mark.parametrize("record", applicable())
@pytest.mark.parametrize("lane", [True, False], ids=["on the lane", "in a task"])
def test_answers_as_recorded(
    record: Record, lane: bool, events_gateways: dict[bool, Address], down_gateway: Address
) -> None:
    """Status, `code` and JSON are those of grpc-gateway, except for the intended differences."""
    if "abridged" in record.get("note", ""):
        depth = 11_000
        body = '{"event":{"attributes":' + '{"a":' * depth + "1" + "}" * depth + "}}"
        record = {**record, "request": {**record["request"], "body": body}}
    status, answer, headers = replay(record, down_gateway if record["variant"] == "down" else events_gateways[lane])
    expected_status, expected = record["response"]["status"], record["response"].get("json")
    if record["name"] in DIFFERENT:
        expected_status, expected = DIFFERENT[record["name"]]
    assert status == expected_status, answer
    assert service_headers(headers) == service_headers(
        [(name, HEADERS_IN_ANOTHER_FORM.get(name, value)) for name, value in recorded(record)]
    )
    if expected is not None:
        assert comparable(answer) == comparable(expected)
    if isinstance(answer, dict) and "code" in answer and expected is not None and status == 400:
        for name in re.findall(r'(?:field|invalid value for \w+ field) "?([A-Za-z_]+)', expected["message"]):
            assert name in answer["message"]


def recorded(record: Record) -> list[tuple[str, str]]:
    """Return the headers of a recorded response, without those that the gateway does not forward."""
    headers = record["response"]["headers"] if record["name"] not in DIFFERENT else []
    return [(name, value) for name, value in headers if name not in OF_THE_TRANSPORT]


def service_headers(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers that come from the service."""
    return sorted((name.lower(), value) for name, value in headers if name.lower().startswith(FROM_THE_SERVICE))


def test_every_difference_is_recorded() -> None:
    """Every entry of the table of differences is a record."""
    assert {record["name"] for record in load()} >= set(DIFFERENT)


def replay(record: Record, gateway: Address) -> tuple[int, Any, list[tuple[str, str]]]:
    """Send a recorded request; return the status, the parsed JSON and the headers."""
    request = record["request"]
    body = request.get("body")
    data = base64.b64decode(request["body_base64"]) if "body_base64" in request else (body or "").encode()
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=20)
    try:
        connection.putrequest(request["method"], request["path"], skip_accept_encoding=True)
        for name, value in request["headers"]:
            connection.putheader(name, value.encode() if not value.isascii() else value)
        if data or body is not None:
            connection.putheader("Content-Length", str(len(data)))
        if record["variant"] == "strict":
            connection.putheader("X-Strict", "true")
        connection.endheaders(data or None)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(text), answer.getheaders()


def comparable(answer: Any) -> Any:
    """Return a response without what varies: the messages of decoders, and the name of the gateway."""
    if isinstance(answer, dict) and "code" in answer:
        decoder_speaks = answer["code"] in (3, 14) and not answer["details"]
        return {**answer, "message": "..."} if decoder_speaks else answer
    if isinstance(answer, dict) and "seenMetadata" in answer:
        seen = {key: value for key, value in answer["seenMetadata"].items() if key not in OF_THE_GATEWAY}
        return {**answer, "seenMetadata": seen}
    return answer
