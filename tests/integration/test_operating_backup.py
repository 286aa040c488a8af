"""Backing up and restoring as docs/operating/backup.md has it, on real servers and under load."""

from __future__ import annotations

import contextlib
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ugc.v1.event_pb2 import Event

from common.threads import in_thread
from db.clickhouse.client import connected
from local.settings import ROOT
from tests.support.documents.pages import commands
from tests.support.inputs.events import numbered
from tests.support.processes.operated import Operated, operated
from tests.support.processes.system import await_equal, ingest_stub, send_until_accepted

PAGE = ROOT / "docs" / "operating" / "backup.md"
CONFIGURATION = re.compile(r"^```xml\n(.*?)^```", re.DOTALL | re.MULTILINE)
BATCH = 500
# Events of the load that runs beside the backup have numbers from here on.
LOAD_FROM, LOAD_SECONDS_MAX = 1_000_000, 60


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Operated]:
    """Run the system, with the documented configuration for backups."""
    (configuration,) = CONFIGURATION.findall(PAGE.read_text(encoding="utf-8"))
    with operated(tmp_path, configuration) as started:
        yield started


def follow(system: Operated, scenario: str) -> str:
    """Run the steps of a scenario in the order of the page."""
    steps = [each.text for each in commands(PAGE) if each.scenario == scenario]
    assert steps
    return "".join(map(system.shell, steps))


def send(system: Operated, events: Sequence[Event]) -> None:
    with ingest_stub(system.deployment.ingest_address) as stub:
        for first in range(0, len(events), BATCH):
            send_until_accepted(stub, events[first : first + BATCH])


@contextlib.contextmanager
def load(system: Operated) -> Iterator[list[Event]]:
    """Send events in another thread until the block ends; the list has those that were accepted."""
    accepted: list[Event] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            batch = [numbered(LOAD_FROM + len(accepted) + number) for number in range(BATCH // 10)]
            send(system, batch)
            accepted.extend(batch)

    running = in_thread(run)
    try:
        yield accepted
    finally:
        ended.set()
        running.result(LOAD_SECONDS_MAX)


def stored(system: Operated) -> dict[uuid.UUID, int]:
    """Return how many rows each event has."""
    with connected(system.deployment.database) as tables:
        return dict(tables.rows("SELECT event_id, count() FROM events GROUP BY event_id"))


def await_stored(system: Operated, events: int) -> None:
    await_equal(lambda: len(stored(system)), events)


def test_restore_loses_and_doubles_nothing(system: Operated) -> None:
    """After backup, more load, the loss of all tables and the documented restore, every event is one row.

    Events are sent while the backup is made and after it, and repeats of events cross the backup and the loss. The
    restored table lacks rows in its middle, and the group is rewound as documented; before, the audit finds a breach.
    """
    before, after, late = ([numbered(number) for number in range(first, first + 2_000)] for first in (0, 4_000, 6_000))
    system.start_etl()
    send(system, before)
    await_stored(system, 2_000)
    with load(system) as during:
        follow(system, "back up")
        send(system, before[:200] + after)
    await_stored(system, 4_000 + len(during))

    system.stop_etl()
    with connected(system.deployment.database) as tables:
        tables.rows("DROP TABLE events SYNC")
        tables.rows("TRUNCATE TABLE rejected_events")
    send(system, after[:200] + late)
    follow(system, "restore")
    with connected(system.deployment.database) as tables:
        tables.rows("ALTER TABLE events DELETE WHERE kafka_offset BETWEEN 40 AND 60 SETTINGS mutations_sync = 2")
    found = system.shell(".venv/bin/ugc-audit", is_checked=False)
    assert set(re.findall(r"BREACH topic .*: [\d,]+ (.*?): ", found)) == {"missing"}

    rewound = follow(system, "rewind")
    follow(system, "bring up to date")
    system.start_etl()

    assert re.findall(r"(dry run: would rewind|rewound) 6 partitions", rewound) == ["dry run: would rewind", "rewound"]
    assert "clean: every consumed message is one row of events or rejected_events; lag 0" in follow(system, "check")
    everything = [*before, *during, *after, *late]
    assert len(during) > 0
    assert stored(system) == {uuid.UUID(event.event_id): 1 for event in everything}
    with connected(system.deployment.database) as tables:
        assert tables.rows("SELECT reason, count() FROM rejected_events GROUP BY reason") == [("duplicate", 400)]
    assert "nothing to rewind" in system.shell(".venv/bin/ugc-rewind --to-table")


def test_restore_without_offsets(system: Operated) -> None:
    """An etl that goes on after a restore without the offsets leaves a gap, and the audit reports its exact size.

    Set back later, to the offsets that were written down before the backup, the gap is filled; but an event of it that
    was sent again meanwhile is stored twice, and reported.
    """
    events = [numbered(number) for number in range(1_700)]
    system.start_etl()
    send(system, events[:1_000])
    await_stored(system, 1_000)
    follow(system, "back up")
    send(system, events[1_000:])
    await_stored(system, 1_700)
    follow(system, "check")

    system.stop_etl()
    with connected(system.deployment.database) as tables:
        tables.rows("DROP DATABASE ugc SYNC")
        tables.rows("RESTORE DATABASE ugc FROM File('ugc-1')")
    system.start_etl()
    send(system, events[-1:])
    found = system.shell(".venv/bin/ugc-audit --wait 60", is_checked=False)
    assert sum(int(count) for count in re.findall(r"BREACH topic .*: (\d+) missing", found)) == 700

    system.stop_etl()
    follow(system, "rewind to the file")
    system.start_etl()
    found = system.shell(".venv/bin/ugc-audit --wait 60", is_checked=False)

    assert re.findall(r"BREACH topic .*: (1 repeated event_id)", found) == ["1 repeated event_id"]
    assert found.count("BREACH topic") == 1
    assert stored(system) == {uuid.UUID(event.event_id): 1 for event in events[:-1]} | {
        uuid.UUID(events[-1].event_id): 2
    }
