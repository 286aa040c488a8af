"""The recovery of a batch that may be stored in part: plan again, read, insert the missing rows, read again."""

from __future__ import annotations

import pytest

from etl.errors import LogChangedError, SinkError
from etl.events.rows import DUPLICATE, REFUSED, UNDECODABLE
from etl.plan import EVENTS, REJECTED, Block, read_position
from tests.support.fakes.delivering import AT, NOW, Stores, deliver, made, messages, recover, restored


def test_recovery_inserts_what_is_missing() -> None:
    """A recovery plans again, reads the stored offsets, inserts only the others, and reads the confirmed ones."""
    stores, partition = Stores(rows={100: EVENTS, 102: UNDECODABLE}), restored()
    recover(made(stores), partition, messages([b"a", b"b", None, b"a", b"c"]))

    assert stores.calls == ["plan", "stored", f"insert {REJECTED}", f"insert {EVENTS}", "confirmed"]
    assert stores.rows == {100: EVENTS, 101: EVENTS, 102: UNDECODABLE, 103: DUPLICATE, 104: EVENTS}
    assert [block.columns[0] for block in stores.blocks] == [[103], [b"b", b"c"]]
    assert (partition.inherited, partition.acknowledged_through) == (None, 105)


def test_recovery_of_what_is_stored() -> None:
    """If everything is stored, nothing is inserted."""
    stores = Stores(rows={100: EVENTS, 101: EVENTS})
    recover(made(stores), restored(), messages([b"a", b"b"]))

    assert stores.calls == ["plan", "stored", "confirmed"]


def test_recovery_is_checked() -> None:
    """If a server acknowledges rows that it does not store, the offset is not committed."""

    class Forgetful(Stores):
        def insert(self, block: Block) -> None:
            """Acknowledge."""

    stores, partition = Forgetful(), restored()

    with pytest.raises(SinkError, match="not stored as a whole"):
        recover(made(stores), partition, messages([b"a"]))

    assert partition.acknowledged_through is None


@pytest.mark.parametrize("identities", [[b"a"], [b"a", b"b", b"c"], [b"a", b"x"]])
def test_another_log(identities: list[bytes]) -> None:
    """Messages that do not match the plan stop the process before anything is planned or inserted."""
    stores, partition = Stores(), restored()
    deliver(made(stores), partition, messages([b"a", b"b"]))
    partition = restored()
    partition.inherited = read_position(AT.topic.identity, *stores.committed).plan
    stores.calls.clear()

    with pytest.raises(LogChangedError, match="partition 3"):
        recover(made(stores), partition, messages(identities))

    assert stores.calls == []


def test_no_insert_in_flight() -> None:
    """No insert is in flight when the deadline has passed on every server's clock and no insert runs."""
    stores, partition = Stores(), restored()
    partition.in_flight_until = NOW + 1_000
    delivery = made(stores, skew_seconds=0.5)
    stores.seconds = 1.5

    assert not delivery.no_insert_in_flight(partition)

    stores.seconds = 1.501

    assert delivery.no_insert_in_flight(partition)

    stores.running = True

    assert not delivery.no_insert_in_flight(partition)


def test_refused_events_stay_refused() -> None:
    """A recovery keeps the refusals of the first attempt, and finds the duplicates accordingly."""
    stores, partition = Stores(rows={100: REFUSED}), restored()
    delivery = made(stores)
    recover(delivery, partition, messages([b"a", b"b", b"a", b"a"]))
    deliver(delivery, partition, messages([b"a"], start=104))

    assert stores.rows == {100: REFUSED, 101: EVENTS, 102: EVENTS, 103: DUPLICATE, 104: DUPLICATE}
