"""The heads that the fast lane reads itself: the parser reads the same, and malformed ones are left to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiohttp.http import HttpRequestParser
from aiohttp.web import RequestHandler, Server

from gateway.http.ordinary import OrdinaryHead, OrdinaryHeads
from gateway.http.parser import AiohttpParser, StrictParser
from gateway.http.refusals import HEADERS_MAX, LINE_BYTES_MAX, MalformedRequestError
from tests.contract.malformed import HEADS
from tests.support.inputs.http_heads import BODY, CLIENTS, add_header, change_character, remove_line, request_of
from tests.support.inputs.mutations import mutated, repeat, splice, truncate

MUTATIONS = 20_000
SEED = 20_261_127
MUTATED = (change_character, change_character, add_header, add_header, remove_line, splice, repeat, truncate)
GOOD = [b"POST /api/v1/produce HTTP/1.1\r\n" + head for head in CLIENTS.values()]


def parser() -> StrictParser:
    """Return the parser of a new connection."""
    loop = asyncio.get_running_loop()
    connection = RequestHandler(Server(lambda _request: None), loop=loop)  # type: ignore[arg-type, return-value]  # never called
    made = HttpRequestParser(
        connection,
        loop,
        2**16,
        auto_decompress=False,
        max_line_size=LINE_BYTES_MAX,
        max_field_size=LINE_BYTES_MAX,
        max_headers=HEADERS_MAX + 2,
    )
    return StrictParser(cast("AiohttpParser", made))


def parsed(data: bytes) -> tuple[Any, bytes] | str:
    """Return what the parser makes of data that is one request, or the text of its refusal."""
    fed = parser()
    try:
        messages, upgraded, tail = fed.feed_data(data)
    except MalformedRequestError as error:
        return error.message
    if len(messages) != 1 or upgraded or tail or fed.is_in_body():
        return "not one request"
    message, body = messages[0]
    assert fed.is_between == (message.chunked is False)
    return message, b"" if body.total_bytes == 0 else body.read_nowait()


def assert_same(read: tuple[OrdinaryHead, bytes], data: bytes) -> None:
    """Assert that the parser reads the same request."""
    found = parsed(data)
    assert not isinstance(found, str), (found, data)
    head, (message, body) = read[0], found
    assert (head.method, f"{head.path}?{head.query}".removesuffix("?"), read[1]) == (
        message.method,
        message.path.removesuffix("?"),
        body,
    )
    kept = [(name.lower(), value) for name, value in message.headers.items() if name.lower() != "content-length"]
    assert [(name.lower(), value) for name, value in head.headers.items()] == kept
    assert (tuple(message.version), message.should_close, message.chunked, message.upgrade) == (
        (1, 1),
        False,
        False,
        False,
    )


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_lane_reads_what_clients_send(client: str) -> None:
    """The heads of usual clients are ordinary, with a body of any length, and read as by the parser."""
    heads = OrdinaryHeads()
    for body in (BODY, b"", b" " * 1_000 + BODY):
        data = request_of(CLIENTS[client], body)
        read = heads.read(data)
        assert read is not None
        assert_same(read, data)


async def test_the_lane_reads_no_request_differently() -> None:
    """Of mutated heads, those that the lane takes are read as by the parser; the cache is shared by all (seeded)."""
    heads, taken = OrdinaryHeads(), 0
    for head in mutated(GOOD, MUTATED, MUTATIONS, SEED):
        data = head.replace(b"%d", str(len(BODY)).encode()) + b"\r\n\r\n" + BODY
        read = heads.read(data)
        if read is not None:
            taken += 1
            assert_same(read, data)

    assert MUTATIONS / 10 < taken < MUTATIONS / 2


async def test_mutated_malformed_requests_are_read_alike() -> None:
    """The same for mutations of malformed requests, whose bodies are mutated too (seeded)."""
    heads = OrdinaryHeads()
    good = [*HEADS.values(), *(request_of(head) for head in CLIENTS.values())]
    for data in mutated(good, MUTATED, MUTATIONS, SEED):
        read = heads.read(data)
        if read is not None:
            assert_same(read, data)


@pytest.mark.parametrize("name", HEADS)
async def test_the_lane_takes_nothing_malformed(name: str) -> None:
    """No request that is refused as malformed is taken."""
    assert OrdinaryHeads().read(HEADS[name]) is None
