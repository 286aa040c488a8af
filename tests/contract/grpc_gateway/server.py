"""The service behind the recorded grpc-gateway, events.v1: the field `mode` picks the answer.

Usage: python server.py GENERATED_DIR HOST:PORT, where GENERATED_DIR holds events/v1/*_pb2*.py made from events.proto.
Behaves as the server.py that the records were made with; only its form differs.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

sys.path.insert(0, sys.argv[1])
from events.v1 import events_pb2, events_pb2_grpc  # type: ignore[import-not-found]  # generated at run time

NO_DEADLINE_SECONDS = 1e6


def detail(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


BAD = detail(
    error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="event.user_id", description="must be a valid UUID"),
            error_details_pb2.BadRequest.FieldViolation(field="event.count", description="must be >= 0"),
        ]
    )
)
RETRY = detail(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)))
INFO = detail(
    error_details_pb2.ErrorInfo(reason="TOPIC_DOWN", domain="events.example", metadata={"topic": "events.v1"})
)
ODD = any_pb2.Any(type_url="type.googleapis.com/no.such.Type", value=b"\x08\x01")
RICH = {
    "bad_request": (code_pb2.INVALID_ARGUMENT, "invalid event", [BAD]),
    "retry": (code_pb2.RESOURCE_EXHAUSTED, "queue full", [RETRY]),
    "errorinfo": (code_pb2.UNAVAILABLE, "broker down", [INFO, RETRY]),
    "unknown_any": (code_pb2.INVALID_ARGUMENT, "odd", [ODD]),
}
PLAIN = {
    "abort_meta": (grpc.StatusCode.UNAVAILABLE, "later", (("retry-after", "3"), ("x-trail", "t"))),
    "empty_message": (grpc.StatusCode.INTERNAL, "", ()),
    "utf8": (grpc.StatusCode.INVALID_ARGUMENT, 'caf\u00e9 <b> & "q" \u2028', ()),
}
INITIAL = {
    "headers": (("x-initial", "i1"), ("x-initial", "i2"), ("x-bin-bin", b"\x00\x01\xff")),
    "http_code": (("x-http-code", "201"),),
    "set_cookie": (("set-cookie", "a=b"), ("location", "/x"), ("cache-control", "no-store")),
}


class EventService(events_pb2_grpc.EventServiceServicer):  # type: ignore[misc]  # as its import
    """Answers by the field `mode`."""

    async def Produce(self, request: Any, context: Any) -> Any:  # noqa: N802 -- named and typed by gRPC
        """Answer as `mode` says."""
        mode = request.mode
        if mode in RICH:
            code, message, details = RICH[mode]
            status = status_pb2.Status(code=code, message=message, details=details)
            await context.abort_with_status(rpc_status.to_status(status))
        if mode == "raise":
            raise RuntimeError("boom")
        if mode in PLAIN:
            await context.abort(*PLAIN[mode])
        if mode.startswith("abort:"):
            await context.abort(getattr(grpc.StatusCode, mode[6:]), "test " + mode[6:])
        if mode == "slow":
            await asyncio.sleep(2)
        if mode in INITIAL:
            await context.send_initial_metadata(INITIAL[mode])
        if mode == "headers":
            context.set_trailing_metadata((("x-trail", "t1"),))
        return events_pb2.ProduceResponse() if mode == "empty" else echo(request, context)

    async def BatchProduce(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 -- as above
        """Count the events."""
        if request.fail_fast:
            return events_pb2.BatchProduceResponse(accepted=-len(request.events))
        results = [events_pb2.ProduceResponse(event_id=event.event_id) for event in request.events]
        return events_pb2.BatchProduceResponse(accepted=len(request.events), results=results)


def echo(request: Any, context: Any) -> Any:
    """Return the request and its metadata."""
    response = events_pb2.ProduceResponse(
        event_id=request.event.event_id, offset=9007199254740993, partition=3, payload=request.event.payload
    )
    if request.HasField("event"):
        response.event.CopyFrom(request.event)
    left = context.time_remaining()
    response.time_remaining = -1 if left is None or left > NO_DEADLINE_SECONDS else round(left)
    if request.mode in ("meta", "slow"):
        seen = response.seen_metadata
        for key, value in context.invocation_metadata():
            text = value if isinstance(value, str) else "bytes:" + value.hex()
            seen[key] = f"{seen[key]} | {text}" if key in seen else text
    return response


async def main() -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    events_pb2_grpc.add_EventServiceServicer_to_server(EventService(), server)
    server.add_insecure_port(sys.argv[2])
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
