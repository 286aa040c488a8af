"""`ugc-up` with servers that the user brings along: they are used, and no local one is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from db.clickhouse.client import connected
from tests.support.up import Up

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
UP_SECONDS_MAX = 120


def test_servers_of_the_user(tmp_path: Path, kafka: str, clickhouse: str, topic: str) -> None:
    """With both variables set nothing but our processes is started, and both rows are in the user's ClickHouse."""
    url = f"{clickhouse}/elsewhere"
    settings = {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "UGC_KAFKA_TOPIC": topic,
        "UGC_KAFKA_PARTITIONS": "3",
        "UGC_CLICKHOUSE_URL": url,
        "UGC_ETL_GROUP": f"etl-{topic}",
    }
    up = Up(tmp_path, settings)
    with up.started("--check") as process:
        assert process.wait(UP_SECONDS_MAX) == 0, up.said

    started = [line.split()[1].rstrip(",") for line in up.said.splitlines() if line.startswith("starting ")]
    assert started == ["migrate", "etl", "ingest", "gateway"]
    with connected(url) as tables:
        assert tables.rows("SELECT count() FROM events") == [(2,)]
