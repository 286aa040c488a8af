"""The least that grpc.aio costs: `python empty_grpc.py PORT` answers every unary call with no bytes, on uvloop."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import grpc
import uvloop

MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class EveryMethod(grpc.GenericRpcHandler):
    """Returns one handler for all methods."""

    def __init__(self, behavior: Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behavior)

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of a call."""
        return self._handler


async def answer(_request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer nothing."""
    return b""


async def main(port: int) -> None:
    """Serve until a signal ends the process."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)])
    server.add_generic_rpc_handlers((EveryMethod(answer),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
