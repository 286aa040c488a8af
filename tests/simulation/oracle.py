"""Compares what is stored in the end with what must be stored, which follows from the log alone."""

from __future__ import annotations

from collections import Counter

from etl.metrics import ACCEPTED, EtlMetrics
from etl.plan import EVENTS, REJECTED, Position
from tests.simulation.clickhouse import ClickHouse, ViolationError
from tests.simulation.log import EVENT, Log, SimulatedMessage
from tests.simulation.member import Member
from tests.simulation.parts import Row

# How a partition changes its owner; the next one may read and count what the last one has counted and not committed.
TAKEOVERS = ("crashes", "evictions", "revocations", "stops", "offset resets")


def check(logs: list[Log], server: ClickHouse, counts: Counter[str]) -> None:
    """Raise ViolationError unless each message is exactly one row, of the right form."""
    for log in logs:
        rows, expected = server.rows[log.partition], log.expected()
        messages = {message.offset(): message for message in log.messages if message is not None}
        counts["messages"] += len(messages)
        counts["rows"] += len(rows)
        lost = sorted(messages.keys() - rows.keys())
        if lost:
            counts["lost"] += len(lost)
            raise ViolationError(f"partition {log.partition}: offsets {lost} are stored nowhere")
        if rows.keys() - messages.keys():
            raise ViolationError(f"partition {log.partition}: rows of offsets that the log does not have")
        for offset, message in messages.items():
            counts[f"became {expected[offset]}"] += 1
            if not is_correct(rows[offset], message, expected[offset]):
                raise ViolationError(f"partition {log.partition}: offset {offset} became {rows[offset]}")


def check_counted(logs: list[Log], metrics: EtlMetrics, counts: Counter[str]) -> None:
    """Raise ViolationError unless the members have counted each row once, or again where one took over from another."""
    wanted = Counter(kind for log in logs for kind in log.expected().values())
    for (table, reason), counted in metrics.rows.items():
        rows = wanted[EVENT if reason == ACCEPTED else reason]
        if counted.value < rows or (counted.value > rows and not any(counts[fault] for fault in TAKEOVERS)):
            raise ViolationError(
                f"{rows} messages are rows of {table} as {reason or 'events'}, counted: {counted.value}"
            )
    counts["runs counted exactly"] += not any(counts[fault] for fault in TAKEOVERS)


def check_complete_through(member: Member, logs: list[Log], server: ClickHouse, counts: Counter[str]) -> None:
    """Raise ViolationError if a message from before a complete-through time of a member is not stored."""
    for number, partition in member.progress.partitions.items():
        if (through := partition.complete_through) is None:
            continue
        counts["complete-through times"] += 1
        log = logs[number]
        early = {message.offset() for message in log.messages if message and log.appended[message.offset()] < through}
        stored = set(server.rows[number])
        if not server.quorums.is_needed:
            # What one replica holds is stored, also while it is away.
            stored.update(*(part.rows for part in server.quorums.pending if part.partition == number))
        if missing := early - stored:
            raise ViolationError(f"partition {number} is complete through {through:.2f}, but lacks {sorted(missing)}")


def check_placed(partition: int, server: ClickHouse, position: Position, shards: int) -> None:
    """Raise ViolationError if a row is not where the last commit records it."""
    placement = position.placement
    if placement is None or placement.shards != shards:
        return
    strays = [
        offset
        for offset, shard in server.shard_of[partition].items()
        if offset >= placement.since and shard != partition % shards
    ]
    if strays:
        raise ViolationError(f"partition {partition}: offsets {strays} are on another shard, despite {placement}")


def is_correct(row: Row, message: SimulatedMessage, kind: str) -> bool:
    """Whether a row is what its message must become."""
    if kind == EVENT:
        return (row.table, row.content) == (EVENTS, message.identity)
    found = (row.table, row.content, row.identity, row.reason)
    return found == (REJECTED, message.value(), message.identity or message.ids, kind)


def last_offset(log: Log) -> int:
    """Return the offset of the last message; -1 if there is none."""
    return max((message.offset() for message in log.messages if message is not None), default=-1)
