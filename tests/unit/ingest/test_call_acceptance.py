"""Calls that are accepted ahead of their arrival: they are served, ended and refused as the library's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out
from structlog.testing import capture_logs

from common import logs
from services.ingest.call import Context
from services.ingest.call_acceptance import AHEAD, CallAcceptance

SERVICE, METHOD = "test.Service", "Answer"
SECONDS_MAX = 10.0
# Each request for a call gets one, the library's own request too.
CALLS = 2 * (AHEAD + 1)
Respond = Callable[[object, Context], Awaitable[bytes]]


class Core:
    """The library's server; counts the calls that were accepted ahead, and raises the errors of a test first."""

    def __init__(self, core: Any, errors: list[Exception]) -> None:
        self.accepted = 0
        self._core = core
        self._errors = errors
        self.is_running = core.is_running

    async def _request_registered_call(self, name: bytes) -> object:
        if self._errors:
            raise self._errors.pop()
        state = await self._core._request_registered_call(name)
        self.accepted += 1
        return state


async def echo(_messages: object, context: Context) -> bytes:
    """Answer with the message."""
    message = await context.read()
    assert isinstance(message, bytes)
    return message


@contextlib.asynccontextmanager
async def served(respond: Respond = echo, errors: list[Exception] | None = None) -> AsyncIterator[tuple[Core, str]]:
    """Serve a method; yield what counts the calls accepted ahead, and the address."""
    server = grpc.aio.server()
    acceptance = CallAcceptance(server, SERVICE, {METHOD: grpc.stream_unary_rpc_method_handler(respond)})
    core = acceptance._core = Core(acceptance._core, errors or [])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    acceptance.start()
    try:
        yield core, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def calling(address: str) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]:
    """Yield the method as a client calls it."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel.unary_unary(f"/{SERVICE}/{METHOD}")


async def test_calls_together() -> None:
    """More calls at once than are accepted together each get their own answer."""
    messages = [b"%d" % number for number in range(10 * AHEAD)]

    async with served() as (core, address), calling(address) as call:
        answers = await asyncio.gather(*map(call, messages))

    assert answers == messages
    assert core.accepted > len(messages) // 2


async def test_failed_requests() -> None:
    """A request for a call that fails is repeated while the server runs."""
    errors = [cygrpc._RequestCallError() for _ in range(AHEAD)]

    async with served(errors=errors) as (core, address), calling(address) as call:
        for _ in range(CALLS):
            assert await call(b"1") == b"1"

    assert core.accepted > CALLS // 2
    assert not errors


async def test_unexpected_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an unexpected error, which is logged, the library accepts the calls itself."""
    monkeypatch.setattr(logs, "CLIENT_LINES", logs.RateLimiter())
    errors = [cygrpc.InternalError("broken") for _ in range(AHEAD)]

    with capture_logs() as lines:
        async with served(errors=errors) as (core, address), calling(address) as call:
            assert await call(b"1") == b"1"

    assert core.accepted == 0
    assert [line["event"] for line in lines] == ["accepting calls failed unexpectedly"]


async def test_stopped_server() -> None:
    """Nothing of a stopped server is left running."""
    before = asyncio.all_tasks()

    async with served() as (_core, address), calling(address) as call:
        await call(b"1")

    left = asyncio.all_tasks() - before
    if left:
        _ended, left = await asyncio.wait(left, timeout=SECONDS_MAX)
    assert not left


@pytest.mark.parametrize("by", ["the client", "the deadline", "the server"])
async def test_cancelled_calls(by: str) -> None:
    """The handlers of calls that nobody waits for are cancelled."""
    began: asyncio.Queue[None] = asyncio.Queue()
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def respond(_messages: object, _context: Context) -> bytes:
        began.put_nowait(None)
        try:
            await asyncio.Event().wait()
        finally:
            ended.put_nowait(None)
        raise AssertionError

    async with asyncio.timeout(SECONDS_MAX), contextlib.AsyncExitStack() as stack:
        _core, address = await stack.enter_async_context(served(respond))
        call = await stack.enter_async_context(calling(address))
        calls = [call(b"1", timeout=1.0 if by == "the deadline" else None) for _ in range(CALLS)]
        for _ in calls:
            await began.get()
        if by == "the client":
            for each in calls:
                each.cancel()
        if by == "the server":
            await stack.aclose()
        for _ in calls:
            await ended.get()
        await asyncio.gather(*calls, return_exceptions=True)
