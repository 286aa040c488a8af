"""Errors quote little of what a client sent: every value is cut, and control characters are escaped."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MESSAGE_CHARACTERS_MAX, QUOTED_CHARACTERS_MAX, GatewayError, RequestError, quoted
from local.processes.ports import free_port
from tests.contract.endpoints import gateway, ingest

BODY_BYTES_MAX = 4_000_000
ERROR_BYTES_MAX = 4_096
LONG = 1_000_000
FORM = "application/x-www-form-urlencoded"
FILLINGS = ["A", "\u0416", "\U0001f600", "\x00", "\x1b", "\u202e", "%00", "\\u0007", "[", ".", ",", "-", "9", '\\"']
PRODUCE, BATCH, RANDOM = "/api/v1/produce", "/api/v1/batch_produce", "/api/v1/random_batch_produce"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    port = free_port()
    async with ingest(port), gateway(port, gateway_body_bytes_max=BODY_BYTES_MAX) as address:
        yield address


async def send(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Post, and return status and response body."""
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return answer.status, await answer.read()


def assert_short(status: int, answer: bytes) -> None:
    """Assert that an error is a short google.rpc.Status without control characters."""
    assert len(answer) < ERROR_BYTES_MAX
    body: dict[str, Any] = json.loads(answer)
    if status >= 400:
        assert body["message"].isprintable()
        assert len(body["message"]) <= MESSAGE_CHARACTERS_MAX + 3


@pytest.mark.parametrize("filling", FILLINGS)
async def test_bodies_are_not_echoed(url: str, filling: str) -> None:
    """A long name or value of any type, anywhere in a body, is quoted cut."""
    long = filling * (LONG // len(filling))
    text = json.dumps(long) if filling in ("\x00", "\x1b") else f'"{long}"'
    for body in (
        f'{{"payload": {{"event_timestamp": {text}}}}}',
        f'{{"payload": {text}}}',
        f"{{{text}: 1}}",
        f'{{"payload": {{{text}: 1}}}}',
        f'{{"event_id": {{{text}: 1}}}}',
        f'{{"event_id": [{text}]}}',
        text,
    ):
        for path, sent in ((PRODUCE, body), (BATCH, f"[{body}]"), (BATCH, body)):
            for strict in ("1", ""):
                status, answer = await send(f"{url}{path}", gzip.compress(sent.encode()), {"X-Strict": strict})
                assert_short(status, answer)


@pytest.mark.parametrize("filling", FILLINGS)
async def test_forms_and_queries_are_not_echoed(url: str, filling: str) -> None:
    """A long value or name of a parameter is quoted cut."""
    long = filling * (60_000 // len(filling.encode()))
    for body in (
        f"batch_count={long}",
        f"{long}=1",
        f"batch_count=1&batch_count={long}",
        f"batch_count[{long}]=1",
        long,
    ):
        status, answer = await send(f"{url}{RANDOM}", body.encode(), {"Content-Type": FORM})
        assert_short(status, answer)
        if filling in ("A", ".", "-"):
            assert_short(*await send(f"{url}{RANDOM}?{body[:7_000]}", b"", {}))
            assert_short(*await send(f"{url}/{long[:7_000]}?{body[:100]}", b"", {}))


@pytest.mark.parametrize(
    "name",
    [
        "Content-Encoding",
        "Grpc-Timeout",
        "Expect",
        "X-Request-Id",
        "X-Strict",
        "Content-Type",
        "TE",
        "Accept",
        "Origin",
    ],
)
@pytest.mark.parametrize("filling", ["A", "9", "\t;", ',"'])
async def test_headers_are_not_echoed(url: str, name: str, filling: str) -> None:
    """A long value of any header is quoted cut."""
    value = "x" + filling * (8_000 // len(filling)) + "x"
    assert_short(*await send(f"{url}{PRODUCE}", b'{"event_id": 1}', {name: value}))


@given(st.text())
def test_quoted_text(text: str) -> None:
    """Quoted text is always printable and short; short printable text is quoted unchanged."""
    shown = quoted(text)
    assert shown.isprintable()
    assert len(shown) <= QUOTED_CHARACTERS_MAX * len("\\U0010ffff") + 3
    assert shown == text or not text.isprintable() or len(text) > QUOTED_CHARACTERS_MAX


@given(st.text(min_size=MESSAGE_CHARACTERS_MAX))
def test_messages_are_limited(text: str) -> None:
    """An error message is cut as a whole, also when a value in it was not quoted."""
    error: GatewayError = RequestError(text * 10)
    assert error.message == quoted(text * 10, MESSAGE_CHARACTERS_MAX)
    assert error.message.isprintable()
    assert len(error.message) <= MESSAGE_CHARACTERS_MAX * len("\\U0010ffff") + 3
