"""The sink's queries on a cluster: their tables and settings; and how it translates ClickHouse's errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from clickhouse_driver.errors import ServerException

from etl.clickhouse.client import InsertClient
from etl.clickhouse.codes import error_of
from etl.clickhouse.sink import ClickHouseSink
from etl.errors import DataRefusedError, QuorumError, QuorumTimeoutError, SinkError, TooLargeError
from etl.events.rows import UNDECODABLE, reject
from etl.plan import Coordinates, Plan, Topic, rejected_block
from tests.support.inputs.messages import FakeMessage

AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 3)
BLOCK = rejected_block(AT, Plan("", 5, 5, 1, "", 0), 1, [reject(FakeMessage(b"garbage", at=5), UNDECODABLE, "garbage")])
URL = "clickhouse://default@clickhouse-1-1/ugc?insert_quorum=2&insert_quorum_parallel=0&select_sequential_consistency=1"


@dataclass
class RecordingClient:
    """A client that records its queries, and returns rows or raises an error."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None
    quorum: bytes = b"2"
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def connection(self) -> Any:
        return InsertClient.from_url(URL).connection

    def execute(self, query: str, *_: Any, settings: dict[str, Any], **_options: Any) -> list[tuple[Any, ...]]:
        if "'insert_quorum'" in query:
            return [(self.quorum,)]
        self.calls.append((query, settings))
        if self.error:
            raise self.error
        return self.rows

    def disconnect(self) -> None:
        """Nothing is connected."""


def sink(client: RecordingClient, cluster: str = "ugc") -> ClickHouseSink:
    return ClickHouseSink(cast("InsertClient", client), 20, cluster)


# The queries that decide whether a row is inserted, and those that restore the duplicate window.
ON_EVERY_REPLICA: dict[str, Callable[[ClickHouseSink], object]] = {
    "stored_offsets": lambda sink: sink.stored_offsets(AT, 0, 9),
    "last_stored": lambda sink: sink.last_stored(AT, 0),
    "recent_identities": lambda sink: sink.recent_identities(AT, 0, 9),
}


@pytest.mark.parametrize("question", ON_EVERY_REPLICA)
def test_every_replica_is_read(question: str) -> None:
    """Every replica of every shard is read, with its pending blocks; an absent one is an error."""
    client = RecordingClient()
    ON_EVERY_REPLICA[question](sink(client))

    assert client.calls
    for query, settings in client.calls:
        sources = re.findall(r"FROM (.*)", query)
        assert sources
        assert all(re.fullmatch(r"clusterAllReplicas\('ugc', ugc\.(rejected_)?events\)", each) for each in sources)
        assert settings["select_sequential_consistency"] == 0
        assert settings["skip_unavailable_shards"] == 0


def test_both_tables_are_read() -> None:
    """The rows of both tables are read."""
    client = RecordingClient()
    for ask in (sink(client).stored_offsets, sink(client).confirmed_offsets):
        ask(AT, 0, 9)
    sink(client).last_stored(AT, 0)

    for query, _ in client.calls:
        assert len(re.findall(r"FROM .*\b(?<!rejected_)events(_all)?\b", query)) == 1
        assert len(re.findall(r"FROM .*\brejected_events(_all)?\b", query)) == 1


def test_confirmed_rows_are_those_of_a_quorum() -> None:
    """Confirmed rows are read with sequential consistency, whatever the URL sets."""
    client = RecordingClient(rows=[(5,), (6,), (6,)])

    assert sink(client).confirmed_offsets(AT, 0, 9) == {5, 6}

    ((query, settings),) = client.calls
    assert re.findall(r"FROM (\S+)", query) == ["events_all", "rejected_events_all"]
    assert settings["select_sequential_consistency"] == 1
    assert settings["skip_unavailable_shards"] == 0


@pytest.mark.parametrize(("quorum", "table"), [(b"2", "events_all"), (b"auto", "events_all"), (b"3", "events_all")])
def test_any_quorum_is_one(quorum: bytes, table: str) -> None:
    """A quorum of any size confirms a row."""
    client = RecordingClient(quorum=quorum)
    sink(client).confirmed_offsets(AT, 0, 9)

    assert table in client.calls[0][0]


