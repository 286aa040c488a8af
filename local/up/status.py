"""The live status line: events accepted, rows stored, lag; asked in the background so that supervision never waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from db.clickhouse.client import ClickHouse, connected
from db.errors import StoreError
from db.kafka.topics import OffsetReader

ASK_SECONDS = 1.0
NOT_YET = "asking Kafka and ClickHouse"


@dataclass(frozen=True)
class Numbers:
    """What the stores say; None where a store does not answer."""

    accepted: int | None = None
    lag: int | None = None
    stored: int | None = None
    rejected: int | None = None

    def __str__(self) -> str:
        if self.accepted is None:
            kafka = "Kafka does not answer"
        else:
            kafka = f"events accepted {self.accepted:,}   lag {self.lag:,}"
        clickhouse = "ClickHouse does not answer"
        if self.stored is not None:
            clickhouse = f"rows stored {self.stored:,}   rejected {self.rejected:,}"
        return f"{kafka}   {clickhouse}"


class Status:
    """Asks once a second; `line` has the latest answer."""

    def __init__(self, bootstrap_servers: str, topic: str, group: str, clickhouse_url: str) -> None:
        self._numbers: Numbers | None = None
        self._offsets = OffsetReader(bootstrap_servers, topic, group)
        self._url = clickhouse_url
        self._stopped = threading.Event()

    @property
    def line(self) -> str:
        """The numbers in words; before the first answer nothing is known, also not that a store is away."""
        return NOT_YET if self._numbers is None else str(self._numbers)

    @contextlib.contextmanager
    def refreshing(self) -> Iterator[Status]:
        """Ask in the background until left."""
        thread = threading.Thread(target=self._ask_until_stopped, name="status")
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join()
            self._offsets.close()

    def _ask_until_stopped(self) -> None:
        with connected(self._url) as clickhouse:
            while not self._stopped.wait(ASK_SECONDS):
                accepted, lag = self._ask_kafka()
                stored, rejected = self._ask_clickhouse(clickhouse)
                self._numbers = Numbers(accepted, lag, stored, rejected)

    def _ask_kafka(self) -> tuple[int | None, int | None]:
        try:
            partitions = self._offsets.read()
        except StoreError:
            return None, None
        return sum(each.high for each in partitions), sum(each.lag for each in partitions)

    def _ask_clickhouse(self, clickhouse: ClickHouse) -> tuple[int | None, int | None]:
        query = "SELECT (SELECT count() FROM events), (SELECT count() FROM rejected_events)"
        try:
            ((stored, rejected),) = clickhouse.rows(query)
        except StoreError:
            return None, None
        return stored, rejected
