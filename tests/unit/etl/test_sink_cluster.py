"""The sink on a cluster: which servers it asks, and what counts as confirmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from clickhouse_driver.errors import NetworkError, ServerException

from etl.clickhouse.client import InsertClient
from etl.clickhouse.server import ClickHouseServer
from etl.clickhouse.shard import Shard
from etl.clickhouse.sink import ClickHouseSink
from etl.errors import DataRefusedError, SinkError
from etl.events.rows import UNDECODABLE, reject
from etl.placement import Placement
from etl.plan import Coordinates, Plan, Topic, rejected_block
from tests.support.inputs.messages import FakeMessage

# With two shards, that of partition 3 is the second one.
AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 3, Placement(2, 100))
OWN, OTHER = 1, 0
BLOCK = rejected_block(AT, Plan("", 5, 5, 1, "", 0), 1, [reject(FakeMessage(b"garbage", at=5), UNDECODABLE, "garbage")])


@dataclass
class RecordingClient:
    """A client of one server that records its queries, and returns rows or raises an error."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def execute(self, query: str, *_: Any, settings: dict[str, Any], **_options: Any) -> list[tuple[Any, ...]]:
        self.calls.append((query, settings))
        if self.error:
            raise self.error
        return self.rows

    def disconnect(self) -> None:
        """Nothing is connected."""


@dataclass
class Cluster:
    """Two shards of two replicas."""

    clients: list[list[RecordingClient]] = field(
        default_factory=lambda: [[RecordingClient() for _ in range(2)] for _ in range(2)]
    )

    def sink(self, quorum: int = 2) -> ClickHouseSink:
        shards = [Shard([server(each, quorum) for each in clients], quorum) for clients in self.clients]
        return ClickHouseSink(shards, "ugc")

    def asked(self) -> list[list[int]]:
        """Return how many queries each server got."""
        return [[len(each.calls) for each in clients] for clients in self.clients]


def server(client: RecordingClient, quorum: int = 2, name: str = "clickhouse") -> ClickHouseServer:
    return ClickHouseServer(cast("InsertClient", client), 20, quorum, name=name)


def single(client: RecordingClient) -> ClickHouseSink:
    return ClickHouseSink([Shard([server(client, 1, "")], 1)])


Question = Callable[[ClickHouseSink, int], object]
# The queries that decide whether a row is inserted, and those that restore the duplicate window.
QUESTIONS: dict[str, Question] = {
    "stored_offsets": lambda sink, first: sink.stored_offsets(AT, first, 999),
    "confirmed_offsets": lambda sink, first: sink.confirmed_offsets(AT, first, 999),
    "last_stored": lambda sink, first: sink.last_stored(AT, first),
    "recent_identities": lambda sink, first: sink.recent_identities(AT, first, 999),
    "is_inserting": lambda sink, first: sink.is_inserting(AT, first),
}


def answering(question: str) -> Cluster:
    cluster = Cluster()
    for client in (client for clients in cluster.clients for client in clients):
        client.rows = [(0,)] if question == "is_inserting" else []
    return cluster


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_replica_of_the_shard_is_asked(question: str) -> None:
    """Rows since the recorded offset are on the partition's shard: each replica is asked, and no other server."""
    cluster = answering(question)
    QUESTIONS[question](cluster.sink(), 100)

    assert cluster.asked() == [[0, 0], [1, 1]]
    for client in cluster.clients[OWN]:
        # A sequentially consistent read would omit rows whose quorum is pending.
        assert all(settings["select_sequential_consistency"] == 0 for _, settings in client.calls)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_shard_is_asked_for_earlier_rows(question: str) -> None:
    """Rows before the recorded offset may be on any shard: each replica of each shard is asked."""
    cluster = answering(question)
    QUESTIONS[question](cluster.sink(), 99)

    assert cluster.asked() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("replica", [0, 1])
def test_a_replica_that_does_not_answer(question: str, replica: int) -> None:
    """A replica of the shard that does not answer is an error, because it may hold rows or run an insert."""
    cluster = answering(question)
    cluster.clients[OWN][replica].error = NetworkError("Connection refused")

    with pytest.raises(SinkError, match="refused"):
        QUESTIONS[question](cluster.sink(), 100)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_replica_of_another_shard_may_be_absent(question: str) -> None:
    """A dead replica of another shard stops nothing, unless rows were stored before the rule."""
    cluster = answering(question)
    cluster.clients[OTHER][1].error = NetworkError("Connection refused")
    QUESTIONS[question](cluster.sink(), 100)

    with pytest.raises(SinkError, match="refused"):
        QUESTIONS[question](cluster.sink(), 99)


