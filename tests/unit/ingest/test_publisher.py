"""KafkaPublisher: the producer's configuration, and the result of each record in every case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from local.processes.ports import free_port
from services.ingest.events.records import Record, Records
from services.ingest.kafka.configuration import REQUESTS, producer_configuration
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.kafka.producers import Producers
from services.ingest.kafka.publisher import KafkaPublisher, publishing
from services.ingest.kafka.reachability import UnreachableError
from services.ingest.settings import IngestSettings
from tests.support.fakes.producers import TOPIC, ScriptedProducer, with_broker

REASON = DeliveryFailure("Kafka: Local: Message timed out")
FULL = DeliveryFailure("the queue to Kafka is full")
FATAL = DeliveryFailure("Kafka: Local: Fatal error")
# Timeout of waits that would otherwise hang a failing test.
WAIT_SECONDS_MAX = 60
# Hashes of org.apache.kafka.common.utils.Utils.murmur2 in Kafka's own test.
MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def records(*values: bytes) -> Records:
    return Records([b"key"] * len(values), list(values))


async def published(
    wanted: Records,
    *,
    room: int | None = None,
    error: Exception | None = None,
    failing: Callable[[int], bool] = lambda _index: False,
    late: bool = False,
) -> dict[int, DeliveryFailure]:
    """Publish with a scripted producer; return the failures."""
    capacity = len(wanted) if room is None else room
    producer = ScriptedProducer(capacity, error or BufferError(), failing=failing, late=late)
    scripted: Any = producer
    work = asyncio.ensure_future(KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC).publish(wanted))
    await asyncio.sleep(0)
    if late and producer.reports:
        assert not work.done()
        producer.report()
    return await asyncio.wait_for(work, WAIT_SECONDS_MAX)


@pytest.mark.parametrize("late", [False, True])
async def test_all_stored(*, late: bool) -> None:
    """Acknowledged records give no failures, whether reports arrive early or late; neither does an empty request."""
    assert await published(records(b"a", b"b", b"c"), late=late) == {}
    assert await published(records(), late=late) == {}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("room", range(5))
async def test_queue_full(room: int, *, late: bool) -> None:
    """Records beyond the queue's capacity fail as such, those before have their own result, and the call returns."""
    failures = await published(records(b"a", b"b", b"c", b"d"), room=room, failing=lambda index: index == 1, late=late)

    rejected = dict.fromkeys(range(room, 4), FULL)
    assert failures == rejected | ({1: REASON} if room > 1 else {})


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("room", range(3))
async def test_fatal_producer(room: int, *, late: bool) -> None:
    """A producer with a fatal error takes no more records; those fail with its reason."""
    error = KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    failures = await published(records(b"a", b"b", b"c"), room=room, error=error, late=late)

    assert failures == dict.fromkeys(range(room, 3), FATAL)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("failed", [set(), {0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}])
async def test_result_of_each_record(failed: set[int], *, late: bool) -> None:
    """Exactly the records fail whose delivery reports are failures."""
    failures = await published(records(b"a", b"b", b"c"), failing=failed.__contains__, late=late)

    assert failures == dict.fromkeys(failed, REASON)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("room", "error", "failed", "expected"),
    [
        (1, None, False, None),
        (1, None, True, REASON),
        (0, BufferError(), False, FULL),
        (0, KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True)), False, FATAL),
    ],
)
async def test_single_record(
    room: int, error: Exception | None, *, failed: bool, expected: DeliveryFailure | None, late: bool
) -> None:
    """A single record is reported exactly once, with its failure or none."""
    producer = ScriptedProducer(room, error or BufferError(), failing=lambda _index: failed, late=late)
    scripted: Any = producer
    reported: list[DeliveryFailure | None] = []
    KafkaPublisher(Producers(lambda _bytes: scripted), TOPIC).send(Record(b"key", b"a"), None, reported.append)
    await asyncio.sleep(0)
    if late and room:
        assert reported == []
        threads = list(producer.reports)
        producer.report()
        for thread in threads:
            thread.join()

    assert reported == [expected]
    assert producer.taken == [(b"key", b"a")] * room


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("room", range(5))
async def test_equal_records(room: int, failing: int) -> None:
    """Among equal records as many fail as reports are failures, and only records that the producer took."""
    failures = await published(records(b"x", b"x", b"y", b"x"), room=room, failing=lambda index: index <= failing)

    taken = [b"x", b"x", b"y", b"x"][:room]
    expected = [index for index in range(room) if index <= failing]
    assert {index: reason for index, reason in failures.items() if index >= room} == dict.fromkeys(range(room, 4), FULL)
    reported = sorted(index for index, reason in failures.items() if reason == REASON)
    assert [taken[index] for index in reported].count(b"x") == [taken[index] for index in expected].count(b"x")
    assert [taken[index] for index in reported].count(b"y") == [taken[index] for index in expected].count(b"y")
    assert all(index < room for index in reported)


