"""ReportPolling: the event loop polls the producers, often while records are in flight, whatever a report raises."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from services.ingest.kafka.lingering import Lingering
from services.ingest.kafka.report_polling import BUSY_SECONDS, IDLE_SECONDS, ReportPolling

# Timeout of waits that would otherwise hang a failing test.
WAIT_SECONDS_MAX = 60


def send(*_: object) -> None:
    raise AssertionError("no record waits")


async def test_polling_survives_errors() -> None:
    """An unexpected error ends neither the polls nor the calls that wait for delivery reports."""
    ended = asyncio.Event()

    class Producers:
        """Fails three times, then works."""

        polls = 0

        def poll(self) -> int:
            self.polls += 1
            if self.polls <= 3:
                raise RuntimeError("an unexpected report")
            ended.set()
            return 0

    polling = ReportPolling(Producers(), Lingering(send, 1.0).send_due)
    with capture_logs() as lines:
        async with polling.running():
            polling.wake()
            await asyncio.wait_for(ended.wait(), WAIT_SECONDS_MAX)

    assert {line["log_level"] for line in lines} <= {"error"}


async def test_polls_are_rare_without_records() -> None:
    """While no record is in flight the event loop polls only for errors of the producer."""
    scheduled: list[float] = []

    class Producers:
        """Has one record in flight at first."""

        polls = 0

        def poll(self) -> int:
            self.polls += 1
            return int(self.polls == 1)

    polling = ReportPolling(Producers(), Lingering(send, 1.0).send_due)
    async with polling.running():
        scheduled.append(polling.next_seconds)
        polling.wake()
        scheduled.append(polling.next_seconds)
        polling.tick()
        scheduled.append(polling.next_seconds)
        polling.tick()
        scheduled.append(polling.next_seconds)

    assert scheduled == [IDLE_SECONDS, BUSY_SECONDS, BUSY_SECONDS, IDLE_SECONDS]


async def test_polling_survives_errors_of_sending() -> None:
    """An unexpected error while records are sent does not end the polls."""
    ended, errors = asyncio.Event(), list[object]()

    class Producers:
        """Has no record in flight."""

        def poll(self) -> int:
            return 0

    def send_due(*, is_idle: bool) -> bool:
        assert is_idle
        if not errors:
            raise RuntimeError("an unexpected record")
        ended.set()
        return False

    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context["exception"]))
    polling = ReportPolling(Producers(), send_due)
    async with polling.running():
        polling.wake()
        await asyncio.wait_for(ended.wait(), WAIT_SECONDS_MAX)

    assert [str(error) for error in errors] == ["an unexpected record"]
