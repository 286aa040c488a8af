"""The way from a gRPC call to the servicer: its message is awaited, then it finds room or is refused with a delay.

The handlers are those of client streams, which gRPC calls before the message is there; on the wire a unary call is a
stream of one message, and costs the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import grpc

from services.ingest.call import Call, Context
from services.ingest.errors import exhausted, invalid, late
from services.ingest.events.violation_messages import FieldViolation
from services.ingest.guard import guarded
from services.ingest.limits.admission import Admission, Admitted, RefusedError
from services.ingest.limits.arrivals import Arrivals, LateError, NoMessageError
from services.ingest.limits.leases import CrowdedError
from services.ingest.limits.workspace import Workspace

Servant: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]
# What is named when there is no message to name a field of.
REQUEST = "request"
LATE = "the message of the call did not arrive in time"
CROWDED = "the message of the call was still on its way while too many others were, send it again later"


class Entrance:
    """The limits that stand before the servicers, within a block of `arrivals.watched`; one serves a process."""

    def __init__(self, arrivals: Arrivals, admission: Admission, workspace: Workspace, retry_seconds: float) -> None:
        self.arrivals = arrivals
        self._admission = admission
        self._workspace = workspace
        self._retry_seconds = retry_seconds

    def handler(self, serve: Servant) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return gRPC's handler of a unary call that `serve` answers."""

        async def enter(_messages: AsyncIterator[bytes], context: Context) -> bytes:
            try:
                request, place = await self._admitted(context)
            except RefusedError as error:
                refusal = str(error)
            else:
                with place:
                    async with self._workspace.hold(len(request)):
                        return await serve(request, context)
            # Not above, where the error still holds the message.
            return await Call(context).fail(exhausted(refusal, self._retry_seconds))

        return grpc.stream_unary_rpc_method_handler(guarded(enter))

    async def _admitted(self, context: Context) -> tuple[bytes, Admitted]:
        peer = context.peer()
        # Also before the message is read, which is what brings it into memory.
        self._admission.check(peer)
        request = await self.request(context)
        return request, self._admission.admit(peer, len(request))

    async def request(self, context: Context) -> bytes:
        """Return the message of a call; the call fails when none comes, RefusedError when there is no room any more."""
        try:
            return await self.arrivals.receive(context, lambda: self._admission.check(context.peer()))
        except LateError:
            await Call(context).fail(late(LATE))
        except CrowdedError:
            await Call(context).fail(exhausted(CROWDED, self._retry_seconds))
        except NoMessageError:
            await Call(context).fail(invalid([FieldViolation(field=REQUEST, description="is missing")]))
