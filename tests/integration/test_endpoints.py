"""What developers see with public tools: reflection, health, and clear errors while a store is down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from db.kafka.topics import provision
from local.clickhouse.server import clickhouse_program
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, running
from local.settings import ROOT
from local.up.example import DOCUMENTED_EVENT
from tests.conftest import LAYOUT
from tests.support.inputs.events import documented, numbered
from tests.support.processes.system import (
    Deployment,
    await_equal,
    everything,
    get,
    ingest_stub,
    post,
    send_until_accepted,
    serving,
)

BUF = Path(sys.executable).parent / "buf"
# .ci/run builds it there; a developer may have it on the path.
GRPCURL = shutil.which("grpcurl", path=f"{ROOT / '.local' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
DEADLINE_SECONDS = 15


def test_reflection(tmp_path: Path, kafka: str, topic: str, database: str) -> None:
    """Reflection lists the service and its messages, as grpcurl and buf curl use them."""
    deployment = Deployment(tmp_path, kafka, topic, database)
    with running(deployment.ingest()), grpc.insecure_channel(deployment.ingest_address) as channel:
        found = ProtoReflectionDescriptorDatabase(channel)
        services = set(found.get_services())
        pool: Any = DescriptorPool(found)
        method = pool.FindServiceByName("ugc.v1.IngestService").methods_by_name["BatchProduce"]

    assert services == {
        "ugc.v1.IngestService",
        "ugc.relay.v1.RelayService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert method.input_type.full_name == "ugc.v1.EventBatch"


@pytest.mark.parametrize("tool", ["buf", "grpcurl"])
def test_command_line_tools(tool: str, tmp_path: Path, kafka: str, topic: str, database: str) -> None:
    """`buf curl` and `grpcurl` call Produce by reflection with the documented JSON."""
    if tool == "grpcurl" and GRPCURL is None:
        pytest.skip("grpcurl is not on this machine: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4")
    deployment = Deployment(tmp_path, kafka, topic, database)
    address = deployment.ingest_address
    method = f"http://{address}/ugc.v1.IngestService/Produce"
    commands = {
        "buf": [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", DOCUMENTED_EVENT, method],
        "grpcurl": [str(GRPCURL), "-plaintext", "-d", DOCUMENTED_EVENT, address, "ugc.v1.IngestService/Produce"],
    }
    with running(deployment.ingest()):
        done = subprocess.run(commands[tool], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    # Reflection by Python hands out descriptors that carry no default JSON names: buf makes `eventId` of `event_id`,
    # grpcurl keeps the name as it is. Only the value is checked, as the key depends on the tool.
    ((key, identity),) = json.loads(done.stdout).items()
    assert key in {"eventId", "event_id"}
    assert str(uuid.UUID(identity)) == identity


def test_kafka_down(tmp_path: Path, clickhouse: str) -> None:
    """Without Kafka events are UNAVAILABLE and 503 in time, health is NOT_SERVING, and both recover."""
    port, database = free_port(), f"{clickhouse}/kafka_down"
    migrate(database)
    broker = kafka_program(tmp_path / "kafka", port, free_port(), java_options=[QUICK])
    deployment = Deployment(tmp_path, f"127.0.0.1:{port}", "down", database, {"UGC_INGEST_DELIVERY_SECONDS_MAX": "1"})
    kafka = Child(broker)
    try:
        kafka.await_ready()
        provision(deployment.kafka, deployment.topic, LAYOUT)
        with everything(deployment), ingest_stub(deployment.ingest_address) as stub, connected(database) as tables:
            kafka.kill()
            began = time.monotonic()
            with pytest.raises(grpc.RpcError) as refused:
                stub.Produce(documented(), timeout=DEADLINE_SECONDS)
            status, answer = post(f"{deployment.gateway_url}/api/v1/produce", DOCUMENTED_EVENT.encode())
            assert time.monotonic() - began < 2 * DEADLINE_SECONDS
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert (status, answer["code"]) == (503, 14)
            await_equal(lambda: serving(deployment.ingest_address), wanted=False)
            await_equal(lambda: get(f"{deployment.gateway_url}/readyz")[0], 503)
            assert get(f"{deployment.gateway_url}/healthz")[0] == 200
            kafka = Child(broker)
            kafka.await_ready()
            await_equal(lambda: serving(deployment.ingest_address), wanted=True)
            event = numbered(1)
            send_until_accepted(stub, [event])
            await_equal(
                lambda: tables.rows("SELECT count() FROM events WHERE event_id = %(id)s", {"id": event.event_id}),
                [(1,)],
            )
    finally:
        kafka.stop()


def test_clickhouse_down(tmp_path: Path, kafka: str, topic: str) -> None:
    """Without ClickHouse the etl waits, logs that once, and stores everything when it is back."""
    port = free_port()
    database = f"clickhouse://default@127.0.0.1:{port}/down"
    server = clickhouse_program(tmp_path / "clickhouse", port, free_port())
    deployment = Deployment(tmp_path, kafka, topic, database, {"UGC_ETL_RETRY_SECONDS_MAX": "0.3"})
    with running(server):
        migrate(database)
    with running(deployment.etl()), running(deployment.ingest()), ingest_stub(deployment.ingest_address) as stub:
        send_until_accepted(stub, [numbered(number) for number in range(100)])
        await_equal(lambda: "storing events failed" in deployment.log("etl"), wanted=True)
        time.sleep(2)  # long enough for many retries, each of which could have been logged
        with running(server), connected(database) as tables:
            await_equal(lambda: uniq(tables), 100)

        assert deployment.log("etl").count("storing events failed") == 1
        assert "storing events works again" in deployment.log("etl")


def uniq(tables: ClickHouse) -> int:
    """Return the number of distinct events."""
    ((found,),) = tables.rows("SELECT uniqExact(event_id) FROM events")
    return int(found)


@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        ("services.ingest", "UGC_INGEST_LISTEN", "nonsense"),
        ("services.ingest", "UGC_INGEST_EVENT_BYTES_MAX", "-1"),
        ("services.ingest", "UGC_KAFKA_TOPIC", "a topic"),
        ("gateway", "UGC_GATEWAY_LISTEN", "localhost"),
        ("gateway", "UGC_GATEWAY_BODY_BYTES_MAX", "1"),
        ("etl", "UGC_ETL_FLUSH_ROWS", "many"),
        ("etl", "UGC_ETL_FLUSH_SECONDS", "0"),
        ("etl", "UGC_CLICKHOUSE_URL", "http://localhost"),
        ("db.migrate", "UGC_KAFKA_PARTITIONS", "0"),
        ("local.up", "UGC_LOCAL_KAFKA_PORT", "99999999"),
    ],
)
def test_bad_setting(module: str, variable: str, value: str) -> None:
    """A process with an invalid setting refuses to start and names the variable."""
    done = subprocess.run(
        [sys.executable, "-m", module], env={variable: value}, capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert f"bad setting {variable}:" in done.stderr
    assert "Traceback" not in done.stderr
