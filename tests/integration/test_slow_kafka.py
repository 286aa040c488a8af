"""A real Kafka that takes fewer events than are sent: what is refused, with which answers, and that it ends."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from ugc.v1.event_pb2 import EventBatch

from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.processes.program import running
from tests.support.faults.slow_network import SlowNetwork, slow_kafka
from tests.support.inputs.events import valid
from tests.support.load.bodies import json_batch
from tests.support.processes.ingest_server import connection
from tests.support.processes.system import Deployment

BATCH_PRODUCE = "/ugc.v1.IngestService/BatchProduce"
TOPIC = "slow"
LAYOUT = TopicLayout(partitions=3, replication_factor=1, min_insync_replicas=1, retention_hours=1)
# At this rate of bytes Kafka takes about 1,000 events a second.
SLOW_RATE = 30_000.0
EVENTS = 50
SENDERS, REQUESTS = 60, 12
SECONDS_MAX = 60.0
BATCH = EventBatch(events=[valid(event_data=f"{at}") for at in range(EVENTS)]).SerializeToString()
TIMED_OUT = "timed out"


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Deployment, SlowNetwork]]:
    """Run Kafka behind a slow network, ingest and the gateway."""
    with slow_kafka(tmp_path) as (bootstrap, network):
        provision(bootstrap, TOPIC, LAYOUT)
        deployment = Deployment(tmp_path, bootstrap, TOPIC, "")
        with running(deployment.ingest()), running(deployment.gateway()):
            yield deployment, network


async def test_grpc(slow: tuple[Deployment, SlowNetwork]) -> None:
    """What Kafka does not take is refused with a delay, and nothing waits until Kafka's client gives it up."""
    deployment, network = slow
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    delays: list[float] = []

    async def send(channel: grpc.aio.Channel) -> None:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(BATCH_PRODUCE)
        for _ in range(REQUESTS):
            try:
                await call(BATCH, timeout=SECONDS_MAX)
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
                reasons[error.details() or ""] += 1
                delays.append(delay(error))
                await asyncio.sleep(delays[-1] / 4)
            else:
                outcomes["OK"] += 1

    network.rate = SLOW_RATE
    async with connection(deployment.ingest_address) as channel:
        await asyncio.gather(*(send(channel) for _ in range(SENDERS)))
        network.rate = None
        await accepted_again(channel)

    assert min(delays) > 0
    assert set(outcomes) <= {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    assert outcomes["UNAVAILABLE"] > outcomes["RESOURCE_EXHAUSTED"]
    assert any("wait for Kafka" in reason for reason in reasons)
    # The events in flight when Kafka became slow may be too many; those that came later are not.
    assert sum(count for reason, count in reasons.items() if TIMED_OUT in reason) <= outcomes["OK"] // 4


async def test_rest(slow: tuple[Deployment, SlowNetwork]) -> None:
    """Relayed calls get the same answers: 503 with the delay of ingest, as detail and as header."""
    deployment, network = slow
    statuses: Counter[int] = Counter()
    body = json_batch(EVENTS)[0]

    async def send(session: aiohttp.ClientSession) -> None:
        for _ in range(REQUESTS):
            async with session.post("/api/v1/batch_produce", data=body) as answer:
                statuses[answer.status] += 1
                if answer.status in (429, 503):
                    (info,) = json.loads(await answer.read())["details"]
                    seconds = float(info["retryDelay"].removesuffix("s"))
                    assert 0 < seconds <= int(answer.headers["Retry-After"])
                    await asyncio.sleep(seconds / 4)

    network.rate = SLOW_RATE
    timeout, connector = aiohttp.ClientTimeout(SECONDS_MAX), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(deployment.gateway_url, timeout=timeout, connector=connector) as session:
        await asyncio.gather(*(send(session) for _ in range(SENDERS)))
    network.rate = None

    assert set(statuses) <= {201, 429, 503}
    assert statuses[201] > 0
    assert statuses[503] > 0


def delay(error: grpc.aio.AioRpcError) -> float:
    """Return the retry delay of an error in seconds."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is read of a Call
    assert status is not None
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    return float(info.retry_delay.ToNanoseconds()) / 1e9


async def accepted_again(channel: grpc.aio.Channel) -> None:
    """Wait until ingest accepts a series of requests without a refusal."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(BATCH_PRODUCE)
    row = 0
    async with asyncio.timeout(SECONDS_MAX):
        while row < REQUESTS:
            try:
                await call(BATCH, timeout=SECONDS_MAX)
                row += 1
            except grpc.aio.AioRpcError as error:
                row = 0
                await asyncio.sleep(delay(error))
