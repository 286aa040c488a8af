"""The view `conservation` on a real server: its counts, and that a batch being inserted is never missing."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import MIGRATIONS

TOPIC_ID = "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55"
NUMBERS = "SELECT kafka_partition, missing, repeated FROM conservation"
EVENTS = """
INSERT INTO events (event_id, received_at, kafka_topic_id, kafka_partition, kafka_offset)
SELECT generateUUIDv4(), now64(3), %(topic)s, %(partition)s, arrayJoin(%(offsets)s)
"""
REJECTED = """
INSERT INTO rejected_events (reason, kafka_time, kafka_topic_id, kafka_partition, kafka_offset)
SELECT 'duplicate', now64(3), %(topic)s, %(partition)s, arrayJoin(%(offsets)s)
"""
BATCHES, BATCH_ROWS = 300, 40
# The view's query, and what delays it between the reading of the two tables.
VIEW = MIGRATIONS / "single" / "0009_conservation_in_flight.sql"
DELAY = "WHERE 0 = (SELECT sleepEachRow(2))"


def store(tables: ClickHouse, statement: str, offsets: list[int], partition: int = 0) -> None:
    tables.rows(statement, {"topic": TOPIC_ID, "partition": partition, "offsets": offsets})


def store_batch(tables: ClickHouse, first: int, partition: int = 0) -> None:
    """Store a batch as the etl does: its rejected rows, then its events; every other message is a duplicate."""
    store(tables, REJECTED, list(range(first, first + BATCH_ROWS, 2)), partition)
    store(tables, EVENTS, list(range(first + 1, first + BATCH_ROWS, 2)), partition)


@pytest.mark.parametrize(
    ("events", "rejected", "expected"),
    [
        ([0, 1, 2], [], (0, 0)),
        ([0, 2], [1], (0, 0)),
        ([0, 3], [1], (1, 0)),
        ([5, 9], [], (3, 0)),
        ([7, 8], [5], (1, 0)),
        ([0, 1, 1], [1], (0, 2)),
        # Offsets after the last event may be being inserted.
        ([0, 1], [3, 5], (0, 0)),
        ([0, 2], [4, 5], (1, 0)),
        ([], [3, 5], (0, 0)),
        ([2**40, 2**40 + 2], [2**40 + 7], (1, 0)),
        ([2**40 + number for number in range(2_000) if number != 7], [2**40 + 3_000], (1, 0)),
    ],
)
def test_what_is_counted(tables: ClickHouse, events: list[int], rejected: list[int], expected: tuple[int, int]) -> None:
    """Offsets without a row are missing up to the last event; a second row of an offset is repeated."""
    for statement, offsets in ((EVENTS, events), (REJECTED, rejected)):
        if offsets:
            store(tables, statement, offsets)

    assert tables.rows(NUMBERS) == [(0, *expected)]


def test_partitions_are_counted_separately(tables: ClickHouse) -> None:
    """The last event of a partition does not affect the counts of another."""
    store(tables, EVENTS, [0, 1, 100], partition=0)
    store(tables, REJECTED, [0, 50], partition=1)
    store(tables, EVENTS, [3], partition=2)

    assert tables.rows(NUMBERS) == [(0, 98, 0), (1, 0, 0), (2, 0, 0)]


@pytest.fixture
def writers(database: str) -> Iterator[list[threading.Thread]]:
    """Store batches in two partitions during the test."""

    def write(partition: int) -> None:
        with connected(database) as tables:
            for number in range(BATCHES):
                store_batch(tables, number * BATCH_ROWS, partition)

    threads = [threading.Thread(target=write, args=(partition,)) for partition in range(2)]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.join()


def test_nothing_is_missing_under_load(tables: ClickHouse, writers: list[threading.Thread]) -> None:
    """While batches with many duplicates are stored, no query of the view finds a missing offset."""
    found: Counter[tuple[int, int]] = Counter()
    while any(thread.is_alive() for thread in writers):
        found.update((missing, repeated) for _, missing, repeated in tables.rows(NUMBERS))

    assert list(found) == [(0, 0)]
    assert tables.rows("SELECT rows FROM conservation") == [(BATCHES * BATCH_ROWS,)] * 2


@pytest.mark.parametrize("place", ["after events", "after the last event"])
def test_a_batch_stored_during_the_query(database: str, tables: ClickHouse, place: str) -> None:
    """A batch that is stored between the reading of the two tables is not missing, wherever the query is delayed."""
    text = VIEW.read_text(encoding="utf-8")
    query = text[text.index("AS WITH") + len("AS ") :].rstrip("\n;")
    first, second = re.finditer(r"FROM events\b", query)
    delayed_at = {"after the last event": first, "after events": second}[place].end()
    store_batch(tables, 0)
    found: list[tuple[object, ...]] = []

    def read() -> None:
        with connected(database) as connection:
            found.extend(connection.rows(f"{query[:delayed_at]} {DELAY} {query[delayed_at:]}"))

    reader = threading.Thread(target=read)
    reader.start()
    number = 0
    while reader.is_alive():
        number += 1
        store_batch(tables, number * BATCH_ROWS)
    reader.join()

    assert number > 1
    assert [row[-2:] for row in found] == [(0, 0)]
