"""Clients with IPv4 and IPv6 addresses, with other encodings, and with either name of a field."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import aiohttp
import pytest

from common.settings import Address
from local.processes.ports import free_port
from tests.contract.endpoints import gateway, ingest, post

HAS_IPV6 = socket.has_dualstack_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this system has no IPv6")


@needs_ipv6
async def test_any_address_serves_both_kinds() -> None:
    """A gateway at `[::]` accepts IPv4 clients too, and forwards their IPv4 address."""
    port = free_port()
    async with ingest(port), gateway(port, gateway_listen=Address("::", 0)) as url:
        listening = url.rpartition(":")[2]
        for host, seen in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")):
            status, _answer, headers = await post(f"http://{host}:{listening}/api/v1/produce", b"{}")
            assert status == 201
            assert json.loads(headers["Grpc-Metadata-X-Seen"])["x-forwarded-for"] == seen


@needs_ipv6
@pytest.mark.parametrize(("networks", "is_trusted"), [("127.0.0.0/8", True), ("10.0.0.0/8", False)])
async def test_networks_of_ipv4_behind_any_address(networks: str, is_trusted: bool) -> None:
    """A trusted IPv4 network is trusted on a dual-stack socket too."""
    port = free_port()
    listening = Address("::", 0)
    async with ingest(port), gateway(port, gateway_listen=listening, gateway_trusted_networks=networks) as url:
        address = f"http://127.0.0.1:{url.rpartition(':')[2]}/api/v1/produce"
        _status, _answer, headers = await post(address, b"{}", X_Forwarded_For="10.0.0.1")

    forwarded = json.loads(headers["Grpc-Metadata-X-Seen"])["x-forwarded-for"]
    assert forwarded == ("10.0.0.1, 127.0.0.1" if is_trusted else "127.0.0.1")


@needs_ipv6
async def test_a_service_at_an_address_of_ipv6() -> None:
    """The target may be an IPv6 address in brackets."""
    port = free_port()
    async with ingest(port, host="[::1]"), gateway(port, ingest_target=f"[::1]:{port}") as url:
        assert (await post(f"{url}/api/v1/produce", b"{}"))[0] == 201


@pytest.mark.parametrize(
    ("encoded", "named"),
    [
        (lambda text: b"\xef\xbb\xbf" + text.encode(), "byte order mark of UTF-8"),
        (lambda text: b"\xef\xbb\xbf" + text[:0].encode(), "byte order mark of UTF-8"),
        (lambda text: text.encode("utf-16"), "byte order mark of UTF-16"),
        (lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "byte order mark of UTF-16"),
        (lambda text: text.encode("utf-16-le"), "looks like UTF-16"),
        (lambda text: text.encode("utf-16-be"), "looks like UTF-16"),
        (lambda text: text.encode("utf-32"), "byte order mark of UTF-32"),
        (lambda text: b"\0\0\xfe\xff" + text.encode("utf-32-be"), "byte order mark of UTF-32"),
        (lambda text: text.encode("utf-32-be"), "looks like UTF-16 or UTF-32"),
    ],
)
@pytest.mark.parametrize(("path", "text"), [("produce", '{"event_id": "e"}'), ("batch_produce", '[{"event_id": "e"}]')])
async def test_other_encodings(
    gateway_url: str, path: str, text: str, encoded: Callable[[str], bytes], named: str
) -> None:
    """A body that is not plain UTF-8 is refused with the name of its encoding."""
    status, answer, _headers = await post(f"{gateway_url}/api/v1/{path}", encoded(text))

    assert (status, answer["code"]) == (400, 3)
    assert named in answer["message"]
    assert "UTF-8" in answer["message"]


@pytest.mark.parametrize("name", ["event_id", "eventId"])
async def test_both_names_of_a_field(gateway_url: str, name: str) -> None:
    """The name of a field in a response is accepted in requests too, also with X-Strict."""
    for headers in ({}, {"X_Strict": "true"}):
        status, answer, received = await post(
            f"{gateway_url}/api/v1/produce", json.dumps({name: "e"}).encode(), **headers
        )
        assert (status, answer) == (201, {"eventId": "e"})
        assert "X-Unknown-Fields" not in received


@pytest.mark.parametrize("body", ['{"event_id": "a", "eventId": "b"}', '{"eventId": "a", "eventId": "a"}'])
async def test_a_field_by_both_names(gateway_url: str, body: str) -> None:
    """A field sent under both of its names is a duplicate."""
    assert (await post(f"{gateway_url}/api/v1/produce", body.encode()))[0] == 400


@pytest.mark.parametrize("name", ["EventId", "eventID", "event_Id", "event-id", "eventid", "payload.movieId"])
async def test_near_misses_are_still_unknown(gateway_url: str, name: str) -> None:
    """Other spellings of a field's name are unknown names."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway_url}/api/v1/produce", json={name: "e"}) as answer,
    ):
        assert (answer.status, answer.headers["X-Unknown-Fields"]) == (201, name)
