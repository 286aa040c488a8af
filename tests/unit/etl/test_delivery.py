"""The order of the protocol's steps (plan, insert, commit), and what happens when one of them fails."""

from __future__ import annotations

import pytest

from etl.errors import RefusalsError, SinkError, SourceError
from etl.events.rows import DUPLICATE, REFUSED, UNDECODABLE, digest
from etl.plan import EVENTS, REJECTED, completed_metadata, read_position
from tests.support.fakes.delivering import AT, NOW, POISON, Stores, deliver, made, messages, restored


def test_order() -> None:
    """The plan is committed before any insert; it describes the batch, and its offset is the batch's first."""
    stores, partition, batch = Stores(), restored(), messages([b"a", None, b"b"])
    deliver(made(stores), partition, batch)
    position = read_position(AT.topic.identity, *stores.committed)

    assert stores.calls == ["plan", f"insert {REJECTED}", f"insert {EVENTS}"]
    assert position.offset == 100
    assert position.plan is not None
    assert (position.plan.end, position.plan.rows, position.plan.digest) == (102, 3, digest(batch))
    assert position.plan.deadline == NOW + 5_000
    assert {block.deadline for block in stores.blocks} == {NOW + 5_000}
    assert stores.rows == {100: EVENTS, 101: UNDECODABLE, 102: EVENTS}


def test_one_commit_per_batch() -> None:
    """The plan of a batch commits the batch before it; a separate commit is needed only when no batch follows."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a", b"b"]))
    deliver(delivery, partition, messages([b"c"], start=102))

    assert stores.calls == ["plan", f"insert {EVENTS}"] * 2
    assert (stores.committed[0], stores.plan_end()) == (102, 102)

    delivery.commit_acknowledged(partition)
    delivery.commit_acknowledged(partition)

    assert stores.calls[4:] == ["commit"]
    assert stores.committed == (103, completed_metadata(AT.topic.identity, AT.placement))


def test_no_commit_without_an_acknowledgement() -> None:
    """After an insert that was not acknowledged the plan stays in Kafka, and no offset is committed."""
    stores, partition = Stores(insert_error=SinkError("no answer")), restored()
    delivery = made(stores)

    with pytest.raises(SinkError):
        deliver(delivery, partition, messages([b"a", b"b"]))

    delivery.commit_acknowledged(partition)

    assert (stores.committed[0], stores.plan_end()) == (100, 101)
    assert "commit" not in stores.calls


def test_no_plan_no_insert() -> None:
    """If Kafka does not acknowledge the plan, nothing is inserted."""
    stores = Stores(commit_error=SourceError("UNKNOWN_MEMBER_ID"))

    with pytest.raises(SourceError):
        deliver(made(stores), restored(), messages([b"a"]))

    assert stores.blocks == []


def test_a_commit_that_fails() -> None:
    """A commit that fails leaves the acknowledged offset uncommitted."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a"]))
    stores.commit_error = SourceError("timed out")

    with pytest.raises(SourceError):
        delivery.commit_acknowledged(partition)

    assert partition.acknowledged_through == 101


def test_duplicates() -> None:
    """A duplicate is a rejected row with its reason; the first copy is the event."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a", b"a"]))
    deliver(delivery, partition, messages([b"b", b"a"], start=102))

    assert stores.rows == {100: EVENTS, 101: DUPLICATE, 102: EVENTS, 103: DUPLICATE}


@pytest.mark.parametrize("bad", [{0}, {6}, {3, 4}, {0, 2, 4, 6}, set(range(7))])
def test_only_refused_rows_are_rejected(bad: set[int]) -> None:
    """Each row that ClickHouse refuses is rejected with its code; every other row is stored."""
    stores = Stores()
    batch = messages((POISON if index in bad else b"") + bytes([index]) for index in range(7))
    deliver(made(stores), restored(), batch)

    assert stores.rows == {100 + index: REFUSED if index in bad else EVENTS for index in range(7)}
    (refused,) = [block for block in stores.blocks if block.table == REJECTED]
    assert all("ClickHouse's error 6" in str(error) for error in refused.columns[2])


def test_names() -> None:
    """Every insert has a different name, also after refusals and renewed plans."""
    stores = Stores(insert_seconds=1.0)
    deliver(made(stores), restored(), messages([POISON, *(bytes([index]) for index in range(9)), None]))
    names = [block.name for block in stores.blocks]

    assert len(names) == 4
    assert len(set(names)) == len(names)
    assert all(name.startswith(AT.name) for name in names)


def test_a_refused_event_is_not_an_original() -> None:
    """A refused event is not stored, so its next copy is inserted again."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([POISON]))
    deliver(delivery, partition, messages([POISON], start=101))

    assert stores.rows == {100: REFUSED, 101: REFUSED}


@pytest.mark.parametrize("copies", [2, 3, 10])
def test_a_refused_event_is_not_an_original_in_its_batch(copies: int) -> None:
    """Copies of a refused event in the same batch are refused too; they are not duplicates of it."""
    stores, partition = Stores(), restored()
    deliver(made(stores, in_a_row_max=2), partition, messages([b"a", *[POISON] * copies, b"a"]))

    assert stores.rows == {100: EVENTS, **dict.fromkeys(range(101, 101 + copies), REFUSED), 101 + copies: DUPLICATE}
    assert [step for step in stores.calls if step.startswith("insert")] == [f"insert {REJECTED}", f"insert {EVENTS}"]


def test_a_batch_without_duplicates_is_not_probed() -> None:
    """New events and duplicates of earlier batches need no probe; duplicates within a batch need one."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a", b"b"]))
    deliver(delivery, partition, messages([b"c", b"a"], start=102))
    assert stores.calls.count("probe") == 0

    deliver(delivery, partition, messages([b"d", b"d", b"e", b"e"], start=104))
    assert stores.calls.count("probe") == 1


def test_too_many_refusals() -> None:
    """A table that accepts no rows stops the process, instead of filling `rejected_events`."""
    stores, partition = Stores(), restored()
    delivery = made(stores, in_a_row_max=2)

    def refuse(offset: int) -> None:
        deliver(delivery, partition, messages([POISON], start=offset))

    refuse(100)
    refuse(101)

    with pytest.raises(RefusalsError):
        refuse(102)


def test_renewals() -> None:
    """A plan whose time is half used up is committed again before the next insert, with a new deadline."""
    stores = Stores(insert_seconds=3.0)
    deliver(made(stores), restored(), messages([POISON, b"a", b"b", b"c"]))

    steps = [step for step in stores.calls if step not in ("stored", "probe")]
    assert steps == ["plan", f"insert {EVENTS}", "plan", f"insert {REJECTED}", "plan", f"insert {EVENTS}"]
    assert stores.blocks[0].deadline == NOW + 5_000
    assert all(block.deadline >= NOW + 3_000 * at + 2_500 for at, block in enumerate(stores.blocks))
    assert (stores.committed[0], stores.plan_end()) == (100, 103)
