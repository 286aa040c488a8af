"""The rows of a block in the fake ClickHouse, split into parts by month."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from etl.plan import EVENTS, REJECTED, Block


@dataclass(frozen=True)
class Row:
    """The row of an offset: an event's identity, or a rejected message's reason, bytes and ids."""

    table: str
    content: bytes
    reason: str = ""
    identity: bytes = b""


# Rows of one month, each with its offset and its time.
Part = list[tuple[int, Row, int]]


def parts(block: Block) -> list[Part]:
    """Split a block into parts: its rows by month, each with its offset and its time."""
    columns: Any = block.columns
    if block.table == EVENTS:
        identities, times, offsets = columns
        rows = [
            (offset, Row(EVENTS, identity, identity=identity), time)
            for identity, time, offset in zip(identities, times, offsets, strict=True)
        ]
    else:
        offsets, reasons, _, raws, times, event_ids, users = columns
        rows = [
            (offset, Row(REJECTED, raw, reason, event_id + user), time)
            for offset, reason, raw, time, event_id, user in zip(
                offsets, reasons, raws, times, event_ids, users, strict=True
            )
        ]
    rows.sort(key=lambda row: row[2])
    return [list(group) for _, group in groupby(rows, key=lambda row: row[2])]
