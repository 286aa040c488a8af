"""`ugc-up` with the user's own Kafka and ClickHouse: they are used, and no local server is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from db.clickhouse.client import connected
from local.up.example import DOCUMENTED_EVENT
from tests.support.inputs.tokens import SECRET
from tests.support.processes.system import post
from tests.support.processes.up import Up, await_output

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
UP_SECONDS_MAX = 120


def elsewhere(kafka: str, topic: str, url: str) -> dict[str, str]:
    """Return the settings of a user who has both servers."""
    return {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "UGC_KAFKA_TOPIC": topic,
        "UGC_KAFKA_PARTITIONS": "3",
        "UGC_CLICKHOUSE_URL": url,
        "UGC_ETL_GROUP": f"etl-{topic}",
    }


def test_servers_of_the_user(tmp_path: Path, kafka: str, clickhouse: str, topic: str) -> None:
    """With both servers set only the processes are started, and both rows are in the user's ClickHouse."""
    url = f"{clickhouse}/elsewhere"
    up = Up(tmp_path, elsewhere(kafka, topic, url))
    with up.started("--check") as process:
        assert process.wait(UP_SECONDS_MAX) == 0, up.output

    started = [line.split()[1] for line in up.output.splitlines() if line.startswith("starting ")]
    assert started == ["migrate", "etl", "ingest", "gateway"]
    with connected(url) as tables:
        assert tables.rows("SELECT count() FROM events") == [(2,)]


def test_tokens(tmp_path: Path, kafka: str, clickhouse: str, topic: str) -> None:
    """With a secret set both events are sent with a token, and so are those of the printed commands."""
    settings = {"UGC_INGEST_AUTH_SECRET": SECRET, "UGC_INGEST_AUTH_SUBJECT_IS_USER": "true"}
    up = Up(tmp_path, elsewhere(kafka, topic, f"{clickhouse}/tokens") | settings)
    with up.started():
        await_output(up, "Stop with Ctrl-C.")
        header = (tmp_path / "local" / "authorization").read_text()
        name, _, value = header.partition(": ")
        produce = f"http://{up.gateway}/api/v1/produce"
        assert post(produce, DOCUMENTED_EVENT.encode(), {name: value})[0] == 201
        assert post(produce, DOCUMENTED_EVENT.encode())[0] == 401

    assert "both are rows of ClickHouse" in up.output
    assert up.output.count('-H "$(cat ') == 2
    assert SECRET not in up.output
