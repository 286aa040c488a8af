"""The gRPC library's text of a call that outlives the age and the grace of its connection."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import code_pb2

from gateway.call_errors import CONNECTION_LOST, call_error

AGE = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 100)]
SECONDS_MAX = 60.0


async def never_answer(_request: bytes, _context: object) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_a_call_that_outlives_its_connection() -> None:
    """The client gets the text of a lost connection, not that of the library."""
    server = grpc.aio.server(options=AGE)
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(never_answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s.S", {"M": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/s.S/M")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(b"x", timeout=SECONDS_MAX)
    finally:
        await server.stop(0)
    found = call_error(caught.value).rpc_status

    assert "max connection age" in str(caught.value.details())
    assert (found.code, found.message) == (code_pb2.UNAVAILABLE, CONNECTION_LOST)
