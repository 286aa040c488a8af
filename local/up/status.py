"""The status line: events accepted, lag and rows stored, read in a thread so that supervision never waits."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from common.kafka_settings import KafkaSettings, servers_of
from db.clickhouse.client import ClickHouse, connected
from db.errors import StoreError, UnavailableError
from db.kafka.topics import OffsetReader

READ_SECONDS = 1.0
# A store that has not answered for less than this is busy or starting: its last numbers are shown.
SILENCE_SECONDS_MAX = 3.0
COUNT = "SELECT (SELECT count() FROM events), (SELECT count() FROM rejected_events)"


class Status:
    """Reads both stores about once a second; `line` has the latest numbers."""

    def __init__(self, kafka: KafkaSettings | str, topic: str, group: str, clickhouse_url: str) -> None:
        self._offsets = OffsetReader(kafka, topic, group)
        self._url = clickhouse_url
        address = urlsplit(clickhouse_url).netloc.rpartition("@")[2]
        self._kafka = StoreStatus("Kafka", servers_of(kafka))
        self._clickhouse = StoreStatus("ClickHouse", address)
        self._stopped = threading.Event()

    @property
    def line(self) -> str:
        """The numbers of both stores, with labels."""
        return f"{self._kafka.text(time.monotonic())}   {self._clickhouse.text(time.monotonic())}"

    @contextlib.contextmanager
    def refreshing(self) -> Iterator[Status]:
        """Read in the background until the block ends."""
        thread = threading.Thread(target=self._read_until_stopped, name="status")
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join()
            self._offsets.close()

    def _read_until_stopped(self) -> None:
        with connected(self._url) as clickhouse:
            while not self._stopped.wait(READ_SECONDS):
                self._kafka.refresh(lambda: kafka_numbers(self._offsets), time.monotonic)
                self._clickhouse.refresh(lambda: clickhouse_numbers(clickhouse), time.monotonic)


class StoreStatus:
    """The latest numbers of a store, or why there are none."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._address = address
        self._text = "no numbers yet"
        # When the first of the reads failed that have failed since the last success.
        self._silent_since: float | None = None

    def refresh(self, read: Callable[[], str], clock: Callable[[], float]) -> None:
        """Read the numbers."""
        try:
            self._text = read()
        except UnavailableError:
            if self._silent_since is None:
                self._silent_since = clock()
            return
        except StoreError as error:
            self._text = str(error).partition("\n")[0]
        self._silent_since = None

    def text(self, now: float) -> str:
        """Return the numbers, or that the store has not answered for a while."""
        since = self._silent_since
        if since is not None and now - since >= SILENCE_SECONDS_MAX:
            return f"{self._name} at {self._address} does not answer"
        return f"{self._name}: {self._text}"


def kafka_numbers(offsets: OffsetReader) -> str:
    """Read how many events Kafka has accepted, and how many of them the etl has not committed."""
    partitions = offsets.read()
    accepted, lag = sum(each.high for each in partitions), sum(each.lag for each in partitions)
    return f"{accepted:,} events accepted, lag {lag:,}"


def clickhouse_numbers(clickhouse: ClickHouse) -> str:
    """Read how many rows ClickHouse has of events, and of messages that did not become an event."""
    ((stored, rejected),) = clickhouse.rows(COUNT)
    return f"{stored:,} rows stored, {rejected:,} rejected"
