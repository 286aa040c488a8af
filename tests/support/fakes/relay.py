"""A server of ugc.relay.v1.RelayService that answers calls as a test decides, made with the generated classes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from ugc.relay.v1.relay_service_pb2 import Answer, Call, Declaration, RelayRequest, RelayResponse

NAMES = ("x-request-id", "authorization", "traceparent")
Context = grpc.aio.ServicerContext[bytes, bytes]
# Returns the answer to a call, without its id.
Answering = Callable[[Call], Awaitable[Answer]]


class FakeRelay:
    """Answers each call of a frame in a task of its own."""

    def __init__(self, answering: Answering, declaration: Declaration) -> None:
        self.declaration = declaration
        # What has been received, and the ids of cancelled calls.
        self.frames: list[RelayRequest] = []
        self.begun: list[Call] = []
        self.cancelled: list[int] = []
        self.streams = 0
        self._answering = answering
        self._writing = asyncio.Lock()
        self._context: Context | None = None
        self._ending: asyncio.Future[grpc.StatusCode | None] | None = None

    async def relay(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Serve one stream."""
        self.streams += 1
        self._context, self._ending = context, asyncio.get_running_loop().create_future()
        await self.send(RelayResponse(declaration=self.declaration))
        tasks: set[asyncio.Task[None]] = set()
        reading = asyncio.create_task(self._read(requests, tasks, context))
        try:
            waits: set[asyncio.Future[Any]] = {reading, self._ending}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if tasks and not self._ending.done():
                # The client has closed its side; its calls are answered.
                waits = {self._ending, asyncio.gather(*tasks)}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, *tasks):
                task.cancel()
            await asyncio.gather(reading, *tasks, return_exceptions=True)
        if self._ending.done() and (status := self._ending.result()) is not None:
            await context.abort(status, "ended by the test")

    def end(self, status: grpc.StatusCode | None) -> None:
        """End the open stream with a status, None for OK."""
        assert self._ending is not None
        self._ending.set_result(status)

    async def send(self, response: RelayResponse) -> None:
        """Send a frame on the stream that was opened last."""
        assert self._context is not None
        await self._write(response, self._context)

    async def _write(self, response: RelayResponse, context: Context) -> None:
        async with self._writing:
            await context.write(response.SerializeToString())

    async def _read(self, requests: AsyncIterator[bytes], tasks: set[asyncio.Task[None]], context: Context) -> None:
        calls: dict[int, asyncio.Task[None]] = {}
        async for data in requests:
            frame = RelayRequest.FromString(data)
            self.frames.append(frame)
            for call in frame.calls:
                self.begun.append(call)
                calls[call.id] = asyncio.create_task(self._answer(call, context))
                tasks.add(calls[call.id])
            for identity in frame.cancelled:
                self.cancelled.append(identity)
                calls[identity].cancel()

    async def _answer(self, call: Call, context: Context) -> None:
        answer = await self._answering(call)
        answer.id = call.id
        await self._write(RelayResponse(answers=[answer]), context)


def handlers(relay: FakeRelay) -> grpc.GenericRpcHandler:
    """Return gRPC's handler of the service."""
    return grpc.method_handlers_generic_handler(
        "ugc.relay.v1.RelayService", {"Relay": grpc.stream_stream_rpc_method_handler(relay.relay)}
    )


def declaration(*methods: str, **changes: int) -> Declaration:
    """Return a declaration with generous limits."""
    limits: Any = {"calls_max": 1_000, "frame_bytes_max": 1_000_000, "message_bytes_max": 100_000, **changes}
    return Declaration(metadata_names=NAMES, methods=methods, **limits)


@contextlib.asynccontextmanager
async def serving(relay: FakeRelay | None, unary: grpc.GenericRpcHandler, port: int) -> AsyncIterator[grpc.aio.Server]:
    """Serve the relay, if any, and unary calls on a port."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((unary, *([handlers(relay)] if relay is not None else [])))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)
