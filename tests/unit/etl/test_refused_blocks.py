"""What Delivery does when ClickHouse refuses rows, with a sink in memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

from etl.delivery import HALVED_ROWS_MIN, Delivery
from etl.errors import DataRefusedError, ProbeUnavailableError, RefusalsError, TooLargeError
from etl.events.duplicates import DuplicateWindow
from etl.events.rows import Message
from etl.partition import Partition
from etl.plan import EVENTS, Block, Coordinates, ServerClock, Topic
from etl.refusals import REFUSED_MIN, Refusals
from tests.support.fakes.delivering import deliver, recover
from tests.support.fakes.sinks import ProbingFake, offsets_of
from tests.support.inputs.events import record, valid
from tests.support.inputs.messages import FakeMessage

COORDINATES = Coordinates(Topic("events", str(uuid.UUID(int=1)), "cluster"), 0)
BAD = REFUSED_MIN + 10
ROWS = BAD * 120


# `deliver` or `recover`.
Act = Callable[[Delivery, Partition, Sequence[Message]], None]


class MemorySink(ProbingFake):
    """A sink that refuses events of kind `poison`, has a limit of rows, and keeps what it stores."""

    def __init__(self, rows_max: int = ROWS, code: int = 0) -> None:
        self.stored: dict[str, list[int]] = {}
        self.rows_max = rows_max
        # The code of the limit; a block with an event of kind `large` exceeds it too.
        self.code = code

    def insert(self, block: Block) -> None:
        if block.table == EVENTS and pa.scalar("poison") in block.columns[1]:
            raise DataRefusedError(469, "no poison")
        self.measure(block)
        self.stored.setdefault(block.table, []).extend(offsets_of(block))

    def measure(self, block: Block) -> None:
        is_large = block.table == EVENTS and pa.scalar("large") in block.columns[1]
        if is_large or len(block.columns[0]) > self.rows_max:
            raise TooLargeError("no memory", self.code)

    def recent_identities(self, _at: Coordinates, _first: int, _last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        return sorted(self.stored.get(EVENTS, [])), ()

    def probe(self, block: Block, *, thorough: bool) -> None:
        del thorough
        if pa.scalar("poison") in block.columns[1]:
            raise DataRefusedError(469, "no poison")
        self.measure(block)

    def accepts_good_rows(self, _at: Coordinates, _before: int, *, thorough: bool) -> bool:
        return thorough

    def earliest_now(self, _at: Coordinates, _first: int) -> int:
        return 0

    def is_inserting(self, _at: Coordinates, _first: int) -> bool:
        return False

    def stored_offsets(self, _at: Coordinates, first: int, last: int) -> set[int]:
        return {offset for offsets in self.stored.values() for offset in offsets if first <= offset <= last}

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        return self.stored_offsets(at, first, last)


class MemoryCommits:
    """Takes every commit."""

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        pass


def messages(bad: int, rows: int) -> list[Message]:
    """Return the messages of a batch, of which the first are poison."""
    kinds = ["poison"] * bad + ["like"] * (rows - bad)
    return [FakeMessage(record(valid(event=kind), uuid.uuid4().bytes), at=at) for at, kind in enumerate(kinds)]


def delivery(sink: MemorySink) -> Delivery:
    """Return a delivery as a new process has it."""
    refusals = Refusals(ratio_max=0.01, in_a_row_max=1_000)
    return Delivery(MemoryCommits(), sink, ServerClock(5.0, lambda: 0.0), refusals)


def test_the_ratio_of_a_recovery() -> None:
    """A recovery in which only bad rows are missing counts the stored ones too: the ratio is the batch's."""
    sink, batch = MemorySink(), messages(BAD, ROWS)
    good = [message.offset() for message in batch[BAD:]]
    sink.stored[EVENTS] = list(good)
    recover(delivery(sink), Partition(0, COORDINATES), batch)

    assert sink.stored[EVENTS] == good
    assert sink.stored["rejected_events"] == list(range(BAD))


@pytest.mark.parametrize("act", [deliver, recover])
def test_the_ratio_of_rows_with_copies(act: Act) -> None:
    """Rows with copies are probed before the others, but the ratio of refused rows is that of the batch."""
    sink, batch = MemorySink(), messages(BAD, ROWS)
    copies = [FakeMessage(message.value(), at=ROWS + at) for at, message in enumerate(batch[:BAD])]
    partition = Partition(0, COORDINATES, window=DuplicateWindow(2 * ROWS))
    act(delivery(sink), partition, [*batch, *copies])

    assert sink.stored[EVENTS] == list(range(BAD, ROWS))
    assert sink.stored["rejected_events"] == [*range(BAD), *range(ROWS, ROWS + BAD)]


