"""The debug service on the real system: disabled by default, enabled by a setting, served by the gateway."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from db.clickhouse.client import ClickHouse
from local.processes.program import running
from tests.support.processes.system import Deployment, await_equal, everything, get, post

PATH = "/api/v1/random_batch_produce"
SERVICE = "ugc.v1.DebugService"


def services(deployment: Deployment) -> set[str]:
    """Return the services that reflection lists."""
    with grpc.insecure_channel(deployment.ingest_address) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


def documented(deployment: Deployment) -> set[str]:
    """Return the paths of the OpenAPI document that the gateway serves."""
    return set(json.loads(get(f"{deployment.gateway_url}/api/openapi.json")[1])["paths"])


def test_disabled(tmp_path: Path, kafka: str, topic: str) -> None:
    """By default it answers 404 with the setting that enables it, and reflection does not list it."""
    deployment = Deployment(tmp_path, kafka, topic, database="clickhouse://default@127.0.0.1:9/none")
    with running(deployment.ingest()), running(deployment.gateway()):
        status, answer = post(f"{deployment.gateway_url}{PATH}?batch_count=5", b"")

        assert (status, answer["code"]) == (404, 5)
        assert "UGC_INGEST_DEBUG=true" in answer["message"]
        assert SERVICE not in services(deployment)
        assert PATH not in documented(deployment)


def test_enabled(tmp_path: Path, kafka: str, topic: str, database: str, tables: ClickHouse) -> None:
    """Random events become rows; their number is limited."""
    deployment = Deployment(tmp_path, kafka, topic, database, {"UGC_INGEST_DEBUG": "true"})
    with everything(deployment):
        assert post(f"{deployment.gateway_url}{PATH}?batch_count=500", b"") == (201, {"accepted": 500, "rejected": []})
        assert post(f"{deployment.gateway_url}{PATH}", b"")[1]["accepted"] == 500
        status, answer = post(f"{deployment.gateway_url}{PATH}?batch_count=10001", b"")
        assert (status, answer["details"][0]["fieldViolations"][0]["field"]) == (400, "batch_count")
        assert SERVICE in services(deployment)
        assert PATH in documented(deployment)
        await_equal(lambda: tables.rows("SELECT uniqExact(event_id) FROM events"), [(1_000,)])
