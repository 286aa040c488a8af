"""What must be stored in the end, computed from the log alone, against what is."""

from __future__ import annotations

from collections import Counter

from etl.block import EVENTS, REJECTED
from etl.rows import DUPLICATE, REFUSED, UNDECODABLE
from tests.simulation.clickhouse import ClickHouse, ViolationError
from tests.simulation.log import Log, SimulatedMessage
from tests.simulation.parts import Row


def look(logs: list[Log], server: ClickHouse, counts: Counter[str]) -> None:
    """Raise ViolationError unless each message is one row, and each row what its message must become."""
    for log in logs:
        rows, events = server.rows[log.partition], log.events()
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
            if not is_right(rows[offset], message, log, is_event=offset in events):
                raise ViolationError(f"partition {log.partition}: offset {offset} became {rows[offset]}")


def is_right(row: Row, message: SimulatedMessage, log: Log, *, is_event: bool) -> bool:
    """Whether a message became what it must."""
    if is_event:
        return (row.table, row.content) == (EVENTS, message.identity)
    if message.identity is None:
        reasons = [UNDECODABLE]
    elif message.identity in log.poison:
        # A repeat in the same batch is set aside before its first copy is refused.
        reasons = [REFUSED, DUPLICATE]
    else:
        reasons = [DUPLICATE]
    found = (row.table, row.content, row.identity)
    return found == (REJECTED, message.value(), message.identity or message.ids) and row.reason in reasons


def last_offset(log: Log) -> int:
    """Return the offset of the last message; -1 where there is none."""
    return max((message.offset() for message in log.messages if message is not None), default=-1)
