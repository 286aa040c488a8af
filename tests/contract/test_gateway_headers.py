"""Headers of browsers and proxies: origins, content types, request ids, traces, addresses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from common.settings import Address
from gateway.http.metadata import METADATA_BYTES_MAX
from local.processes.ports import free_port
from local.processes.program import Program, running
from tests.contract.conftest import LOCALHOST, ROOT, is_alive
from tests.contract.endpoints import TRACE, gateway, ingest, post

PAGE = "https://cinema.example"


async def preflight(url: str, origin: str) -> tuple[int, CIMultiDictProxy[str]]:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-strict"}
    async with aiohttp.ClientSession() as session, session.options(url, headers=headers) as answer:
        return answer.status, answer.headers


async def test_browsers_of_allowed_origins_may_call() -> None:
    """Preflights, responses and errors for an allowed origin carry the CORS headers that a browser needs."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_cors_origins=f"{PAGE}, http://other.example") as url:
        status, headers = await preflight(f"{url}/api/v1/produce", PAGE)
        assert (status, headers["Access-Control-Allow-Origin"]) == (204, PAGE)
        assert headers["Access-Control-Allow-Credentials"] == "true"
        assert headers["Access-Control-Allow-Methods"] == "POST"
        assert "X-Strict" in headers["Access-Control-Allow-Headers"]
        assert int(headers["Access-Control-Max-Age"]) > 0
        assert "Origin" in headers["Vary"]
        for body in (b"{}", b"{"):
            _status, _answer, headers = await post(f"{url}/api/v1/produce", body, Origin=PAGE)
            assert headers["Access-Control-Allow-Origin"] == PAGE
            assert "X-Unknown-Fields" in headers["Access-Control-Expose-Headers"]


