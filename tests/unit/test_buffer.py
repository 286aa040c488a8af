"""When a batch is due."""

from __future__ import annotations

from etl.buffer import Buffer, FlushLimits
from tests.support.messages import FakeMessage

LIMITS = FlushLimits(seconds=1.0, rows=3, bytes=100)


def test_due_by_time() -> None:
    """A batch is due when its oldest message has waited long enough; later ones do not prolong the wait."""
    buffer = Buffer(LIMITS)
    buffer.add([FakeMessage(b"a")], now=10.0)
    buffer.add([FakeMessage(b"b")], now=10.9)

    assert buffer.due(10.99) == []
    assert buffer.due(11.0) == [0]


def test_due_by_size() -> None:
    """A batch is due by rows or by bytes, each partition by itself."""
    buffer = Buffer(LIMITS)
    buffer.add([FakeMessage(b"a", of_partition=1)] * 3, now=0)
    buffer.add([FakeMessage(b"x" * 100, of_partition=2), FakeMessage(b"x", of_partition=3)], now=0)

    assert buffer.due(0) == [1, 2]


def test_take_and_drop() -> None:
    """A batch is taken once; a dropped one is gone."""
    buffer = Buffer(LIMITS)
    buffer.add([FakeMessage(b"a"), FakeMessage(b"b", of_partition=1)], now=0)
    buffer.drop([1, 5])

    assert [message.value() for message in buffer.take(0)] == [b"a"]
    assert buffer.take(0) == []
    assert buffer.partitions() == []