def test_both_tables_are_read() -> None:
    """The rows of both tables are read."""
    cluster = Cluster()
    for ask in (cluster.sink().stored_offsets, cluster.sink().confirmed_offsets):
        ask(AT, 100, 999)
    cluster.sink().last_stored(AT, 100)

    for query, _ in cluster.clients[OWN][0].calls:
        assert query.count("FROM events") == query.count("FROM rejected_events") == 1


def test_stored_is_what_any_replica_holds() -> None:
    """A row on one replica counts as stored: it is not inserted again."""
    cluster = Cluster()
    cluster.clients[OWN][0].rows, cluster.clients[OWN][1].rows = [(105,)], [(106,), (106,)]

    assert cluster.sink().stored_offsets(AT, 100, 999) == {105, 106}


@pytest.mark.parametrize(("quorum", "confirmed"), [(2, {106}), (1, {105, 106, 107})])
def test_confirmed_is_what_a_quorum_holds(quorum: int, confirmed: set[int]) -> None:
    """A row counts as confirmed if the configured number of replicas of one shard hold it."""
    cluster = Cluster()
    first, second = cluster.clients[OWN]
    first.rows, second.rows = [(105,), (106,)], [(106,), (107,), (107,)]

    assert cluster.sink(quorum).confirmed_offsets(AT, 100, 999) == confirmed


def test_copies_on_different_shards_are_no_quorum() -> None:
    """Two shards with the same row are no quorum: neither has two copies."""
    cluster = Cluster()
    for clients in cluster.clients:
        clients[0].rows = [(5,)]

    assert cluster.sink().confirmed_offsets(AT, 0, 999) == set()


def test_identities_are_merged() -> None:
    """The identities that several servers hold are returned once, in the order of their offsets."""
    cluster = Cluster()
    answers: list[Sequence[Sequence[object]]] = [((1, 3), (b"a", b"c")), ((3,), (b"c",)), (), ((2,), (b"b",))]
    clients = [client for clients in cluster.clients for client in clients]
    for client, answer in zip(clients, answers, strict=True):
        client.rows = cast("list[tuple[Any, ...]]", list(answer))

    assert cluster.sink().recent_identities(AT, 0, 99) == ([1, 2, 3], [b"a", b"b", b"c"])


def test_inserts_go_to_the_shard_of_the_partition() -> None:
    """A block is inserted into one replica of the shard `partition modulo shards`."""
    cluster = Cluster()
    sink = cluster.sink()
    for partition in (3, 4, 5):
        sink.insert(replace(BLOCK, at=replace(AT, partition=partition)))

    assert cluster.asked() == [[1, 0], [2, 0]]


FAILING = (NetworkError("refused"), ServerException("read-only", 242), ServerException("quorum", 285))


@pytest.mark.parametrize("error", FAILING)
def test_the_other_replica_takes_over(error: Exception) -> None:
    """After an error of a server the next insert goes to another replica."""
    cluster = Cluster()
    cluster.clients[OWN][0].error = error
    sink = cluster.sink()
    with pytest.raises(SinkError):
        sink.insert(BLOCK)
    sink.insert(BLOCK)

    assert cluster.asked()[OWN] == [1, 1]


def test_a_refused_value_does_not_change_the_replica() -> None:
    """A block that is refused for its data is probed on the same replica."""
    cluster = Cluster()
    cluster.clients[OWN][0].error = ServerException("a value does not convert", 153)
    sink = cluster.sink()
    for _ in range(2):
        with pytest.raises(DataRefusedError):
            sink.insert(BLOCK)

    assert cluster.asked()[OWN] == [2, 0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_single_server(question: str) -> None:
    """Without a cluster the server's own tables are read, without settings of replication."""
    client = RecordingClient(rows=[(0,)] if question == "is_inserting" else [])
    sink = single(client)
    sink.require_servers(AT)
    QUESTIONS[question](sink, 0) if question != "is_inserting" else None
    at = replace(AT, placement=Placement())
    sink.stored_offsets(at, 0, 99)

    for query, settings in client.calls:
        assert "cluster" not in query
        assert settings == {"strings_as_bytes": True}
