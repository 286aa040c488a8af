"""No insert of a former owner may begin any more: on every server that it may reach, by that server's own clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from clickhouse_driver.errors import NetworkError

from etl.clickhouse.client import InsertClient
from etl.clickhouse.server import ClickHouseServer
from etl.clickhouse.shard import Shard
from etl.clickhouse.sink import ClickHouseSink
from etl.errors import SinkError
from etl.placement import Placement
from etl.plan import Coordinates, Topic

# With two shards, that of partition 3 is the second one.
AT = Coordinates(Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "cluster"), 3, Placement(2, 100))


@dataclass
class Clock:
    """A client of a server that answers with its time, or not at all."""

    now: int | None

    def execute(self, _query: str, *_: Any, **_options: Any) -> list[tuple[int]]:
        if self.now is None:
            raise NetworkError("Connection refused")
        return [(self.now,)]

    def disconnect(self) -> None:
        """Nothing is connected."""


def sink(*clocks: tuple[int | None, ...]) -> ClickHouseSink:
    """Return the sink of shards, given the times of their servers."""
    servers = [
        [ClickHouseServer(cast("InsertClient", Clock(now)), 20, 2, name="a") for now in shard] for shard in clocks
    ]
    return ClickHouseSink([Shard(each, 2) for each in servers], "ugc")


def test_the_slowest_clock_counts() -> None:
    """An insert that one server refuses, because its deadline has passed there, another one may still accept."""
    assert sink((1, 1), (9_000, 7_000)).earliest_now(AT, 100) == 7_000
    assert sink((1, 1), (7_000, 9_000)).earliest_now(AT, 100) == 7_000


def test_of_every_shard_for_earlier_rows() -> None:
    """An insert of offsets before the recorded one may have gone to any shard."""
    assert sink((9_000, 5_000), (8_000, 8_000)).earliest_now(AT, 99) == 5_000


def test_a_clock_that_is_not_known() -> None:
    """A server that does not answer may accept an insert when it is back."""
    with pytest.raises(SinkError, match="refused"):
        sink((1, 1), (9_000, None)).earliest_now(AT, 100)
