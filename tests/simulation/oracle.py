"""What must be stored in the end, computed from the log alone, against what is."""

from __future__ import annotations

from collections import Counter

from etl.plan import EVENTS, REJECTED
from tests.simulation.clickhouse import ClickHouse, ViolationError
from tests.simulation.log import EVENT, Log, SimulatedMessage
from tests.simulation.parts import Row


def look(logs: list[Log], server: ClickHouse, counts: Counter[str]) -> None:
    """Raise ViolationError unless each message is one row, and each row what its message must become."""
    for log in logs:
        rows, verdicts = server.rows[log.partition], log.verdicts()
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
            counts[f"became {verdicts[offset]}"] += 1
            if not is_right(rows[offset], message, verdicts[offset]):
                raise ViolationError(f"partition {log.partition}: offset {offset} became {rows[offset]}")


def is_right(row: Row, message: SimulatedMessage, verdict: str) -> bool:
    """Whether a message became what it must."""
    if verdict == EVENT:
        return (row.table, row.content) == (EVENTS, message.identity)
    found = (row.table, row.content, row.identity, row.reason)
    return found == (REJECTED, message.value(), message.identity or message.ids, verdict)


def last_offset(log: Log) -> int:
    """Return the offset of the last message; -1 where there is none."""
    return max((message.offset() for message in log.messages if message is not None), default=-1)
