"""While an insert runs, the loader polls and decodes the next batch; nothing of it is planned or committed before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from etl.deliveries import INSERT_CHECK_SECONDS
from etl.delivery import Delivery
from etl.errors import SinkError
from etl.events.rows import Message, Rows
from etl.inserting import Running
from etl.loader import FULL_SECONDS_MAX, POLL_ROWS_DURING_INSERT, REVOKE_SECONDS_MAX, STOP_SECONDS_MAX, Loader
from etl.partition import MESSAGE_BYTES, FlushLimits, LoaderLimits
from etl.plan import Block, ServerClock, read_position
from etl.refusals import Refusals
from tests.simulation.log import SimulatedMessage, decode
from tests.support.fakes.delivering import AT
from tests.unit.etl.test_turns import World

ROWS = 4


class Held:
    """An insert that ends when the test ends it, or when it is awaited if `ends_when_awaited`."""

    def __init__(self, call: Callable[[], None], world: HeldWorld) -> None:
        self._call = call
        self._world = world
        self._ended = False
        self._error: Exception | None = None

    def end(self) -> None:
        self._ended = True
        try:
            self._call()
        except SinkError as error:
            self._error = error

    def has_ended(self) -> bool:
        return self._ended

    def wait(self, seconds: float) -> None:
        self._world.seconds += seconds
        if self._world.ends_when_awaited and not self._ended:
            self.end()

    def result(self) -> None:
        assert self._ended, "the result of an insert that runs"
        if self._error is not None:
            raise self._error


class HeldWorld(World):
    """Partitions whose inserts run until the test ends them. `calls` are the calls in their order."""

    def __init__(self, partitions: int = 2) -> None:
        super().__init__(partitions)
        self.calls: list[str] = []
        self.inserts: list[Held] = []
        self.ends_when_awaited = False
        self.counts: list[int] = []
        self.beats = 0

    def start(self, call: Callable[[], None]) -> Running:
        self.inserts.append(Held(call, self))
        return self.inserts[-1]

    def beat(self) -> None:
        self.beats += 1

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        self.counts.append(count)
        return super().poll(count, seconds)

    def decode(self, messages: Sequence[Message]) -> Rows:
        self.calls.append(f"decode {messages[0].partition()}")
        return decode(messages)

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        plan = read_position(AT.topic.identity, offset, metadata).plan
        self.calls.append(f"commit {partition} {offset}" if plan is None else f"plan {partition} {offset}-{plan.end}")

    def insert(self, block: Block) -> None:
        self.calls.append(f"inserted {block.at.partition}")
        super().insert(block)


@pytest.fixture
def world() -> HeldWorld:
    return HeldWorld()


def loading(world: HeldWorld, buffer_bytes: int = 1_000_000) -> Loader:
    """Return a loader with restored partitions that stores batches of ROWS events."""
    clock = ServerClock(5.0, world.monotonic)
    delivery = Delivery(world, world, clock, Refusals(1.0, 1_000), decode=world.decode, start=world.start)
    limits = LoaderLimits(FlushLimits(60.0, ROWS, 1_000_000), 1_000_000, 0.2, 5.0, buffer_bytes)
    loader = Loader(world, world, delivery, limits, world.monotonic, world.beat)  # type: ignore[arg-type]  # the world is its restorer too
    loader.on_assigned(range(world.partitions))
    loader.step(0.0)
    loader.step(0.0)
    return loader


def send(world: HeldWorld, partition: int, count: int = ROWS) -> None:
    """Append messages to a partition."""
    first = len(world.waiting[partition])
    world.send(partition, *(b"%d-%d" % (partition, first + number) for number in range(count)))


def steps(loader: Loader, count: int = 3) -> None:
    for _ in range(count):
        loader.step(0.0)


def not_restored(loader: Loader) -> list[int]:
    return [partition.number for partition in loader._partitions.values() if not partition.is_restored]


def test_order(world: HeldWorld) -> None:
    """The next batch is decoded during an insert, and planned and inserted after its acknowledgement."""
    loader = loading(world)
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
    loader = loading(world)
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
    loader = loading(world)
    send(world, 1)
    for number in range(6):
        send(world, 0, 2 * ROWS)
        steps(loader)
        world.inserts[number].end()

    plans = [call[:6] for call in world.calls if call.startswith("plan")]
    assert plans[:3] == ["plan 0", "plan 1", "plan 0"]


def test_revoked_during_its_insert(world: HeldWorld) -> None:
    """The insert of a revoked partition ends, and is committed; its prepared batch is dropped."""
    loader = loading(world)
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
    loader = loading(world)
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
    loader = loading(world)
    send(world, 0)
    steps(loader)
    began = world.seconds
    loader.on_revoked([0])

    assert REVOKE_SECONDS_MAX <= world.seconds - began < REVOKE_SECONDS_MAX + 1.0
    assert "commit" not in " ".join(world.calls)


def test_lost_during_its_insert(world: HeldWorld) -> None:
    """Nothing of a lost partition is committed; the connection is not used until the insert has ended."""
    loader = loading(world)
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
    loader = loading(world)
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


def test_full_buffers(world: HeldWorld) -> None:
    """With full buffers nothing is polled during an insert; if it takes long, partitions are paused and polled."""
    loader = loading(world, buffer_bytes=3 * ROWS * MESSAGE_BYTES)
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
    loader = loading(world)
    send(world, 0)
    steps(loader, 2)

    assert world.counts[-1] == POLL_ROWS_DURING_INSERT
    assert world.counts[0] > POLL_ROWS_DURING_INSERT


def test_stop_during_an_insert(world: HeldWorld) -> None:
    """At a stop the running insert ends and what is buffered is stored; all of it is committed."""
    loader, stop = loading(world), threading.Event()
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
    loader, stop = loading(world), threading.Event()
    send(world, 0)
    steps(loader)
    began = world.seconds
    stop.set()
    loader.run(stop)

    assert STOP_SECONDS_MAX <= world.seconds - began < STOP_SECONDS_MAX + 10 * INSERT_CHECK_SECONDS
    assert "commit" not in " ".join(world.calls)


def test_beats(world: HeldWorld) -> None:
    """While an insert runs, the loop is not progress: an insert that never returns must end the process."""
    loader = loading(world)
    send(world, 0)
    steps(loader)
    beats = world.beats
    steps(loader)

    assert world.beats == beats

    world.inserts[0].end()
    steps(loader)
    assert world.beats > beats


def test_a_gap_during_an_insert(world: HeldWorld) -> None:
    """A partition that starts over during its insert is restored after the insert has ended."""
    loader = loading(world)
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
