"""Behaviour of the real grpc-gateway v2.33.0 that seeded requests showed beyond its records."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from common.settings import Address

PRODUCE, BATCH = "/api/v1/produce", "/api/v1/batch_produce"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
META = b'{"mode": "meta"}'
ONE = b'[{"eventId": "a"}]'


def call(gateway: Address, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Post a body; return the status and the parsed answer."""
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("ratio", "3.4028235677973366e38", 3.4028235e38),  # as a double it would be too large
        ("payload", '"AQID\\n"', "AQID"),
        ("payload", '"AQ\\r\\nID"', "AQID"),
        ("occurredAt", '"0000-12-31T23:59:59-00:01"', "0001-01-01T00:00:59Z"),
        ("count", "1.0e00000000000000000000000000000000000000001", "10"),
        ("count", "0e99999999999", "0"),
        ("ttl", '"-.5s"', "-0.500s"),
        ("mask", '"fooBar.bazQux"', "fooBar.bazQux"),
    ],
)
def test_a_value(events_gateway: Address, field: str, value: str, read: object) -> None:
    """Rare forms of a value are read as protobuf-go reads them."""
    status, answer = call(events_gateway, PRODUCE, f'{{"event": {{"{field}": {value}}}}}'.encode(), JSON)

    assert (status, answer["event"][field]) == (200, read)


@pytest.mark.parametrize(
    ("query", "accepted"),
    [
        ("failFast=TRUE", -1),
        ("fail_fast=t", -1),
        ("fail%46ast=%74rue", -1),
        ("nope=%ff", 1),
        ("events.eventId=b", 1),
        ("&&failFast=1&", -1),
    ],
)
def test_a_query(events_gateway: Address, query: str, accepted: int) -> None:
    """Proto and JSON names and all of Go's forms of true are read; fields of the body and unknown names are ignored."""
    status, answer = call(events_gateway, f"{BATCH}?{query}", ONE, JSON)

    assert (status, answer["accepted"]) == (200, accepted)


@pytest.mark.parametrize(
    "query",
    [
        "failFast=yes",
        "failFast=true&fail_fast=true",
        "failFast.x=true",
        "failFast[x]=true",
        "failFast=%ff",
        "a;b",
        "%zz=1",
    ],
)
def test_a_bad_query(events_gateway: Address, query: str) -> None:
    """Invalid values, a field given twice, a path through a scalar, a map key of another field: 400."""
    status, answer = call(events_gateway, f"{BATCH}?{query}", ONE, JSON)

    assert (status, answer["code"]) == (400, 3)


@pytest.mark.parametrize(
    ("timeout", "remaining"),
    [("100S", 100), ("2H", 7_200), ("0S", -1), ("99999999H", -1), ("9999999999999999999S", -1)],
)
def test_a_timeout(events_gateway: Address, timeout: str, remaining: float) -> None:
    """The service gets the timeout of the client, however long; the test server reports a very long one as none."""
    status, answer = call(events_gateway, PRODUCE, META, {**JSON, "Grpc-Timeout": timeout})

    assert status == 200
    assert 0 <= remaining - answer["timeRemaining"] <= 5


@pytest.mark.parametrize("timeout", ["1n", "1u"])
def test_an_expired_timeout(events_gateway: Address, timeout: str) -> None:
    """A timeout that expires before the call is 504."""
    status, answer = call(events_gateway, PRODUCE, META, {**JSON, "Grpc-Timeout": timeout})

    assert (status, answer["code"]) == (504, 4)


def test_metadata(events_gateway: Address) -> None:
    """`Pragma: no-cache` is forwarded as Cache-Control, as by Go."""
    _status, answer = call(events_gateway, PRODUCE, META, {**JSON, "Pragma": "no-cache"})

    assert answer["seenMetadata"]["grpcgateway-pragma"] == "no-cache"
    assert answer["seenMetadata"]["grpcgateway-cache-control"] == "no-cache"


def test_a_form_with_an_overridden_method_is_a_query(events_gateway: Address) -> None:
    """The body of such a form is query parameters: the method's message is empty."""
    headers = {**FORM, "X-HTTP-Method-Override": "POST"}

    assert call(events_gateway, BATCH, b"failFast=true", headers) == (200, {"accepted": 0, "results": []})
    status, answer = call(events_gateway, BATCH, b"%zz=1", headers)
    assert (status, answer["code"]) == (400, 3)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/api/v1/produce%ff", 404), ("/api/v1/produce#x", 404), ("//api/v1/produce", 404), ("/api%2fv1%2fproduce", 200)],
)
def test_a_path(events_gateway: Address, path: str, expected: int) -> None:
    """A path is matched after its percent-encoding is undone."""
    assert raw(events_gateway, path, META)[0] == expected


def test_trailers(events_gateway: Address) -> None:
    """A client that accepts trailers gets the metadata that follows the message or the error."""
    status, head, rest = raw(events_gateway, PRODUCE, b'{"mode": "headers"}', "TE: trailers")
    assert (status, b"Trailer: Grpc-Trailer-X-Trail\r\n" in head) == (200, True)
    assert rest.endswith(b"\r\n0\r\nGrpc-Trailer-X-Trail: t1\r\n\r\n")
    status, head, rest = raw(events_gateway, PRODUCE, b'{"mode": "abort_meta"}', "TE: trailers")
    assert (status, b"Retry-After: 3\r\n" in head) == (503, True)
    assert b"\r\nGrpc-Trailer-X-Trail: t\r\n" in rest
    _status, head, _rest = raw(events_gateway, PRODUCE, b'{"mode": "headers"}')
    assert b"Trailer" not in head


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [
        ("retry", "2"),
        ("errorinfo", "2"),
        ("abort_meta", "3"),
        ("abort:RESOURCE_EXHAUSTED", "1"),
        ("abort:UNAVAILABLE", "1"),
    ],
)
def test_retry_after(events_gateway: Address, mode: str, seconds: str) -> None:
    """Every 429 and 503 has Retry-After: from RetryInfo, rounded up, else from metadata, else from the setting."""
    status, head, _rest = raw(events_gateway, PRODUCE, json.dumps({"mode": mode}).encode())

    assert status in (429, 503)
    assert f"\r\nRetry-After: {seconds}\r\n".encode() in head


def test_expectations(events_gateway: Address) -> None:
    """A client that waits for 100 Continue gets it before the response; any other expectation is 417."""
    status, head, _rest = raw(events_gateway, PRODUCE, META, "Expect: 100-continue")
    assert (status, head) == (100, b"HTTP/1.1 100 Continue")
    assert raw(events_gateway, PRODUCE, META, "Expect: more")[0] == 417
    large = b"POST /api/v1/produce HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n"
    assert sent(events_gateway, large + b"Connection: close\r\n\r\n")[0] == 413


def test_malformed_requests(events_gateway: Address) -> None:
    """An invalid method or a malformed head is 400 with google.rpc.Status."""
    for request in (b"FOO /api/v1/produce HTTP/1.1\r\nHost: test\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"):
        status, head, rest = sent(events_gateway, request)
        assert (status, b"application/json" in head, json.loads(rest)["code"]) == (400, True, 3)
        assert json.loads(rest)["message"].startswith("malformed request: ")


def raw(gateway: Address, path: str, body: bytes, *headers: str) -> tuple[int, bytes, bytes]:
    """Post on a raw socket; return the status, the head and all that follows it."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return sent(gateway, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def sent(gateway: Address, request: bytes) -> tuple[int, bytes, bytes]:
    """Send bytes and read until the end."""
    with socket.create_connection(gateway, timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, rest
