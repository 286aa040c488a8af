"""`ugc-rewind` on real servers: what it shows, what it sets, when it refuses; restores: test_operating_backup.py."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from db.clickhouse.client import ClickHouse
from db.clickhouse.replicas import unsettled
from db.errors import UnavailableError
from db.kafka import groups
from db.kafka.groups import GroupInUseError
from db.kafka.topics import OffsetReader
from db.rewind import rewind
from db.settings import RewindSettings
from local.processes.ports import free_port
from tests.support.processes.consumed import Consumed
from tests.support.processes.shards import CLUSTER, HALF, name_of

COUNT = 1_000
JOIN_SECONDS_MAX, DELETE_SECONDS_MAX = 60, 30
PLAN = '{"v":1,"topic":"%s","end":1099,"rows":100,"hash":"","deadline":1}'


@pytest.fixture
def consumed(kafka: str, topic: str, database: str, tables: ClickHouse) -> Consumed:
    """Return a topic whose partitions 0 and 1 are consumed, with a plan after the committed offset of partition 0."""
    made = Consumed(kafka, topic, database, tables)
    for partition in range(2):
        made.produce(partition, [b"x"] * (COUNT + 100))
        made.store(partition, 0, COUNT)
    made.commit(0, COUNT, PLAN % made.topic_id)
    made.commit(1, COUNT)
    return made


def settings_of(consumed: Consumed, cluster: str = "") -> RewindSettings:
    return RewindSettings(
        clickhouse_cluster=cluster,
        kafka_bootstrap_servers=consumed.kafka,
        kafka_topic=consumed.topic,
        clickhouse_url=consumed.database,
        etl_group=consumed.group,
    )


def committed(consumed: Consumed) -> dict[int, tuple[int, str]]:
    """Return what the group has committed, with its metadata."""
    reader = OffsetReader(consumed.kafka, consumed.topic, consumed.group)
    try:
        return {each.partition: (each.committed, each.metadata) for each in reader.read()}
    finally:
        reader.close()


@contextlib.contextmanager
def member(consumed: Consumed) -> Iterator[None]:
    """Be a member of the group, as an etl is."""
    consumer = Consumer(
        {"bootstrap.servers": consumed.kafka, "group.id": consumed.group, "group.protocol": "consumer"}
        | {"enable.auto.commit": False}
    )
    consumer.subscribe([consumed.topic])
    deadline = time.monotonic() + JOIN_SECONDS_MAX
    while not consumer.assignment():
        assert time.monotonic() < deadline
        consumer.consume(1, 0.2)
    try:
        yield
    finally:
        consumer.close()


def test_tables_hold_everything(consumed: Consumed) -> None:
    """Nothing is set if the tables fit; the plan of the etl stays in the metadata of its offset."""
    before = committed(consumed)
    report = rewind(settings_of(consumed), is_applied=True)

    assert (report.again, report.missing, report.lost) == (0, 0, 0)
    assert committed(consumed) == before
    assert before[0] == (COUNT, PLAN % consumed.topic_id)


def test_dry_run_then_apply(consumed: Consumed) -> None:
    """A dry run changes nothing; then the offset is set to the first message without a row, and its plan is removed.

    A partition whose tables hold everything keeps its offset; one in which nothing is left begins at its first message.
    """
    consumed.delete(0, 998)
    consumed.delete(0, 999)
    consumed.reject(0, 999)
    consumed.tables.rows("DELETE FROM events WHERE kafka_partition = 1 SETTINGS lightweight_deletes_sync = 2")
    before = committed(consumed)
    shown = rewind(settings_of(consumed), is_applied=False)

    assert committed(consumed) == before
    assert [(each.held_end, each.missing, each.target, each.again) for each in shown.partitions] == [
        (1_000, 1, 998, 2),
        (None, 1_000, 0, 1_000),
        (None, 0, 0, 0),
    ]
    assert rewind(settings_of(consumed), is_applied=True).partitions == shown.partitions
    assert committed(consumed) == {0: (998, ""), 1: (0, ""), 2: (0, "")}


def test_refused_while_an_etl_runs(consumed: Consumed) -> None:
    """While the group has a member no offset is set; a dry run is possible, and names the member."""
    consumed.delete(0, 998)
    before = committed(consumed)
    with member(consumed):
        with pytest.raises(GroupInUseError, match="has members, so no offset was set; stop every etl: "):
            rewind(settings_of(consumed), is_applied=True)
        shown = rewind(settings_of(consumed), is_applied=False)

        assert len(shown.members) == 1
        assert committed(consumed) == before


def test_refused_if_an_etl_starts_meanwhile(consumed: Consumed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An etl that joins after the check makes Kafka refuse the offsets, those of all partitions."""
    consumed.delete(0, 998)
    consumed.delete(1, 10)
    before = committed(consumed)
    monkeypatch.setattr("db.rewind.members", lambda _servers, _group: [])
    with member(consumed):
        assert len(groups.members(consumed.kafka, consumed.group)) == 1
        with pytest.raises(GroupInUseError, match="has got a member meanwhile, so no offset was set"):
            rewind(settings_of(consumed), is_applied=True)

        assert committed(consumed) == before


