"""The spans of a batch: one trace for each batch with sampled messages, linked to the spans that sent them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import methodcaller
from typing import TypeAlias

from common.trace_context import FLAGS_LAST_DIGIT, TRACEPARENT
from common.tracing import LINKS_MAX, Span, Tracing
from etl.events.rows import Message
from etl.plan import Block, Plan

Headers: TypeAlias = "list[tuple[str, bytes | None]] | None"
# Called for each message, without a Python function.
HEADERS_OF: Callable[[Message], Headers] = methodcaller("headers")
# The headers of so many messages of a batch are examined, evenly spaced: Kafka's client takes 0.4 us to read those of a
# message, a tenth of the whole cost of an event.
EXAMINED_MAX = 10_000
OPERATION = "process"
# A well-formed traceparent, up to its flags; any program may have written the message.
PARENT_BYTES = 55
SAMPLED_DIGITS = frozenset(b"%x" % digit for digit in range(1, 16, 2))
PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class BatchTracing:
    """Opens the spans of batches."""

    def __init__(self, tracing: Tracing, topic: str, group: str) -> None:
        self._tracing = tracing
        self._topic = topic
        self._group = group

    def begin(self, partition: int, messages: Sequence[Message], plan: Plan) -> BatchTrace | None:
        """Open the span of a batch; None if none of its messages is sampled."""
        links = sampled(messages)
        if not links:
            return None
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": self._topic,
            "messaging.operation.type": OPERATION,
            "messaging.consumer.group.name": self._group,
            "messaging.destination.partition.id": str(partition),
            "messaging.batch.message_count": len(messages),
            "messaging.kafka.offset.first": messages[0].offset(),
            "messaging.kafka.offset.last": messages[-1].offset(),
            "ugc.plan.first": plan.first,
            "ugc.plan.end": plan.end,
            "ugc.plan.digest": plan.digest,
        }
        name = f"{OPERATION} {self._topic}"
        return BatchTrace(self._tracing.span(name, "consumer", attributes=attributes, links=links))


class BatchTrace:
    """The open span of a batch."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.trace_id = span.trace_id

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """End the span with the block; an error in it, and a batch that is abandoned, is the span's error."""
        with ending(self._span):
            yield

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Open a span within that of the batch."""
        with ending(self._span.child(name, "internal")):
            yield

    @contextlib.contextmanager
    def inserting(self, block: Block) -> Iterator[Block]:
        """Open the span of an insert; yields the block with it, which ClickHouse continues."""
        attributes: dict[str, str | int] = {
            "db.system.name": "clickhouse",
            "db.operation.name": "INSERT",
            "db.collection.name": block.table,
            "db.operation.batch.size": len(block.columns[0]),
            # It is the query_id, by which system.query_log has the insert.
            "db.clickhouse.query_id": block.name,
        }
        span = self._span.child("insert", "client", attributes)
        with ending(span):
            yield replace(block, traceparent=span.traceparent)

    def recovered(self, stored: int) -> None:
        """Note that an earlier attempt may have stored a part of the batch, and how many of its rows it had."""
        self._span.event("recovered", {"ugc.rows_found": stored})


@contextlib.contextmanager
def ending(span: Span) -> Iterator[None]:
    """End a span with the block, and with the class of the exception that leaves it."""
    try:
        yield
    except BaseException as error:
        # GeneratorExit: the partition was given up, or starts over.
        span.end("abandoned" if isinstance(error, GeneratorExit) else type(error).__name__)
        raise
    span.end()


def sampled(messages: Sequence[Message]) -> list[str]:
    """Return the traceparents of sampled messages, at most as many as a span has links, each once."""
    step = -(-len(messages) // EXAMINED_MAX)
    found: dict[str, None] = {}
    reading = map(HEADERS_OF, messages[::step])
    is_read = False
    while not is_read and len(found) < LINKS_MAX:
        try:
            add_sampled(reading, found)
            is_read = True
        except SystemError:  # of Kafka's client, for a message whose header has a name that is not UTF-8
            continue
    return list(found)


def add_sampled(reading: Iterator[Headers], found: dict[str, None]) -> None:
    """Add the traceparents of sampled messages until there are enough."""
    for headers in filter(None, reading):
        for name, value in headers:
            if name == TRACEPARENT and value is not None and is_sampled_header(value):
                found[value[:PARENT_BYTES].decode()] = None
        if len(found) >= LINKS_MAX:
            break


def is_sampled_header(value: bytes) -> bool:
    """Whether the value of a header is a well-formed traceparent of a sampled request."""
    return value[FLAGS_LAST_DIGIT:PARENT_BYTES] in SAMPLED_DIGITS and PARENT.match(value) is not None
