"""Schemathesis's checks of the served document against the real ingest: every response is a documented one.

UGC_TEST_SCHEMATHESIS is how many requests are sent at least, good and bad ones alike.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.processes.program import running
from tests.support.processes.system import Deployment

CASES = int(os.environ.get("UGC_TEST_SCHEMATHESIS", "2000"))
TOPIC = "schemathesis"
LAYOUT = TopicLayout(partitions=1, replication_factor=1, min_insync_replicas=1, retention_hours=1)
SEED = 20_261_124
load_all_checks()
CHECKED = CHECKS.get_by_names([
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
])  # fmt: skip
OPERATIONS = ("IngestService_Produce", "IngestService_BatchProduce", "DebugService_RandomBatchProduce")
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
# A round ends early when hypothesis finds no more requests of a kind.
ROUNDS_MAX = 10
EACH = -(-CASES // (len(OPERATIONS) * len(MODES)))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[Any]:
    """Run ingest and gateway; the value is the document as it is served."""
    assert provision(kafka, TOPIC, LAYOUT)
    settings = {"UGC_INGEST_DEBUG": "true"}
    nowhere = "clickhouse://nobody@127.0.0.1:1/none"
    deployment = Deployment(tmp_path_factory.mktemp("api"), kafka, TOPIC, nowhere, settings)
    with running(deployment.ingest()), running(deployment.gateway()):
        yield schemathesis.openapi.from_url(f"{deployment.gateway_url}/api/openapi.json")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_response_is_documented(api: Any, name: str, mode: GenerationMode) -> None:
    """No 5xx, no status that the operation does not list, no other content type, header or schema (seeded)."""
    statuses: Counter[int] = Counter()
    for number in range(ROUNDS_MAX):
        if sum(statuses.values()) < EACH:
            explore(api.find_operation_by_id(name).as_strategy(mode), SEED + number, statuses)

    assert sum(statuses.values()) >= EACH, statuses
    if (name, mode) == ("IngestService_Produce", GenerationMode.POSITIVE):
        assert statuses[HTTPStatus.CREATED], statuses


def explore(cases: Any, seeded: int, statuses: Counter[int]) -> None:
    """Send requests until there are enough, or hypothesis finds no others; count the responses by status."""

    @seed(seeded)
    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def answered(case: Any) -> None:
        response = case.call()
        statuses[response.status_code] += 1
        # The document also has a default response, which would allow every status.
        assert str(response.status_code) in case.operation.definition.raw["responses"]
        case.validate_response(response, checks=CHECKED)

    answered()