def test_lost_messages(consumed: Consumed) -> None:
    """What the tables lack and Kafka has deleted is named with its count, and the status is 1; the rest is rewound."""
    for offset in (3, 4, 700, 990):
        consumed.delete(0, offset)
    delete_before(consumed, 0, 600)
    done = run(consumed, "--apply")

    assert done.returncode == 1
    assert "LOST partition 0: 2 messages, offsets 3 to 4: the tables do not hold them" in done.stdout
    assert "rewound 1 partitions by 300 messages, of which the tables lack 2; start the etl" in done.stdout
    assert committed(consumed)[0] == (700, "")


def test_topic_made_again(consumed: Consumed) -> None:
    """Rows of an earlier topic of this name are not those of the topic: its partitions begin at their first message."""
    consumed.tables.rows(
        "ALTER TABLE events UPDATE kafka_topic_id = %(other)s WHERE kafka_partition = 1 SETTINGS mutations_sync = 2",
        {"other": uuid.UUID(int=5)},
    )
    report = rewind(settings_of(consumed), is_applied=False)

    assert report.earlier_topics == 1
    assert [(each.held_end, each.target) for each in report.partitions[:2]] == [(1_000, 1_000), (None, 0)]


def test_report(consumed: Consumed) -> None:
    """The table and the JSON have the same numbers; without a hole the status is 0."""
    consumed.delete(1, 999)
    table, document = run(consumed), run(consumed, "--json")
    found = json.loads(document.stdout)

    assert (table.returncode, document.returncode) == (0, 0)
    assert "dry run: would rewind 1 partitions by 1 messages, of which the tables lack 1; do it with --apply" in (
        table.stdout
    )
    assert (found["again"], found["missing"], found["lost"]) == (1, 1, 0)
    assert found["partitions"][1]["target"] == 999


@pytest.mark.parametrize("store", ["UGC_KAFKA_BOOTSTRAP_SERVERS", "UGC_CLICKHOUSE_URL"])
def test_store_away(consumed: Consumed, store: str) -> None:
    """If Kafka or ClickHouse does not answer, the status is 3, and the message names the server."""
    away = f"127.0.0.1:{free_port()}"
    done = run(consumed, **{store: away if "KAFKA" in store else f"clickhouse://default@{away}/ugc"})

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ugc-rewind: ")
    assert f"{away} ({store})" in done.stderr


def run(consumed: Consumed, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    settings = settings_of(consumed)
    return subprocess.run(
        [sys.executable, "-m", "db.rewind", "--to-table", *arguments],
        env={
            "UGC_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "UGC_KAFKA_TOPIC": settings.kafka_topic,
            "UGC_CLICKHOUSE_URL": settings.clickhouse_url,
            "UGC_ETL_GROUP": settings.etl_group,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def delete_before(consumed: Consumed, partition: int, offset: int) -> None:
    """Delete the first messages of a partition, as its retention does."""
    # A client that is garbage collected cancels its requests.
    client = AdminClient({"bootstrap.servers": consumed.kafka})
    asked = client.delete_records([TopicPartition(consumed.topic, partition, offset)])
    for each in asked.values():
        each.result(DELETE_SECONDS_MAX)


def test_every_shard_is_read(
    kafka: str, topic: str, servers: list[str], shards: list[ClickHouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition's rows on any shard count; if a server does not answer, nothing is set."""
    made = Consumed(kafka, topic, f"{servers[0]}/{name_of(shards[0])}", shards[0])
    made.produce(0, [b"x"] * 300)
    for number, connection in enumerate(shards):
        Consumed(kafka, topic, "", connection).store(0, 100 * number, 100)
    made.commit(0, 300)

    # These servers do not replicate; test_unsettled.py has the check of the replicas.
    monkeypatch.setattr("db.rewind.unsettled", lambda _connection, _cluster: [])
    shown = rewind(settings_of(made, CLUSTER), is_applied=False)
    monkeypatch.setattr("db.rewind.unsettled", partial(unsettled, seconds_max=0))
    with pytest.raises(UnavailableError, match="of the cluster does not answer"):
        rewind(settings_of(made, HALF), is_applied=True)

    assert [each.target for each in shown.partitions] == [200, 0, 0]
    assert committed(made)[0] == (300, "")
