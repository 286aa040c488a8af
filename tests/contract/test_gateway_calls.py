"""Calls that fail or get unusual responses behind the gateway, and what clients see of them."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ugc.v1 import ingest_service_pb2

from common.settings import Address
from local.processes.ports import free_port
from local.processes.program import Program, running
from tests.contract import raw_service as raw
from tests.contract.conftest import LOCALHOST, ROOT, is_alive
from tests.contract.endpoints import gateway, ingest, post

STORED = ingest_service_pb2.ProduceResponse(event_id="e").SerializeToString()
CREATED = (b"x-http-code", b"201")


async def answer_of(service: raw.Answer, **headers: str) -> tuple[int, Any, Any]:
    """Return status, JSON and headers of a request whose call gets a response of raw frames."""
    async with raw.raw_service(service) as port, gateway(port, has_discovery=False, gateway_timeout_seconds=20) as url:
        return await post(f"{url}/api/v1/produce", b'{"event_id": "e"}', **headers)


@pytest.mark.parametrize(
    "service",
    [
        *(pytest.param(raw.reset(code), id=f"stream reset with {code}") for code in (0, 1, 2, 3, 5, 7, 8, 12, 13)),
        *(pytest.param(raw.http_status(code), id=f"HTTP status {code}") for code in (429, 502, 503, 504)),
        pytest.param(raw.go_away(0, 0), id="not processed"),
        pytest.param(raw.go_away(1, 11, b"too_many_pings"), id="too many pings"),
        pytest.param(raw.garbage, id="garbage"),
        pytest.param(raw.closed, id="closed"),
        pytest.param(raw.aborted, id="aborted"),
        pytest.param(raw.answered(b"", (), ((b"grpc-message", b"CANCELLED"),), status=1), id="dropped from the queue"),
        pytest.param(raw.answered(b"", (), (), status=1), id="cancelled without a text"),
        pytest.param(raw.answered(b"", (), ((b"grpc-message", b"busy"),), status=1), id="cancelled by the service"),
    ],
)
async def test_a_call_that_the_client_did_not_end(service: raw.Answer) -> None:
    """A call that breaks is 503 with a delay and a text of the gateway, without an address of the network behind it."""
    status, answer, headers = await answer_of(service)

    assert (status, answer["code"], headers["Retry-After"]) == (503, 14, "1")
    for text in ("127.0.0.1", "RST", "stream", "GOAWAY", "ping", "http2", "recvmsg"):
        assert text.lower() not in answer["message"].lower()


@pytest.mark.parametrize(
    ("first", "calls", "wanted"),
    [
        pytest.param(raw.go_away(0, 0), 2, 201, id="an old connection is ended"),
        pytest.param(raw.reset(7), 1, 503, id="the stream is refused"),
        pytest.param(raw.go_away(1, 0), 1, 503, id="ended after the service may have seen the call"),
        pytest.param(raw.closed, 1, 503, id="closed"),
        pytest.param(raw.answered(b"", (), (), status=14), 1, 503, id="the service's own answer"),
    ],
)
async def test_transparent_retry(first: raw.Answer, calls: int, wanted: int) -> None:
    """Only a call that the service has not seen is retried, once."""
    seen: list[int] = []
    then = raw.answered(STORED, (CREATED,), ())

    def service(stream: int, writer: asyncio.StreamWriter) -> None:
        seen.append(stream)
        (first if len(seen) == 1 else then)(stream, writer)

    status, _answer, _headers = await answer_of(service)
    assert (status, len(seen)) == (wanted, calls)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 500])
async def test_the_service_does_not_speak_grpc(code: int) -> None:
    """The text is one of the gateway, whatever HTTP status a proxy answers with."""
    status, answer, _headers = await answer_of(raw.http_status(code))

    assert status >= 400
    assert answer["message"] == "the response did not come from a gRPC service"


async def test_an_overloaded_service() -> None:
    """A stream refused with ENHANCE_YOUR_CALM is 429 with a delay."""
    status, answer, headers = await answer_of(raw.reset(11))

    assert (status, answer["code"], headers["Retry-After"]) == (429, 8, "1")
    assert "RST" not in answer["message"]


@pytest.mark.parametrize(
    ("message", "metadata"),
    [(b"x" * 20_000, ()), (STORED, ((b"x-long", b"v" * 300_000),))],
    ids=["message", "metadata"],
)
async def test_an_answer_that_is_too_large(message: bytes, metadata: tuple[tuple[bytes, bytes], ...]) -> None:
    """A response above the limit is 500 without Retry-After, because a retry does not help."""
    service = raw.answered(message, (CREATED, *metadata), ())
    async with raw.raw_service(service) as port, gateway(port, gateway_answer_bytes_max=10_000) as url:
        status, answer, headers = await post(f"{url}/api/v1/produce", b"{}")

    assert (status, answer["message"]) == (500, "the service's response is larger than the gateway accepts")
    assert "Retry-After" not in headers


@pytest.mark.parametrize(
    "target", ["127.0.0.1:{port}", "[::1]:{port}", "localhost:{port}", "unix:no.socket", "unresolvable.invalid:1"]
)
async def test_an_unreachable_service(target: str) -> None:
    """The text of an unreachable service names neither host nor address."""
    async with gateway(0, ingest_target=target.format(port=free_port())) as url:
        status, answer, headers = await post(f"{url}/api/v1/produce", b"{}")

    assert (status, answer["message"]) == (503, "the service behind the gateway cannot be reached")
    assert headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-line", b"a\r\nX-Forged: b"),
        (b"x-line", b"a\nb"),
        (b"x-nul", b"a\0b"),
        (b"x-escape", b"a\x1bb"),
        (b"x-delete", b"a\x7fb"),
        (b"x-utf8", "мой".encode()),
        (b"x-latin1", b"caf\xe9"),
        (b"x-long", b"v" * 12_000),
        (b"n" * 300, b"v"),
        (b"x-http-code", b"99999999999999999999"),
        (b"x-http-code", b"20000"),
        (b"x-http-code", b"020099"),
        (b"x-http-code", b"2\xb2\xb2"),
        (b"retry-after", b"9" * 1_000),
        (b"set-cookie", b"a=b\nc"),
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
    ],
)
@pytest.mark.parametrize("place", ["before the message", "after it", "after it, as trailers"])
async def test_an_acknowledged_request_is_answered(name: bytes, value: bytes, place: str) -> None:
    """Metadata that no header can hold is left out, and does not turn a success into an error."""
    odd = ((name, value), (b"x-good", b"yes"))
    initial, trailing = ((CREATED, *odd), ()) if place == "before the message" else ((CREATED,), odd)
    asked = {"TE": "trailers"} if place == "after it, as trailers" else {}
    status, answer, headers = await answer_of(raw.answered(STORED, initial, trailing), **asked)

    assert (status, answer) == (201, {"eventId": "e"})
    assert "X-Forged" not in headers
    assert all(text.isprintable() and text.isascii() for text in headers.values())
    if place == "before the message":
        assert headers["Grpc-Metadata-X-Good"] == "yes"


@pytest.mark.parametrize(
    "details",
    [b"\xff\xff\xff", b"\x08\x03\x1a\x04\x0a\x01a\xff", b"\x08\x0e\x12\x01m\x1a\x2a" + b"\xff" * 42],
)
async def test_unreadable_details(details: bytes) -> None:
    """Error details that cannot be parsed leave the service's code unchanged."""
    metadata = ((b"grpc-message", b"later"), (b"grpc-status-details-bin", b"\0" + details))
    status, answer, headers = await answer_of(raw.answered(b"", (), metadata, status=14))

    assert (status, answer["code"], headers["Retry-After"]) == (503, 14, "1")