async def test_browsers_of_other_origins_may_not() -> None:
    """A preflight of another origin is 403; its other responses have no header that lets a script read them."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_cors_origins=PAGE) as url:
        status, headers = await preflight(f"{url}/api/v1/produce", "https://evil.example")
        assert status == 403
        assert not [name for name in headers if name.startswith("Access-Control")]
        _status, _answer, headers = await post(f"{url}/api/v1/produce", b"{}", Origin="https://evil.example")
        assert not [name for name in headers if name.startswith("Access-Control")]
        assert headers["Vary"] == "Origin"


async def test_without_a_list_no_preflight_is_answered(gateway_url: str) -> None:
    """Without a list of origins OPTIONS is a wrong method."""
    status, headers = await preflight(f"{gateway_url}/api/v1/produce", PAGE)
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "application/octet-stream", ""])
async def test_a_beacon_is_json_whatever_its_content_type(gateway_url: str, content_type: str) -> None:
    """Bodies that a closing page can send without a preflight are read as JSON."""
    status, answer, _headers = await post(
        f"{gateway_url}/api/v1/produce", b'{"event_id": "e"}', Content_Type=content_type
    )
    assert (status, answer["eventId"]) == (201, "e")


async def test_more_headers_than_a_call_can_carry(gateway_url: str) -> None:
    """Too many forwarded headers are 431 with the limit, and without Retry-After, because a retry does not help."""
    headers = CIMultiDict([("Referer", "r" * 8_000)] * 5)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway_url}/api/v1/produce", headers=headers) as answer,
    ):
        assert (answer.status, "Retry-After" in answer.headers) == (431, False)
        assert str(METADATA_BYTES_MAX) in (await answer.json())["message"]


async def test_request_ids_and_traces_pass_through(gateway_url: str) -> None:
    """The request id is returned and forwarded, with trace and token; a missing or invalid one is replaced."""
    given = {"X_Request_Id": "abc-1", "Traceparent": TRACE, "Authorization": "Bearer t"}
    _status, _answer, headers = await post(f"{gateway_url}/api/v1/produce", b"{}", **given)
    seen = json.loads(headers["Grpc-Metadata-X-Seen"])
    assert headers["X-Request-Id"] == seen["x-request-id"] == "abc-1"
    assert (seen["traceparent"], seen["authorization"]) == (TRACE, "Bearer t")
    for unusable in ({}, {"X_Request_Id": "a b"}, {"X_Request_Id": "a" * 1_000}):
        _status, _answer, headers = await post(f"{gateway_url}/api/v1/produce", b"{", **unusable)
        assert len(headers["X-Request-Id"]) == 32


async def test_the_class_of_a_request_passes_through(gateway_url: str) -> None:
    """X-Ugc-Priority is forwarded as it is, unless it is longer than any class."""
    for sent, forwarded in (("low", "low"), ("x" * 33, None), (None, None)):
        given = {"X_Ugc_Priority": sent} if sent else {}
        _status, _answer, headers = await post(f"{gateway_url}/api/v1/produce", b"{}", **given)
        assert json.loads(headers["Grpc-Metadata-X-Seen"]).get("x-ugc-priority") == forwarded


async def test_the_request_id_is_in_every_log_line(tmp_path: Path) -> None:
    """Log lines of a request have its id, the one of the client or the one that the gateway made."""
    log, address = tmp_path / "gateway.log", Address(LOCALHOST, free_port())
    program = Program(
        name="gateway",
        argv=(sys.executable, "-m", "gateway"),
        log=log,
        environment={"UGC_GATEWAY_LISTEN": str(address), "UGC_LOG_LEVEL": "debug", "UGC_GATEWAY_DRAIN_SECONDS": "0"},
        directory=ROOT,
        ready=lambda: is_alive(address),
    )
    with running(program):
        _status, _answer, echoed = await post(f"http://{address}/api/v1/produce", b"{}", X_Request_Id="mine-1")
        _status, _answer, made = await post(f"http://{address}/api/v1/produce", b"{")
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    answered = [line for line in lines if line.get("path") == "/api/v1/produce"]

    assert [line["request_id"] for line in answered] == ["mine-1", made["X-Request-Id"]]
    assert echoed["X-Request-Id"] == "mine-1"


async def test_forwarded_addresses_count_from_trusted_networks_only() -> None:
    """X-Forwarded-For of an untrusted peer is dropped; that of a trusted proxy is extended by its address."""
    port = free_port()
    for networks, expected in (("127.0.0.0/8", "10.0.0.1, 127.0.0.1"), ("10.0.0.0/8", "127.0.0.1")):
        async with ingest(port), gateway(port, gateway_trusted_networks=networks) as url:
            _status, _answer, headers = await post(f"{url}/api/v1/produce", b"{}", X_Forwarded_For="10.0.0.1")
            assert json.loads(headers["Grpc-Metadata-X-Seen"])["x-forwarded-for"] == expected


@pytest.mark.parametrize("second", ["Bearer t", "Bearer other", "Basic YTpi", ""])
async def test_two_authorizations(gateway_url: str, second: str) -> None:
    """Two Authorization headers are refused by name, without their values."""
    headers = CIMultiDict([("Authorization", "Bearer secret"), ("Authorization", second)])
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway_url}/api/v1/produce", headers=headers) as answer,
    ):
        message = (await answer.json())["message"]

    assert (answer.status, "Authorization" in message, "secret" in message) == (400, True, False)


@pytest.mark.parametrize("trace", ["", "x", f"{TRACE}-more", TRACE.upper(), f"{TRACE}, {TRACE}"])
async def test_malformed_traces_are_not_forwarded(gateway_url: str, trace: str) -> None:
    """An invalid traceparent is not forwarded; the request is served."""
    status, _answer, headers = await post(f"{gateway_url}/api/v1/produce", b"{}", Traceparent=trace, Tracestate="a=b")

    assert (status, "traceparent" in headers["Grpc-Metadata-X-Seen"]) == (201, False)
