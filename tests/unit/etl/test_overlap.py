"""While an insert runs, the loader polls and decodes the next batch; nothing of it is planned or committed before."""

from __future__ import annotations

import pytest

from etl.loader import FULL_SECONDS_MAX, POLL_ROWS_DURING_INSERT
from etl.partition import MESSAGE_BYTES
from tests.support.fakes.loading import ROWS, HeldWorld, loading_batches, send, steps


@pytest.fixture
def world() -> HeldWorld:
    return HeldWorld()


def test_order(world: HeldWorld) -> None:
    """The next batch is decoded during an insert, and planned and inserted after its acknowledgement."""
    loader = loading_batches(world)
    send(world, 0)
    send(world, 1)
    steps(loader)

    assert world.calls == ["decode 0", "plan 0 0-3", "decode 1"]

    world.inserts[0].end()
    steps(loader)
    assert world.calls[3:] == ["inserted 0", "plan 1 0-3"]
    assert loader._partitions[0].acknowledged_through == ROWS
    world.inserts[1].end()
    steps(loader)
    assert world.calls[5:] == ["inserted 1"]
    assert (world.of(0), world.of(1)) == (ROWS, ROWS)


def test_the_next_batch_of_the_same_partition(world: HeldWorld) -> None:
    """Its plan commits the batch before it, and only after that is acknowledged."""
    loader = loading_batches(world)
    send(world, 0, 2 * ROWS + 1)
    steps(loader, 5)

    assert world.calls == ["decode 0", "plan 0 0-3", "decode 0"]

    for insert in range(2):
        world.inserts[insert].end()
        steps(loader)
    assert world.calls[3:] == ["inserted 0", "plan 0 4-7", "inserted 0"]
    assert [message.offset() for message in loader._partitions[0].pending] == [8]


def test_partitions_take_turns(world: HeldWorld) -> None:
    """A partition that always has a full batch does not keep others from their turn."""
    loader = loading_batches(world)
    send(world, 1)
    for number in range(6):
        send(world, 0, 2 * ROWS)
        steps(loader)
        world.inserts[number].end()

    plans = [call[:6] for call in world.calls if call.startswith("plan")]
    assert plans[:3] == ["plan 0", "plan 1", "plan 0"]


def test_full_buffers(world: HeldWorld) -> None:
    """With full buffers nothing is polled during an insert; if it takes long, partitions are paused and polled."""
    loader = loading_batches(world, buffer_bytes=3 * ROWS * MESSAGE_BYTES)
    send(world, 0, 10 * ROWS)
    steps(loader, 2)
    polls = len(world.counts)
    steps(loader, 5)

    assert len(world.counts) == polls

    world.seconds += FULL_SECONDS_MAX
    steps(loader, 5)
    assert len(world.counts) == polls + 5
    assert world.positions == {1: 0}
    world.inserts[0].end()
    steps(loader)
    assert world.positions[0] == loader._partitions[0].next_offset


def test_polls_during_an_insert(world: HeldWorld) -> None:
    """Polls are small while an insert runs, so that its end is noticed soon."""
    loader = loading_batches(world)
    send(world, 0)
    steps(loader, 2)

    assert world.counts[-1] == POLL_ROWS_DURING_INSERT
    assert world.counts[0] > POLL_ROWS_DURING_INSERT


def test_beats(world: HeldWorld) -> None:
    """While an insert runs, the loop is not progress: an insert that never returns must end the process."""
    loader = loading_batches(world)
    send(world, 0)
    steps(loader)
    beats = world.beats
    steps(loader)

    assert world.beats == beats

    world.inserts[0].end()
    steps(loader)
    assert world.beats > beats