async def test_a_broken_retry_info() -> None:
    """A detail whose bytes do not match its type leaves the service's error unchanged."""
    url = b"type.googleapis.com/google.rpc.RetryInfo"
    detail = b"\x0a" + bytes([len(url)]) + url + b"\x12\x02\xff\xff"
    rich = b"\x08\x0e\x12\x05later\x1a" + bytes([len(detail)]) + detail
    metadata = ((b"grpc-message", b"later"), (b"grpc-status-details-bin", base64.b64encode(rich)))
    status, answer, headers = await answer_of(raw.answered(b"", (), metadata, status=14))

    assert (status, answer["code"], answer["message"], headers["Retry-After"]) == (503, 14, "later", "1")


async def test_the_request_id_is_answered_once() -> None:
    """The request id is in one header, also when the service returns it in its metadata."""
    for metadata in (((b"x-request-id", b"mine"),), ()):
        service = raw.answered(STORED, (CREATED, *metadata), metadata)
        _status, _answer, headers = await answer_of(service, X_Request_Id="mine")

        assert [value for name, value in headers.items() if name.lower().endswith("x-request-id")] == ["mine"]


@pytest.mark.parametrize(
    "variable", ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"]
)
async def test_no_proxy_of_the_environment(variable: str, tmp_path: Path) -> None:
    """The gateway connects to its service directly, whatever proxy its environment names."""
    port, address, dead = free_port(), Address(LOCALHOST, free_port()), f"http://127.0.0.1:{free_port()}"
    program = Program(
        name="gateway",
        argv=(sys.executable, "-m", "gateway"),
        log=tmp_path / "gateway.log",
        environment={
            "UGC_GATEWAY_LISTEN": str(address),
            "UGC_INGEST_TARGET": f"127.0.0.1:{port}",
            "UGC_GATEWAY_DRAIN_SECONDS": "0",
            variable: dead,
        },
        directory=ROOT,
        ready=lambda: is_alive(address),
    )
    async with ingest(port):
        with running(program):
            status, answer, _headers = await post(f"http://{address}/api/v1/produce", b"{}")

    assert (status, answer) == (201, {"eventId": ""}), json.dumps(answer)
