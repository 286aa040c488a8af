"""Lingering: a record that is alone is sent at once, others share the next moment of sending, and none is forgotten."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from services.ingest.events.records import Headers, Record
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.kafka.lingering import WAITING_MAX, Lingering, OnReport

LINGER_SECONDS = 0.002


class Sending:
    """Keeps what was sent, with the time of a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[bytes] = []
        self.reported: list[DeliveryFailure | None] = []
        self.lingering = Lingering(self.send, LINGER_SECONDS, lambda: self.now)

    def send(self, record: Record, _headers: Headers | None, _on_report: OnReport) -> None:
        if record.value == b"broken":
            raise ZeroDivisionError
        self.sent.append(record.value)

    def add(self, *values: bytes, is_idle: bool = False) -> None:
        for value in values:
            self.lingering.add(Record(b"key", value), None, self.reported.append, is_idle=is_idle)


@pytest.fixture
def sending() -> Sending:
    return Sending()


async def test_alone(sending: Sending) -> None:
    """While the producer is idle a record is sent at once, however short ago the last one was sent."""
    for value in (b"a", b"b"):
        sending.add(value, is_idle=True)
        await asyncio.sleep(0)
        assert sending.sent[-1] == value

    assert not sending.lingering.send_due(is_idle=True)


async def test_one_iteration(sending: Sending) -> None:
    """Records of one iteration of the event loop are sent together."""
    sending.add(b"a", b"b", is_idle=True)
    assert sending.sent == []
    await asyncio.sleep(0)

    assert sending.sent == [b"a", b"b"]


def test_those_that_come_meanwhile(sending: Sending) -> None:
    """Records that come while others are in flight are sent when none is, or after the linger time."""
    sending.add(b"a", b"b")
    assert sending.lingering.send_due(is_idle=True)
    assert sending.sent == [b"a", b"b"]
    assert not sending.lingering.send_due(is_idle=True)
    sending.add(b"c", b"d")
    sending.now += LINGER_SECONDS / 2
    assert sending.lingering.send_due(is_idle=False)
    assert sending.sent == [b"a", b"b"]
    sending.now += LINGER_SECONDS / 2
    assert sending.lingering.send_due(is_idle=False)
    assert sending.sent == [b"a", b"b", b"c", b"d"]


async def test_order(sending: Sending) -> None:
    """A record does not overtake those that wait, also when the producer has become idle meanwhile."""
    sending.add(b"a")
    sending.add(b"b", is_idle=True)
    await asyncio.sleep(0)

    assert sending.sent == [b"a", b"b"]


def test_many(sending: Sending) -> None:
    """A limited number of records waits."""
    sending.add(*[b"x"] * (WAITING_MAX - 1))
    assert sending.sent == []
    sending.add(b"x")

    assert len(sending.sent) == WAITING_MAX


def test_unexpected_error(sending: Sending) -> None:
    """A waiting record that cannot be sent fails by itself; those beside it are sent."""
    sending.add(b"a", b"broken", b"b")
    with capture_logs():
        sending.lingering.send_all()

    assert sending.sent == [b"a", b"b"]
    assert sending.reported == [DeliveryFailure("the event was not sent to Kafka")]
