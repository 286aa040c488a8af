"""Hostile input: requests that are small on the network and large in memory or in processing."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

from ugc.relay.v1.relay_service_pb2 import Call, RelayRequest
from ugc.v1.event_pb2 import Event, EventBatch, Payload

from local.up.example import DOCUMENTED_EVENT
from services.ingest.events.wire import split_batch

PRODUCE, BATCH, RANDOM = "/api/v1/produce", "/api/v1/batch_produce", "/api/v1/random_batch_produce"
GRPC_PRODUCE, GRPC_BATCH = "/ugc.v1.IngestService/Produce", "/ugc.v1.IngestService/BatchProduce"
RELAY = "/ugc.relay.v1.RelayService/Relay"
FRAME_CALLS = 1_000
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
MANY, EVENTS_MAX, MEGABYTE = 5_600_000, 10_000, 1_000_000
FORM = "application/x-www-form-urlencoded"
PARAMETERS = b"&".join(b"a.b[%d]=%d" % (number, number) for number in range(1_000))
DEEP = b",".join([b'{"x":' + b"[" * 900 + b"]" * 900 + b"}"] * 60)
LONG_NUMBER = b'{"payload":{"event_timestamp":' + b"1" * MEGABYTE + b"}}"
FIVE_WRONG = {"payload": {"movie_id": "x", "user_id": "x", "event": "1", "event_timestamp": -1}, "event_id": "x"}
EMOJI = "\U0001f600" * 9
ALL_WRONG = {
    "payload": {"movie_id": EMOJI, "user_id": EMOJI, "event": EMOJI, "event_timestamp": -1},
    **dict.fromkeys(("language", "timezone", "ip", "version"), EMOJI * 10),
    "event_id": EMOJI,
}


@dataclass(frozen=True)
class Input:
    """One request: over HTTP to the gateway, or over gRPC to ingest; `sent` are its bytes, without headers."""

    name: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    is_chunked: bool = False
    is_grpc: bool = False
    # For gRPC: the library compresses the message.
    is_gzip: bool = False
    # For gRPC: the body is a frame of a stream, and has as many calls.
    is_frame: bool = False
    calls: int = 1

    @property
    def sent(self) -> int:
        """Return the bytes of the body as they are sent."""
        if self.is_chunked:
            return len(self.body) * len("1\r\nx\r\n")
        return len(gzip.compress(self.body)) if self.is_gzip else len(self.body)


def http(name: str, target: str, body: bytes, *, packed: bool = True, **headers: str) -> Input:
    """Return a POST body, compressed with gzip by default."""
    named = tuple((key.replace("_", "-"), value) for key, value in headers.items())
    return Input(name, target, gzip.compress(body) if packed else body, named)


def batch(event: dict[str, Any], count: int = EVENTS_MAX) -> bytes:
    """Return a batch of one event repeated."""
    return b"[" + b",".join([json.dumps(event, ensure_ascii=False).encode()] * count) + b"]"


def message(event: dict[str, Any], count: int = EVENTS_MAX) -> bytes:
    """Return the same as Protobuf."""
    one = Event(**{**event, "payload": Payload(**event.get("payload", {}))})
    return EventBatch(events=[one] * count).SerializeToString()


def reference() -> Input:
    """Return a normal request for comparison: one documented event."""
    return http("one documented event", PRODUCE, DOCUMENTED_EVENT.encode(), packed=False)


def over_http() -> list[Input]:
    """Return the inputs for the gateway."""
    return [
        http("5.6 million {}, gzip", BATCH, b"[" + b"{}," * MANY + b"{}]"),
        http("5.6 million numbers, gzip", BATCH, b"[" + b"1," * MANY + b"1]"),
        http("5.6 million lists, gzip", BATCH, b"[" + b"[]," * MANY + b"[]]"),
        http("a million payloads of nothing, gzip", BATCH, b"[" + b'{"payload":{}},' * MEGABYTE + b"{}]"),
        http("a million unknown keys, gzip", BATCH, b"[{" + b'"x":1,' * MEGABYTE + b'"x":1}]'),
        http("unknown keys in one event, gzip", PRODUCE, b"{" + b'"x":{},' * MEGABYTE + b'"x":1}'),
        http("a megabyte of {}", BATCH, b"[" + b"{}," * (MEGABYTE // 3) + b"{}]", packed=False),
        http("240,000 numbers in one event", BATCH, b'[{"x":[' + b"1," * 240_000 + b"1]}]", packed=False),
        http("10,000 empty events, gzip", BATCH, batch({})),
        http("10,000 events, 5 fields wrong, gzip", BATCH, batch(FIVE_WRONG)),
        http("10,000 events, all fields wrong, emoji, gzip", BATCH, batch(ALL_WRONG)),
        http("a form of a million [, gzip", RANDOM, b"[" * MEGABYTE, Content_Type=FORM),
        http(
            "a form of 1,000 parameters",
            RANDOM,
            PARAMETERS,
            packed=False,
            Content_Type=FORM,
        ),
        http("nested a million deep, gzip", BATCH, b"[" * MEGABYTE),
        http(
            "nested 900 deep, 60 times",
            BATCH,
            b"[" + DEEP + b"]",
        ),
        http("a number of a megabyte", PRODUCE, LONG_NUMBER, packed=False),
        http("8 MB of spaces, gzip", PRODUCE, b" " * 8_000_000 + b"{}"),
        http("a text of 8 MB, gzip", PRODUCE, b'{"some_client_data":"' + b"x" * 8_000_000 + b'"}'),
        http("a text of escapes", PRODUCE, b'{"some_client_data":"' + b"\\ud83d\\ude00" * 80_000 + b'"}', packed=False),
        Input("64 gzip members of 60 kB", PRODUCE, gzip.compress(b" " * 60_000) * 64),
        Input("chunks of one byte", PRODUCE, b" " * 50_000 + b"{}", is_chunked=True),
        Input("a query of 1,000 parameters", RANDOM + "?" + "&".join(f"a{n}=" for n in range(1_000))),
        Input("a media type of 8 kB", PRODUCE, b"{}", (("Content-Type", 'a/b; x="' + ";" * 8_000),)),
        Input("100 long headers", PRODUCE, b"{}", tuple((f"X-{n}", "x" * 200) for n in range(100))),
        Input("the readiness", "/readyz", method="GET"),
        Input("the document", "/api/openapi.json", method="GET"),
        Input("the page's script", "/api/openapi/scalar.js", method="GET"),
    ]


def over_grpc() -> list[Input]:
    """Return the inputs for ingest."""
    group = b"\xa3\x06" * 90 + b"\xa4\x06" * 90
    one = Event.FromString(message(FIVE_WRONG, 1)[2:])
    inputs = [
        ("10,000 empty events", GRPC_BATCH, message({})),
        ("2 million empty events", GRPC_BATCH, b"\x0a\x00" * 2_000_000),
        ("10,000 events, 5 fields wrong", GRPC_BATCH, message(FIVE_WRONG)),
        ("10,000 events, all fields wrong, emoji", GRPC_BATCH, message(ALL_WRONG)),
        ("one event, 5 fields wrong", GRPC_PRODUCE, one.SerializeToString()),
        ("unknown groups 90 deep, 5,000 times", GRPC_PRODUCE, group * 5_000),
        ("a million unknown fields", GRPC_PRODUCE, b"\xa8\x06\x01" * 1_000_000),
        ("the payload 300,000 times", GRPC_PRODUCE, b"\x0a\x02\x28\x01" * 300_000),
        ("a text of 8 MB", GRPC_PRODUCE, Event(some_client_data="x" * 8_000_000).SerializeToString()),
        ("what is not Protobuf", GRPC_BATCH, b"\xff" * MEGABYTE),
    ]
    plain = [Input(f"gRPC: {name}", target, body, is_grpc=True) for name, target, body in inputs]
    packed = [Input(f"{one.name}, gzip", one.target, one.body, is_grpc=True, is_gzip=True) for one in plain]
    long = tuple((f"x-{number}", "x" * 200) for number in range(100))
    return [*plain, *packed, Input("gRPC: 20 kB of metadata", GRPC_PRODUCE, b"", long, is_grpc=True), *over_relay()]


def over_relay() -> list[Input]:
    """Return frames for the relay service."""
    numbers = range(1, FRAME_CALLS + 1)
    (wrong,) = split_batch(message(ALL_WRONG, 1))
    empty_batch = b"\x0a\x00" * 500
    frames = {
        "half a million empty calls": RelayRequest(calls=[Call()] * 524_000),
        "1,000 calls of unknown methods": RelayRequest(calls=[Call(id=number) for number in numbers]),
        "1,000 empty events": RelayRequest(calls=[Call(id=number, method=GRPC_PRODUCE) for number in numbers]),
        "1,000 empty payloads": RelayRequest(
            calls=[Call(id=number, method=GRPC_PRODUCE, message=b"\x0a\x00") for number in numbers]
        ),
        "600 events, all fields wrong, emoji": RelayRequest(
            calls=[Call(id=number, method=GRPC_PRODUCE, message=wrong) for number in numbers[:600]]
        ),
        "1,000 batches of 500 empty events": RelayRequest(
            calls=[Call(id=number, method=GRPC_BATCH, message=empty_batch) for number in numbers]
        ),
        "1,000 batches, cancelled at once": RelayRequest(
            calls=[Call(id=number, method=GRPC_BATCH, message=empty_batch) for number in numbers], cancelled=numbers
        ),
        "1,000 calls with 128 empty pieces of metadata": RelayRequest(
            calls=[Call(id=number, method=GRPC_PRODUCE, metadata=[b""] * 128) for number in numbers]
        ),
        "2,000 cancellations": RelayRequest(cancelled=range(1, 2_001)),
    }
    return [
        Input(
            f"relay: {name}",
            RELAY,
            frame.SerializeToString(),
            is_grpc=True,
            is_frame=True,
            # More calls than a frame may have are no calls.
            calls=len(frame.calls) if len(frame.calls) <= FRAME_CALLS else 1,
        )
        for name, frame in frames.items()
    ]
