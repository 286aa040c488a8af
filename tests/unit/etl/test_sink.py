"""The sink's inserts: one block each, with the settings, the name and the deadline that the protocol needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from etl.clickhouse.client import InsertClient
from etl.clickhouse.server import ClickHouseServer
from etl.clickhouse.sink import connected
from etl.clickhouse.wire import WIRE
from etl.events.rows import UNDECODABLE, decode, reject
from etl.plan import Block, Coordinates, Plan, Topic, events_block, rejected_block
from etl.settings import EtlSettings
from tests.support.inputs.events import numbered, record
from tests.support.inputs.messages import FakeMessage

AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 3)
PLAN = Plan("0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", 5, 7, 3, "", 1_700_000_000_123)
MESSAGES = [FakeMessage(record(numbered(number)), at=number) for number in (5, 6, 7)]
BLOCKS = [
    events_block(AT, PLAN, 2, decode(MESSAGES)),
    rejected_block(AT, PLAN, 1, [reject(FakeMessage(b"garbage", at=5), UNDECODABLE, "garbage")]),
]
# The proof needs each of them: an acknowledged block is stored, as a whole or not at all, and an insert ends.
SETTINGS = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "max_execution_time": 20,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
}


class Recording:
    """A client that records its inserts."""

    def __init__(self) -> None:
        self.inserts: list[tuple[str, dict[str, Any]]] = []

    @property
    def connection(self) -> Any:
        return InsertClient.from_url("clickhouse://default@clickhouse/ugc").connection

    def execute(self, query: str, _data: object, **options: Any) -> Sequence[object]:
        self.inserts.append((query, options))
        return []


def inserted(block: Block, quorum: int = 1, name: str = "") -> tuple[str, dict[str, Any]]:
    """Insert a block; return the statement and its options."""
    client = Recording()
    ClickHouseServer(cast("InsertClient", client), 20, quorum, name=name).insert(block)
    (insert,) = client.inserts
    return insert


@pytest.mark.parametrize("quorum", [1, 2])
@pytest.mark.parametrize("name", ["", "clickhouse-1-1:9000"])
@pytest.mark.parametrize("block", BLOCKS, ids=["events", "rejected"])
def test_settings(block: Block, quorum: int, name: str) -> None:
    """Every insert has the settings that the proof needs, whatever the server's defaults are."""
    _, options = inserted(block, quorum, name)

    assert options["settings"] | SETTINGS == options["settings"]
    # Larger than the largest batch, or the block would be split.
    assert options["settings"]["max_block_size"] >= 1_000_000
    assert options["settings"]["max_insert_block_size"] >= 1_000_000


@pytest.mark.parametrize(("quorum", "sent"), [(1, 0), (2, 2), (3, 3)])
def test_quorum(quorum: int, sent: int) -> None:
    """On a cluster the quorum is the configured one, and several processes insert at the same time."""
    settings = inserted(BLOCKS[0], quorum, "clickhouse-1-1:9000")[1]["settings"]

    assert settings["insert_quorum"] == sent
    assert settings["insert_quorum_parallel"] == 1
    assert 0 < settings["insert_quorum_timeout"] < 20_000


def test_no_quorum_on_a_single_server() -> None:
    """Inserts into a single server set no quorum."""
    assert not [name for name in inserted(BLOCKS[0])[1]["settings"] if "quorum" in name]


@pytest.mark.parametrize("block", BLOCKS, ids=["events", "rejected"])
def test_name(block: Block) -> None:
    """A block's name is its deduplication token and its query's id."""
    _, options = inserted(block)

    assert options["settings"]["insert_deduplication_token"] == options["query_id"] == block.name
    assert block.name.startswith(AT.name)


@pytest.mark.parametrize("block", BLOCKS, ids=["events", "rejected"])
def test_deadline(block: Block) -> None:
    """The statement fails if the plan's deadline has passed by the server's clock."""
    query, _ = inserted(block)

    assert f"WHERE throwIf(now64(3) > fromUnixTimestamp64Milli({PLAN.deadline}), 'FENCED') = 0 FORMAT Native" in query


def test_names_differ() -> None:
    """Blocks of one plan, of other plans, and of other partitions have different names."""
    rows, other = decode(MESSAGES), Coordinates(AT.topic, 4)
    names = {events_block(at, plan, part, rows).name for at in (AT, other) for part in (1, 2) for plan in PLANS}

    assert len(names) == 2 * 2 * len(PLANS)


PLANS = [PLAN, Plan(PLAN.topic, 4, 7, 4, "", 0), Plan(PLAN.topic, 5, 8, 4, "", 0)]


def test_connection() -> None:
    """The server checks the settings' names, and every wait on the connection has a timeout."""
    settings = EtlSettings(etl_connect_seconds_max=3, etl_answer_seconds_max=40)
    with connected(settings) as sink:
        connection = sink._shards[0].replicas[0]._client.connection

    assert connection.settings_is_important is True
    assert (connection.connect_timeout, connection.send_receive_timeout) == (3, 40)


@pytest.mark.parametrize("block", BLOCKS, ids=["events", "rejected"])
def test_columns_fit_the_statement(block: Block) -> None:
    """The block has the columns that the statement names, all of the same length."""
    assert len(block.columns) == len(WIRE[block.table])
    assert {len(column) for column in block.columns} == {len(block.columns[0])}
