"""What Delivery does when ClickHouse returns an error although it stores the rows, now or later."""

from __future__ import annotations

import pytest

from etl.errors import DataRefusedError, QuorumTimeoutError, SinkError, TooLargeError
from etl.partition import Partition
from etl.plan import EVENTS, Block, Coordinates
from tests.support.fakes.delivering import deliver
from tests.unit.etl.test_refused_blocks import COORDINATES, MemorySink, delivery, messages

ERRORS = [
    DataRefusedError(469, "a view of the table fails"),
    TooLargeError("no memory"),
    QuorumTimeoutError("no quorum"),
]


class FailingView(MemorySink):
    """A sink that stores the events, and then raises an error."""

    def __init__(self, error: SinkError) -> None:
        super().__init__()
        self.error = error
        self.answers = 0

    def insert(self, block: Block) -> None:
        super().insert(block)
        if block.table == EVENTS:
            self.answers += 1
            raise self.error


class StillRunning(MemorySink):
    """A sink that raises an error while the insert still runs."""

    def __init__(self, error: SinkError) -> None:
        super().__init__()
        self.error = error
        self.answers = 0

    def insert(self, _block: Block) -> None:
        self.answers += 1
        raise self.error

    def is_inserting(self, _at: Coordinates, _first: int) -> bool:
        return True


@pytest.mark.parametrize("sink", [FailingView, StillRunning])
@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
def test_nothing_is_inserted_again(sink: type[FailingView | StillRunning], error: SinkError) -> None:
    """The delivery fails, and no row of the block is inserted again or rejected before a recovery."""
    answering, partition = sink(error), Partition(0, COORDINATES)
    with pytest.raises(SinkError, match="although ClickHouse"):
        deliver(delivery(answering), partition, messages(0, 3_000))

    assert answering.answers == 1
    assert "rejected_events" not in answering.stored
    assert partition.acknowledged_through is None
