"""Reads of several servers: Distributed tables and the etl's queries, also if a server does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from db.clickhouse.client import ClickHouse, RefusedError
from etl.clickhouse.sink import ClickHouseSink
from etl.clickhouse.sink import connected as connected_sink
from etl.errors import SinkError
from etl.settings import EtlSettings
from tests.support.processes.shards import AT, CLUSTER, HALF, TOPIC_ID, name_of, store

# Settings that operators of clusters use.
PRUNING = (
    "optimize_skip_unused_shards = 1",
    "optimize_skip_unused_shards = 1, allow_nondeterministic_optimize_skip_unused_shards = 1",
    "optimize_skip_unused_shards = 1, optimize_distributed_group_by_sharding_key = 1, distributed_push_down_limit = 1",
)


@contextlib.contextmanager
def sink(server: str, connection: ClickHouse, cluster: str = CLUSTER) -> Iterator[ClickHouseSink]:
    url = f"{server}/{name_of(connection)}"
    with connected_sink(EtlSettings(clickhouse_url=url, clickhouse_cluster=cluster)) as made:
        yield made


QUESTIONS = {
    "events_all": (
        "count() FROM events_all WHERE user_id = '00000000-0000-0000-0000-000000000003'",
        "count() FROM (SELECT user_id FROM events_all GROUP BY user_id)",
        "count() FROM (SELECT DISTINCT user_id FROM events_all)",
        "uniqExact(user_id) FROM events_all",
        "count() FROM (SELECT user_id FROM events_all ORDER BY user_id LIMIT 1 BY user_id)",
    ),
    "rejected_events_all": (
        "count() FROM rejected_events_all WHERE kafka_partition = 3",
        "count() FROM rejected_events_all WHERE kafka_partition IN (3, 4)",
        "count() FROM (SELECT kafka_partition FROM rejected_events_all GROUP BY kafka_partition)",
    ),
    "replayed_events_all": (
        "count() FROM replayed_events_all WHERE kafka_partition = 3",
        "count() FROM (SELECT kafka_partition FROM replayed_events_all GROUP BY kafka_partition)",
    ),
}


def test_no_shard_is_left_out(shards: list[ClickHouse]) -> None:
    """Rows may be on any shard: settings that skip shards by the sharding key do not change a result."""
    for number, connection in enumerate(shards):
        store(connection, 100 * number, 100 * number + 99)
        for table in ("rejected_events", "replayed_events"):
            connection.rows(
                f"INSERT INTO {table} (kafka_topic_id, kafka_partition, kafka_offset)"
                f" SELECT '{TOPIC_ID}', 3, number FROM numbers({100 * number}, 50)"
            )
    asked = shards[0]

    for questions in QUESTIONS.values():
        for question in questions:
            expected = asked.rows(f"SELECT {question}")
            for settings in PRUNING:
                assert asked.rows(f"SELECT {question} SETTINGS {settings}") == expected, (question, settings)
    assert asked.rows(f"SELECT {QUESTIONS['events_all'][0]}") == [(20,)]
    assert asked.rows(f"SELECT {QUESTIONS['rejected_events_all'][0]}") == [(100,)]


def test_every_distributed_table_is_read(shards: list[ClickHouse]) -> None:
    """The test above covers all Distributed tables, and none of them has a sharding key."""
    found = dict(
        shards[0].rows(
            "SELECT name, engine_full FROM system.tables WHERE engine = 'Distributed' AND database = currentDatabase()"
        )
    )

    assert set(found) == set(QUESTIONS)
    assert all(len(engine.split(", ")) == 3 for engine in found.values()), found


def test_inserts_are_refused(shards: list[ClickHouse]) -> None:
    """Distributed tables refuse inserts: a row that is not from Kafka would violate the conservation law."""
    with pytest.raises(RefusedError, match="sharding key"):
        shards[0].rows("INSERT INTO events_all (kafka_offset) SELECT 1")


def test_rows_of_every_server(servers: list[str], shards: list[ClickHouse]) -> None:
    """A recovery and the restored duplicate window read the rows of both servers."""
    store(shards[0], 0, 4)
    store(shards[1], 5, 9)
    with sink(servers[0], shards[0]) as asked:
        assert asked.stored_offsets(AT, 0, 20) == set(range(10))
        assert asked.confirmed_offsets(AT, 0, 20) == set(range(10))
        assert asked.last_stored(AT, 0) == 9
        assert not asked.is_inserting(AT)
        offsets, identities = asked.recent_identities(AT, 0, 20)
        assert list(offsets) == list(range(10))
        assert len(set(identities)) == 10


QUERIES: dict[str, Callable[[ClickHouseSink], object]] = {
    "held": lambda sink: sink.stored_offsets(AT, 0, 20),
    "confirmed": lambda sink: sink.confirmed_offsets(AT, 0, 20),
    "last_stored": lambda sink: sink.last_stored(AT, 0),
    "recent": lambda sink: sink.recent_identities(AT, 0, 20),
    "is_inserting": lambda sink: sink.is_inserting(AT),
}


@pytest.mark.parametrize("question", sorted(QUERIES.keys() - {"confirmed"}))
def test_a_server_that_does_not_answer(servers: list[str], shards: list[ClickHouse], question: str) -> None:
    """A query fails if a server does not answer, because it may hold rows or run an insert."""
    store(shards[0], 0, 4)
    with sink(servers[0], shards[0], HALF) as asked, pytest.raises(SinkError, match="279"):
        QUERIES[question](asked)


@pytest.mark.parametrize("question", sorted(QUERIES.keys() - {"is_inserting"}))
def test_a_server_without_tables(servers: list[str], shards: list[ClickHouse], question: str) -> None:
    """A query fails if a server has lost its tables, because that is not the same as having no rows."""
    store(shards[0], 0, 4)
    shards[1].rows("DROP TABLE events SYNC")
    with sink(servers[0], shards[0]) as asked, pytest.raises(SinkError):
        QUERIES[question](asked)
