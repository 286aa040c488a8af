"""Negative controls: protocols that lack one part each. The oracle must catch every one, or it proves nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from ugc.v1.event_pb2 import EventRecord

from etl.batch import Batch
from etl.delivery import Delivery
from etl.errors import SinkError
from etl.events.identity import split
from etl.events.rows import DUPLICATE, Message, Rows, without_duplicates
from etl.partition import Partition
from etl.plan import EVENTS, Block, Coordinates, Position
from tests.simulation.member import Variant
from tests.simulation.parts import Row
from tests.simulation.sink import SimulatedSink
from tests.simulation.source import SimulatedSource

NEVER = 2**62


class WithoutReadBack(Delivery):
    """A batch that may be stored in part is inserted again as a whole."""

    def recover(self, partition: Partition, messages: Sequence[Message]) -> Iterator[None]:
        yield from self.deliver(partition, messages)
        partition.inherited = None


class WithoutQuiet(Delivery):
    """A recovery begins at once, while inserts of the former owner may begin or run."""

    def no_insert_in_flight(self, partition: Partition) -> bool:
        del partition
        return True


class WithoutRunning(SimulatedSink):
    """A recovery waits for the deadline alone, not for inserts that have begun before it."""

    def is_inserting(self, at: Coordinates) -> bool:
        del at
        return False


class WithoutInherited(SimulatedSource):
    """Plans are written and not read: batches are cut by time, whatever was planned."""

    def position(self, at: Coordinates) -> Position:
        return replace(super().position(at), plan=None)


class AtLeastOnce(WithoutQuiet):
    """No plan: insert under a deduplication token made of the offsets, then commit; after a failure insert again."""

    def deliver(self, partition: Partition, messages: Sequence[Message]) -> Iterator[None]:
        batch = self._prepare(partition, messages)
        yield from self._classify(batch, partition)
        batch.plan = batch.plan.until(NEVER)
        yield from self._store(batch, partition)
        partition.acknowledged_through = batch.plan.end + 1
        self.commit_acknowledged(partition)

    def recover(self, partition: Partition, messages: Sequence[Message]) -> Iterator[None]:
        yield from self.deliver(partition, messages)


class WithoutAcknowledgement(Delivery):
    """The offset moves on before the rows are stored."""

    def _store(self, batch: Batch, partition: Partition) -> Iterator[None]:
        self._commits.commit(partition.number, batch.plan.end + 1, "")
        yield from super()._store(batch, partition)


class WithoutErrors(SimulatedSink):
    """Nobody looks after an insert that failed: what was cut off is taken for stored."""

    def insert(self, block: Block) -> None:
        try:
            super().insert(block)
        except SinkError as error:
            if type(error) is not SinkError:
                raise


class WithoutWindow(SimulatedSink):
    """The window of known events is not read back."""

    def is_known(self, row: Row) -> bool:
        return row.reason == DUPLICATE


class WithoutRepeatsInWindow(SimulatedSink):
    """The window is read back without the repeats, which are events too."""

    def is_known(self, row: Row) -> bool:
        return row.table == EVENTS


class WithAllRejectedInWindow(SimulatedSink):
    """The window is read back with every message that has ids, also such as became no event and no repeat."""

    def is_known(self, row: Row) -> bool:
        return bool(row.identity)


class ParsingSink(SimulatedSink):
    """The identities of repeats are read from their messages, by another parser than the one that accepted them."""

    def identity(self, row: Row) -> bytes:
        return row.identity if row.table == EVENTS else EventRecord.FromString(row.content).event_id


class WithoutUser(Delivery):
    """Events are the same when their event_id is, whoever sent them."""

    def _prepare(self, partition: Partition, messages: Sequence[Message]) -> Batch:
        decode = self._decode
        self._decode = lambda messages: event_ids_only(decode(messages))
        try:
            return super()._prepare(partition, messages)
        finally:
            self._decode = decode


class WithoutUserSink(SimulatedSink):
    """The same of what is read back."""

    def identity(self, row: Row) -> bytes:
        return split(row.identity)[0]


def event_ids_only(rows: Rows) -> Rows:
    """Return the rows with half of their identities."""
    return replace(rows, identities=[split(identity)[0] for identity in rows.identities])


class TrustsConfirmed(SimulatedSink):
    """A recovery takes what no quorum has confirmed for missing, as a read with sequential consistency shows it."""

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        return self.confirmed_offsets(at, first, last)


class TrustsHeld(SimulatedSink):
    """A recovery moves on when the rows are on any replica, which may drop them."""

    def confirmed_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        return self.stored_offsets(at, first, last)


class RepeatsOfRefused(Delivery):
    """An event is taken for stored before ClickHouse has seen it: what repeats it in its batch is set aside first."""

    def _classify(self, batch: Batch, partition: Partition, held: Collection[int] = ()) -> Iterator[None]:
        del held
        batch.rows = without_duplicates(batch.rows, batch.messages, partition.window)
        yield


class WithoutFacts(Delivery):
    """A recovery judges anew what is stored already."""

    def _classify(self, batch: Batch, partition: Partition, held: Collection[int] = ()) -> Iterator[None]:
        del held
        yield from super()._classify(batch, partition)


class WithoutAbsent(SimulatedSink):
    """A replica that does not answer is passed over, as by `skip_unavailable_shards`."""

    def _ask_every_replica(self) -> None:
        self._ask()


CONTROLS = (
    Variant("without the fence", heeds_deadlines=False),
    Variant("without read-back", delivery=WithoutReadBack),
    Variant("without waiting for quiet", delivery=WithoutQuiet),
    Variant("without looking for running inserts", sink=WithoutRunning),
    Variant("batches cut by time, plans ignored", source=WithoutInherited),
    Variant("at least once with tokens", delivery=AtLeastOnce),
    Variant("commit before the acknowledgement", delivery=WithoutAcknowledgement),
    Variant("errors of inserts ignored", sink=WithoutErrors),
    Variant("confirmed rows taken for all", sink=TrustsConfirmed),
    Variant("unconfirmed rows taken for stored", sink=TrustsHeld),
    Variant("absent replicas passed over", sink=WithoutAbsent),
    Variant("the window is not read back", sink=WithoutWindow),
    Variant("the window is read back without repeats", sink=WithoutRepeatsInWindow),
    Variant("the window is read back with undecodable messages", sink=WithAllRejectedInWindow),
    Variant("repeats are parsed again", sink=ParsingSink),
    Variant("repeats of refused events are repeats", delivery=RepeatsOfRefused),
    Variant("recoveries forget what was refused", delivery=WithoutFacts),
    Variant("the window is keyed by event_id alone", delivery=WithoutUser, sink=WithoutUserSink),
)
