"""Which messages a partition buffers, when a batch is due, and what is in it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.events.rows import Message
from etl.partition import FlushLimits, Partition
from etl.plan import Plan
from tests.support.inputs.messages import FakeMessage

LIMITS = FlushLimits(seconds=1.0, rows=10, bytes=1_000)
VALUE = b"0123456789"


def messages(offsets: Iterable[int]) -> list[Message]:
    return [FakeMessage(VALUE, at=offset) for offset in offsets]


def restored(offset: int = 100, inherited_end: int | None = None) -> Partition:
    """Return a restored partition at an offset, perhaps with a plan of a former owner."""
    partition = Partition(0, is_restored=True)
    partition.seek(offset)
    if inherited_end is not None:
        partition.inherited = Plan("topic", offset, inherited_end, inherited_end - offset + 1, "", 0)
    return partition


def pending(partition: Partition) -> list[int]:
    return [message.offset() for message in partition.pending]


def test_in_order() -> None:
    """Consecutive messages are buffered, and their bytes are counted."""
    partition = restored()

    assert partition.buffer(messages(range(100, 103)), now=5.0)
    assert partition.buffer(messages(range(103, 105)), now=6.0)
    assert pending(partition) == [100, 101, 102, 103, 104]
    assert (partition.next_offset, partition.pending_bytes, partition.since) == (105, 50, 5.0)


def test_fetched_before() -> None:
    """Messages that are buffered already are skipped, alone or before new ones."""
    partition = restored()
    partition.buffer(messages(range(100, 103)), now=0.0)

    assert partition.buffer(messages([100, 101]), now=0.0)
    assert partition.buffer(messages([101, 102, 103]), now=0.0)
    assert pending(partition) == [100, 101, 102, 103]


def test_a_gap() -> None:
    """The first time a gap is seen, nothing is buffered; the second time it is accepted as a gap of the log."""
    partition = restored()

    assert not partition.buffer(messages([100, 102]), now=0.0)
    assert pending(partition) == []
    assert partition.buffer(messages([100, 102]), now=0.0)
    assert pending(partition) == [100, 102]


def test_another_gap() -> None:
    """Accepting one gap does not accept the next."""
    partition = restored()
    partition.buffer(messages([101]), now=0.0)

    assert not partition.buffer(messages([101, 103]), now=0.0)
    assert partition.buffer(messages([101, 103]), now=0.0)


def test_old_gaps_are_removed() -> None:
    """Gaps before the committed offset are removed and later ones are kept, so memory is bounded."""
    partition = restored()
    for first in range(100, 1_000, 10):
        partition.buffer(messages([first, first + 5]), now=0.0)
        partition.buffer(messages([first, first + 5]), now=0.0)
        partition.reset()
        partition.seek(first)

        assert partition.gaps == {first + 1}


@given(present=st.sets(st.integers(100, 140), min_size=1), data=st.data())
def test_gaps_end(present: set[int], data: st.DataObject) -> None:
    """Each gap makes the partition start over at most once, however the log is delivered."""
    partition, offsets = restored(), sorted(present)
    starts_over = 0
    while pending(partition) != offsets:
        waiting = [offset for offset in offsets if offset >= partition.next_offset]
        count = data.draw(st.integers(1, len(waiting)))
        if not partition.buffer(messages(waiting[:count]), now=0.0):
            starts_over += 1
            partition.reset()
            partition.seek(100)

    assert starts_over <= len(set(range(100, offsets[-1])) - present)


def test_due() -> None:
    """A batch is due by its age, its rows or its bytes, if the partition is restored and does not wait."""
    partition = restored()

    assert not partition.is_due(LIMITS, now=9.0)

    partition.buffer(messages([100]), now=9.0)

    assert not partition.is_due(LIMITS, now=9.9)
    assert partition.is_due(LIMITS, now=10.0)
    assert partition.is_due(FlushLimits(seconds=60, rows=1, bytes=1_000), now=9.0)
    assert partition.is_due(FlushLimits(seconds=60, rows=10, bytes=10), now=9.0)

    partition.wait_until = 11.0

    assert not partition.is_due(LIMITS, now=10.0)

    partition.wait_until, partition.is_restored = 0.0, False

    assert not partition.is_due(LIMITS, now=10.0)


def test_inherited_is_due_when_complete() -> None:
    """The batch of an inherited plan is due when it is complete, and is exactly the planned one."""
    partition = restored(inherited_end=120)
    partition.buffer(messages(range(100, 120)), now=0.0)

    assert not partition.is_due(LIMITS, now=1_000.0)

    partition.buffer(messages(range(120, 130)), now=0.0)

    assert partition.is_due(LIMITS, now=0.0)
    assert [message.offset() for message in partition.batch(LIMITS)] == list(range(100, 121))


def test_batch() -> None:
    """Without a plan a batch is the pending messages up to the limit; stored ones are dropped with their bytes."""
    partition = restored()
    partition.buffer(messages(range(100, 115)), now=0.0)
    batch = partition.batch(LIMITS)
    partition.begin(batch, turn=1)
    partition.drop_delivered(now=7.0)

    assert [message.offset() for message in batch] == list(range(100, 110))
    assert pending(partition) == list(range(110, 115))
    assert (partition.pending_bytes, partition.since) == (50, 7.0)


@pytest.mark.parametrize(
    ("bytes_max", "counts"), [(1, [1] * 7), (10, [1] * 7), (29, [2, 2, 2, 1]), (30, [3, 3, 1]), (69, [6, 1]), (70, [7])]
)
def test_batches_of_large_messages(bytes_max: int, counts: list[int]) -> None:
    """A batch has at least one message, and no more bytes than its limit otherwise; the rest is in the next."""
    partition, found = restored(), []
    partition.buffer(messages(range(100, 107)), now=0.0)
    while batch := partition.batch(FlushLimits(seconds=1.0, rows=10, bytes=bytes_max)):
        found.append(len(batch))
        partition.begin(batch, turn=1)
        partition.drop_delivered(now=0.0)

    assert found == counts


def test_a_planned_batch_of_any_size() -> None:
    """The batch of an inherited plan is the planned one, however many bytes it has."""
    partition = restored(inherited_end=104)
    partition.buffer(messages(range(100, 107)), now=0.0)

    assert len(partition.batch(FlushLimits(seconds=1.0, rows=1, bytes=1))) == 5


def test_has_new_batch() -> None:
    """A batch is new if no plan is inherited and its first offset is beyond what ClickHouse may hold."""
    partition = restored()

    assert not partition.has_new_batch()

    partition.buffer(messages([100]), now=0.0)

    assert partition.has_new_batch()

    partition.stored_through = 100

    assert not partition.has_new_batch()

    partition.stored_through, partition.inherited = 99, Plan("topic", 100, 100, 1, "", 0)

    assert not partition.has_new_batch()


def test_idle() -> None:
    """A partition is idle if an offset is acknowledged and no message has arrived for a while."""
    partition = restored()

    assert not partition.is_idle(LIMITS, now=100.0)

    partition.acknowledged_through, partition.since = 101, 100.0

    assert not partition.is_idle(LIMITS, now=100.5)
    assert partition.is_idle(LIMITS, now=101.0)

    partition.buffer(messages([100]), now=100.0)

    assert not partition.is_idle(LIMITS, now=101.0)


def test_reset() -> None:
    """A reset discards everything that is read from Kafka or ClickHouse when the partition is restored."""
    partition = restored(inherited_end=120)
    partition.buffer(messages([100]), now=0.0)
    partition.acknowledged_through, partition.stored_through = 100, 130
    partition.restoring, window = iter(()), partition.window
    partition.reset()

    assert partition == Partition(0, committed=100, next_offset=101, window=partition.window)
    assert partition.window is not window
