"""Which messages a batch's span links, and how a batch's spans end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from common.tracing import LINKS_MAX
from etl.errors import SinkError
from etl.events import rows
from etl.plan import Block, Coordinates, Plan, Topic
from etl.tracing import EXAMINED_MAX, BatchTrace, BatchTracing, sampled
from tests.support.fakes.tracing import Spans, spans_in_memory

PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-%016x-01"
ID = ("x-request-id", b"request-1")
AT = Coordinates(Topic("ugc.events", "id", "cluster"), 3)
PLAN = Plan("id", 40, 41, 2, "digest", 1_000)


class Message:
    """A message with headers, at an offset."""

    def __init__(self, headers: list[tuple[str, bytes | None]] | None, offset: int = 0) -> None:
        self._headers = headers
        self._offset = offset

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def offset(self) -> int:
        return self._offset


class UnreadableMessage(Message):
    """A message with a header whose name is not UTF-8, as Kafka's client returns it (observed)."""

    def __init__(self) -> None:
        super().__init__(None)

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        raise SystemError("returned a result with an exception set")


def of(messages: Sequence[Message]) -> Sequence[rows.Message]:
    """Return messages as those of a poll, of which only the methods above are called."""
    return cast("Sequence[rows.Message]", messages)


def traced(number: int) -> Message:
    return Message([ID, ("traceparent", PARENT % number), ("tracestate", b"vendor=1")])


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [ID],
        [("traceparent", None)],
        [("traceparent", b"")],
        [("traceparent", (PARENT % 1)[:-1] + b"0")],
        [("traceparent", (PARENT % 1)[:-1])],
        [("traceparent", b"ff" + (PARENT % 1)[2:])],
        [("traceparent", PARENT % 0)],
        [("traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01")],
        [("traceparent", b"\xff" * 55)],
        [("traceparent", b"1" * 1_000_000)],
        [("other", PARENT % 1)],
    ],
)
def test_messages_that_are_not_linked(headers: list[tuple[str, bytes | None]] | None) -> None:
    """Messages without a well-formed traceparent of a sampled request are not linked, whoever wrote them."""
    assert sampled(of([Message(headers)])) == []


def test_links() -> None:
    """Each sampled request is linked once, also one of a later version of the header, in the order of the messages."""
    later = b"cc" + (PARENT % 3)[2:] + b"-more"
    messages = [traced(2), Message([ID]), traced(1), traced(2), Message([("traceparent", later)])]

    assert sampled(of(messages)) == [(PARENT % 2).decode(), (PARENT % 1).decode(), later[:55].decode()]


def test_links_are_bounded() -> None:
    """A span has no more links than its limit; the headers of a large batch are read of evenly spaced messages."""
    read: list[int] = []

    class Counting(Message):
        def headers(self) -> list[tuple[str, bytes | None]] | None:
            read.append(self._offset)
            return None

    assert len(sampled(of([traced(number) for number in range(1, 1_000)]))) == LINKS_MAX
    sampled(of([Counting(None, offset) for offset in range(2 * EXAMINED_MAX + 1)]))
    assert read == list(range(0, 2 * EXAMINED_MAX + 1, 3))


@pytest.fixture
def spans() -> Iterator[Spans]:
    with spans_in_memory() as found:
        yield found


@pytest.fixture
def batches(spans: Spans) -> BatchTracing:
    return BatchTracing(spans.tracing, "ugc.events", "ugc-etl")


def begun(batches: BatchTracing) -> BatchTrace:
    found = batches.begin(3, of([traced(1), Message(None, 41)]), PLAN)
    assert found is not None
    return found


def test_batch_without_sampled_messages(batches: BatchTracing, spans: Spans) -> None:
    """Such a batch has no span."""
    assert batches.begin(3, of([Message([ID])]), PLAN) is None
    assert spans.ended == ()


def test_spans_of_a_batch(batches: BatchTracing, spans: Spans) -> None:
    """A batch's span has its place in the log and its plan; the block of an insert carries the insert's own span."""
    trace = begun(batches)
    with trace.open():
        with trace.stage("plan"):
            pass
        trace.recovered(1)
        with trace.inserting(Block(AT, "events", [[1, 2]], "name", 0)) as block:
            pass

    plan, insert, batch = spans.ended
    assert insert.context is not None
    assert block.traceparent == f"00-{insert.context.trace_id:032x}-{insert.context.span_id:016x}-01"
    assert insert.attributes == {
        "db.system.name": "clickhouse",
        "db.operation.name": "INSERT",
        "db.collection.name": "events",
        "db.operation.batch.size": 2,
        "db.clickhouse.query_id": "name",
    }
    assert (plan.name, batch.name, [each.name for each in batch.events]) == (
        "plan",
        "process ugc.events",
        ["recovered"],
    )
    assert batch.attributes is not None
    assert (batch.attributes["ugc.plan.first"], batch.attributes["messaging.kafka.offset.last"]) == (40, 41)
    assert batch.parent is None
    assert batch.status.is_unset


@pytest.mark.parametrize("error", [SinkError("x"), GeneratorExit()])
def test_batch_that_fails(batches: BatchTracing, spans: Spans, error: BaseException) -> None:
    """The span of a batch that fails, or is abandoned with its partition, ends with what happened."""
    trace = begun(batches)
    with pytest.raises(type(error)), trace.open(), trace.stage("insert"):
        raise error

    wanted = "abandoned" if isinstance(error, GeneratorExit) else "SinkError"
    assert [dict(each.attributes or {})["error.type"] for each in spans.ended] == [wanted] * 2


def test_headers_that_cannot_be_read() -> None:
    """A message whose headers cannot be read is not linked, and those after it are."""
    bad = UnreadableMessage()

    assert sampled(of([bad, traced(1), bad, bad, traced(2), bad])) == [(PARENT % each).decode() for each in (1, 2)]
