"""The rows of a block in the fake ClickHouse, split into parts by month."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias, cast

from etl.plan import EVENTS, REJECTED, Block


@dataclass(frozen=True)
class Row:
    """The row of an offset: an event's identity, or a rejected message's reason, bytes and ids."""

    table: str
    content: bytes
    reason: str = ""
    identity: bytes = b""


# The columns of a block of `rejected_events`.
RejectedColumns: TypeAlias = "tuple[list[int], list[str], list[str], list[bytes], list[int], list[bytes], list[bytes]]"
# Rows of one month, each with its offset and its time.
Part = list[tuple[int, Row, int]]


def parts(block: Block) -> list[Part]:
    """Split a block into parts: its rows by month, each with its offset and its time."""
    if block.table == EVENTS:
        events = cast("tuple[list[bytes], list[int], list[int]]", tuple(block.columns))
        identities, times, offsets = events
        rows = [
            (offset, Row(EVENTS, identity, identity=identity), time)
            for identity, time, offset in zip(identities, times, offsets, strict=True)
        ]
    else:
        rejected = cast("RejectedColumns", tuple(block.columns))
        offsets, reasons, _, raws, times, event_ids, users = rejected
        rows = [
            (offset, Row(REJECTED, raw, reason, event_id + user), time)
            for offset, reason, raw, time, event_id, user in zip(
                offsets, reasons, raws, times, event_ids, users, strict=True
            )
        ]
    rows.sort(key=lambda row: row[2])
    return [list(group) for _, group in groupby(rows, key=lambda row: row[2])]
