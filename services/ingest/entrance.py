"""The way from a gRPC call to the servicer: its message is awaited, then it finds room or is refused with a delay.

The handlers are those of client streams, which gRPC calls before the message is there; on the wire a unary call is a
stream of one message, and costs the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import grpc

from services.ingest.admission import Admission, RefusedError
from services.ingest.arrivals import Arrivals, CrowdedError, LateError, NoMessageError
from services.ingest.call import Call, Context
from services.ingest.errors import exhausted, invalid, late
from services.ingest.guard import guarded
from services.ingest.words import FieldViolation

Servant: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]
# What is named when there is no message to name a field of.
REQUEST = "request"
LATE = "the message of the call did not arrive in time"
CROWDED = "the message of the call was still on its way while too many others were, send it again later"


class Entrance:
    """The limits that stand before the servicers, within a block of `arrivals.watched`; one serves a process."""

    def __init__(self, arrivals: Arrivals, admission: Admission, retry_seconds: float) -> None:
        self.arrivals = arrivals
        self._admission = admission
        self._retry_seconds = retry_seconds

    def handler(self, serve: Servant) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return gRPC's handler of a unary call that `serve` answers."""

        async def enter(_messages: AsyncIterator[bytes], context: Context) -> bytes:
            peer = context.peer()
            try:
                # Also before the message is read, which is what brings it into memory.
                self._admission.check(peer)
                request = await self.request(context)
                place = self._admission.admit(peer, len(request))
            except RefusedError as error:
                await Call(context).fail(exhausted(str(error), self._retry_seconds))
            with place:
                return await serve(request, context)

        return grpc.stream_unary_rpc_method_handler(guarded(enter))

    async def request(self, context: Context) -> bytes:
        """Return the message of a call; the call fails when none comes."""
        try:
            return await self.arrivals.receive(context)
        except LateError:
            await Call(context).fail(late(LATE))
        except CrowdedError:
            await Call(context).fail(exhausted(CROWDED, self._retry_seconds))
        except NoMessageError:
            await Call(context).fail(invalid([FieldViolation(field=REQUEST, description="is missing")]))
