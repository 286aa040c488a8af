"""OutageLog logs the start of an outage, each new cause, a reminder per minute, and its end; nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from common import logs
from common.outage_log import CAUSES_MAX, REMINDER_SECONDS, OutageLog
from etl.errors import DataRefusedError, SinkError


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def own_logs() -> Any:
    """Create the logger of this test while lines are captured."""
    logs.logger.cache_clear()
    yield
    logs.logger.cache_clear()
    structlog.reset_defaults()


def outage_of(errors: list[tuple[float, BaseException]]) -> list[dict[str, Any]]:
    """Report failures at these times, and return the log lines."""
    clock = Clock()
    with capture_logs() as lines:
        outage = OutageLog("storing events", clock)
        for clock.seconds, error in errors:
            outage.failed(error)
    return list(map(dict, lines))


def code(number: int, text: str) -> SinkError:
    return SinkError(f"ServerException: Code: {number}.\nDB::Exception: {text}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (code(159, "Timeout exceeded: elapsed 20235 ms"), code(286, "Quorum for previous write not satisfied")),
        (code(159, "same words"), code(286, "same words")),
        (SinkError("the server is gone"), OSError("the server is gone")),
        (SinkError("connection refused"), SinkError("read timed out")),
        (DataRefusedError(6, "refused"), DataRefusedError(117, "refused")),
    ],
)
def test_a_new_cause_is_a_new_line(first: BaseException, second: BaseException) -> None:
    """A change of the error's class, code or text is logged, with the length of the outage."""
    lines = outage_of([(0.0, first), (1.0, first), (5.0, second), (6.0, second)])

    assert [line["error"] for line in lines] == [str(first), str(second)]
    assert (lines[1]["failures"], lines[1]["seconds"]) == (3, 5.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (code(159, "Timeout exceeded: elapsed 20235 ms"), code(159, "Timeout exceeded: elapsed 20236 ms")),
        (SinkError("127.0.0.1:9000 refused"), SinkError("10.0.0.7:9440 refused")),
        (SinkError("query 0d6be9f0-7c1f is slow"), SinkError("query a53fe9f0-7c10 is slow")),
        (SinkError("partition 3 lacks offset 100"), SinkError("partition 4 lacks offset 90001")),
    ],
)
def test_other_numbers_are_the_same_cause(first: BaseException, second: BaseException) -> None:
    """Errors that differ only in times, addresses, ids or offsets have the same cause."""
    assert len(outage_of([(0.0, first), (1.0, second), (2.0, first)])) == 1


def test_a_reminder_per_minute() -> None:
    """An outage that lasts is logged once a minute, with its length and the number of failures."""
    first, *reminders = outage_of([(second, SinkError("gone")) for second in range(601)])

    assert "seconds" not in first
    assert [line["seconds"] for line in reminders] == [REMINDER_SECONDS * minute for minute in range(1, 11)]
    assert reminders[-1]["failures"] == 601


def test_reminders_without_failures() -> None:
    """`remind` logs once a minute during an outage, and nothing otherwise."""
    clock = Clock()
    with capture_logs() as lines:
        outage = OutageLog("storing events", clock)
        outage.remind()
        outage.failed(SinkError("gone"))
        for clock.seconds in range(200):
            outage.remind()
        outage.over()
        outage.remind()

    assert [line["event"].partition("events ")[2] for line in lines] == [
        "failed, retrying",
        *["still fails"] * 3,
        "works again",
    ]
    assert lines[-1]["seconds"] == 199.0


def test_alternating_causes() -> None:
    """Two alternating causes are logged twice a minute; many causes are logged up to the limit."""
    causes = [SinkError("refused"), SinkError("timed out")]
    turns = outage_of([(number / 5, causes[number % 2]) for number in range(5 * 120)])
    many = outage_of([(number / 1000, SinkError("x" * number)) for number in range(1_000)])

    assert len(turns) <= 6
    assert len(many) == CAUSES_MAX


def test_an_end_forgets_the_causes() -> None:
    """The next outage is logged from its start, also if it has the same cause a moment later."""
    clock = Clock()
    with capture_logs() as lines:
        outage = OutageLog("storing events", clock)
        for clock.seconds in (0.0, 1.0):
            outage.failed(SinkError("gone"))
            outage.over()

    assert [line["log_level"] for line in lines] == ["warning", "info"] * 2
