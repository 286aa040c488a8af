"""Bodies that are compressed, too large, too slow, or so large that other requests would have to wait."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.decoding import ORDINARY_BODY_BYTES_MAX
from gateway.transcoding import Transcoder
from local.processes.ports import free_port
from tests.contract.endpoints import BODY_BYTES_MAX, WAIT_SECONDS_MAX, gateway, ingest, open_connection, post


async def test_gzip_is_read_by_header_and_by_magic_bytes(gateway_url: str) -> None:
    """A compressed body is decompressed; a corrupt one is 400; one that grows too large is 413 with the limit."""
    url, body = f"{gateway_url}/api/v1/produce", gzip.compress(b'{"event_id": "e"}')
    assert (await post(url, body, Content_Encoding="gzip"))[0] == 201
    assert (await post(url, body))[0] == 201
    assert (await post(url, body[:-9]))[0] == 400
    assert (await post(url, b"{}", Content_Encoding="gzip"))[0] == 400
    assert (await post(url, b"{}", Content_Encoding="br"))[0] == 415
    status, answer, _headers = await post(url, gzip.compress(b" " * BODY_BYTES_MAX * 100))
    assert status == 413
    assert str(BODY_BYTES_MAX) in answer["message"]


async def test_an_oversize_body_is_413(gateway_url: str) -> None:
    """A body above the limit, announced or chunked, is refused with the limit in the message."""

    async def chunks() -> AsyncIterator[bytes]:
        for _chunk in range(10):
            yield b" " * 1_000

    status, answer, _headers = await post(f"{gateway_url}/api/v1/produce", b" " * (BODY_BYTES_MAX + 1))
    assert (status, str(BODY_BYTES_MAX) in answer["message"]) == (413, True)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway_url}/api/v1/produce", data=chunks()) as refused,
    ):
        assert refused.status == 413


async def test_a_large_body_does_not_block_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large body is being decoded, other requests are answered."""
    begun, others_answered, read = threading.Event(), threading.Event(), Transcoder.request

    def slowly(self: Transcoder, *request: Any, strict: bool) -> Any:
        begun.set()
        assert others_answered.wait(20)
        return read(self, *request, strict=strict)

    monkeypatch.setattr(Transcoder, "request", slowly)
    port, body = free_port(), b'{"event_id": "' + b"e" * ORDINARY_BODY_BYTES_MAX + b'"}'
    async with ingest(port), gateway(port, gateway_body_bytes_max=2 * ORDINARY_BODY_BYTES_MAX) as url:
        large = asyncio.create_task(post(f"{url}/api/v1/produce", body))
        assert await asyncio.to_thread(begun.wait, 20)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
            assert (answer.status, large.done()) == (200, False)
        others_answered.set()
        assert (await large)[0] == 201


async def test_a_slow_body_is_408() -> None:
    """A client that does not finish its body gets 408 after the limit."""
    async with gateway(free_port(), gateway_body_seconds_max=0.2) as url:
        reader, writer = await open_connection(url)
        writer.write(b"POST /api/v1/produce HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        line = await asyncio.wait_for(reader.readline(), WAIT_SECONDS_MAX)
        writer.close()
        await writer.wait_closed()
        assert line.startswith(b"HTTP/1.1 408")
