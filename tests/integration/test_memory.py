"""Ingest's memory while many of the largest requests arrive at once does not grow with their number."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest
from ugc.v1.event_pb2 import EventBatch

from local.processes.program import running
from services.ingest.settings import IngestSettings
from tests.integration.test_overload import BATCH_PRODUCE, EVENT, PRODUCE, begin, outcome
from tests.support.inputs.events import valid
from tests.support.load.meter import peak_bytes
from tests.support.processes.ingest_server import connection
from tests.support.processes.system import Deployment

# As documented in architecture/README.md: three times the limit of bytes in flight, and 512 MiB.
PEAK_BYTES_MAX = 3 * 134_217_728 + 536_870_912
LARGE = EventBatch(events=[valid(event_data="x" * 32_768, some_client_data="y" * 31_000)] * 131).SerializeToString()


@pytest.mark.parametrize(("calls", "connections"), [(80, 1), (80, 20), (300, 20)])
async def test_many_large_requests(tmp_path: Path, kafka: str, topic: str, calls: int, connections: int) -> None:
    """Each is accepted or rejected with a delay, and the peak of memory is below the documented figure."""
    limit = IngestSettings().ingest_request_bytes_max
    assert limit * 0.99 < len(LARGE) <= limit
    deployment = Deployment(tmp_path, kafka, topic, database="")
    with running(deployment.ingest()) as ingest:
        async with contextlib.AsyncExitStack() as opened:
            channels = [
                await opened.enter_async_context(connection(deployment.ingest_address)) for _ in range(connections)
            ]
            begun = [begin(channels[number % connections], BATCH_PRODUCE, LARGE) for number in range(calls)]
            outcomes = Counter(await asyncio.gather(*map(outcome, begun)))
            assert await begin(channels[0], PRODUCE, EVENT)

        assert set(outcomes) <= {"OK", "RESOURCE_EXHAUSTED"}
        assert outcomes["OK"]
        assert peak_bytes(ingest.process.pid) < PEAK_BYTES_MAX
