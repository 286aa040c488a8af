"""The steps of the protocol in their order: plan, insert, close; and what happens when one of them fails."""

from __future__ import annotations

import pytest

from etl.errors import RefusalsError, SinkError, SourceError
from etl.events.rows import DUPLICATE, REFUSED, UNDECODABLE, digest
from etl.plan import EVENTS, REJECTED, completed_metadata, read_position
from tests.support.fakes.delivering import AT, NOW, POISON, Stores, deliver, made, messages, restored


def test_order() -> None:
    """The plan is committed before anything is inserted, names the batch, and its offset is the batch's first."""
    stores, partition, batch = Stores(), restored(), messages([b"a", None, b"b"])
    deliver(made(stores), partition, batch)
    position = read_position(AT.topic.identity, *stores.committed)

    assert stores.asked == ["plan", f"insert {REJECTED}", f"insert {EVENTS}"]
    assert position.offset == 100
    assert position.plan is not None
    assert (position.plan.end, position.plan.rows, position.plan.digest) == (102, 3, digest(batch))
    assert position.plan.deadline == NOW + 5_000
    assert {block.deadline for block in stores.blocks} == {NOW + 5_000}
    assert stores.rows == {100: EVENTS, 101: UNDECODABLE, 102: EVENTS}


def test_one_commit_a_batch() -> None:
    """The plan of a batch closes the one before it; only an idle moment needs a commit of its own."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a", b"b"]))
    deliver(delivery, partition, messages([b"c"], start=102))

    assert stores.asked == ["plan", f"insert {EVENTS}"] * 2
    assert (stores.committed[0], stores.plan_end()) == (102, 102)

    delivery.commit_acknowledged(partition)
    delivery.commit_acknowledged(partition)

    assert stores.asked[4:] == ["commit"]
    assert stores.committed == (103, completed_metadata(AT.topic.identity))


def test_nothing_moves_before_the_answer() -> None:
    """An insert without a clean answer leaves the plan in Kafka, and nothing to close."""
    stores, partition = Stores(insert_error=SinkError("no answer")), restored()
    delivery = made(stores)

    with pytest.raises(SinkError):
        deliver(delivery, partition, messages([b"a", b"b"]))

    delivery.commit_acknowledged(partition)

    assert (stores.committed[0], stores.plan_end()) == (100, 101)
    assert "commit" not in stores.asked


def test_no_plan_no_insert() -> None:
    """A plan that Kafka does not confirm is not inserted, whatever became of it."""
    stores = Stores(commit_error=SourceError("UNKNOWN_MEMBER_ID"))

    with pytest.raises(SourceError):
        deliver(made(stores), restored(), messages([b"a"]))

    assert stores.blocks == []


def test_close_fails() -> None:
    """A closing commit that fails is not taken for done."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a"]))
    stores.commit_error = SourceError("timed out")

    with pytest.raises(SourceError):
        delivery.commit_acknowledged(partition)

    assert partition.acknowledged_through == 101


def test_repeats() -> None:
    """A repeat is a rejected row with its reason; the first copy is the event."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a", b"a"]))
    deliver(delivery, partition, messages([b"b", b"a"], start=102))

    assert stores.rows == {100: EVENTS, 101: DUPLICATE, 102: EVENTS, 103: DUPLICATE}


@pytest.mark.parametrize("bad", [{0}, {6}, {3, 4}, {0, 2, 4, 6}, set(range(7))])
def test_poison_stands_alone(bad: set[int]) -> None:
    """Rows that ClickHouse refuses are set aside one by one with its code; every other row is stored."""
    stores = Stores()
    batch = messages((POISON if index in bad else b"") + bytes([index]) for index in range(7))
    deliver(made(stores), restored(), batch)

    assert stores.rows == {100 + index: REFUSED if index in bad else EVENTS for index in range(7)}
    (refused,) = [block for block in stores.blocks if block.table == REJECTED]
    assert all("ClickHouse's error 6" in str(error) for error in refused.columns[2])


def test_names() -> None:
    """No two inserts have the same name, however often the data is refused or the plan is made again."""
    stores = Stores(insert_seconds=1.0)
    deliver(made(stores), restored(), messages([POISON, *(bytes([index]) for index in range(9)), None]))
    names = [block.name for block in stores.blocks]

    assert len(names) == 4
    assert len(set(names)) == len(names)
    assert all(name.startswith(AT.name) for name in names)


def test_refused_is_no_original() -> None:
    """An event that was refused is stored nowhere, so its next copy is tried again."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([POISON]))
    deliver(delivery, partition, messages([POISON], start=101))

    assert stores.rows == {100: REFUSED, 101: REFUSED}


@pytest.mark.parametrize("copies", [2, 3, 10])
def test_refused_is_no_original_in_its_batch(copies: int) -> None:
    """Copies of a refused event in the same batch are refused for themselves, and are no repeats of it."""
    stores, partition = Stores(), restored()
    deliver(made(stores, in_a_row_max=2), partition, messages([b"a", *[POISON] * copies, b"a"]))

    assert stores.rows == {100: EVENTS, **dict.fromkeys(range(101, 101 + copies), REFUSED), 101 + copies: DUPLICATE}
    assert [step for step in stores.asked if step.startswith("insert")] == [f"insert {REJECTED}", f"insert {EVENTS}"]


def test_a_batch_without_repeats_is_not_tried() -> None:
    """Neither new events nor repeats of earlier batches cost a probe; repeats within a batch cost one."""
    stores, partition = Stores(), restored()
    delivery = made(stores)
    deliver(delivery, partition, messages([b"a", b"b"]))
    deliver(delivery, partition, messages([b"c", b"a"], start=102))
    assert stores.asked.count("probe") == 0

    deliver(delivery, partition, messages([b"d", b"d", b"e", b"e"], start=104))
    assert stores.asked.count("probe") == 1


def test_too_many_refusals() -> None:
    """A table that takes nothing stops the process instead of filling with refusals."""
    stores, partition = Stores(), restored()
    delivery = made(stores, in_a_row_max=2)

    def refuse(offset: int) -> None:
        deliver(delivery, partition, messages([POISON], start=offset))

    refuse(100)
    refuse(101)

    with pytest.raises(RefusalsError):
        refuse(102)


def test_renewals() -> None:
    """A plan whose time is half used up is committed again before the next insert, which has the new deadline."""
    stores = Stores(insert_seconds=3.0)
    deliver(made(stores), restored(), messages([POISON, b"a", b"b", b"c"]))

    steps = [step for step in stores.asked if step not in ("stored", "probe")]
    assert steps == ["plan", f"insert {EVENTS}", "plan", f"insert {REJECTED}", "plan", f"insert {EVENTS}"]
    assert stores.blocks[0].deadline == NOW + 5_000
    assert all(block.deadline >= NOW + 3_000 * at + 2_500 for at, block in enumerate(stores.blocks))
    assert (stores.committed[0], stores.plan_end()) == (100, 103)
