"""What ClickHouse must confirm before a batch counts as stored, and before a failed insert is repeated."""

from __future__ import annotations

from etl.batch import Batch
from etl.errors import QuorumError, SinkError
from etl.events.rows import Rows
from etl.stores import Sink


def require_confirmed(sink: Sink, batch: Batch) -> None:
    """Raise SinkError unless every message of a recovered batch is a row that a quorum has confirmed."""
    first, end = batch.plan.first, batch.plan.end
    missing = {each.offset() for each in batch.messages} - sink.confirmed_offsets(batch.at, first, end)
    if not missing:
        return
    if missing <= sink.stored_offsets(batch.at, first, end):
        raise QuorumError(
            f"{len(missing)} rows of the batch {batch.plan} are stored, but not on enough replicas yet: "
            "a replica is absent, or has not fetched them"
        )
    raise SinkError(f"after its recovery the batch {batch.plan} is not stored as a whole")


def require_nothing_stored(sink: Sink, batch: Batch, rows: Rows, error: SinkError) -> None:
    """Raise SinkError if ClickHouse stored rows of an insert that failed, or may still do so.

    It stores a block and then fails if a view of the table fails, or if replicas do not confirm it in time.
    """
    if sink.is_inserting(batch.at, batch.plan.first):
        raise SinkError(f"an insert still runs, although ClickHouse returned: {error}") from error
    offsets = rows.offsets
    if stored := sink.stored_offsets(batch.at, offsets[0], offsets[-1]).intersection(offsets):
        raise SinkError(f"{len(stored)} rows are stored, although ClickHouse returned: {error}") from error
