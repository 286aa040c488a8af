"""A partition that leaves, fails or stops while its insert runs or its next batch is prepared."""

from __future__ import annotations

import threading

import pytest

from etl.deliveries import INSERT_CHECK_SECONDS
from etl.loader import REVOKE_SECONDS_MAX, STOP_SECONDS_MAX
from tests.simulation.log import SimulatedMessage
from tests.support.fakes.loading import ROWS, HeldWorld, loading_batches, not_restored, send, steps


@pytest.fixture
def world() -> HeldWorld:
    return HeldWorld()


def test_revoked_during_its_insert(world: HeldWorld) -> None:
    """The insert of a revoked partition ends, and is committed; its prepared batch is dropped."""
    loader = loading_batches(world)
    send(world, 0, 2 * ROWS)
    steps(loader)
    world.ends_when_awaited = True
    loader.on_revoked([0])
    world.positions.pop(0)
    steps(loader)

    assert world.calls == ["decode 0", "plan 0 0-3", "decode 0", "inserted 0", "commit 0 4"]
    assert world.of(0) == ROWS


def test_revoked_with_a_prepared_batch(world: HeldWorld) -> None:
    """A prepared batch whose partition is revoked is neither planned nor committed, also if it is assigned again."""
    loader = loading_batches(world)
    send(world, 0)
    send(world, 1)
    steps(loader)
    loader.on_revoked([1])
    world.positions.pop(1)

    assert world.calls == ["decode 0", "plan 0 0-3", "decode 1"]

    world.inserts[0].end()
    steps(loader)
    loader.on_assigned([1])
    steps(loader)
    assert world.calls[3:] == ["inserted 0", "decode 1", "plan 1 0-3"]


def test_revoked_while_clickhouse_does_not_answer(world: HeldWorld) -> None:
    """The wait for an insert has a limit; what is not acknowledged is not committed."""
    loader = loading_batches(world)
    send(world, 0)
    steps(loader)
    began = world.seconds
    loader.on_revoked([0])

    assert REVOKE_SECONDS_MAX <= world.seconds - began < REVOKE_SECONDS_MAX + 1.0
    assert "commit" not in " ".join(world.calls)


def test_lost_during_its_insert(world: HeldWorld) -> None:
    """Nothing of a lost partition is committed; the connection is not used until the insert has ended."""
    loader = loading_batches(world)
    send(world, 0)
    steps(loader)
    loader.on_lost([0])
    loader.on_assigned([0])
    steps(loader)

    assert 0 in not_restored(loader)

    world.inserts[0].end()
    steps(loader)
    assert not_restored(loader) == []
    assert world.calls == ["decode 0", "plan 0 0-3", "inserted 0"]


def test_an_insert_that_fails(world: HeldWorld) -> None:
    """Its partition starts over without its prepared batch, after as long as the insert took; the other one loads."""
    loader = loading_batches(world)
    send(world, 0, 2 * ROWS)
    send(world, 1)
    steps(loader, 2)
    partition = loader._partitions[0]
    partition.prepared = loader._delivery.prepare(partition.batch(loader._limits.flush))
    world.seconds += 20.0
    world.silent = {0}
    world.inserts[0].end()
    steps(loader)

    assert not_restored(loader) == [0]
    assert not partition.pending
    assert loader._partitions[0].prepared is None
    assert partition.wait_until - world.seconds > 45.0
    world.inserts[1].end()
    steps(loader)
    assert (world.of(0), world.of(1)) == (0, ROWS)


def test_stop_during_an_insert(world: HeldWorld) -> None:
    """At a stop the running insert ends and what is buffered is stored; all of it is committed."""
    loader, stop = loading_batches(world), threading.Event()
    send(world, 0, ROWS + 1)
    send(world, 1)
    steps(loader)
    world.ends_when_awaited = True
    stop.set()
    loader.run(stop)

    assert (world.of(0), world.of(1)) == (ROWS + 1, ROWS)
    assert sorted(world.calls[-2:]) == ["commit 0 5", "commit 1 4"]


def test_stop_while_clickhouse_does_not_answer(world: HeldWorld) -> None:
    """The wait at a stop has a limit."""
    loader, stop = loading_batches(world), threading.Event()
    send(world, 0)
    steps(loader)
    began = world.seconds
    stop.set()
    loader.run(stop)

    assert STOP_SECONDS_MAX <= world.seconds - began < STOP_SECONDS_MAX + 10 * INSERT_CHECK_SECONDS
    assert "commit" not in " ".join(world.calls)


def test_a_gap_during_an_insert(world: HeldWorld) -> None:
    """A partition that starts over during its insert is restored after the insert has ended."""
    loader = loading_batches(world)
    send(world, 0)
    steps(loader)
    world.waiting[0] += [SimulatedMessage(0, ROWS + 1, b"x".ljust(32), 0)]
    steps(loader)

    assert 0 in not_restored(loader)

    world.inserts[0].end()
    world.seconds += 1.0
    steps(loader)
    assert not_restored(loader) == []
    assert world.of(0) == ROWS
