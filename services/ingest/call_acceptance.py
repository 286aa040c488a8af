"""Accepts calls ahead of their arrival, so that calls which arrive together are accepted together.

gRPC's core hands over a call only to a request for one. By itself the library has a single request at a time: each call
costs it two tasks, an `asyncio.wait`, a look-up of the method, and a way through the library's thread before the core
hands over the next one. That is more than half of what an empty call costs.

The functions that are used here are internal to the library, whose version is pinned. They are those with which it
serves a call that it has accepted itself, so that deadlines, cancellation and shutdown are the library's own. Its own
request remains beside those made here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out

from common.logs import log_limited

Handlers: TypeAlias = "Mapping[str, grpc.RpcMethodHandler[bytes, bytes]]"
# Requests for calls of each method. So many are accepted in one iteration of the event loop, which takes 1 ms.
AHEAD = 16


class CallAcceptance:
    """Accepts the calls of one service of a server, from `start` until the server is stopped."""

    def __init__(self, server: grpc.aio.Server, service: str, handlers: Handlers) -> None:
        """Add the service to a server that is not started; `handlers` are of stream-unary methods, by their names."""
        server.add_registered_method_handlers(service, dict(handlers))
        self._core: cygrpc.AioServer = server._server  # type: ignore[attr-defined]  # noqa: SLF001 -- see the docstring
        self._handlers = {f"/{service}/{name}": handler for name, handler in handlers.items()}
        # The event loop has weak references to tasks only.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Accept calls; the server is started."""
        for path, handler in self._handlers.items():
            for _ in range(AHEAD):
                self._run(asyncio.get_running_loop().create_task(self._accept(path, handler)))

    async def _accept(self, path: str, handler: grpc.RpcMethodHandler[bytes, bytes]) -> None:
        """Accept one call after the other.

        This is never cancelled while the server runs: the core would write a call into memory that is freed.
        """
        loop, name = asyncio.get_running_loop(), path.encode()
        # A request for a call of a stopped server would read memory that is freed.
        while self._core.is_running():
            try:
                state = await self._core._request_registered_call(name)  # noqa: SLF001 -- see above
            except cygrpc._RequestCallError:  # noqa: SLF001 -- see above
                # The server stops, or the core could not hand over a call.
                continue
            except cygrpc.InternalError as error:
                # The library goes on accepting calls, one at a time.
                log_limited(logging.ERROR, "accepting calls failed unexpectedly", exc_info=error)
                return
            call = cygrpc._handle_stream_unary_rpc(handler, state, loop)  # noqa: SLF001 -- see above
            self._run(loop.create_task(cygrpc._schedule_rpc_coro(call, state, loop, path)))  # noqa: SLF001 -- see above

    def _run(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
