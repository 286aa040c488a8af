"""How the audit finds replicas that have not caught up, whose rows it cannot count."""

from __future__ import annotations

from typing import Any, cast

import pytest
from clickhouse_driver.errors import ServerException

from db.clickhouse.client import ClickHouse, RefusedError
from db.clickhouse.replicas import unsettled

NOW = 1_790_000_000
Row = tuple[str, str, int, int, int, int]


class Replicas:
    """Returns rows of system.replicas, one list for each query; the last list is repeated."""

    def __init__(self, *answers: list[Row] | Exception, servers: int = 2, answering: int = 2) -> None:
        self.answers = list(answers)
        self.servers = servers
        self.answering = answering
        self.queries: list[str] = []

    def rows(self, query: str, _values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        if "now()" in query:
            return [(NOW,)]
        if "host_name" in query:
            return [(f"clickhouse-1-{number}:9000",) for number in range(1, self.servers + 1)]
        if "system.clusters" in query:
            return [(self.servers,)]
        if "system.one" in query:
            return [(number, f"clickhouse-1-{number}") for number in range(1, self.answering + 1)]
        self.queries.append(query)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def table(server: str, name: str, **what: int) -> Row:
    state = {"readonly": 0, "waiting": 0, "oldest": 0, "behind": 0} | what
    return (server, name, state["readonly"], state["waiting"], state["oldest"], state["behind"])


def both(**what: int) -> list[Row]:
    """Return the tables of two servers; the last table has the given state."""
    names = [
        (server, name) for server in ("clickhouse-1-1", "clickhouse-1-2") for name in ("events", "rejected_events")
    ]
    last_server, last_name = names[-1]
    return [table(server, name) for server, name in names[:-1]] + [table(last_server, last_name, **what)]


def problems(replicas: Replicas, seconds_max: float = 0.0) -> list[str]:
    return unsettled(cast("ClickHouse", replicas), "ugc", seconds_max, sleep=lambda _seconds: None)


def test_settled() -> None:
    """Replicas that have all rows, or lack only rows stored later, have no problem."""
    assert problems(Replicas(both())) == []
    assert problems(Replicas(both(waiting=3, oldest=NOW + 1))) == []


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"waiting": 2, "oldest": NOW}, "rejected_events on clickhouse-1-2 has not fetched 2 blocks"),
        ({"waiting": 1, "oldest": NOW - 3_600}, "has not fetched 1 blocks"),
        ({"readonly": 1}, "rejected_events on clickhouse-1-2 is read-only"),
        ({"behind": 1}, "has not read the whole log"),
    ],
)
def test_behind(what: dict[str, int], reason: str) -> None:
    """A replica that lacks blocks, has lost Keeper or has not read its log is reported."""
    (problem,) = problems(Replicas(both(**what)))

    assert reason in problem


def test_absent() -> None:
    """A server that does not answer is named, and one that does not have the tables is reported."""
    refused = RefusedError(ServerException("All connection tries failed", 279))

    assert problems(Replicas(refused, answering=1)) == ["clickhouse-1-2:9000 of the cluster does not answer"]
    # It has come back between the two queries.
    assert problems(Replicas(refused)) == ["a server of the cluster does not answer"]
    assert problems(Replicas(both()[:3])) == ["1 tables are missing on servers"]


def test_other_errors_are_errors() -> None:
    """Any other error of ClickHouse is raised."""
    with pytest.raises(RefusedError):
        problems(Replicas(RefusedError(ServerException("Not enough privileges", 497))))


def test_retries() -> None:
    """Under load a replica lacks blocks for moments: the query is repeated."""
    replicas = Replicas(both(waiting=1, oldest=NOW), both(behind=1), both())

    assert problems(replicas, seconds_max=60) == []
    assert len(replicas.queries) == 3


def test_no_server_is_skipped() -> None:
    """The query fails rather than skip a server."""
    replicas = Replicas(both())
    problems(replicas)

    assert "clusterAllReplicas('ugc', system.replicas)" in replicas.queries[0]
    assert "skip_unavailable_shards = 0" in replicas.queries[0]