def test_too_many_bad_rows_with_copies() -> None:
    """The same limit applies to rows with copies; the copies of an event count once."""
    batch = messages(2 * BAD, ROWS)
    copies = [FakeMessage(message.value(), at=ROWS + at) for at, message in enumerate(batch[: 2 * BAD])]
    partition = Partition(0, COORDINATES, window=DuplicateWindow(2 * ROWS))
    with pytest.raises(RefusalsError):
        deliver(delivery(MemorySink()), partition, [*batch, *copies])


def test_a_recovery_with_a_table_that_accepts_nothing() -> None:
    """If nothing of the batch is stored and every row is refused, the recovery raises RefusalsError."""
    with pytest.raises(RefusalsError):
        recover(delivery(MemorySink()), Partition(0, COORDINATES), messages(BAD, BAD))


def test_a_batch_that_is_too_large_is_halved() -> None:
    """A batch that exceeds ClickHouse's memory as one block is inserted as several."""
    sink = MemorySink(rows_max=HALVED_ROWS_MIN)
    deliver(delivery(sink), Partition(0, COORDINATES), messages(0, 5 * HALVED_ROWS_MIN))

    assert sink.stored[EVENTS] == list(range(5 * HALVED_ROWS_MIN))


def test_a_server_without_memory_is_an_outage() -> None:
    """If a small block does not fit either, the partition starts over, and single rows are not probed."""
    with pytest.raises(TooLargeError):
        deliver(delivery(MemorySink(rows_max=0)), Partition(0, COORDINATES), messages(0, 5 * HALVED_ROWS_MIN))


@pytest.mark.parametrize("code", [158, 159, 241, 307])
@pytest.mark.parametrize("rows", [1, 40, 5 * HALVED_ROWS_MIN])
def test_an_event_that_is_too_large_alone_is_refused(rows: int, code: int) -> None:
    """A row that exceeds the limit of a query is rejected with the code; every other row is stored."""
    sink, batch = MemorySink(code=code), messages(0, rows)
    at = rows // 2
    batch[at] = FakeMessage(record(valid(event="large"), uuid.uuid4().bytes), at=at)
    deliver(delivery(sink), Partition(0, COORDINATES), batch)

    assert sink.stored["rejected_events"] == [at]
    assert sink.stored.get(EVENTS, []) == [offset for offset in range(rows) if offset != at]


def test_a_small_block_that_is_too_large_is_halved() -> None:
    """A small block whose rows fit only in parts is inserted in parts."""
    sink = MemorySink(rows_max=30, code=241)
    deliver(delivery(sink), Partition(0, COORDINATES), messages(0, 500))

    assert sorted(sink.stored[EVENTS]) == list(range(500))
    assert "rejected_events" not in sink.stored


def test_a_limit_of_the_server_is_an_outage() -> None:
    """No event is refused because of a limit of the server or the user."""
    sink, batch = MemorySink(), messages(0, 40)
    batch[7] = FakeMessage(record(valid(event="large"), uuid.uuid4().bytes), at=7)
    with pytest.raises(TooLargeError):
        deliver(delivery(sink), Partition(0, COORDINATES), batch)

    assert sink.stored == {}


class WithoutGrants(MemorySink):
    """A sink whose user lacks the grants for probes."""

    def probe(self, block: Block, *, thorough: bool) -> None:
        del block, thorough
        raise ProbeUnavailableError("no grants")


def test_only_a_refused_insert_needs_probes() -> None:
    """Without probes, events with copies are stored, and a refused event is not rejected."""
    batch = messages(0, 10)
    copies = [FakeMessage(message.value(), at=10 + at) for at, message in enumerate(batch[:4])]
    sink = WithoutGrants()
    deliver(delivery(sink), Partition(0, COORDINATES, window=DuplicateWindow(20)), [*batch, *copies])

    assert sink.stored == {"rejected_events": [10, 11, 12, 13], EVENTS: list(range(10))}

    sink = WithoutGrants()
    with pytest.raises(ProbeUnavailableError):
        deliver(delivery(sink), Partition(0, COORDINATES), messages(1, 10))

    assert sink.stored == {}