def test_configuration_of_the_guarantee() -> None:
    """Events are stored once by all in-sync replicas; a user's events keep their partition; waits are bounded."""
    settings = IngestSettings(
        ingest_delivery_seconds_max=7.5,
        ingest_queue_events_max=1_234,
        ingest_queue_kilobytes_max=2_345,
        ingest_linger_seconds=0.003,
    )
    given = producer_configuration(settings)

    assert (
        given
        | {
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.timeout.ms": 7_500,
            "delivery.report.only.error": True,
            "queue.buffering.max.messages": 1_234,
            "queue.buffering.max.kbytes": 2_345,
            "linger.ms": 0,
        }
        == given
    )
    # The publisher adds it. Idempotence allows up to 5 requests in flight; more would break the order.
    assert not {"max.in.flight", REQUESTS} & set(given)
    assert given.get("retries") is None
    Producer(given)


async def test_partition_of_java_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is assigned to the partition that Kafka's Java clients choose for it."""
    partitions: dict[Any, Any] = {}
    all_reports: dict[str, Any] = {"delivery.report.only.error": False}
    async with with_broker(monkeypatch, **all_reports) as opened:
        for key in MURMUR2:
            await opened.publish(Records([key.encode()], [b"x"]))
            opened._producers.current.produce(
                TOPIC,
                b"x",
                key,
                on_delivery=lambda _error, message: partitions.update({message.key(): message.partition()}),
            )
        opened._producers.current.flush(WAIT_SECONDS_MAX)

    assert partitions == {key.encode(): (value & 0x7FFFFFFF) % 4 for key, value in MURMUR2.items()}


async def test_headers_and_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several concurrent requests gets its own results."""
    async with with_broker(monkeypatch) as opened:
        assert opened.reachability.check(5) is None  # type: ignore[func-returns-value]  # None is the claim
        batches = [records(*[b"%d" % number] * size) for number, size in enumerate((1, 500, 0, 30))]
        results = await asyncio.gather(*[opened.publish(batch, [("x-request-id", b"a")]) for batch in batches])

    assert results == [{}, {}, {}, {}]


async def test_queue_of_a_real_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the configured limit the real producer's queue is full, and the rest of the batch fails."""
    room: dict[str, Any] = {"queue.buffering.max.messages": 10, "linger.ms": 500}
    async with with_broker(monkeypatch, **room) as opened:
        failures = await opened.publish(records(*[b"%d" % number for number in range(25)]))

    assert failures == dict.fromkeys(range(10, 25), FULL)


async def test_no_broker() -> None:
    """Without a broker an event fails after the configured time, not Kafka's five minutes, and the check fails."""
    settings = IngestSettings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}", ingest_delivery_seconds_max=0.5)
    async with asyncio.timeout(WAIT_SECONDS_MAX), publishing(settings) as opened:
        failures = await opened.publish(records(b"a", b"b"))
        with pytest.raises(UnreachableError, match=r"^Kafka: "):
            await asyncio.to_thread(opened.reachability.check, 0.1)

    assert failures == {0: REASON, 1: REASON}


async def test_reports_are_awaited_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits while the producer closes gets its result."""
    lingering: dict[str, Any] = {"linger.ms": 300}
    async with with_broker(monkeypatch, **lingering) as opened:
        work = asyncio.ensure_future(opened.publish(records(b"a")))
        await asyncio.sleep(0)
    assert await asyncio.wait_for(work, WAIT_SECONDS_MAX) == {}