@pytest.mark.parametrize("quorum", [b"0", b"1"])
def test_without_a_quorum_a_stored_row_is_confirmed(quorum: bytes) -> None:
    """Without a quorum the read is not sequentially consistent, because it would omit rows."""
    client = RecordingClient(rows=[(5,)], quorum=quorum)

    assert sink(client).confirmed_offsets(AT, 0, 9) == {5}

    ((query, settings),) = client.calls
    assert "clusterAllReplicas('ugc', ugc.events)" in query
    assert settings["select_sequential_consistency"] == 0


def test_copies_of_a_row_are_one() -> None:
    """A row on two replicas is one offset."""
    assert sink(RecordingClient(rows=[(5,), (5,), (6,)])).stored_offsets(AT, 0, 9) == {5, 6}


def test_copies_of_an_identity_are_one() -> None:
    """ClickHouse removes the copies of the window's rows, which are many."""
    client = RecordingClient()
    sink(client).recent_identities(AT, 0, 9)

    assert client.calls[0][0].split()[:2] == ["SELECT", "DISTINCT"]


def test_processes_of_every_server() -> None:
    """Every server is calls for running inserts; one that does not answer is an error."""
    client = RecordingClient(rows=[(0,)])

    assert not sink(client).is_inserting(AT)

    ((query, settings),) = client.calls
    assert "FROM clusterAllReplicas('ugc', system.processes)" in query
    assert settings["skip_unavailable_shards"] == 0


def test_one_pending_block_per_table() -> None:
    """Inserts with a quorum are not parallel, because a consistent read recognizes only one pending block."""
    client = RecordingClient()
    sink(client).insert(BLOCK)

    assert client.calls[0][1]["insert_quorum_parallel"] == 0


QUESTIONS = ON_EVERY_REPLICA | {
    "confirmed": lambda sink: sink.confirmed_offsets(AT, 0, 9),
    "is_inserting": lambda sink: sink.is_inserting(AT),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_single_server(question: str) -> None:
    """Without a cluster the queries read the server's own tables."""
    client = RecordingClient(rows=[(0,)] if question == "is_inserting" else [])
    QUESTIONS[question](sink(client, ""))

    for query, settings in client.calls:
        assert "cluster" not in query
        assert "_all" not in query
        assert settings == {"strings_as_bytes": True}


# ClickHouse's code, and its error on a cluster and on a single server.
ERRORS = {
    159: (QuorumTimeoutError, TooLargeError),
    285: (QuorumError, QuorumError),
    286: (QuorumError, QuorumError),
    289: (QuorumError, QuorumError),
    319: (QuorumError, QuorumError),
    158: (TooLargeError, TooLargeError),
    241: (TooLargeError, TooLargeError),
    307: (TooLargeError, TooLargeError),
    6: (DataRefusedError, DataRefusedError),
    279: (SinkError, SinkError),
    210: (SinkError, SinkError),
}


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("cluster", ["ugc", ""])
def test_errors(code: int, cluster: str) -> None:
    """Errors of a quorum have a class of their own; on a cluster a timeout is not an error of size."""
    expected = ERRORS[code][0 if cluster else 1]
    client = RecordingClient(error=ServerException("DB::Exception: it failed", code))

    with pytest.raises(SinkError) as raised:
        sink(client, cluster).insert(BLOCK)

    assert type(raised.value) is expected


def test_errors_of_quorum_and_size_are_unrelated() -> None:
    """Neither class is a subclass of the other, so that a handler of one does not catch both."""
    assert not issubclass(QuorumError, TooLargeError)
    assert not issubclass(TooLargeError, QuorumError)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Query memory limit exceeded: would use 1.00 GiB, maximum: 190.73 MiB", 241),
        ("Memory limit (for query) exceeded: would use 1.00 GiB", 241),
        ("(total) memory limit exceeded: would use 1.00 GiB", 0),
        ("Memory limit (total) exceeded: would use 1.00 GiB", 0),
        ("User memory limit exceeded: would use 1.00 GiB", 0),
        ("Memory limit (for user) exceeded: would use 1.00 GiB", 0),
    ],
)
def test_only_the_limit_of_a_query_has_a_code(words: str, code: int) -> None:
    """A memory limit of the user or the server has no code, because other queries may have used up the memory."""
    error = error_of(241, f"ServerException: Code: 241.\nDB::Exception: {words}", is_cluster=False)

    assert isinstance(error, TooLargeError)
    assert error.code == code
