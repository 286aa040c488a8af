"""The gateway in front of a fake ingest, or of none: every bad input gets a status of its own, never a 500."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc_health.v1 import health_pb2
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, post, until_taken


async def test_the_service_chooses_the_success_status(gateway_url: str) -> None:
    """x-http-code in initial or trailing metadata is the status, and is not forwarded."""
    status, answer, headers = await post(f"{gateway_url}/api/v1/produce", b'{"event_id": "e"}')
    assert (status, answer) == (201, {"eventId": "e"})
    assert not [name for name in headers if "http-code" in name.lower()]
    status, answer, _headers = await post(f"{gateway_url}/api/v1/batch_produce", b"[{}, {}]")
    assert (status, answer) == (207, {"accepted": 2, "rejected": []})


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "malformed JSON"),
        (b'{"payload": {"event_timestamp": "soon"}}', "payload.event_timestamp"),
        (b'{"payload": {"movie_id": 5}}', "payload.movie_id"),
        (b'{"payload": []}', "payload"),
        (b'{"ip": "a", "ip": "b"}', "ip"),
        (b'{"payload": {"event_timestamp": NaN}}', "NaN"),
        (b'{"payload": {"event_timestamp": 1e999999999999}}', "payload.event_timestamp"),
        (b'{"payload": {"event_timestamp": ' + b"9" * 1_000 + b"}}", "payload.event_timestamp"),
        (b'{"ip": "\\ud800"}', "surrogate"),
        (b'{"ip": "\xff"}', "UTF-8"),
        (b'{"ip": "a"} x', "malformed JSON"),
        (b'{"a":' * 700, "malformed JSON"),
        (b"[1]", "the body: ugc.v1.Event must be an object"),
        (b"null", "the body: ugc.v1.Event must be an object"),
    ],
)
async def test_bad_json_is_400_and_named(gateway_url: str, body: bytes, named: str) -> None:
    """A bad body is 400, with a google.rpc.Status that names the place."""
    status, answer, _headers = await post(f"{gateway_url}/api/v1/produce", body)
    assert (status, answer["code"], answer["details"]) == (400, 3, [])
    assert named in answer["message"]


async def test_a_bad_event_of_a_batch_is_named_by_its_index(gateway_url: str) -> None:
    """The index in the array is part of the field's name."""
    _status, answer, _headers = await post(f"{gateway_url}/api/v1/batch_produce", b'[{}, {"payload": {"event": 1}}]')
    assert "[1].payload.event" in answer["message"]


async def test_unknown_keys_are_named_or_refused(gateway_url: str) -> None:
    """An unknown key is accepted and named in X-Unknown-Fields; with X-Strict it is a 400."""
    body = b'{"payload": {"mood": 1}, "x": {"y": 2}}'
    status, _answer, headers = await post(f"{gateway_url}/api/v1/produce", body)
    assert (status, headers["X-Unknown-Fields"]) == (201, "payload.mood, x")
    status, answer, _headers = await post(f"{gateway_url}/api/v1/produce", body, X_Strict="true")
    assert status == 400
    assert "payload.mood" in answer["message"]


@pytest.mark.parametrize("name", ["k" * 3_000, "\U0001f600" * 500, "deep"], ids=["long", "escaped", "many"])
async def test_long_unknown_keys(gateway_url: str, name: str) -> None:
    """Long and many unknown keys make neither the header that names them nor the error long."""
    keys = {f"{number}{name}": 1 for number in range(1 if len(name) > 9 else 200)}
    body = json.dumps(keys, ensure_ascii=False).encode()
    status, _answer, headers = await post(f"{gateway_url}/api/v1/produce", body)
    assert status == 201
    assert 0 < len(headers["X-Unknown-Fields"]) < 2_500
    assert len(headers["X-Unknown-Fields"].split(", ")) == min(len(keys), 20)
    status, answer, _headers = await post(f"{gateway_url}/api/v1/produce", body, X_Strict="true")
    assert status == 400
    assert answer["message"].startswith('unknown field "0')
    assert len(answer["message"]) < 100


async def test_a_late_service_is_504(gateway_url: str) -> None:
    """The gateway waits no longer than its own limit and the client's Grpc-Timeout."""
    url, body = f"{gateway_url}/api/v1/produce", b'{"payload": {"event": "slow"}}'
    status, answer, _headers = await post(url, body, Grpc_Timeout="100m")
    assert (status, answer["code"]) == (504, 4)


async def test_a_service_that_starts_later() -> None:
    """Without ingest requests and readiness are 503; both recover when ingest starts, or restarts."""
    port = free_port()
    async with gateway(port) as url:
        status, answer, headers = await post(f"{url}/api/v1/produce", b"{}")
        assert (status, answer["code"], headers["Retry-After"]) == (503, 14, "1")
        for _start in range(2):
            async with ingest(port) as checks:
                await checks.set("", health_pb2.HealthCheckResponse.SERVING)
                await until(url, 200)
                assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201
                await checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
                await until(url, 503)


async def until(url: str, status: int) -> None:
    """Wait until /readyz returns a status."""
    async with asyncio.timeout(WAIT_SECONDS_MAX), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/readyz") as answer:
                if answer.status == status:
                    return
            await asyncio.sleep(0.05)


async def test_a_full_gateway_is_503_with_retry_after() -> None:
    """Requests above the limit are refused at once."""
    port = free_port()
    changes: dict[str, Any] = {"gateway_concurrency_max": 1, "gateway_timeout_seconds": WAIT_SECONDS_MAX}
    async with (
        ingest(port),
        gateway(port, gateway_stop_seconds_max=0, **changes) as url,
        asyncio.timeout(WAIT_SECONDS_MAX),
    ):
        slow = asyncio.create_task(until_taken(f"{url}/api/v1/produce", b'{"payload": {"event": "slow"}}'))
        status = 201
        while status == 201:  # until the slow one is in flight
            status, answer, headers = await post(f"{url}/api/v1/produce", b"{}")
        assert (status, answer["code"], headers["Retry-After"]) == (503, 14, "1")
        slow.cancel()


async def test_paths_and_methods(gateway_url: str) -> None:
    """An unknown path is 404, a known one with a wrong method 405 with Allow."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{gateway_url}/api/v1/produce") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        async with session.post(f"{gateway_url}/api/v1/nothing", data=b"{}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, 5)
        async with session.get(f"{gateway_url}/healthz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway_cors_origins", "https://cinema.example/path"),
        ("gateway_trusted_networks", "10.0.0.1/8"),
        ("gateway_listen", "nowhere"),
        ("gateway_timeout_seconds", 0),
    ],
)
def test_bad_settings_are_refused_by_name(name: str, value: object) -> None:
    """The error of a bad setting names it."""
    with pytest.raises(ValidationError, match=name):
        GatewaySettings(**{name: value})  # type: ignore[arg-type]  # bad on purpose


async def test_head_of_a_page(gateway_url: str) -> None:
    """HEAD of a page is answered as GET, without a body."""
    async with aiohttp.ClientSession() as session, session.head(f"{gateway_url}/api/openapi.json") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_a_bad_descriptor_set_stops_the_start(tmp_path: Path) -> None:
    """The process refuses to start with a bad descriptor set, and names the setting."""
    nonsense = tmp_path / "nonsense.binpb"
    nonsense.write_bytes(b"nonsense")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"),
        env={**os.environ, "UGC_GATEWAY_DESCRIPTORS": str(nonsense)},
        stderr=asyncio.subprocess.PIPE,
    )
    _out, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"bad setting UGC_GATEWAY_DESCRIPTORS" in error
