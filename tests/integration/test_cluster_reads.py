"""Reads of several servers: Distributed tables and the etl's queries, also if a server does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from db.clickhouse.client import ClickHouse, RefusedError
from db.clickhouse.placement import definition, has_key, is_true
from etl.clickhouse.sink import ClickHouseSink
from etl.clickhouse.sink import connected as connected_sink
from etl.errors import SinkError
from etl.events.rows import UNDECODABLE, reject
from etl.placement import Placement
from etl.plan import Plan, rejected_block
from etl.settings import EtlSettings
from local.processes.ports import free_port
from tests.support.inputs.messages import FakeMessage
from tests.support.processes.shards import AT, CLUSTER, TOPIC_ID, name_of, store

# Settings that operators of clusters use.
PRUNING = (
    "optimize_skip_unused_shards = 1",
    "optimize_skip_unused_shards = 1, allow_nondeterministic_optimize_skip_unused_shards = 1",
    "optimize_skip_unused_shards = 1, optimize_distributed_group_by_sharding_key = 1, distributed_push_down_limit = 1",
)


@contextlib.contextmanager
def sink(servers: list[str], shards: list[ClickHouse]) -> Iterator[ClickHouseSink]:
    urls = " ".join(f"{server}/{name_of(shards[-1])}" for server in servers)
    with connected_sink(EtlSettings(etl_shard_urls=urls, clickhouse_cluster=CLUSTER)) as made:
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


# Partition 3 of two shards is on the second one. Earlier offsets than RULED may be on any.
RULED = 5
PLACED = replace(AT, placement=Placement(2, RULED))


def test_rows_of_every_server(servers: list[str], shards: list[ClickHouse]) -> None:
    """A recovery and the restored duplicate window read rows of both shards, if some are older than the rule."""
    store(shards[0], 0, RULED - 1)
    store(shards[1], RULED, 9)
    with sink(servers, shards) as asked:
        asked.require_servers(PLACED)

        assert asked.stored_offsets(PLACED, 0, 20) == set(range(10))
        assert asked.confirmed_offsets(PLACED, 0, 20) == set(range(10))
        assert asked.last_stored(PLACED, 0) == 9
        assert not asked.is_inserting(PLACED, 0)
        offsets, identities = asked.recent_identities(PLACED, 0, 20)
        assert list(offsets) == list(range(10))
        assert len(set(identities)) == 10


def test_inserts_follow_the_partition(servers: list[str], shards: list[ClickHouse]) -> None:
    """A block of partition 3 is on the second of two shards, and one of partition 4 on the first."""
    with sink(servers, shards) as asked:
        for partition in (3, 4):
            at = replace(PLACED, partition=partition)
            deadline = asked.now(at) + 10_000
            plan = Plan(str(TOPIC_ID), 7, 7, 1, "", deadline)
            asked.insert(rejected_block(at, plan, 1, [reject(FakeMessage(b"garbage", at=7), UNDECODABLE, "garbage")]))
            asked.require_servers(at)

            assert asked.stored_offsets(at, RULED, 20) == {7}

    found = [each.rows("SELECT kafka_partition, kafka_offset FROM rejected_events") for each in shards]
    assert found == [[(4, 7)], [(3, 7)]]


QUERIES: dict[str, Callable[[ClickHouseSink, int], object]] = {
    "held": lambda sink, first: sink.stored_offsets(PLACED, first, 20),
    "confirmed": lambda sink, first: sink.confirmed_offsets(PLACED, first, 20),
    "last_stored": lambda sink, first: sink.last_stored(PLACED, first),
    "recent": lambda sink, first: sink.recent_identities(PLACED, first, 20),
    "is_inserting": lambda sink, first: sink.is_inserting(PLACED, first),
}


@pytest.mark.parametrize("question", sorted(QUERIES))
def test_a_server_that_does_not_answer(servers: list[str], shards: list[ClickHouse], question: str) -> None:
    """A dead server of another shard stops a query only if that shard may hold rows of the partition."""
    store(shards[1], RULED, 9)
    dead = f"clickhouse://default@127.0.0.1:{free_port()}"
    with sink([dead, servers[1]], shards) as asked:
        QUERIES[question](asked, RULED)
        with pytest.raises(SinkError, match="refused"):
            QUERIES[question](asked, RULED - 1)
    with sink([servers[0], dead], shards) as asked, pytest.raises(SinkError, match="refused"):
        QUERIES[question](asked, RULED)


@pytest.mark.parametrize("question", sorted(QUERIES.keys() - {"is_inserting"}))
def test_a_server_without_tables(servers: list[str], shards: list[ClickHouse], question: str) -> None:
    """A query fails if a server has lost its tables, because that is not the same as having no rows."""
    store(shards[0], 0, 4)
    shards[1].rows("DROP TABLE events SYNC")
    with sink(servers, shards) as asked, pytest.raises(SinkError):
        QUERIES[question](asked, RULED)


def test_servers_in_another_order(servers: list[str], shards: list[ClickHouse]) -> None:
    """The etl refuses settings whose URLs are not in the order of the shards, or are not all of them."""
    with sink(servers[::-1], shards) as asked, pytest.raises(SinkError, match="URL 2 names a server of shard 1"):
        asked.require_servers(PLACED)
    with (
        sink(servers[:1], shards) as asked,
        pytest.raises(SinkError, match="names 1 shards, but the cluster ugc has 2"),
    ):
        asked.require_servers(replace(PLACED, placement=Placement(1)))


def test_the_sharding_key_is_declared_if_it_is_true(shards: list[ClickHouse]) -> None:
    """The key is true while each row is on the shard of its partition; one row elsewhere makes it false."""
    asked = shards[0]
    assert is_true(asked, CLUSTER, "events")

    store(shards[1], 0, 9)
    assert is_true(asked, CLUSTER, "events")
    store(shards[0], 10, 10)
    assert not is_true(asked, CLUSTER, "events")
    assert is_true(asked, CLUSTER, "rejected_events")


ENGINE_OF_EVENTS = "SELECT engine_full FROM system.tables WHERE name = 'events_all' AND database = currentDatabase()"


def test_reads_with_the_sharding_key(shards: list[ClickHouse]) -> None:
    """With rows where the key declares them, settings that skip shards do not change a result."""
    store(shards[1], 0, 99)
    for connection in shards:
        for table in ("events", "rejected_events"):
            connection.rows(definition(CLUSTER, table, keyed=True))
    asked = shards[0]

    ((engine,),) = asked.rows(ENGINE_OF_EVENTS)
    assert has_key(engine)
    for question in (*QUESTIONS["events_all"], "count() FROM events_all WHERE kafka_partition = 3"):
        for settings in PRUNING:
            assert asked.rows(f"SELECT {question} SETTINGS {settings}") == asked.rows(f"SELECT {question}"), question
    asked.rows(definition(CLUSTER, "events", keyed=False))
    ((engine,),) = asked.rows(ENGINE_OF_EVENTS)
    assert not has_key(engine)
