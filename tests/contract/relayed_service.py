"""A service that answers calls by their event, in the frames of a relay or alone, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from ugc.relay.v1.relay_service_pb2 import Answer, Call
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import ProduceResponse

from local.processes.ports import free_port
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, post
from tests.support.fakes.relay import FakeRelay, declaration, serving

PRODUCE = "/ugc.v1.IngestService/Produce"
PATH = "/api/v1/produce"


def event(name: str) -> bytes:
    """Return a body; the name decides how the fake service answers."""
    return json.dumps({"event_id": name}).encode()


def rich(code: int, text: str) -> bytes:
    """Return a google.rpc.Status with a detail."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=[{"field": "payload", "description": text}]))
    made: bytes = status_pb2.Status(code=code, message=text, details=[detail]).SerializeToString()
    return made


# The metadata of a call whose event has one of these names; the second one fails.
DESCRIBED, FAILED = "described", "described and failed"
INITIAL: Sequence[tuple[str, str | bytes]] = (("x-initial", "i1"), ("x-initial", "i2"), ("x-initial-bin", b"\x00\xff"))
TRAILING = (("x-trailing", "t"),)
ERRORS = {
    "bad": (code_pb2.INVALID_ARGUMENT, "payload is required"),
    "unauthorised": (code_pb2.UNAUTHENTICATED, "a token is required"),
    "shed": (code_pb2.RESOURCE_EXHAUSTED, "too many requests in progress, retry later"),
    "dropped": (code_pb2.CANCELLED, ""),
    "late": (code_pb2.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    "failed": (code_pb2.INTERNAL, "internal error"),
    FAILED: (code_pb2.INTERNAL, "internal error"),
}


def flat(metadata: Sequence[tuple[str, str | bytes]]) -> list[bytes]:
    """Return metadata in the form of the relay."""
    return [each if isinstance(each, bytes) else each.encode() for pair in metadata for each in pair]


class Service:
    """Answers calls by their event, in a frame or alone."""

    def __init__(self) -> None:
        # Calls of the event `held` wait for it.
        self.release = asyncio.Event()
        self.alone: list[tuple[bytes, dict[str, str | bytes]]] = []

    async def relayed(self, call: Call) -> Answer:
        """Answer a call of a frame."""
        name = Event.FromString(call.message).event_id
        if name == "held":
            await self.release.wait()
        if name == "not processed":
            return Answer(status_code=code_pb2.UNAVAILABLE, not_processed=True)
        initial = flat(INITIAL) if name in (DESCRIBED, FAILED) else []
        if name in ERRORS:
            code, text = ERRORS[name]
            details = [b"grpc-status-details-bin", rich(code, text)] if name == "bad" else []
            return Answer(status_code=code, status_message=text, metadata=details, initial_metadata=initial)
        made = ProduceResponse(event_id=name).SerializeToString()
        metadata = [b"x-http-code", b"201", b"x-request-id", b"ignored", *flat(TRAILING)]
        return Answer(message=made, metadata=metadata, initial_metadata=initial)

    async def unary(self, message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Answer a call alone."""
        self.alone.append((message, dict(context.invocation_metadata() or ())))
        name = Event.FromString(message).event_id
        if name == "held":
            await self.release.wait()
        if name in (DESCRIBED, FAILED):
            await context.send_initial_metadata(INITIAL)
        if name in ERRORS:
            code, text = ERRORS[name]
            status = next(each for each in grpc.StatusCode if each.value[0] == code)
            trailing = (("grpc-status-details-bin", rich(code, text)),) if name == "bad" else ()
            await context.abort(status, text, trailing)
        context.set_trailing_metadata((("x-http-code", "201"), *TRAILING))
        return ProduceResponse(event_id=name).SerializeToString()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return gRPC's handler of unary calls."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Produce": grpc.unary_unary_rpc_method_handler(self.unary)
        }
        return grpc.method_handlers_generic_handler("ugc.v1.IngestService", methods)


@contextlib.asynccontextmanager
async def relayed(
    limits: dict[str, int] | None = None, **changes: Any
) -> AsyncIterator[tuple[str, FakeRelay, Service]]:
    """Serve a gateway whose stream is open in front of a service; yield its URL."""
    service, port = Service(), free_port()
    relay = FakeRelay(service.relayed, declaration(PRODUCE, **(limits or {})))
    async with serving(relay, service.handlers(), port), gateway(port, gateway_relay=True, **changes) as url:
        await until(lambda: is_relayed(url, relay))
        service.alone.clear()
        yield url, relay, service


async def is_relayed(url: str, relay: FakeRelay) -> bool:
    """Whether a call goes through the stream now."""
    begun = len(relay.begun)
    await post(f"{url}{PATH}", event("warm"))
    return len(relay.begun) > begun


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not await condition():  # noqa: ASYNC110 -- the gateway has no event for it
            await asyncio.sleep(0.01)


async def has_begun(relay: FakeRelay, name: str) -> None:
    """Wait until the service has a call."""

    async def begun() -> bool:
        return any(Event.FromString(call.message).event_id == name for call in relay.begun)

    await until(begun)


def comparable(answer: tuple[int, Any, Any]) -> tuple[int, Any, list[tuple[str, str]]]:
    """Return a response without what differs between any two."""
    status, body, headers = answer
    return status, body, [pair for pair in headers.items() if pair[0].lower() not in ("date", "x-request-id")]
