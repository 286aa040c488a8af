"""Rows on one replica that no quorum has confirmed: they are not inserted again, and not committed yet."""

from __future__ import annotations

import pytest

from etl.delivery import HALVED_ROWS_MIN
from etl.errors import QuorumError, QuorumTimeoutError, SinkError, TooLargeError
from etl.events.rows import UNDECODABLE
from etl.plan import EVENTS, REJECTED, Block
from tests.support.fakes.delivering import Stores, deliver, made, messages, recover, restored
from tests.support.fakes.sinks import offsets_of


def test_pending_rows_are_not_inserted_again() -> None:
    """A recovery inserts only rows that no replica holds, and fails until the others are confirmed."""
    stores, partition = Stores(rows={100: EVENTS, 101: UNDECODABLE}, pending={100, 101}), restored()

    with pytest.raises(QuorumError, match=r"2 rows of the batch .* not on enough replicas"):
        recover(made(stores), partition, messages([b"a", None, b"b"]))

    assert [block.columns[-1] for block in stores.blocks] == [[102]]
    assert partition.acknowledged_through is None
    assert stores.committed[0] == 100


def test_pending_rows_are_confirmed_later() -> None:
    """After the replicas have fetched the rows, the next recovery succeeds without an insert."""
    stores, partition = Stores(rows={100: EVENTS, 101: EVENTS}, pending={101}), restored()
    delivery = made(stores)

    with pytest.raises(QuorumError):
        recover(delivery, partition, messages([b"a", b"b"]))

    stores.pending.clear()
    partition = restored()
    recover(delivery, partition, messages([b"a", b"b"]))

    assert stores.blocks == []
    assert partition.acknowledged_through == 102


def test_pending_rows_vanish() -> None:
    """Rows that the only replica with them has dropped are inserted again."""
    stores, partition = Stores(rows={100: EVENTS}, pending={100}), restored()
    delivery = made(stores)

    with pytest.raises(QuorumError):
        recover(delivery, partition, messages([b"a"]))

    stores.rows.clear()
    stores.pending.clear()
    recover(delivery, restored(), messages([b"a"]))

    assert [block.columns[-1] for block in stores.blocks] == [[100]]


class Stalling(Stores):
    """Stores a block of more than `rows_max` rows on one replica, or on none, and raises a timeout."""

    rows_max = 0
    stores_it = False

    def insert(self, block: Block) -> None:
        rows = len(block.columns[0])
        if rows <= self.rows_max:
            super().insert(block)
            return
        if self.stores_it:
            super().insert(block)
            self.pending |= set(offsets_of(block))
        else:
            self.calls.append(f"insert {block.table}")
        raise QuorumTimeoutError("Code: 159. Timeout exceeded: elapsed 20235 ms")


IDENTITIES = [number.to_bytes(4) for number in range(4 * HALVED_ROWS_MIN)]


def test_a_quorum_timeout_does_not_halve_the_block() -> None:
    """A block on one replica that waits for its quorum is not inserted in halves, which would duplicate its rows."""
    stores, partition = Stalling(), restored()
    stores.stores_it = True

    with pytest.raises(SinkError, match="4000 rows are stored, although"):
        deliver(made(stores), partition, messages(IDENTITIES))

    assert stores.calls == ["plan", f"insert {EVENTS}", "stored"]
    assert partition.acknowledged_through is None


def test_a_block_that_times_out_on_a_cluster_is_halved() -> None:
    """If no replica holds a row of the block, it is inserted in halves."""
    stores = Stalling()
    stores.rows_max = HALVED_ROWS_MIN
    deliver(made(stores), restored(), messages(IDENTITIES))

    assert sorted(stores.rows) == list(range(100, 100 + len(IDENTITIES)))
    assert stores.calls.count(f"insert {EVENTS}") == 1 + 2 + 4


def test_few_rows_that_time_out_are_an_outage() -> None:
    """A small block that times out is not halved: the partition starts over."""
    stores = Stalling()

    with pytest.raises(QuorumTimeoutError):
        deliver(made(stores), restored(), messages(IDENTITIES[: HALVED_ROWS_MIN - 1]))

    assert stores.calls.count(f"insert {EVENTS}") == 1


@pytest.mark.parametrize("error", [QuorumTimeoutError("159"), TooLargeError("241")])
def test_an_insert_that_still_runs_is_not_repeated(error: SinkError) -> None:
    """A block whose insert still runs may be stored later, whatever error ClickHouse returned."""
    stores = Stores(insert_error=error, running=True)

    with pytest.raises(SinkError, match="still runs"):
        deliver(made(stores), restored(), messages(IDENTITIES))

    assert stores.calls == ["plan", f"insert {EVENTS}"]


@pytest.mark.parametrize("code", ["285", "286", "289", "319"])
def test_other_quorum_errors_start_over(code: str) -> None:
    """An insert that replicas did not confirm, or refused because of an earlier one, is neither halved nor repeated."""
    stores, partition = Stores(insert_error=QuorumError(code)), restored()

    with pytest.raises(QuorumError):
        deliver(made(stores), partition, messages(IDENTITIES))

    assert stores.calls == ["plan", f"insert {EVENTS}"]
    assert partition.acknowledged_through is None


def test_rejected_rows() -> None:
    """The rejected messages of a batch are treated like its events."""
    stores, partition = Stores(insert_error=QuorumError("286")), restored()

    with pytest.raises(QuorumError):
        deliver(made(stores), partition, messages([None, b"a"]))

    assert stores.calls == ["plan", f"insert {REJECTED}"]
    assert partition.acknowledged_through is None
