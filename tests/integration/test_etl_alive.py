"""The etl's liveness check succeeds while its loop runs, also without servers, and fails when it hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from db.clickhouse.client import connected
from db.clickhouse.schema import migrate
from db.kafka.topics import provision
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, running
from tests.conftest import LAYOUT
from tests.support.inputs.events import documented, record
from tests.support.processes.loading import write
from tests.support.processes.system import Deployment, await_equal

RUN_SECONDS_MAX = 60
EXIT_SECONDS_MAX = 120
# The timeouts of a call to ClickHouse and of the loop: 7 s without progress end the process.
IMPATIENT = {
    "UGC_ETL_ALIVE_SECONDS_MAX": "5",
    "UGC_ETL_CONNECT_SECONDS_MAX": "1",
    "UGC_ETL_INSERT_SECONDS_MAX": "1",
    "UGC_ETL_ANSWER_SECONDS_MAX": "1",
}


def test_alive(tmp_path: Path) -> None:
    """A real etl is alive although no server answers; a frozen one is not."""
    away = f"127.0.0.1:{free_port()}"
    settings = {"UGC_ETL_ALIVE_FILE": str(tmp_path / "alive"), "UGC_ETL_ALIVE_SECONDS_MAX": "5"}
    deployment = Deployment(tmp_path, away, "topic", f"clickhouse://default@{away}/ugc", settings)

    def check() -> int:
        environment = {**os.environ, **settings}
        return subprocess.run(
            [sys.executable, "-m", "etl.alive"],
            env=environment,
            timeout=RUN_SECONDS_MAX,
            check=False,
            capture_output=True,
        ).returncode

    assert check() == 1
    with running(deployment.etl()) as child:
        await_equal(check, 0)
        child.process.send_signal(signal.SIGSTOP)
        await_equal(check, 1)
        child.process.send_signal(signal.SIGCONT)
        await_equal(check, 0)


def test_stop_while_kafka_is_frozen(tmp_path: Path, clickhouse: str) -> None:
    """SIGTERM ends the etl although Kafka does not answer the last commit: status 1, with the threads' stacks."""
    database = f"{clickhouse}/frozen_kafka"
    migrate(database)
    broker, port = tmp_path / "kafka", free_port()
    with running(kafka_program(broker, port, free_port(), java_options=[QUICK])) as kafka:
        deployment = Deployment(tmp_path, f"127.0.0.1:{port}", "frozen", database, IMPATIENT)
        provision(deployment.kafka, deployment.topic, LAYOUT)
        etl = Child(deployment.etl())
        try:
            etl.await_ready()
            write(deployment, [record(documented())])
            with connected(database) as tables:
                await_equal(lambda: tables.rows("SELECT count() FROM events"), [(1,)])
            kafka.process.send_signal(signal.SIGSTOP)
            etl.process.send_signal(signal.SIGTERM)
            status = etl.process.wait(EXIT_SECONDS_MAX)
        finally:
            kafka.process.send_signal(signal.SIGCONT)
            etl.kill()

    assert status == 1
    assert "Timeout (0:00:07)!" in deployment.log("etl")
