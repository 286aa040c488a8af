"""Partitions and stores in memory for tests of the loader, with a clock that advances with every call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from etl.delivery import Delivery
from etl.errors import DataRefusedError, SinkError
from etl.events.duplicates import DuplicateWindow
from etl.events.rows import Message, Rows
from etl.inserting import Running
from etl.loader import Loader
from etl.partition import FlushLimits, LoaderLimits, Partition
from etl.plan import EVENTS, Block, Coordinates, ServerClock, read_position
from etl.refusals import Refusals
from tests.simulation.log import SimulatedMessage, decode
from tests.support.fakes.delivering import AT
from tests.support.fakes.sinks import ProbingFake, identities_of, offsets_of

PROBE_SECONDS = 0.1
BAD = b"bad"
# The rows of a batch of HeldWorld.
ROWS = 4


class World(ProbingFake):
    """Partitions, a table that refuses some events, and a clock that advances with every call."""

    def __init__(self, partitions: int = 2) -> None:
        self.seconds = 0.0
        self.partitions = partitions
        self.positions: dict[int, int] = {}
        self.waiting: dict[int, list[Message]] = {number: [] for number in range(partitions)}
        self.stored: list[tuple[int, str, int]] = []
        self.silent: set[int] = set()
        self.good_rows_accepted = True

    def monotonic(self) -> float:
        return self.seconds

    def send(self, partition: int, *identities: bytes) -> None:
        known = self.waiting[partition]
        known += [
            SimulatedMessage(partition, len(known) + at, identity.ljust(32), 0)
            for at, identity in enumerate(identities)
        ]

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        self.seconds += max(seconds, 0.001)
        taken: list[Message] = []
        for number, position in self.positions.items():
            taken += self.waiting[number][position : position + count]
            self.positions[number] = min(len(self.waiting[number]), position + count)
        return taken

    def resume(self, partition: int, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, partition: int) -> None:
        self.positions.pop(partition, None)

    def lag(self, partition: int, offset: int) -> int:
        del partition, offset
        return 0

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        pass

    def insert(self, block: Block) -> None:
        self.seconds += 0.01
        if block.at.partition in self.silent:
            self.seconds += 30.0
            raise SinkError("no answer")
        if block.table == EVENTS and any(each.startswith(BAD) for each in identities_of(block)):
            raise DataRefusedError(153, "Division by zero")
        self.stored += [(block.at.partition, block.table, offset) for offset in offsets_of(block)]

    def recent_identities(self, at: Coordinates, first: int, last: int) -> tuple[Sequence[int], Sequence[bytes]]:
        return sorted(
            offset for number, _, offset in self.stored if number == at.partition and first <= offset <= last
        ), ()

    def probe(self, block: Block, *, thorough: bool) -> None:
        del thorough
        self.seconds += PROBE_SECONDS
        if any(each.startswith(BAD) for each in identities_of(block)):
            raise DataRefusedError(153, "Division by zero")

    def accepts_good_rows(self, at: Coordinates, before: int, *, thorough: bool) -> bool:
        del at, before, thorough
        return self.good_rows_accepted

    def require_servers(self, at: Coordinates) -> None:
        pass

    def now(self, at: Coordinates) -> int:
        del at
        return round(self.seconds * 1_000)

    def earliest_now(self, at: Coordinates, first: int) -> int:
        del first
        return self.now(at)

    def is_inserting(self, at: Coordinates, first: int) -> bool:
        del at, first
        return False

    def stored_offsets(self, at: Coordinates, first: int, last: int) -> set[int]:
        return {offset for number, _, offset in self.stored if number == at.partition and first <= offset <= last}

    confirmed_offsets = stored_offsets

    def restore(self, partition: Partition) -> Iterator[None]:
        partition.at = Coordinates(AT.topic, partition.number)
        partition.stored_through, partition.window = -1, DuplicateWindow(1_000)
        partition.seek(max((offset + 1 for number, _, offset in self.stored if number == partition.number), default=0))
        yield

    def forget_topic(self) -> None:
        pass

    def of(self, partition: int) -> int:
        """Return how many rows of a partition are stored."""
        return sum(number == partition for number, _, _ in self.stored)


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


def loading_batches(world: HeldWorld, buffer_bytes: int = 1_000_000) -> Loader:
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
