"""The etl's health check: it passes while the loop turns, with stores or without, and fails when it hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from local.processes.program import free_port, running
from tests.support.processes.system import Deployment, await_equal

RUN_SECONDS_MAX = 60


def test_alive(tmp_path: Path) -> None:
    """A real etl is well although no store answers; one that does nothing at all is not."""
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
