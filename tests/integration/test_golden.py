"""The golden file against both endpoints, gRPC of ingest and REST of the gateway, on a real Kafka."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from confluent_kafka import Consumer, TopicPartition
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from ugc.v1.event_pb2 import Event, EventBatch
from ugc.v1.ingest_service_pb2 import BatchProduceResponse, ProduceResponse

from db.kafka.topics import provision
from local.processes.ports import free_port
from local.processes.program import running
from tests.conftest import LAYOUT, PARTITIONS
from tests.support.inputs.golden import Case, abstracted, cases, expanded
from tests.support.processes.system import CALL_SECONDS_MAX, Deployment, post

# A request goes on the fast lane or in a task, and its call in the stream of the relay or alone.
GATEWAYS: dict[str, dict[str, str]] = {
    "default": {},
    "without the lane": {"UGC_GATEWAY_LANE": "false"},
    "without the relay": {"UGC_GATEWAY_RELAY": "false"},
}
PATHS = {"Produce": "/api/v1/produce", "BatchProduce": "/api/v1/batch_produce"}
ANSWERS: dict[str, Any] = {"Produce": ProduceResponse, "BatchProduce": BatchProduceResponse}
# json_format resolves the details of an error among the imported messages.
DETAILS = error_details_pb2.DESCRIPTOR


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[Deployment]:
    """Run ingest, without an etl."""
    topic = f"test-{uuid.uuid4().hex}"
    assert provision(kafka, topic, LAYOUT)
    deployment = Deployment(
        tmp_path_factory.mktemp("golden"), kafka, topic, database="clickhouse://default@127.0.0.1:9/none"
    )
    with running(deployment.ingest()):
        yield deployment


@pytest.fixture(params=list(GATEWAYS.values()), ids=list(GATEWAYS))
def gateway_url(request: Any, deployment: Deployment, tmp_path: Path) -> Iterator[str]:
    """Run a gateway in front of ingest, with one of its ways to handle a request; return its address."""
    gateway = replace(deployment, folder=tmp_path, gateway_port=free_port(), settings=request.param)
    with running(gateway.gateway()):
        yield gateway.gateway_url


def stored(deployment: Deployment) -> int:
    """Return how many messages the topic has."""
    consumer = Consumer({"bootstrap.servers": deployment.kafka, "group.id": "golden"})
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(deployment.topic, number), CALL_SECONDS_MAX)[1]
            for number in range(PARTITIONS)
        ]
    finally:
        consumer.close()
    return sum(ends)


def accepted(asked: list[Case]) -> int:
    """Return how many events are stored according to the answers."""
    return sum(case.answer.get("accepted", 1) for case in asked if case.code == "OK")


def request_bytes(case: Case) -> bytes:
    """Return the bytes that gRPC sends, without unknown fields, as any generated client does."""
    if case.bytes is not None:
        return bytes.fromhex(case.bytes)
    message, body = (Event(), case.request) if case.call == "Produce" else (EventBatch(), {"events": case.request})
    return json_format.ParseDict(expanded(body), message, ignore_unknown_fields=True).SerializeToString()


def as_json(message: Message) -> dict[str, Any]:
    """Return a message in the form of the file, without empty fields."""
    return json_format.MessageToDict(message)


def canonical(case: Case, answer: Any) -> Any:
    """Return a REST answer in the form of the file, as the gateway writes empty fields too. Unknown names fail."""
    kind = ANSWERS[case.call] if case.code == "OK" else Status
    return as_json(json_format.ParseDict(answer, kind()))


def by_grpc(channel: grpc.Channel, case: Case) -> tuple[str, Any]:
    """Send a case to ingest; return the name of the code, and the answer or the error as JSON."""
    call: Any = channel.unary_unary(f"/ugc.v1.IngestService/{case.call}")
    try:
        answer = ANSWERS[case.call].FromString(call(request_bytes(case), timeout=CALL_SECONDS_MAX))
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it is a Call too
        assert status is not None
        return error.code().name, as_json(status)
    return "OK", as_json(answer)


def test_the_file_has_every_kind_of_case() -> None:
    """The file has both methods, full and partial acceptance and rejection; the names of its cases differ."""
    found = cases()

    assert len(found) == len({str(case) for case in found})
    assert {(case.call, case.code, case.http) for case in found if case.http} == {
        ("Produce", "OK", 201),
        ("Produce", "INVALID_ARGUMENT", 400),
        ("BatchProduce", "OK", 201),
        ("BatchProduce", "OK", 207),
        ("BatchProduce", "INVALID_ARGUMENT", 400),
    }


def test_by_grpc(deployment: Deployment) -> None:
    """Every request of the file has its answer by gRPC, and exactly the acknowledged events are in Kafka."""
    asked, before = cases(), stored(deployment)
    with grpc.insecure_channel(deployment.ingest_address) as channel:
        answers = {case: by_grpc(channel, case) for case in asked}

    assert {
        str(case): answer
        for case, (code, answer) in answers.items()
        if (code, abstracted(answer, case.answer)) != (case.code, case.answer)
    } == {}
    assert stored(deployment) - before == accepted(asked)


def test_by_rest(deployment: Deployment, gateway_url: str) -> None:
    """Every request that has a JSON form has the same answer by REST, and the acknowledged events are in Kafka."""
    asked, before = [case for case in cases() if case.http], stored(deployment)
    bodies = [json.dumps(expanded(case.request)).encode() for case in asked]
    pairs = [post(gateway_url + PATHS[case.call], body) for case, body in zip(asked, bodies, strict=True)]
    answers = [(status, canonical(case, answer)) for case, (status, answer) in zip(asked, pairs, strict=True)]

    assert {
        str(case): (status, answer)
        for case, (status, answer) in zip(asked, answers, strict=True)
        if (status, abstracted(answer, case.answer)) != (case.http, case.answer)
    } == {}
    assert stored(deployment) - before == accepted(asked)
