"""Several workers under load: a killed one loses no acknowledged event, and a drain fails no call."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import pytest
from confluent_kafka import Consumer, TopicPartition
from grpc_health.v1 import health_pb2
from ugc.v1.event_pb2 import EventRecord
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from local.processes.program import Program, running
from local.up.example import DOCUMENTED_EVENT
from tests.support.inputs.events import documented, numbered
from tests.support.processes.ingest_server import CHECK, OWN_CONNECTION
from tests.support.processes.system import AWAIT_SECONDS_MAX, Deployment, await_equal, send_until_accepted, serving
from tests.support.processes.workers import serving as served
from tests.support.processes.workers import workers

COUNT = 2
CLIENTS = 8
BATCH = 20
CALL_SECONDS_MAX = 60
SETTINGS = {"UGC_INGEST_WORKERS": str(COUNT), "UGC_GATEWAY_WORKERS": str(COUNT)}
# The statuses with which a stopping server drops calls that it has not begun, which clients send again.
DROPPED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# How long a process reports that it is not ready before it stops; a client that asks again in this time leaves.
DRAIN = "10"


@pytest.fixture
def deployment(tmp_path: Path, kafka: str, topic: str) -> Deployment:
    """Return the settings of two workers of each server; no etl runs."""
    return Deployment(tmp_path, kafka, topic, "clickhouse://none/none", dict(SETTINGS))


def ingest(deployment: Deployment) -> Program:
    """Return ingest, which is ready when all workers serve."""
    program = deployment.ingest()
    return replace(
        program, ready=lambda: len(served(deployment.log("ingest"))) == COUNT and serving(deployment.ingest_address)
    )


def gateway(deployment: Deployment) -> Program:
    """Return the gateway, which is ready when all workers serve."""
    program = deployment.gateway()
    return replace(program, ready=lambda: len(served(deployment.log("gateway"))) == COUNT and program.ready())


@contextlib.contextmanager
def own_channel(address: str) -> Iterator[grpc.Channel]:
    """Open a channel with a connection of its own, which reconnects quickly."""
    options = [*OWN_CONNECTION, ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    with grpc.insecure_channel(address, options=options) as channel:
        yield channel


@contextlib.contextmanager
def clients(client: Callable[[], int]) -> Iterator[list[Future[int]]]:
    """Run clients, which return how many calls they made; all must have made some when the block ends."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        futures = [threads.submit(client) for _ in range(CLIENTS)]
        yield futures
    assert all(future.result() > 0 for future in futures)


def stored(deployment: Deployment) -> set[str]:
    """Return the event_id of every record of the topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.kafka,
            "group.id": "all",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    partitions = list(consumer.list_topics(deployment.topic).topics[deployment.topic].partitions)
    consumer.assign([TopicPartition(deployment.topic, each, 0) for each in partitions])
    found, ended = set(), 0
    deadline = time.monotonic() + AWAIT_SECONDS_MAX
    while ended < len(partitions):
        assert time.monotonic() < deadline
        for message in consumer.consume(1_000, 1):
            if message.error():
                ended += 1
            else:
                found.add(str(uuid.UUID(bytes=EventRecord.FromString(message.value() or b"").event_id)))
    consumer.close()
    return found


def times_served(deployment: Deployment, number: int) -> int:
    """Return how often a worker of ingest has begun to serve."""
    return served(deployment.log("ingest")).count(number)


def test_killed_workers(deployment: Deployment) -> None:
    """Each worker in turn is killed under load: clients go on after a retry, and no acknowledged event is lost."""
    acknowledged: set[str] = set()
    stop = threading.Event()

    def client() -> int:
        calls = 0
        with own_channel(deployment.ingest_address) as channel:
            stub = IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            while not stop.is_set():
                events = [numbered(number) for number in range(BATCH)]
                send_until_accepted(stub, events)
                acknowledged.update(event.event_id for event in events)
                calls += 1
        return calls

    with running(ingest(deployment)) as parent, clients(client):
        try:
            for number in range(1, COUNT + 1):
                os.kill(workers(parent.process.pid)[number], signal.SIGKILL)
                await_equal(partial(times_served, deployment, number), 2)
        finally:
            stop.set()

    assert len(acknowledged) > 0
    assert acknowledged - stored(deployment) == set()


def leave_when_unready(is_ready: Callable[[], bool], call: Callable[[], None], began: threading.Barrier) -> int:
    """Make calls while a server is ready, as its balancer does; return how many."""
    await_equal(is_ready, wanted=True)
    calls = 0
    while is_ready():
        call()
        calls += 1
        if calls == 1:
            began.wait()
    return calls


def test_drain_of_ingest(deployment: Deployment) -> None:
    """At SIGTERM every worker reports NOT_SERVING; callers that leave then have no failed call."""
    deployment.settings["UGC_INGEST_DRAIN_SECONDS"] = DRAIN
    began = threading.Barrier(CLIENTS + 1, timeout=AWAIT_SECONDS_MAX)

    def client() -> int:
        with own_channel(deployment.ingest_address) as channel:
            stub = IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)

            def is_ready() -> bool:
                answer = health_pb2.HealthCheckResponse.FromString(check(b"", timeout=CALL_SECONDS_MAX))
                return answer.status == health_pb2.HealthCheckResponse.SERVING

            return leave_when_unready(is_ready, lambda: stub.Produce(documented(), timeout=CALL_SECONDS_MAX), began)

    with running(ingest(deployment)) as parent:
        with clients(client):
            began.wait()
            parent.process.terminate()
        assert parent.process.wait(CALL_SECONDS_MAX) == 0


def test_drain_of_the_gateway(deployment: Deployment) -> None:
    """At SIGTERM every worker answers /readyz with 503; clients that leave then have no failed request."""
    deployment.settings["UGC_GATEWAY_DRAIN_SECONDS"] = DRAIN
    began = threading.Barrier(CLIENTS + 1, timeout=AWAIT_SECONDS_MAX)

    def client() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", deployment.gateway_port, timeout=CALL_SECONDS_MAX)

        def call() -> None:
            assert status(connection, "POST", "/api/v1/produce", DOCUMENTED_EVENT) == 201

        with contextlib.closing(connection):
            return leave_when_unready(lambda: status(connection, "GET", "/readyz") == 200, call, began)

    with running(ingest(deployment)), running(gateway(deployment)) as parent:
        with clients(client):
            began.wait()
            parent.process.terminate()
        assert parent.process.wait(CALL_SECONDS_MAX) == 0


def test_one_worker_is_replaced_under_load(deployment: Deployment) -> None:
    """SIGTERM to a single worker: a call that it drops succeeds at the next attempt, on another connection."""
    stop = threading.Event()

    def client() -> int:
        calls = 0
        with own_channel(deployment.ingest_address) as channel:
            stub = IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            while not stop.is_set():
                try:
                    stub.Produce(documented(), timeout=CALL_SECONDS_MAX, wait_for_ready=True)
                except grpc.RpcError as error:
                    # gRPC drops a call that crosses its announcement of the end; the next one has a new connection.
                    if error.code() not in DROPPED:
                        raise
                    stub.Produce(documented(), timeout=CALL_SECONDS_MAX, wait_for_ready=True)
                calls += 1
        return calls

    with running(ingest(deployment)) as parent, clients(client):
        try:
            os.kill(workers(parent.process.pid)[1], signal.SIGTERM)
            await_equal(partial(times_served, deployment, 1), 2)
        finally:
            stop.set()


def status(connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> int:
    """Make a request on a connection and return the status of its response."""
    connection.request(method, path, body, {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        response.read()
        return response.status
