"""Negative controls: protocols that each lack one part. The oracle must detect a violation for every one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from ugc.v1.event_pb2 import EventRecord

from etl.batch import Batch
from etl.delivery import Delivery
from etl.errors import SinkError
from etl.events.identity import split
from etl.events.rows import DUPLICATE, Message, Rows, without_duplicates
from etl.partition import Partition
from etl.plan import EVENTS, Block, Coordinates, Position, Topic
from etl.prepared import Prepared
from tests.simulation.member import Variant
from tests.simulation.overlap_controls import CommitsPrepared, CommitsRunning, InsertsFirst, KeepsPartitions
from tests.simulation.parts import Row
from tests.simulation.sink import SimulatedSink
from tests.simulation.source import SimulatedSource

NEVER = 2**62


class WithoutReadBack(Delivery):
    """A batch that may be stored in part is inserted again as a whole."""

    def recover(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        yield from self.deliver(partition, prepared)
        partition.inherited = None


class WithoutWaiting(Delivery):
    """A recovery begins at once, while inserts of the former owner may be in flight."""

    def no_insert_in_flight(self, partition: Partition) -> bool:
        del partition
        return True


class WithoutRunning(SimulatedSink):
    """A recovery waits for the deadline, but not for inserts that run."""

    def is_inserting(self, at: Coordinates, first: int) -> bool:
        del at, first
        return False


class WithoutInherited(SimulatedSource):
    """Plans are written and not read: batches are cut by time, not by the plan."""

    def position(self, at: Coordinates) -> Position:
        return replace(super().position(at), plan=None)


class AtLeastOnce(WithoutWaiting):
    """No plan: insert with a deduplication token made of the offsets, then commit; after a failure insert again."""

    def deliver(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        batch = self._batch(partition, prepared)
        yield from self._classify(batch, partition)
        batch.plan = batch.plan.until(NEVER)
        yield from self._store(batch, partition)
        partition.acknowledged_through = batch.plan.end + 1
        self.commit_acknowledged(partition)

    def recover(self, partition: Partition, prepared: Prepared) -> Iterator[None]:
        yield from self.deliver(partition, prepared)


class WithoutAcknowledgement(Delivery):
    """The offset is committed before the rows are stored."""

    def _store(self, batch: Batch, partition: Partition) -> Iterator[None]:
        self._commits.commit(partition.number, batch.plan.end + 1, "")
        yield from super()._store(batch, partition)


class WithoutErrors(SimulatedSink):
    """Errors of inserts are ignored: rows whose insert failed are regarded as stored."""

    def insert(self, block: Block) -> None:
        try:
            super().insert(block)
        except SinkError as error:
            if type(error) is not SinkError:
                raise


class WithoutWindow(SimulatedSink):
    """The duplicate window is not restored."""

    def is_in_window(self, row: Row) -> bool:
        return row.reason == DUPLICATE


class WithoutDuplicatesInWindow(SimulatedSink):
    """The duplicate window is restored without the duplicates."""

    def is_in_window(self, row: Row) -> bool:
        return row.table == EVENTS


class WithAllRejectedInWindow(SimulatedSink):
    """The duplicate window is restored from every message with ids, also from undecodable and refused ones."""

    def is_in_window(self, row: Row) -> bool:
        return bool(row.identity)


class ParsingSink(SimulatedSink):
    """The identities of duplicates are parsed from their messages, by another parser than the etl's."""

    def identity(self, row: Row) -> bytes:
        return row.identity if row.table == EVENTS else EventRecord.FromString(row.content).event_id


class WithoutUser(Delivery):
    """The identity of an event is its event_id alone, without its user."""

    def prepare(self, messages: Sequence[Message], *, is_planned: bool = False) -> Prepared:
        prepared = super().prepare(messages, is_planned=is_planned)
        return replace(prepared, rows=event_ids_only(prepared.rows))


class WithoutUserSink(SimulatedSink):
    """The identities that are read back lack the user too."""

    def identity(self, row: Row) -> bytes:
        return split(row.identity)[0]


def event_ids_only(rows: Rows) -> Rows:
    """Return the rows with event_ids as their identities."""
    return replace(rows, identities=[split(identity)[0] for identity in rows.identities])


class TrustsConfirmed(SimulatedSink):
    """A recovery regards rows that no quorum has confirmed as missing, as a sequentially consistent read shows it."""

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        return self.confirmed_offsets(at, first, last)


