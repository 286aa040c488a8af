"""Faults of `ugc-up`: a process killed, itself killed, Ctrl-C, busy ports, a process that keeps dying.

A client sends batches all the while and keeps what was acknowledged; every acknowledged event must be a row.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from db.clickhouse.client import connected
from db.errors import UnavailableError
from tests.support.inputs.events import numbered
from tests.support.processes.system import await_equal, ingest_stub, send_until_accepted
from tests.support.processes.up import PARTS, Up, alive, await_output, descendants, parts

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
BATCH = 200
PAUSE_SECONDS = 0.05
SEED = 20_261_123


class LoadGenerator:
    """Sends batches until it is stopped; `acknowledged` are the ids of the events that the server acknowledged."""

    def __init__(self, address: str) -> None:
        self.acknowledged: set[str] = set()
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failure: BaseException | None = None

    def __enter__(self) -> LoadGenerator:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        try:
            with ingest_stub(self._address) as stub:
                number = 0
                while not self._stop.wait(PAUSE_SECONDS):
                    events = [numbered(number + n) for n in range(BATCH)]
                    send_until_accepted(stub, events)
                    self.acknowledged.update(event.event_id for event in events)
                    number += BATCH
        except BaseException as error:  # noqa: BLE001 -- raised again on the test's thread
            self._failure = error

    def await_progress(self) -> None:
        """Wait until two more batches are acknowledged, of which one at least was sent after this call."""
        before = len(self.acknowledged)
        await_equal(lambda: len(self.acknowledged) >= before + 2 * BATCH, wanted=True)


def stored(database: str) -> set[str]:
    """Return the event_ids of all rows; none while ClickHouse, which may be the process killed last, is starting."""
    try:
        with connected(database) as tables:
            return {str(identity) for (identity,) in tables.rows("SELECT DISTINCT event_id FROM events")}
    except UnavailableError:
        return set()


def test_every_process_killed(tmp_path: Path) -> None:
    """Kill -9 of each process under load, twice, in a seeded order: all recover, and no acknowledged event is lost.

    Then Ctrl-C: everything ends, no process and no port is left.
    """
    up = Up(tmp_path)
    chance = random.Random(SEED)
    with up.started() as process:
        await_output(up, "everything is up")
        with LoadGenerator(up.ingest) as load:
            load.await_progress()
            for name in chance.sample(sorted(PARTS), len(PARTS)):
                os.kill(parts(process)[name], signal.SIGKILL)
                await_output(up, f"{name} was killed by SIGKILL; started again")
                load.await_progress()
        await_equal(lambda: len(load.acknowledged - stored(up.database)), 0)

        family = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert (alive(family), up.open_ports()) == ([], [])


def test_killed_itself(tmp_path: Path) -> None:
    """After kill -9 of `ugc-up`, its children are gone and their ports are free."""
    up = Up(tmp_path)
    with up.started() as process:
        await_output(up, "everything is up")
        family = descendants(process.pid)
        assert len(parts(process)) == len(PARTS)
        process.kill()
        process.wait()

        # The kernel kills them a moment after their parent.
        await_equal(lambda: (alive(family), up.open_ports()), ([], []), seconds_max=10)


def test_check(tmp_path: Path) -> None:
    """`--check` prints both rows, exits with 0 and leaves no process; a second run finds the data of the first."""
    up = Up(tmp_path)
    for runs in (1, 2):
        with up.started("--check") as process:
            assert process.wait(120) == 0
        assert up.output.count("both are rows of ClickHouse") == runs
        assert up.open_ports() == []


def test_stopped_while_starting(tmp_path: Path) -> None:
    """A stop signal during the start stops everything at once."""
    up = Up(tmp_path)
    with up.started() as process:
        await_output(up, "starting clickhouse")
        time.sleep(0.5)
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
        assert alive(family) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_check_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """A check that is stopped before both rows are stored has not succeeded: its exit status is the signal's."""
    up = Up(tmp_path)
    with up.started("--check") as process:
        await_output(up, "starting clickhouse")
        process.send_signal(number)

        assert process.wait(60) == 128 + number
    assert "Traceback" not in up.output


def test_busy_port(tmp_path: Path) -> None:
    """A port that another process holds is one line, which names the process and the setting; nothing is started."""
    up = Up(tmp_path)
    with socket.create_server(("127.0.0.1", up.ports["UGC_LOCAL_KAFKA_PORT"])), up.started() as process:
        assert process.wait(60) == 1

    (line,) = up.output.splitlines()
    assert f"held by process {os.getpid()} (" in line
    assert "UGC_LOCAL_KAFKA_PORT" in line


def test_a_process_that_keeps_dying(tmp_path: Path) -> None:
    """If a child dies five times in a minute, everything stops, with the reason from its log."""
    up = Up(tmp_path, settings={"UGC_ETL_FLUSH_ROWS": "none"})
    with up.started() as process:
        assert process.wait(120) == 1

    assert "etl died 5 times within 60 s" in up.output
    assert "bad setting UGC_ETL_FLUSH_ROWS" in up.output
    assert up.open_ports() == []
