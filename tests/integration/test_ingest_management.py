"""Ingest's management listener as a process: its probes, and what the metrics show of real events and a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from ugc.v1.event_pb2 import EventBatch

from local.processes.ports import free_port
from local.processes.program import Program, running
from tests.support.inputs.events import valid
from tests.support.processes.management import page, scrape, value
from tests.support.processes.system import Deployment, await_equal, ingest_stub, send_until_accepted

LISTEN = "UGC_INGEST_MANAGEMENT_LISTEN"
# As the module's own main, with a call that blocks the event loop, which counts as blocked after two seconds.
BLOCKED = """
import threading
from common import heartbeat
from services.ingest.servicer import IngestServicer

async def stand_still(*_):
    threading.Event().wait()

heartbeat.SILENCE_SECONDS_MAX = 2.0
IngestServicer.produce = stand_still
from services.ingest.process import main
main()
"""
END_SECONDS_MAX = 60
RETENTION_SECONDS = 3_600.0
EVENTS = [valid() for _ in range(7)]
CALLS = 40


@pytest.fixture
def address() -> str:
    """Return the address of the listener."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def away(tmp_path: Path, address: str) -> Deployment:
    """Return a deployment without stores."""
    away = f"127.0.0.1:{free_port()}"
    return Deployment(tmp_path, away, "topic", f"clickhouse://default@{away}/ugc", {LISTEN: address})


def listening(deployment: Deployment) -> Program:
    """Return ingest; it is ready when it listens for calls."""
    return deployment.program("ingest", "services.ingest", lambda: '"serving"' in deployment.log("ingest"))


def test_without_kafka(away: Deployment, address: str) -> None:
    """Without Kafka the process is alive and not ready, and gives the reason."""
    with running(listening(away)):
        reason = "Kafka is not reachable: Kafka: Local: Broker transport failure: "
        await_equal(lambda: page(address, "/readyz")[1].startswith(reason), wanted=True)
        assert page(address, "/readyz")[0] == 503
        assert page(address, "/livez") == (200, "ok\n")
        found = scrape(address)
        assert value(found, "ugc_ingest_kafka_reachable") == 0
        assert value(found, "ugc_kafka_client_errors_total", error="_TRANSPORT") > 0


def test_blocked_loop(away: Deployment, address: str) -> None:
    """A process whose event loop is blocked is neither alive nor ready, and the listener reports it."""
    with running(replace(listening(away), argv=(sys.executable, "-c", BLOCKED))):
        assert page(address, "/livez") == (200, "ok\n")
        with ingest_stub(away.ingest_address) as stub:
            call = stub.Produce.future(valid())
            await_equal(lambda: page(address, "/livez")[0], 503)
            call.cancel()
        assert page(address, "/livez")[1].startswith("the event loop has not turned for ")
        assert page(address, "/readyz")[1].startswith("the event loop has not turned for ")
        assert value(scrape(address), "process_open_fds") > 0


def test_full(kafka: str, topic: str, tmp_path: Path, address: str) -> None:
    """A process whose limits are used up answers on all pages, and shows what is used and refused."""
    settings = {LISTEN: address, "UGC_INGEST_REQUESTS_MAX": "1", "UGC_INGEST_CONNECTIONS_MAX": "2"}
    deployment = Deployment(tmp_path, kafka, topic, "clickhouse://none/none", settings)
    with running(deployment.ingest()), ingest_stub(deployment.ingest_address) as stub:
        calls = [stub.BatchProduce.future(EventBatch(events=EVENTS * 1_000)) for _ in range(CALLS)]
        while sum(call.done() for call in calls) < CALLS:
            assert [page(address, path)[0] for path in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]
        refused = sum(call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED for call in calls)
        found = scrape(address)

    assert refused > 0
    assert value(found, "ugc_ingest_requests_in_work_limit") == 1
    shed = [number for (name, _), number in found.items() if name == "ugc_ingest_shed_total"]
    assert sum(shed) == value(found, "ugc_ingest_events_total", outcome="shed") >= refused


def test_disabled(away: Deployment, address: str) -> None:
    """An empty setting disables the listener."""
    started = listening(away)
    with (
        running(replace(started, environment={**started.environment, LISTEN: ""})),
        pytest.raises(OSError, match="refused"),
    ):
        page(address, "/livez")


def test_busy_port(away: Deployment, address: str) -> None:
    """A second process with the same address ends with status 1, and names the setting."""
    started = listening(away)
    with running(started):
        other = replace(started, environment={**started.environment, "UGC_INGEST_LISTEN": f"127.0.0.1:{free_port()}"})
        done = subprocess.run(
            other.argv, env={**other.environment}, capture_output=True, text=True, timeout=END_SECONDS_MAX, check=False
        )
    (line,) = map(json.loads, done.stderr.splitlines())

    assert (done.returncode, line["event"], line["setting"]) == (1, "cannot serve", LISTEN)
    assert line["error"] == f"{address}: Address already in use"


def test_with_kafka(kafka: str, topic: str, tmp_path: Path, address: str) -> None:
    """With Kafka the process is ready, and the metrics show the events, their acknowledgement, and the topic."""
    deployment = Deployment(tmp_path, kafka, topic, "clickhouse://none/none", {LISTEN: address})
    with running(deployment.ingest()), ingest_stub(deployment.ingest_address) as stub:
        send_until_accepted(stub, EVENTS)
        assert stub.Produce(valid()).event_id
        with pytest.raises(grpc.RpcError):
            stub.BatchProduce(EventBatch(events=[valid(movie_id="x")] * 3))
        assert page(address, "/readyz") == (200, "ok\n")
        # The topic's configuration is read after a check, and the client's statistics come every five seconds.
        await_equal(lambda: scrape(address).get(("ugc_ingest_topic_retention_seconds", ())), RETENTION_SECONDS)
        await_equal(lambda: scrape(address).get(("ugc_kafka_client_broker_up", (("broker", "1"),))), 1.0)
        found = scrape(address)

    assert value(found, "ugc_ingest_kafka_reachable") == 1
    outcomes = {labels[0][1]: number for (name, labels), number in found.items() if name == "ugc_ingest_events_total"}
    assert outcomes == {"accepted": 8, "invalid": 3, "denied": 0, "unavailable": 0, "shed": 0, "cancelled": 0}
    assert value(found, "ugc_ingest_batch_events_count") == 2
    assert value(found, "ugc_ingest_kafka_ack_seconds_count") == 2
    assert value(found, "ugc_ingest_invalid_total", field="payload.movie_id") == 3
    assert value(found, "ugc_ingest_kafka_queue_events_limit") == 200_000
    assert value(found, "ugc_ingest_requests_in_work") == 0
    assert value(found, "ugc_ingest_requests_in_work_limit") == 1_000
