"""How the loader stops, and goes on through an outage."""

from __future__ import annotations

import threading
import uuid
from typing import cast

from etl.block import Block, Coordinates
from etl.clock import ServerClock
from etl.delivery import Delivery
from etl.errors import SinkError
from etl.loader import Loader, LoaderLimits
from etl.message import Message
from etl.opening import Opener
from etl.partition import FlushLimits
from etl.plan import Topic
from etl.refusals import Refusals
from tests.support.events import numbered, record
from tests.support.messages import FakeMessage

TOPIC = Topic("events", str(uuid.UUID(int=1)), "cluster")
PARTITIONS = 5


class SilentSink:
    """Answers no insert."""

    def __init__(self) -> None:
        self.inserts = 0

    def insert(self, _block: Block) -> None:
        self.inserts += 1
        raise SinkError("no answer")

    def now(self) -> int:
        return 0

    def is_inserting(self, _at: Coordinates) -> bool:
        return False

    def held(self, _at: Coordinates, _first: int, _last: int) -> set[int]:
        return set()

    def confirmed(self, _at: Coordinates, _first: int, _last: int) -> set[int]:
        return set()


class OneMessageSource:
    """Has one message for each partition."""

    def poll(self, _count: int, _seconds: float) -> list[Message]:
        return [FakeMessage(record(numbered(number)), of_partition=number) for number in range(PARTITIONS)]

    def start(self, partition: int, offset: int) -> None:
        pass

    def hold(self, partition: int) -> None:
        pass

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        pass


class ReadyOpener:
    """Finds nothing stored and nothing planned."""

    def forget_topic(self) -> None:
        pass


def loading(sink: SilentSink, flush_seconds: float) -> Loader:
    """Return a loader that has taken a message of each of its partitions."""
    source = OneMessageSource()
    delivery = Delivery(source, sink, ServerClock(5.0, lambda: 0.0), Refusals(0.01, 1_000))
    limits = LoaderLimits(FlushLimits(flush_seconds, 1_000, 1_000_000), 1_000, 60.0, 60.0)
    loader = Loader(source, cast("Opener", ReadyOpener()), delivery, limits, lambda: 0.0)
    loader.assigned(range(PARTITIONS))
    for partition in loader._partitions.values():
        partition.at, partition.is_open = Coordinates(TOPIC, partition.number), True
    loader.step(0.0)
    return loader


def test_a_stop_waits_once_for_a_clickhouse_that_is_silent() -> None:
    """Told to stop, the loader asks a ClickHouse that does not answer once, not for each partition in turn."""
    sink, stop = SilentSink(), threading.Event()
    loader = loading(sink, flush_seconds=60.0)
    stop.set()
    loader.run(stop)

    assert sink.inserts == 1


def test_a_stop_in_an_outage_asks_no_more() -> None:
    """When inserts have failed already, the loader stops without another: what it took is in Kafka."""
    sink, stop = SilentSink(), threading.Event()
    loader = loading(sink, flush_seconds=0.0)
    failed = sink.inserts
    stop.set()
    loader.run(stop)

    assert failed == PARTITIONS
    assert sink.inserts == failed


def test_an_outage_of_hours() -> None:
    """However often a partition has failed, it waits no longer than it may, and is tried again."""
    loader = loading(SilentSink(), flush_seconds=60.0)
    (partition, *_) = loader._partitions.values()
    for _ in range(2_000):
        loader._start_over(partition, SinkError("no answer"))

    assert partition.failures == 2_000
    assert partition.wait_until == 60.0
