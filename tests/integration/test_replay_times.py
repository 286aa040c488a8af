"""`ugc-replay`: the times that it selects, the counts of other messages, and that an interruption loses no claim."""

from __future__ import annotations

import os
import signal

import pytest

from common.lifecycle import interruptible
from db.clickhouse.client import ClickHouse
from db.clickhouse.replayed import Selection
from db.commands import REPLAY, moment
from db.kafka.replayer import Replayer
from db.replay import BATCH_EVENTS, main, milliseconds, replay
from db.settings import ReplaySettings
from tests.integration.test_replay import on_topic, reject, settings

__all__ = ["settings"]
# Hours from November 2023: 1969 (-1 ms, the timestamp of a message without one), 2023, 2080.
HOURS = (-472_223, 0, 492_000)


def reject_at_each_time(tables: ClickHouse) -> None:
    """Store one rejected message at each time."""
    for hour in HOURS:
        reject(tables, [str(hour).encode()], hour=hour)


def test_without_dates(
    settings: ReplaySettings, tables: ClickHouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without dates the whole past is selected, also before 1970; messages with a future timestamp are only counted."""
    reject_at_each_time(tables)
    for name, value in settings:
        if value is not None:
            monkeypatch.setenv(f"UGC_{name.upper()}", str(value))
    with pytest.raises(SystemExit) as ended:
        main(REPLAY.parser().parse_args(["--reason", "refused"]))
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    covered, counts = shown.out.splitlines()

    assert "outside of that: 1 (earlier: 0, later: 1)" in covered
    assert counts.startswith("chosen 2, sent 2,")


@pytest.mark.parametrize(
    ("since", "until", "counts"),
    [
        ("1900-01-01", "2299-12-31", (3, 0, 0)),
        ("1970-01-01", "2299-12-31", (2, 1, 0)),
        ("2020-01-01", "2030-01-01", (1, 1, 1)),
        ("2024-01-01", "2025-01-01", (0, 2, 1)),
    ],
)
def test_outside_of_the_times(
    settings: ReplaySettings, tables: ClickHouse, since: str, until: str, counts: tuple[int, int, int]
) -> None:
    """With dates, earlier and later messages of the same reason are counted."""
    reject_at_each_time(tables)
    reject(tables, [b"x"], "undecodable")
    selection = Selection("refused", milliseconds(moment(since)), milliseconds(moment(until)))
    outcome = replay(settings, selection, dry_run=True)

    assert (outcome.chosen, outcome.before, outcome.after) == counts


def test_interrupted(settings: ReplaySettings, tables: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal during a batch ends the run after the batch: every claimed message has been sent."""
    reject(tables, [str(number).encode() for number in range(2 * BATCH_EVENTS)])
    send = Replayer.send

    def interrupted(replayer: Replayer, messages: list[tuple[bytes | None, bytes]]) -> dict[int, str]:
        os.kill(os.getpid(), signal.SIGINT)
        return send(replayer, messages)

    monkeypatch.setattr(Replayer, "send", interrupted)
    with pytest.raises(SystemExit) as ended, interruptible("ugc-replay") as interruption:
        replay(settings, Selection("refused", 0, 2**41), uninterrupted=interruption.deferred)

    assert ended.value.code == 128 + signal.SIGINT
    assert tables.rows("SELECT count() FROM replayed_events") == [(BATCH_EVENTS,)]
    assert sum(on_topic(settings).values()) == BATCH_EVENTS
