"""One process of the ETL: the real Loader, Delivery and ServerClock with simulated connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from etl.delivery import Delivery
from etl.events.rows import Message, Rows
from etl.loader import Loader
from etl.metrics import EtlMetrics
from etl.partition import FlushLimits, LoaderLimits
from etl.plan import ServerClock
from etl.progress import LogEnd, Progress
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from tests.simulation.broker import Broker
from tests.simulation.clickhouse import ClickHouse
from tests.simulation.log import decode
from tests.simulation.sink import SimulatedSink
from tests.simulation.source import SimulatedSource
from tests.simulation.world import Process, World

FENCE_SECONDS = 1.0
HORIZON = 12
# The duplicate window is restored in three steps.
PAGE_OFFSETS = 5
REFUSED_IN_A_ROW_MAX = 1_000


@dataclass(frozen=True)
class Variant:
    """The protocol, or a negative control that lacks a part of it."""

    name: str
    delivery: type[Delivery] = Delivery
    source: type[SimulatedSource] = SimulatedSource
    sink: type[SimulatedSink] = SimulatedSink
    loader: type[Loader] = Loader
    enforces_deadlines: bool = True


PROTOCOL = Variant("the protocol")


class Release(NamedTuple):
    """What an operator has started: the number of shards, and whether it is the version before shards followed them."""

    shards: int
    is_older: bool


class Member:
    """A process with a monotonic clock of its own."""

    def __init__(
        self,
        world: World,
        name: str,
        variant: Variant,
        broker: Broker,
        server: ClickHouse,
        metrics: EtlMetrics,
        release: Release,
    ) -> None:
        self.process = Process(world, name, self._main)
        self.stop = threading.Event()
        self._broker = broker
        self._server = server
        self._variant = variant
        self._release = release
        self._booted = world.between(-10_000, 0)
        self._is_inserting: Callable[[], bool] = lambda: False
        self.progress = Progress(metrics, self, now=lambda: world.now)

    def _main(self) -> None:
        source = self._variant.source(self.process, self._broker)
        shards, is_older = self._release
        source.shards = shards
        sink = self._variant.sink(self.process, self._server, shards, is_older=is_older)
        clock = ServerClock(FENCE_SECONDS, self._monotonic)
        refusals = Refusals(ratio_max=1.0, in_a_row_max=REFUSED_IN_A_ROW_MAX)
        delivery = self._variant.delivery(
            source,
            sink,
            clock,
            refusals,
            0.0,  # whatever the clocks of the servers differ by
            self._decode,
            self.process.start,
            self.progress.metrics,
        )
        self._is_inserting = source.is_inserting = lambda: delivery.inserts.is_running
        restorer = PartitionRestorer(
            source, sink, clock, HORIZON, PAGE_OFFSETS, self._monotonic, shards=1 if is_older else shards
        )
        loader = self._variant.loader(
            source, restorer, delivery, self._limits(), self._monotonic, progress=self.progress
        )
        source.join(loader)
        loader.run(self.stop)
        source.leave()

    def of(self, partition: int) -> LogEnd:
        """Return the end of a partition's log, as Kafka would now."""
        return LogEnd(len(self._broker.logs[partition].messages), self.process.world.now)

    def _decode(self, messages: Sequence[Message]) -> Rows:
        self.process.world.counts["batches prepared"] += self._is_inserting()
        return decode(messages)

    def _monotonic(self) -> float:
        return self.process.world.now - self._booted

    def _limits(self) -> LoaderLimits:
        world = self.process.world
        return LoaderLimits(
            FlushLimits(seconds=world.between(0.1, 0.8), rows=world.chance.randint(3, 12), bytes=1_000_000),
            poll_rows=world.chance.randint(4, 30),
            retry_seconds_min=0.1,
            retry_seconds_max=0.8,
            # From a few messages on.
            buffer_bytes=world.chance.choice((3_000, 10_000, 1_000_000)),
        )
