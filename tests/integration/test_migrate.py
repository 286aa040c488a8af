"""`ugc-migrate` with an existing topic that differs, interrupted migrations, concurrent runs and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from local.processes.ports import free_port
from tests.conftest import PARTITIONS
from tests.support.processes.system import await_equal

RUN_SECONDS_MAX = 120
SETTINGS = {"UGC_KAFKA_PARTITIONS": "2", "UGC_KAFKA_RETENTION_HOURS": "1"}
TOPIC_SETTINGS = {"cleanup.policy": "delete", "retention.ms": "3600000"}
FILES = {
    "0001_a.sql": "CREATE TABLE a (x UInt8) ENGINE = MergeTree ORDER BY x;\nCREATE VIEW v AS SELECT x FROM a;\n",
    "0002_b.sql": "ALTER TABLE a ADD COLUMN IF NOT EXISTS y UInt8 COMMENT 'why';\n"
    "ALTER TABLE a ADD INDEX IF NOT EXISTS i y TYPE minmax, MODIFY COLUMN y UInt16;\n"
    "CREATE OR REPLACE VIEW v AS SELECT x, y FROM a;\n",
    "0003_c.sql": "ALTER TABLE a ADD COLUMN IF NOT EXISTS z UInt8, DROP INDEX IF EXISTS i;\nDROP VIEW IF EXISTS v;\n",
}
STATEMENTS = ("CREATE TABLE a", "CREATE VIEW", "CREATE OR", "ALTER", "DROP VIEW")
# The statements of the files, and the row of each file in the ledger.
STEPS = 7 + 3


def ugc_migrate(**settings: str) -> subprocess.Popen[str]:
    """Start `ugc-migrate`."""
    return subprocess.Popen(
        [sys.executable, "-m", "db.migrate"],
        env={**os.environ, **SETTINGS, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def make_topic(kafka: str, configuration: dict[str, str], partitions: int = 2) -> str:
    """Create a topic with other settings."""
    name = f"existing-{uuid.uuid4().hex}"
    wanted = NewTopic(name, partitions, 1, config=TOPIC_SETTINGS | configuration)
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([wanted])[name].result(RUN_SECONDS_MAX)
    return name


@pytest.mark.parametrize(
    ("configuration", "status", "shown"),
    [
        ({}, 0, ()),
        ({"cleanup.policy": "compact"}, 1, ("cleanup.policy is compact, should be delete",)),
        ({"cleanup.policy": "compact,delete"}, 1, ("cleanup.policy is compact,delete, should be delete",)),
        ({"unclean.leader.election.enable": "true"}, 1, ("unclean.leader.election.enable is true, should be false",)),
        ({"retention.ms": "60000"}, 0, ('"name": "retention.ms", "found": "60000", "wanted": "3600000"',)),
        ({"retention.bytes": "1000"}, 0, ('"name": "retention.bytes", "found": "1000", "wanted": "-1"',)),
        ({"max.message.bytes": "20000"}, 0, ('"name": "max.message.bytes", "found": "20000"',)),
        (
            {"cleanup.policy": "compact", "retention.ms": "60000"},
            1,
            ("cleanup.policy is compact", '"name": "retention.ms"'),
        ),
    ],
    ids=str,
)
def test_existing_topic(
    kafka: str, clickhouse: str, configuration: dict[str, str], status: int, shown: tuple[str, ...]
) -> None:
    """A topic that breaks the guarantee is an error, other differences are warnings; both values are logged."""
    topic = make_topic(kafka, configuration)
    url = f"{clickhouse}/test_{uuid.uuid4().hex}"
    run = ugc_migrate(UGC_KAFKA_BOOTSTRAP_SERVERS=kafka, UGC_KAFKA_TOPIC=topic, UGC_CLICKHOUSE_URL=url)
    log = run.communicate(timeout=RUN_SECONDS_MAX)[1]

    assert run.returncode == status
    assert [words for words in shown if words not in log] == []
    assert ("is not changed" in log) == any('"name"' in words for words in shown)
    assert ("kafka-configs.sh" in log) == bool(configuration)
    assert "Traceback" not in log


@pytest.mark.parametrize(("partitions", "status"), [(1, 1), (3, 0)])
def test_partitions(kafka: str, clickhouse: str, partitions: int, status: int) -> None:
    """With fewer or more partitions than configured, the log warns what adding partitions does to repeated events."""
    topic = make_topic(kafka, {}, partitions)
    url = f"{clickhouse}/test_{uuid.uuid4().hex}"
    run = ugc_migrate(UGC_KAFKA_BOOTSTRAP_SERVERS=kafka, UGC_KAFKA_TOPIC=topic, UGC_CLICKHOUSE_URL=url)
    log = run.communicate(timeout=RUN_SECONDS_MAX)[1]

    assert run.returncode == status
    assert "an event that is sent before and after the change is stored twice" in log
    assert "UGC_KAFKA_PARTITIONS" in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("absent", ["UGC_KAFKA_BOOTSTRAP_SERVERS", "UGC_CLICKHOUSE_URL"])
def test_interrupted(tmp_path: Path, kafka: str, topic: str, absent: str, number: signal.Signals) -> None:
    """While it waits for a store, a stop signal ends it with one line and the status 128 plus its number."""
    away = f"127.0.0.1:{free_port()}"
    addresses = {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": away if "KAFKA" in absent else kafka,
        "UGC_CLICKHOUSE_URL": f"clickhouse://default@{away}/ugc",
        "UGC_KAFKA_TOPIC": topic,
        "UGC_KAFKA_PARTITIONS": str(PARTITIONS),
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "db.migrate"], env={**os.environ, **addresses}, stdout=output, stderr=output
        )
    await_equal(lambda: "failed, retrying" in log.read_text(), wanted=True)
    run.send_signal(number)

    assert run.wait(RUN_SECONDS_MAX) == 128 + number
    assert log.read_text().splitlines()[-1] == f"ugc-migrate: interrupted by {number.name}"
    assert "Traceback" not in log.read_text()


class KilledError(Exception):
    """Ends the run, as kill -9 would."""


@pytest.mark.parametrize("steps", range(STEPS))
def test_interrupted_anywhere(clickhouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """A run that is killed after any statement, or before any row of the ledger, is completed by the next run."""
    url = f"{clickhouse}/interrupted_{uuid.uuid4().hex}"
    write_files(tmp_path)
    done: list[str] = []

    def limit(method: str) -> None:
        original = getattr(ClickHouse, method)

        def run(self: ClickHouse, query: str, *rest: object, **settings: object) -> object:
            if method == "insert" or query.startswith(STATEMENTS):
                if len(done) == steps:
                    raise KilledError
                done.append(query)
            return original(self, query, *rest, **settings)

        monkeypatch.setattr(ClickHouse, method, run)

    with monkeypatch.context():
        limit("rows")
        limit("insert")
        with pytest.raises(KilledError):
            migrate(url, folder=tmp_path)
    monkeypatch.undo()
    assert len(done) == steps

    migrate(url, folder=tmp_path)
    assert is_complete(url)


def test_concurrent_runs(clickhouse: str, tmp_path: Path) -> None:
    """Concurrent runs that change the same tables all succeed."""
    write_files(tmp_path)
    for _round in range(5):
        url = f"{clickhouse}/concurrent_{uuid.uuid4().hex}"
        barrier = threading.Barrier(3)

        def run(url: str = url, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            migrate(url, folder=tmp_path)

        with ThreadPoolExecutor(3) as pool:
            for result in [pool.submit(run) for _ in range(3)]:
                result.result()
        assert is_complete(url)


def write_files(folder: Path) -> None:
    """Write the migrations of these tests."""
    for name, text in FILES.items():
        (folder / name).write_text(text)


def is_complete(url: str) -> bool:
    """Return whether the table is as the files define it, and each of them is in the ledger."""
    with connected(url) as database:
        columns = database.rows(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'a'"
        )
        ledger = database.rows("SELECT DISTINCT name FROM schema_migrations ORDER BY name")
    return columns == [("x", "UInt8"), ("y", "UInt16"), ("z", "UInt8")] and [name for (name,) in ledger] == list(FILES)
