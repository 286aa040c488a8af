"""Under load, Kafka and ClickHouse are killed, restarted and frozen, and the topic is recreated."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.faults.results import IS_QUICK
from tests.support.faults.run import faulty
from tests.support.processes.server_stack import ServerStack

# Half a minute, and less in the quick subset.
FROZEN_SECONDS = 6.0 if IS_QUICK else 30.0
# In every other run the etl times out before ClickHouse continues, and then finds its own insert stored.
SHORT_TIMEOUT = {"UGC_ETL_ANSWER_SECONDS_MAX": "3"}


def test_kafka_killed(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9 of the broker, which is restarted after up to 2 s."""
    with faulty(stack, tmp_path, "kafka killed", seed) as run:
        run.etl()
        run.etl()
        run.load()
        run.await_progress()
        stack.kafka.kill()
        time.sleep(run.chance.uniform(0, 2))
        stack.kafka.start()


def test_clickhouse_killed_idle(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9 of ClickHouse when everything is loaded; then more events are sent."""
    with faulty(stack, tmp_path, "clickhouse killed idle", seed) as run:
        run.etl()
        run.load(events=2_000)
        run.await_loaded()
        stack.clickhouse.kill()
        time.sleep(run.chance.uniform(0, 1))
        stack.clickhouse.start()
        run.load(events=2_000)
        run.await_load()


def test_clickhouse_killed_under_insert(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """Kill -9 of ClickHouse, twice, while inserts run without a pause."""
    busy = {"UGC_ETL_FLUSH_SECONDS": "0.02", "UGC_ETL_FLUSH_ROWS": "50"}
    with faulty(stack, tmp_path, "clickhouse killed under insert", seed, busy) as run:
        run.etl()
        run.etl()
        run.load()
        for _ in range(2):
            run.await_progress()
            time.sleep(run.chance.uniform(0, 0.2))
            stack.clickhouse.kill()
            time.sleep(run.chance.uniform(0, 1))
            stack.clickhouse.start()


def test_clickhouse_frozen(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """SIGSTOP of ClickHouse under load; its connections stay open, and it executes what was sent after SIGCONT."""
    with faulty(stack, tmp_path, "clickhouse frozen", seed, SHORT_TIMEOUT if seed % 2 == 0 else {}) as run:
        run.etl()
        run.etl()
        run.load()
        run.await_progress()
        stack.clickhouse.freeze()
        time.sleep(FROZEN_SECONDS)
        stack.clickhouse.thaw()


@pytest.mark.parametrize("when", ["under load", pytest.param("when all is loaded", marks=pytest.mark.thorough)])
def test_topic_recreated(stack: ServerStack, tmp_path: Path, when: str, seed: int) -> None:
    """The topic is deleted and created again: its offsets start at 0, where rows of the old topic have theirs."""
    with faulty(stack, tmp_path, f"topic recreated {when}", seed) as run:
        run.etl()
        if when == "under load":
            run.load()
            run.await_progress()
            run.recreate_topic()
        else:
            run.load(events=2_000)
            run.await_loaded()
            run.recreate_topic()
            run.load(events=2_000)
            run.await_load()
