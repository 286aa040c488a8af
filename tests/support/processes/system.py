"""Ingest, gateway and etl as processes for tests, on free ports, with given Kafka and ClickHouse servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from ugc.v1.event_pb2 import Event, EventBatch
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from local.processes.ports import free_port
from local.processes.program import Program, always_ready, running
from tests.support.processes.management import NO_MANAGEMENT

AWAIT_SECONDS_MAX = 90.0
POLL_SECONDS = 0.1
CALL_SECONDS_MAX = 30.0


@dataclass
class Deployment:
    """The addresses and settings that the processes of one test share."""

    folder: Path
    kafka: str
    topic: str
    database: str
    settings: dict[str, str] = field(default_factory=dict)
    ingest_port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)

    @property
    def ingest_address(self) -> str:
        return f"127.0.0.1:{self.ingest_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def group(self) -> str:
        return self.settings.get("UGC_ETL_GROUP", f"etl-{self.topic}")

    def program(self, name: str, module: str, ready: Callable[[], bool] = always_ready) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", module),
            log=self.folder / f"{name}.log",
            environment={
                **NO_MANAGEMENT,
                "UGC_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
                "UGC_KAFKA_TOPIC": self.topic,
                "UGC_CLICKHOUSE_URL": self.database,
                "UGC_INGEST_LISTEN": self.ingest_address,
                "UGC_INGEST_TARGET": self.ingest_address,
                "UGC_INGEST_DRAIN_SECONDS": "0.1",
                "UGC_GATEWAY_LISTEN": f"127.0.0.1:{self.gateway_port}",
                "UGC_ETL_GROUP": self.group,
                "UGC_ETL_FLUSH_SECONDS": "0.2",
                **self.settings,
            },
            ready=ready,
            ready_seconds_max=AWAIT_SECONDS_MAX,
        )

    def ingest(self) -> Program:
        return self.program("ingest", "services.ingest", lambda: serving(self.ingest_address))

    def gateway(self) -> Program:
        return self.program("gateway", "gateway", lambda: get(f"{self.gateway_url}/readyz")[0] == 200)

    def etl(self) -> Program:
        return self.program("etl", "etl")

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def everything(deployment: Deployment) -> Iterator[Deployment]:
    """Run all three processes."""
    with running(deployment.etl()), running(deployment.ingest()), running(deployment.gateway()):
        yield deployment


def serving(address: str) -> bool:
    """Return whether ingest's health service answers SERVING."""
    from grpc_health.v1 import health_pb2

    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer: health_pb2.HealthCheckResponse = check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


@contextlib.contextmanager
def ingest_stub(address: str) -> Iterator[IngestServiceStub]:
    """Open a channel that reconnects quickly after a restart of ingest."""
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(address, options=options) as channel:
        yield IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


def send_until_accepted(stub: IngestServiceStub, events: Sequence[Event]) -> None:
    """Send a batch and retry while the response is UNAVAILABLE or does not arrive, as a client should."""
    deadline = time.monotonic() + AWAIT_SECONDS_MAX
    while True:
        try:
            answer = stub.BatchProduce(EventBatch(events=events), timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as error:
            retriable = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED
            if error.code() not in retriable or time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            assert {rejected.error.code for rejected in answer.rejected} <= {14}
            if not answer.rejected:
                return
            events = [events[rejected.index] for rejected in answer.rejected]


def await_equal(read: Callable[[], Any], wanted: Any, seconds_max: float = AWAIT_SECONDS_MAX) -> None:
    """Wait until `read` returns the wanted value; the assertion shows the last value."""
    deadline = time.monotonic() + seconds_max
    while (found := read()) != wanted and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    assert found == wanted, f"{found!r} is not yet {wanted!r} after {seconds_max:g} s"


def get(url: str) -> tuple[int, bytes]:
    """Fetch a page and return status and body; the status is 0 when there is no response."""
    return ask(urllib.request.Request(url))


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Post JSON and return status and parsed response."""
    status, answer = ask(
        urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"} | (headers or {}))
    )
    return status, json.loads(answer) if answer else None


def ask(request: urllib.request.Request) -> tuple[int, bytes]:
    """Send a request and return status and body, also of an error."""
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
