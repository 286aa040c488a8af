"""The one management listener of a server with several workers, with real processes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from local.processes.ports import free_port
from local.processes.program import running
from tests.support.processes.management import Samples, page, scrape
from tests.support.processes.system import Deployment, await_equal
from tests.support.processes.workers import serving, workers

MODULES = {"ingest": "services.ingest", "gateway": "gateway"}
ALL = [1, 2]


def seen(found: Samples) -> set[str]:
    """Return the processes whose metrics were found."""
    return {dict(labels)["worker"] for _, labels in found}


@pytest.mark.parametrize("name", MODULES)
def test_workers(tmp_path: Path, name: str) -> None:
    """The listener has the metrics of all workers, also while one hangs, and those of the one that replaces it."""
    away, address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        f"UGC_{name.upper()}_WORKERS": "2",
        f"UGC_{name.upper()}_MANAGEMENT_LISTEN": address,
        "UGC_GATEWAY_DRAIN_SECONDS": "0.1",
    }
    deployment = Deployment(tmp_path, away, "topic", f"clickhouse://default@{away}/ugc", settings)
    program = deployment.program(name, MODULES[name], lambda: sorted(serving(deployment.log(name))) == ALL)
    with running(replace(program, listens={})) as parent:
        await_equal(lambda: seen(scrape(address)), {"parent", "1", "2"})
        assert page(address, "/livez") == (200, "ok\n")
        # Neither Kafka nor ingest is there.
        await_equal(lambda: page(address, "/readyz")[0], 503)
        before = workers(parent.process.pid)
        os.kill(before[2], signal.SIGSTOP)
        assert seen(scrape(address)) == {"parent", "1"}
        assert "worker 2: does not answer\n" in page(address, "/readyz")[1]
        os.kill(before[2], signal.SIGKILL)
        await_equal(lambda: seen(scrape(address)), {"parent", "1", "2"})
        assert workers(parent.process.pid)[2] != before[2]
