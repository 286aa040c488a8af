"""Searches, refusals and failures of one partition do not delay the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from etl.deliveries import TURN_SECONDS
from etl.delivery import Delivery
from etl.errors import LogChangedError, RefusalsError
from etl.failures import REFUSED_WAIT_SECONDS
from etl.loader import Loader
from etl.partition import FlushLimits, LoaderLimits, Partition
from etl.plan import ServerClock
from etl.refusals import ALL_HALTED_SECONDS, NOTHING_STORED_SECONDS, Refusals
from etl.restoring import PartitionRestorer
from tests.simulation.log import decode
from tests.support.fakes.loading import BAD, World


def loading(world: World, refusals: Refusals | None = None, shards: int = 1) -> Loader:
    delivery = Delivery(
        world, world, ServerClock(5.0, world.monotonic), refusals or Refusals(1.0, 1_000_000), decode=decode
    )
    limits = LoaderLimits(FlushLimits(0.1, 1_000, 1_000_000), 1_000, 0.2, 5.0, shards=shards)
    loader = Loader(world, cast("PartitionRestorer", world), delivery, limits, world.monotonic)
    loader.on_assigned(range(world.partitions))
    return loader


def run(world: World, loader: Loader, seconds: float) -> None:
    end = world.seconds + seconds
    while world.seconds < end:
        loader.step(0.1)


def test_others_load_during_a_search() -> None:
    """A search of a minute in one partition does not delay the events of another."""
    world = World()
    world.send(0, *(BAD + bytes([number]) if number % 3 else bytes([number]) for number in range(200)))
    loader = loading(world)
    run(world, loader, 1.0)
    for number in range(20):
        world.send(1, bytes([number]))
        sent = world.seconds
        while world.of(1) <= number:
            loader.step(0.1)
        assert world.seconds - sent < 3 * TURN_SECONDS + 0.2

    assert world.of(0) == 0
    run(world, loader, 120.0)
    assert world.of(0) == 200


def test_a_search_ends_with_its_partition() -> None:
    """A partition that is revoked during a search is not worked on any more."""
    world = World()
    world.send(0, *([BAD] + [bytes([number]) for number in range(1, 200)]))
    loader = loading(world)
    run(world, loader, 0.7)
    loader.on_revoked([0])
    run(world, loader, 60.0)

    assert world.of(0) == 0


def test_others_load_while_one_is_halted() -> None:
    """Too many refused events halt their partition, which is tried again later; the others continue."""
    world = World()
    loader = loading(world, Refusals(1.0, 5))
    world.send(0, *(BAD + bytes([number]) for number in range(20)))
    for number in range(100):
        world.send(1, bytes([number]))
        run(world, loader, 1.0)

    assert world.of(1) == 100
    assert world.of(0) == 0
    assert REFUSED_WAIT_SECONDS < 100.0


def test_the_process_stops_when_nothing_is_stored() -> None:
    """If no partition stores anything and good rows are not accepted either, a person must decide."""
    world = World()
    world.good_rows_accepted = False
    loader = loading(world, Refusals(1.0, 5))
    world.send(0, *(BAD + bytes([number]) for number in range(20)))

    with pytest.raises(RefusalsError):
        run(world, loader, 20.0)

    assert world.seconds > ALL_HALTED_SECONDS


@pytest.mark.parametrize("good", [0, 30])
def test_bad_events_of_one_client_do_not_stop_the_process(good: int) -> None:
    """Too many bad events halt only their partition, also at low traffic, with or without good events among them."""
    world = World()
    loader = loading(world, Refusals(0.01, 5 if good == 0 else 1_000_000))
    world.send(0, *(BAD + number.to_bytes(2) for number in range(150)), *(bytes([number]) for number in range(good)))
    run(world, loader, 3 * NOTHING_STORED_SECONDS)
    world.send(1, b"good")
    run(world, loader, 2.0)

    assert world.of(0) == 0
    assert world.of(1) == 1


def test_an_outage_beside_a_halted_partition() -> None:
    """While another partition fails for another reason, the process waits longer before it stops."""
    world = World()
    world.good_rows_accepted = False
    world.silent = {1}
    loader = loading(world, Refusals(1.0, 5))
    world.send(0, *(BAD + bytes([number]) for number in range(20)))
    world.send(1, b"good")
    with pytest.raises(RefusalsError):
        run(world, loader, 2 * NOTHING_STORED_SECONDS)

    assert world.seconds > NOTHING_STORED_SECONDS


def test_a_timeout_leaves_others_as_much_time() -> None:
    """A partition whose insert timed out after 30 s is tried again after 30 s, not after five."""
    world = World()
    loader = loading(world)
    world.send(0, b"a")
    world.silent = {0}
    run(world, loader, 1.0)
    began = world.seconds
    for number in range(25):
        world.send(1, bytes([number]))
        run(world, loader, 1.0)

    assert world.of(1) == 25
    assert world.seconds - began < 30.0


class ChangedLog(World):
    """The log of partition 0 does not hold what was committed, until a person has corrected that."""

    is_changed = True
    # Of restoring partition 0.
    attempts = 0

    def restore(self, partition: Partition) -> Iterator[None]:
        self.attempts += partition.number == 0
        if partition.number == 0 and self.is_changed:
            raise LogChangedError("partition 0 was stored up to offset 5, but the log holds 7 to 9")
        yield from super().restore(partition)


def test_a_changed_log_halts_its_partition() -> None:
    """A partition whose log has changed is halted until it is assigned again; the others continue indefinitely."""
    world = ChangedLog()
    loader = loading(world)
    world.send(0, b"a")
    for number in range(10):
        world.send(1, bytes([number]))
        run(world, loader, 1.2 * NOTHING_STORED_SECONDS / 10)

    assert world.of(1) == 10
    assert world.of(0) == 0
    assert world.attempts == 1
    assert loader._failures.halted.reason(0) == "is halted: the log does not hold what was committed"

    world.is_changed = False
    loader.on_revoked([0])
    loader.on_assigned([0])
    run(world, loader, 1.0)
    assert world.of(0) == 1
    assert loader._failures.halted.reason(0) == ""


def test_a_silent_shard_leaves_the_others_half_of_the_time() -> None:
    """When the servers of a shard do not answer, one of its partitions is tried at a time, not each of them."""
    world = World(6)
    loader = loading(world, shards=2)
    world.silent = {0, 2, 4}
    for number in world.silent:
        world.send(number, b"a")
    latest = began = world.seconds
    longest = 0.0
    while world.seconds - began < 300.0:
        world.send(1, b"%d" % world.of(1))
        wanted = len(world.waiting[1])
        while world.of(1) < wanted:
            loader.step(0.1)
        longest, latest = max(longest, world.seconds - latest), world.seconds

    # One attempt takes 30 s.
    assert longest < 2 * 30.0
    assert world.of(1) > 5
