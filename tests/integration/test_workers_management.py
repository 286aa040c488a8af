"""The one management listener of a server with several workers, with real processes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from ugc.v1.event_pb2 import EventBatch
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from local.processes.ports import free_port
from local.processes.program import running
from tests.support.inputs.events import valid
from tests.support.processes.ingest_server import OWN_CONNECTION
from tests.support.processes.management import Samples, page, scrape, value
from tests.support.processes.system import Deployment, await_equal
from tests.support.processes.workers import serving, workers

MODULES = {"ingest": "services.ingest", "gateway": "gateway"}
ALL = [1, 2]
CONNECTIONS = 24


def seen(found: Samples) -> set[str]:
    """Return the processes whose metrics were found."""
    return {dict(labels)["worker"] for _, labels in found}


@pytest.mark.parametrize("name", MODULES)
def test_workers(tmp_path: Path, name: str) -> None:
    """The listener has the metrics of all workers, also while one hangs, and those of the one that replaces it."""
    away, address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        f"UGC_{name.upper()}_WORKERS": "2",
        f"UGC_{name.upper()}_MANAGEMENT_LISTEN": address,
        "UGC_GATEWAY_DRAIN_SECONDS": "0.1",
    }
    deployment = Deployment(tmp_path, away, "topic", f"clickhouse://default@{away}/ugc", settings)
    program = deployment.program(name, MODULES[name], lambda: sorted(serving(deployment.log(name))) == ALL)
    with running(replace(program, listens={})) as parent:
        await_equal(lambda: seen(scrape(address)), {"parent", "1", "2"})
        assert page(address, "/livez") == (200, "ok\n")
        # Neither Kafka nor ingest is there.
        await_equal(lambda: page(address, "/readyz")[0], 503)
        before = workers(parent.process.pid)
        os.kill(before[2], signal.SIGSTOP)
        assert seen(scrape(address)) == {"parent", "1"}
        assert "worker 2: does not answer\n" in page(address, "/readyz")[1]
        os.kill(before[2], signal.SIGKILL)
        await_equal(lambda: seen(scrape(address)), {"parent", "1", "2"})
        assert workers(parent.process.pid)[2] != before[2]


def test_counts(kafka: str, topic: str, tmp_path: Path) -> None:
    """The events that the workers have counted are those that were sent, over many connections."""
    address = f"127.0.0.1:{free_port()}"
    settings = {"UGC_INGEST_WORKERS": "2", "UGC_INGEST_MANAGEMENT_LISTEN": address}
    deployment = Deployment(tmp_path, kafka, topic, "clickhouse://none/none", settings)
    with running(deployment.ingest()):
        await_equal(lambda: page(address, "/readyz"), (200, "worker 1: ok\nworker 2: ok\n"))
        for _ in range(CONNECTIONS):
            with grpc.insecure_channel(deployment.ingest_address, options=OWN_CONNECTION) as channel:
                stub = IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
                assert stub.BatchProduce(EventBatch(events=[valid(), valid(), valid(movie_id="x")])).accepted == 2
        found = scrape(address)

    def total(outcome: str) -> list[float]:
        labels = ({"worker": str(worker), "outcome": outcome} for worker in ALL)
        return [value(found, "ugc_ingest_events_total", **each) for each in labels]

    assert sum(total("accepted")) == 2 * CONNECTIONS
    assert sum(total("invalid")) == CONNECTIONS
    # Linux chooses the worker of a connection by a hash.
    assert all(total("accepted"))
