"""Calls that are made alone: each as a unary call of a replica, or of another one if that has not processed it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import grpc
from google.rpc import code_pb2

from common.metrics import Value
from gateway.balancing.replica import READY, Replica
from gateway.balancing.replicas import Replicas
from gateway.call_errors import DEADLINE_EXCEEDED, UNREACHABLE, call_error, is_refused, is_unreachable, pairs
from gateway.errors import CallError, Metadata, rpc_error
from gateway.reply import Caller, Reply


class UnaryCall(NamedTuple):
    """A call, and who gets its verdict."""

    caller: Caller
    method: str
    message: bytes
    metadata: Metadata
    # The timeout that the service is given, None for none; and the seconds after which the gateway ends the call.
    given: float | None
    limit: float


class NotProcessedError(Exception):
    """A replica has certainly not processed a call, which ended with `error`."""

    def __init__(self, error: CallError) -> None:
        super().__init__(str(error))
        self.error = error


class UnaryCalls:
    """Makes calls alone; `moved` counts those that another replica got."""

    def __init__(self, replicas: Replicas, moved: Value) -> None:
        self._replicas = replicas
        self._moved = moved
        # Those for which no replica is known.
        self._failing: set[asyncio.Task[None]] = set()

    def start(self, call: UnaryCall, replica: Replica | None) -> asyncio.Task[None]:
        """Begin a call at a replica, None when none is known."""
        if replica is not None:
            return replica.start(self._finish(call, replica))
        task = asyncio.create_task(self._finish(call, None))
        self._failing.add(task)
        task.add_done_callback(self._failing.discard)
        return task

    async def _finish(self, call: UnaryCall, replica: Replica | None) -> None:
        """Make a call, and give the verdict to its caller."""
        if replica is None:
            call.caller.failed(rpc_error(code_pb2.UNAVAILABLE, UNREACHABLE))
            return
        try:
            reply = await self._reply(call, replica)
        except Exception as error:  # noqa: BLE001 -- the caller decides
            call.caller.failed(error)
        else:
            call.caller.answered(reply)

    async def _reply(self, call: UnaryCall, replica: Replica) -> Reply:
        """Return the response of the first replica that processes a call, of which each gets it once."""
        loop, tried = asyncio.get_running_loop(), [replica]
        until = loop.time() + call.limit
        attempt = call
        while True:
            try:
                return await made(attempt, replica.channel)
            except NotProcessedError as error:
                other = self._replicas.another(tried)
                left = until - loop.time()
                if other is None or left <= 0:
                    raise error.error from error
            self._moved.value += 1
            tried.append(other)
            replica = other
            attempt = call._replace(given=call.given and min(call.given, left), limit=left)


async def made(call: UnaryCall, channel: grpc.aio.Channel) -> Reply:
    """Make a call on a channel; CallError, or NotProcessedError when another replica may get the call."""
    stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.method)
    begun = stub(call.message, timeout=call.given, metadata=tuple(call.metadata), wait_for_ready=False)
    try:
        async with asyncio.timeout(call.limit):
            data: bytes = await begun
            return Reply(data, pairs(await begun.initial_metadata()), pairs(await begun.trailing_metadata()))
    except TimeoutError as error:
        raise rpc_error(code_pb2.DEADLINE_EXCEEDED, DEADLINE_EXCEEDED) from error
    except grpc.aio.AioRpcError as error:
        # A service that is a client itself may pass the library's text on: then its channel is connected.
        if is_refused(error) or (is_unreachable(error) and channel.get_state() is not READY):
            raise NotProcessedError(call_error(error)) from error
        raise call_error(error) from error
    finally:
        begun.cancel()
