"""Which requests of a connection go on the fast lane, whenever their bytes arrive."""

from __future__ import annotations

import asyncio

from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, open_connection
from tests.contract.test_gateway_lane import counting, exchange, response_from
from tests.support.inputs.http_heads import CURL, request_of

REQUESTS = 20


async def test_every_ordinary_request_of_a_connection() -> None:
    """The first request of a connection is on the lane, and so are the next ones, sent right after each response."""
    port = free_port()
    async with ingest(port), gateway(port) as url:
        with counting() as taken:
            for _connection in range(5):
                await exchange(url, *[request_of(CURL)] * REQUESTS)
    assert taken == [True] * 5 * REQUESTS


async def test_a_request_and_the_end_at_once() -> None:
    """A client that sends its request and its end with the connection is answered."""
    port = free_port()
    async with ingest(port), gateway(port) as url:
        for _connection in range(REQUESTS):
            reader, writer = await open_connection(url)
            writer.write(request_of(CURL))
            writer.write_eof()
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
            writer.close()


async def test_an_ordinary_request_after_others() -> None:
    """After a page or a body that came in parts, a connection's ordinary requests are on the lane again."""
    port = free_port()
    page = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    async with ingest(port), gateway(port) as url:
        reader, writer = await open_connection(url)
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            head, _, body = request_of(CURL).partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            await asyncio.sleep(0.1)
            writer.write(body)
            await response_from(reader)
            writer.write(page)
            await response_from(reader)
            with counting() as taken:
                writer.write(request_of(CURL))
                await response_from(reader)
        writer.close()
    assert taken == [True]
