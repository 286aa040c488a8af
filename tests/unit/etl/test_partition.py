"""What is taken, when a batch is due, and which one: from the log's order, the limits, and an inherited plan."""

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


def opened(offset: int = 100, inherited_end: int | None = None) -> Partition:
    """Return a partition that goes on from an offset, perhaps with a plan of a former owner."""
    partition = Partition(0, is_restored=True)
    partition.seek(offset)
    if inherited_end is not None:
        partition.inherited = Plan("topic", offset, inherited_end, inherited_end - offset + 1, "", 0)
    return partition


def pending(partition: Partition) -> list[int]:
    return [message.offset() for message in partition.pending]


def test_in_order() -> None:
    """Messages that follow on are taken, and counted in messages and bytes."""
    partition = opened()

    assert partition.buffer(messages(range(100, 103)), now=5.0)
    assert partition.buffer(messages(range(103, 105)), now=6.0)
    assert pending(partition) == [100, 101, 102, 103, 104]
    assert (partition.next_offset, partition.pending_bytes, partition.since) == (105, 50, 5.0)


def test_fetched_before() -> None:
    """What was taken already is passed over, alone or before what is new."""
    partition = opened()
    partition.buffer(messages(range(100, 103)), now=0.0)

    assert partition.buffer(messages([100, 101]), now=0.0)
    assert partition.buffer(messages([101, 102, 103]), now=0.0)
    assert pending(partition) == [100, 101, 102, 103]


def test_a_gap() -> None:
    """A gap is not believed at first sight, and nothing behind it is taken; the second time it is the log's own."""
    partition = opened()

    assert not partition.buffer(messages([100, 102]), now=0.0)
    assert pending(partition) == []
    assert partition.buffer(messages([100, 102]), now=0.0)
    assert pending(partition) == [100, 102]


def test_another_gap() -> None:
    """Having believed one gap is no reason to believe the next."""
    partition = opened()
    partition.buffer(messages([101]), now=0.0)

    assert not partition.buffer(messages([101, 103]), now=0.0)
    assert partition.buffer(messages([101, 103]), now=0.0)


def test_gaps_that_are_passed_are_forgotten() -> None:
    """What is known of gaps before the committed offset is dropped, what is behind it is kept: memory has a bound."""
    partition = opened()
    for first in range(100, 1_000, 10):
        partition.buffer(messages([first, first + 5]), now=0.0)
        partition.buffer(messages([first, first + 5]), now=0.0)
        partition.reset()
        partition.seek(first)

        assert partition.gaps == {first + 1}


@given(present=st.sets(st.integers(100, 140), min_size=1), data=st.data())
def test_gaps_end(present: set[int], data: st.DataObject) -> None:
    """However many gaps a log has and however it is delivered, each costs one start over and no more."""
    partition, offsets = opened(), sorted(present)
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
    """A batch is due by its age, its rows or its bytes; a closed or waiting partition has none."""
    partition = opened()

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
    """A planned batch is neither sooner nor smaller nor larger than its plan, whatever the limits say."""
    partition = opened(inherited_end=120)
    partition.buffer(messages(range(100, 120)), now=0.0)

    assert not partition.is_due(LIMITS, now=1_000.0)

    partition.buffer(messages(range(120, 130)), now=0.0)

    assert partition.is_due(LIMITS, now=0.0)
    assert [message.offset() for message in partition.batch(LIMITS)] == list(range(100, 121))


def test_batch() -> None:
    """Without a plan a batch is what waits, up to the limit; what is stored is dropped with its bytes."""
    partition = opened()
    partition.buffer(messages(range(100, 115)), now=0.0)
    batch = partition.batch(LIMITS)
    partition.drop(len(batch), now=7.0)

    assert [message.offset() for message in batch] == list(range(100, 110))
    assert pending(partition) == list(range(110, 115))
    assert (partition.pending_bytes, partition.since) == (50, 7.0)


@pytest.mark.parametrize(
    ("bytes_max", "counts"), [(1, [1] * 7), (10, [1] * 7), (29, [2, 2, 2, 1]), (30, [3, 3, 1]), (69, [6, 1]), (70, [7])]
)
def test_batches_of_large_messages(bytes_max: int, counts: list[int]) -> None:
    """A batch has no more bytes than its limit, but one message at least; what does not fit is in the next."""
    partition, found = opened(), []
    partition.buffer(messages(range(100, 107)), now=0.0)
    while batch := partition.batch(FlushLimits(seconds=1.0, rows=10, bytes=bytes_max)):
        found.append(len(batch))
        partition.drop(len(batch), now=0.0)

    assert found == counts


def test_a_planned_batch_of_any_size() -> None:
    """A planned batch is what its plan names, however many bytes that are."""
    partition = opened(inherited_end=104)
    partition.buffer(messages(range(100, 107)), now=0.0)

    assert len(partition.batch(FlushLimits(seconds=1.0, rows=1, bytes=1))) == 5


def test_fresh() -> None:
    """Only what ClickHouse cannot have is stored without a look: no plan is open, and it is past what is held."""
    partition = opened()

    assert not partition.has_new_batch()

    partition.buffer(messages([100]), now=0.0)

    assert partition.has_new_batch()

    partition.stored_through = 100

    assert not partition.has_new_batch()

    partition.stored_through, partition.inherited = 99, Plan("topic", 100, 100, 1, "", 0)

    assert not partition.has_new_batch()


def test_idle() -> None:
    """What is stored is told to Kafka when nothing more has come for a while."""
    partition = opened()

    assert not partition.is_idle(LIMITS, now=100.0)

    partition.acknowledged_through, partition.since = 101, 100.0

    assert not partition.is_idle(LIMITS, now=100.5)
    assert partition.is_idle(LIMITS, now=101.0)

    partition.buffer(messages([100]), now=100.0)

    assert not partition.is_idle(LIMITS, now=101.0)


def test_closed_forgets() -> None:
    """A partition that starts over keeps nothing that Kafka or ClickHouse must be asked for again."""
    partition = opened(inherited_end=120)
    partition.buffer(messages([100]), now=0.0)
    partition.acknowledged_through, partition.stored_through = 100, 130
    partition.restoring, window = iter(()), partition.window
    partition.reset()

    assert partition == Partition(0, committed=100, next_offset=101, window=partition.window)
    assert partition.window is not window
