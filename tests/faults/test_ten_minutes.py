"""`ugc-up` as `make up` runs it, under load, with kill -9 of random processes at random times for ten minutes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from db.audit import audit
from db.clickhouse.client import connected
from db.errors import StoreError
from db.report import Report
from db.settings import AuditSettings
from local.processes.supervisor import DEATHS_MAX, DEATHS_WINDOW_SECONDS
from local.settings import ROOT
from tests.support.faults.oracle import judge, stored_events
from tests.support.faults.results import judged, record
from tests.support.load.ledger import read_ledger
from tests.support.processes.system import await_equal
from tests.support.processes.up import Up, await_output, parts

SEED = 20_261_124
MINUTES = float(os.environ.get("FAULT_MINUTES") or 10)
PER_SECOND = 1_000
PAUSE_SECONDS = (3.0, 9.0)
# The supervisor gives up after DEATHS_MAX deaths of one process; ingest may also exit by itself without Kafka.
KILLS_MAX = DEATHS_MAX - 2
LOAD_SECONDS_MAX = 300.0
LOADED_SECONDS_MAX = 180.0


class Killer:
    """Kills random processes, but none so often that the supervisor gives up."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._kills: dict[str, deque[float]] = {}
        self.count = 0

    def kill(self, running: dict[str, int]) -> None:
        """Kill one of the running processes."""
        now = time.monotonic()
        spared = {
            name
            for name, kills in self._kills.items()
            if len(kills) == KILLS_MAX and now - kills[0] <= DEATHS_WINDOW_SECONDS
        }
        name = self._chance.choice(sorted(running.keys() - spared))
        self._kills.setdefault(name, deque(maxlen=KILLS_MAX)).append(now)
        os.kill(running[name], signal.SIGKILL)
        self.count += 1


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
def test_ten_minutes(tmp_path: Path) -> None:
    """No acknowledged event is lost, and none is stored twice, whatever is killed."""
    chance = random.Random(SEED)
    up, ledger, killer = Up(tmp_path), tmp_path / "ledger.jsonl", Killer(chance)
    begin = time.monotonic()
    with up.started() as process:
        await_output(up, "everything is up")
        with connected(up.database) as tables:
            # The two events that `ugc-up` sends to check the pipeline.
            before = stored_events(tables)
            with subprocess.Popen(load(up, ledger), cwd=ROOT) as sender:
                while time.monotonic() < begin + MINUTES * 60:
                    time.sleep(chance.uniform(*PAUSE_SECONDS))
                    assert sender.poll() is None, "the load has ended too early"
                    assert process.poll() is None, up.output[-2_000:]
                    killer.kill(parts(process))
                sender.send_signal(signal.SIGTERM)
                assert sender.wait(LOAD_SECONDS_MAX) == 0
            await_equal(lambda: lag(up), 0, LOADED_SECONDS_MAX)
            breaches = [str(breach) for breach in report(up).breaches]
            verdict = judge(read_ledger(ledger), stored_events(tables) - before, breaches)
    record("random parts killed for ten minutes", SEED, time.monotonic() - begin, judged(verdict))
    assert verdict.clean, str(verdict)
    assert killer.count > MINUTES * 60 / PAUSE_SECONDS[1] / 2
    assert verdict.acknowledged > 0


def load(up: Up, ledger: Path) -> list[str]:
    """Return the command of the load generator."""
    seconds = MINUTES * 60 + LOAD_SECONDS_MAX
    options = {
        "ingest": up.ingest,
        "gateway": f"http://127.0.0.1:{up.ports['UGC_GATEWAY_LISTEN']}",
        "ledger": ledger,
        "seed": SEED,
        "events": int(seconds * PER_SECOND),
        "per-second": PER_SECOND,
        "seconds-max": seconds,
    }
    return [
        sys.executable,
        "-m",
        "tests.support.load.generator",
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def report(up: Up) -> Report:
    """Return the audit of the servers of `ugc-up`."""
    kafka = f"127.0.0.1:{up.ports['UGC_LOCAL_KAFKA_PORT']}"
    return audit(AuditSettings(kafka_bootstrap_servers=kafka, clickhouse_url=up.database))


def lag(up: Up) -> int | str:
    """Return the lag; the error's text while a server restarts."""
    try:
        return report(up).lag
    except StoreError as error:
        return str(error)
