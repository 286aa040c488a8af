"""How `ugc-migrate` names the servers that do not take part in a statement for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from db.clickhouse.client import ClickHouse
from db.clickhouse.servers import (
    DDL_SECONDS_MAX,
    AbsentServersError,
    absent_servers,
    require_servers,
    run_on_servers,
)

HOSTS = ["clickhouse-1-1:9000", "clickhouse-1-2:9000", "clickhouse-2-1:9000"]
STATEMENT = "-- Why.\nCREATE VIEW a ON CLUSTER 'ugc'\nAS SELECT 1"


class Server:
    """A server of a cluster of which some answer, by their numbers; statements end with the given states."""

    def __init__(self, answering: tuple[int, ...] = (), states: tuple[int | None, ...] = ()) -> None:
        self.answering = answering
        self.states = states
        self.settings: Mapping[str, object] = {}

    def rows(
        self, query: str, _values: object = None, settings: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        if "system.clusters" in query:
            return [(host,) for host in HOSTS]
        if "system.one" in query:
            assert "skip_unavailable_shards = 1" in query
            return [(number, HOSTS[number - 1].partition(":")[0]) for number in self.answering]
        self.settings = settings or {}
        return [(*HOSTS[number].split(":"), state, "", 0, 0) for number, state in enumerate(self.states)]


def made(**what: Any) -> ClickHouse:
    return cast("ClickHouse", Server(**what))


def test_servers_that_do_not_answer() -> None:
    """A server is named by its host and port in the cluster's configuration, wherever it is in it."""
    assert absent_servers(made(answering=(3, 1)), "ugc") == ["clickhouse-1-2:9000"]
    assert absent_servers(made(answering=(2,)), "ugc") == ["clickhouse-1-1:9000", "clickhouse-2-1:9000"]
    assert absent_servers(made(answering=(1, 2, 3)), "ugc") == []


def test_all_must_answer() -> None:
    """The error names those that do not, and that nothing was changed."""
    require_servers(made(answering=(1, 2, 3)), "ugc")
    with pytest.raises(AbsentServersError, match=r"^clickhouse-1-2:9000 of the cluster .* nothing was changed"):
        require_servers(made(answering=(1, 3)), "ugc")


def test_servers_that_have_not_run_a_statement() -> None:
    """A statement waits for a limited time; its error names the servers and the statement in one line."""
    server = Server(states=(0, None, 0))
    with pytest.raises(AbsentServersError, match=r"^clickhouse-1-2:9000 has not run") as failed:
        run_on_servers(cast("ClickHouse", server), STATEMENT)

    assert "(CREATE VIEW a ON CLUSTER 'ugc')" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert server.settings["distributed_ddl_task_timeout"] == DDL_SECONDS_MAX
    run_on_servers(made(states=(0, 0, 0)), STATEMENT)
    # A single server answers a CREATE with nothing.
    run_on_servers(made(), STATEMENT)
