"""The loop of the ETL: take messages, decode, insert, commit. One thread does it all."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from etl.buffer import Buffer, FlushLimits
from etl.errors import SinkError, SourceError
from etl.message import Message
from etl.rows import Rows, decode
from etl.settings import EtlSettings
from services.runtime.logs import Outage, logger

POLL_SECONDS = 0.1


class Source(Protocol):
    """Where messages come from."""

    owned: set[int]

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        """Return up to `count` messages of our partitions."""

    def idle(self, seconds: float) -> None:
        """Wait without taking messages; partitions may leave `owned`."""

    def commit(self, partition: int, offset: int) -> None:
        """Say that everything before `offset` is stored."""


class Sink(Protocol):
    """Where rows go."""

    def insert(self, partition: int, rows: Rows) -> None:
        """Store a batch; SinkError when that is not certain."""


class AtLeastOnce:
    """Delivers batches: insert until acknowledged, then commit.

    The guarantee: an offset is committed only after every row before it was acknowledged by ClickHouse. A crash, a
    lost answer or a rebalance between the insert and the commit inserts the batch again: never lost, sometimes twice.
    """

    def __init__(self, source: Source, sink: Sink, stop: threading.Event, retry_seconds: tuple[float, float]) -> None:
        self._source = source
        self._sink = sink
        self._stop = stop
        self._retry_seconds_min, self._retry_seconds_max = retry_seconds
        self._inserting = Outage("inserting into ClickHouse")
        self._committing = Outage("committing to Kafka")

    def deliver(self, partition: int, messages: Sequence[Message]) -> bool:
        """Store a batch and commit; False when it was given up: stopping, or the partition is no longer ours."""
        if not self._insert(partition, decode(messages)):
            return False
        self._commit(partition, messages[-1].offset() + 1)
        return True

    def _insert(self, partition: int, rows: Rows) -> bool:
        """Try until ClickHouse acknowledges. A batch given up was not committed: its next owner reads it again."""
        wait = self._retry_seconds_min
        while True:
            try:
                self._sink.insert(partition, rows)
            except SinkError as error:
                self._inserting.failed(error)
                self._source.idle(wait)
                wait = min(2 * wait, self._retry_seconds_max)
                if self._stop.is_set() or partition not in self._source.owned:
                    return False
            else:
                self._inserting.over()
                return True

    def _commit(self, partition: int, offset: int) -> None:
        """Commit once. When it fails, the commit of the partition's next batch says the same and more."""
        try:
            self._source.commit(partition, offset)
        except SourceError as error:
            self._committing.failed(error)
        else:
            self._committing.over()


class Loader:
    """Fills batches by partition and hands those that are due to the delivery."""

    def __init__(self, source: Source, buffer: Buffer, delivery: AtLeastOnce, poll_rows: int) -> None:
        self._source = source
        self._buffer = buffer
        self._delivery = delivery
        self._poll_rows = poll_rows

    def run(self, stop: threading.Event) -> None:
        """Load until told to stop, then load what was taken."""
        while not stop.is_set():
            self._buffer.add(self._source.poll(self._poll_rows, POLL_SECONDS), time.monotonic())
            self._flush(self._buffer.due(time.monotonic()))
        self._flush(self._buffer.partitions())
        logger().info("stopped loading")

    def _flush(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            # A delivery polls while it waits, and a poll can take partitions away.
            if messages := self._buffer.take(partition):
                self._delivery.deliver(partition, messages)


def flush_limits(settings: EtlSettings) -> FlushLimits:
    """Read the limits of a batch from the settings."""
    return FlushLimits(settings.etl_flush_seconds, settings.etl_flush_rows, settings.etl_flush_bytes)