class TrustsUnconfirmed(SimulatedSink):
    """A recovery commits when the rows are on any replica, which may still drop them."""

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        return self.stored_offsets(at, first, last)


class DuplicatesOfRefused(Delivery):
    """Copies within a batch are duplicates even if ClickHouse refuses the original."""

    def _classify(self, batch: Batch, partition: Partition, stored: Collection[int] = ()) -> Iterator[None]:
        del stored
        batch.rows = without_duplicates(batch.rows, batch.messages, partition.window)
        yield


class ForgetsDecisions(Delivery):
    """A recovery ignores what an earlier attempt has decided."""

    def _classify(self, batch: Batch, partition: Partition, stored: Collection[int] = ()) -> Iterator[None]:
        del stored
        yield from super()._classify(batch, partition)


class WithoutAbsent(SimulatedSink):
    """A replica that does not answer is skipped, as with `skip_unavailable_shards`."""

    def _query_every_replica(self, at: Coordinates, first: int) -> Collection[int]:
        self._query()
        return self.shards_with(at, first)


class WithoutOtherShards(SimulatedSink):
    """Only the partition's own shard is read, also for rows that were stored under another rule."""

    def shards_with(self, at: Coordinates, first: int) -> Collection[int]:
        del first
        return (at.shard,)


class TrustsAnyPlacement(SimulatedSource):
    """What a commit records about another number of shards is taken for that of the present one."""

    def position(self, at: Coordinates) -> Position:
        found = super().position(at)
        placement = found.placement
        return found if placement is None else replace(found, placement=replace(placement, shards=self.shards))


class WithoutMoved(SimulatedSink):
    """After partitions were added, only the partition's own events are in its window."""

    def moved_identities(
        self, at: Coordinates, first: int, last: int, to: int, partitions: int
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        del at, first, last, to, partitions
        return (), ()


class WithoutAwaiting(SimulatedSource):
    """After partitions were added, the former partition of a user is read before its events are stored."""

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        del topic
        return dict.fromkeys(partitions, NEVER)


class ContinuesBatches(Delivery):
    """A batch does not end where partitions were added, and the window stays as it is."""

    def prepare(self, messages: Sequence[Message], *, is_planned: bool = False) -> Prepared:
        return replace(super().prepare(messages, is_planned=True), has_change=is_planned)


CONTROLS = (
    Variant("without the fence", enforces_deadlines=False),
    Variant("without read-back", delivery=WithoutReadBack),
    Variant("without waiting for inserts in flight", delivery=WithoutWaiting),
    Variant("without checking for running inserts", sink=WithoutRunning),
    Variant("batches cut by time, plans ignored", source=WithoutInherited),
    Variant("at least once with tokens", delivery=AtLeastOnce),
    Variant("commit before the acknowledgement", delivery=WithoutAcknowledgement),
    Variant("insert before the plan", delivery=InsertsFirst),
    Variant("prepared batch committed", delivery=CommitsPrepared),
    Variant("running insert committed", loader=CommitsRunning),
    Variant("prepared batch kept over a revocation", loader=KeepsPartitions),
    Variant("errors of inserts ignored", sink=WithoutErrors),
    Variant("unconfirmed rows regarded as missing", sink=TrustsConfirmed),
    Variant("unconfirmed rows committed", sink=TrustsUnconfirmed),
    Variant("absent replicas skipped", sink=WithoutAbsent),
    Variant("other shards not read", sink=WithoutOtherShards),
    Variant("placement under another number of shards trusted", source=TrustsAnyPlacement),
    Variant("window not restored", sink=WithoutWindow),
    Variant("window restored without duplicates", sink=WithoutDuplicatesInWindow),
    Variant("window restored with undecodable messages", sink=WithAllRejectedInWindow),
    Variant("duplicates parsed again", sink=ParsingSink),
    Variant("duplicates of refused events", delivery=DuplicatesOfRefused),
    Variant("recoveries that forget refusals", delivery=ForgetsDecisions),
    Variant("moved users' events not read", sink=WithoutMoved),
    Variant("former partitions not awaited", source=WithoutAwaiting),
    Variant("window kept where partitions were added", delivery=ContinuesBatches),
    Variant("identity without the user", delivery=WithoutUser, sink=WithoutUserSink),
)
