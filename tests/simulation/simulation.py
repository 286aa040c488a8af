"""One run: faults for a while, then a calm phase in which everything must be stored, and the oracle's check."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from etl.errors import LoaderStoppedError
from etl.metrics import EtlMetrics
from etl.plan import Position, read_position
from tests.simulation.added_partitions import PARTITIONS_ADDED_MAX, AddedPartitions, new_logs
from tests.simulation.broker import Broker
from tests.simulation.clickhouse import ClickHouse, ViolationError
from tests.simulation.log import Log
from tests.simulation.member import HORIZON, PROTOCOL, Member, Release, Variant
from tests.simulation.oracle import check, check_complete_through, check_counted, check_placed, last_offset
from tests.simulation.source import TOPIC
from tests.simulation.world import World

FAULTS_SECONDS = 50.0
# How often partitions are added.
CHANGE_RATIO = 0.4
# Everything must be stored so long after the last fault; otherwise the run counts as hung.
CALM_SECONDS_MAX = 400.0
MEMBERS_MAX = 4
SUPERVISION_SECONDS = 0.5
# If everything is stored but not committed, members are replaced so long after the faults.
RESTART_SECONDS = 30.0


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Suppress the logs of the simulated processes."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@dataclass(frozen=True)
class Outcome:
    """The counts of a run, and its failure, if any."""

    seed: int
    counts: Counter[str]
    failure: str = ""


def simulate(seed: int, variant: Variant = PROTOCOL, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run one seed."""
    simulation = Simulation(seed, variant, trace)
    counts = simulation.world.counts
    counts["runs"] = 1
    try:
        simulation.run()
    except (ViolationError, LoaderStoppedError) as error:
        return Outcome(seed, counts, f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 -- any exception is a failure of this seed
        return Outcome(seed, counts, traceback.format_exc())
    finally:
        for member in simulation.members:
            member.process.kill()
    return Outcome(seed, counts)


class Simulation:
    """Kafka, ClickHouse, the members of the group, and the schedule of their faults."""

    def __init__(self, seed: int, variant: Variant, trace: Callable[[str], None] | None) -> None:
        world = self.world = World(seed, trace)
        self._variant = variant
        self.logs = new_logs([], HORIZON, world.chance.randint(1, 3))
        self.broker = Broker(world, self.logs)
        self.server = ClickHouse(
            world, len(self.logs) + PARTITIONS_ADDED_MAX, lambda partition: self.logs[partition].poison
        )
        self.server.enforces_deadlines = variant.enforces_deadlines
        self.members: list[Member] = []
        # Of all members together.
        self.metrics = EtlMetrics()
        self._wanted = world.chance.randint(1, 3)
        self._releases = self._draw_releases()
        self._started = 0
        self._is_over = False
        self._restart_at = FAULTS_SECONDS + RESTART_SECONDS
        self._schedule()

    def run(self) -> None:
        """Run to the end; ViolationError if the oracle finds a violation."""
        if not self.world.run(lambda: self._is_over, FAULTS_SECONDS + CALM_SECONDS_MAX):
            self.world.counts["hung"] += 1
            raise ViolationError(
                f"not everything is stored and committed {CALM_SECONDS_MAX:.0f} s after the last fault"
            )

        check(self.logs, self.server, self.world.counts)
        for log in self.logs:
            check_placed(log.partition, self.server, self._position(log), self._releases[0].shards)
        # Not for a control, whose violation the check above must find.
        if self._variant == PROTOCOL:
            check_counted(self.logs, self.metrics, self.world.counts)

    def _schedule(self) -> None:
        world, chance = self.world, self.world.chance
        gaps = 0.05 if chance.random() < 0.3 else 0.0
        self._schedule_messages(FAULTS_SECONDS, 20, gaps)
        if chance.random() < CHANGE_RATIO:
            added = AddedPartitions(world, self.logs, self.broker.rebalance)
            world.after(world.between(5, FAULTS_SECONDS - 10), partial(self._add_partitions, added, gaps))
        self._several(3, lambda: self.server.kill(world.between(0.1, 2)))
        self._several(2, lambda: self.server.freeze(world.between(0.5, 5)))
        self._several(3, self.broker.rebalance)
        self._several(3, self._scale)
        if chance.random() < 0.2:
            self._at_random(self._reset_offsets)
        for _ in self._releases[1:]:
            self._at_random(self._replace_release)
        self._supervise()
        world.after(FAULTS_SECONDS, self._calm)

    def _schedule_messages(self, seconds: float, most: int, gaps: float) -> None:
        """Append messages to all partitions, up to so many times in so many seconds."""
        chance = self.world.chance
        for log in self.logs:
            for _ in range(chance.randint(most // 5, most)):
                append = partial(self._append, log, chance.randint(1, 12), gaps)
                self.world.after(self.world.between(0, seconds), append)

    def _add_partitions(self, added: AddedPartitions, gaps: float) -> None:
        added.add()
        self._schedule_messages(FAULTS_SECONDS - self.world.now, 5, gaps)

    def _several(self, most: int, act: Callable[[], None]) -> None:
        for _ in range(self.world.chance.randint(0, most)):
            self._at_random(act)

    def _at_random(self, act: Callable[[], None]) -> None:
        self.world.after(self.world.between(0, FAULTS_SECONDS), act)

    def _append(self, log: Log, count: int, gaps: float) -> None:
        for _ in range(count):
            log.append(self.world, gaps)

    def _supervise(self) -> None:
        """Start missing members; a frozen one may be regarded as dead."""
        self.members = [member for member in self.members if member.process.is_alive]
        if self._variant == PROTOCOL:
            for member in self.members:
                check_complete_through(member, self.logs, self.server, self.world.counts)
        alive = sum(not member.process.is_frozen or self.world.chance.random() < 0.7 for member in self.members)
        if alive < self._wanted and len(self.members) < MEMBERS_MAX:
            self._started += 1
            name = f"etl-{self._started}"
            self.members.append(
                Member(self.world, name, self._variant, self.broker, self.server, self.metrics, self._releases[0])
            )
        self.world.after(SUPERVISION_SECONDS, self._supervise)

    def _scale(self) -> None:
        """Change the number of members; stop one that is too many."""
        self._wanted = self.world.chance.randint(1, 3)
        if len(self.members) > self._wanted:
            self.world.counts["stops"] += 1
            self.world.chance.choice(self.members).stop.set()

    def _draw_releases(self) -> list[Release]:
        """Draw the number of shards of each release; the first may be the version before shards followed partitions."""
        first, *later = self.server.quorums.shards
        is_older = bool(later) and self.world.chance.random() < 0.5
        releases = [Release(first, is_older=True)] if is_older else []
        releases.append(Release(first, is_older=False))
        return releases + [Release(shards, is_older=False) for shards in later if self.world.chance.random() < 0.5]

    def _replace_release(self) -> None:
        """Act like an operator: stop every process, then start them with the next release or number of shards."""
        for member in self.members:
            member.process.kill()
        self.world.counts["releases replaced"] += 1
        self._releases.pop(0)
        self.world.note("operator", "replaces the release", *self._releases[0])

    def _reset_offsets(self) -> None:
        """Act like an operator: stop the group, reset its offsets to earlier ones, and start it again."""
        self._wanted = 0
        for member in self.members:
            if self.world.chance.random() < 0.4:
                member.process.freeze(self.world.between(3, 8))
            else:
                member.process.kill()
        self.world.after(0.1, self._reset_when_empty)

    def _reset_when_empty(self) -> None:
        if self.broker.members and not self.world.is_calm:
            self.world.after(0.1, self._reset_when_empty)
            return
        if not self.broker.members:
            for partition, (offset, _) in list(self.broker.committed.items()):
                self._reset_offset(partition, max(0, offset - self.world.chance.randint(0, 30)))
            self.world.counts["offset resets"] += 1
        self._wanted = 1

    def _reset_offset(self, partition: int, offset: int) -> None:
        self.world.note("operator", "resets", partition, offset)
        if self.server.rows[partition] and self.world.chance.random() < 0.3:
            del self.broker.committed[partition]
        else:
            self.broker.committed[partition] = (offset, "")

    def _calm(self) -> None:
        self.world.note("world", "CALM")
        self.world.counts["rows under faults"] += sum(map(len, self.server.rows))
        self.world.counts["inserts under faults"] += self.world.counts["inserts"]
        self.world.is_calm = True
        self._wanted = max(self._wanted, 1)
        self._check_whether_over()

    def _check_whether_over(self) -> None:
        busy = self.server.running or self.server.expected or self.server.quorums.pending
        frozen = any(each.process.is_frozen for each in self.members)
        self._is_over = not busy and not frozen and all(self._is_committed(log) for log in self.logs)
        if not self._is_over and self.world.now > self._restart_at and all(map(self._is_stored, self.logs)):
            # A late commit replaced a newer one after the partition was restored: the next owner recovers it.
            self.world.counts["restarts in calm"] += 1
            self._restart_at += RESTART_SECONDS
            for member in self.members:
                member.stop.set()
        self.world.after(1.0, self._check_whether_over)

    def _is_stored(self, log: Log) -> bool:
        return len(self.server.rows[log.partition]) == sum(message is not None for message in log.messages)

    def _position(self, log: Log) -> Position:
        offset, metadata = self.broker.committed.get(log.partition, (None, ""))
        return read_position(TOPIC.identity, offset, metadata)

    def _is_committed(self, log: Log) -> bool:
        position = self._position(log)
        return position.plan is None and (position.offset or 0) > last_offset(log)
