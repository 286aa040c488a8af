"""A member's connection to the fake Kafka, like etl/kafka/source.py for the real one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from etl.errors import SourceError
from etl.events.rows import Message
from etl.plan import Coordinates, Position, Topic, read_position
from etl.stores import Listener
from tests.simulation.broker import Broker
from tests.simulation.world import Process

TOPIC = Topic("ugc.events", "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55", "simulated")
# The client's timeout for an answer.
ANSWER_SECONDS_MAX = 1.5
# An empty poll may return later than its timeout, as on a busy machine.
POLL_SECONDS_MAX = 1.0


class SimulatedSource:
    """Implements etl.loader.Source and etl.delivery.Commits."""

    def __init__(self, process: Process, broker: Broker) -> None:
        self.name = process.name
        self._process = process
        self._world = process.world
        self._broker = broker
        self._listener: Listener | None = None
        self._assigned: set[int] = set()
        self._positions: dict[int, int] = {}
        # The number of shards in the settings of this member.
        self.shards = 1
        # Whether an insert runs beside the loader.
        self.is_inserting: Callable[[], bool] = lambda: False
        # Until this time the member cannot reach Kafka, but may reach ClickHouse.
        self._isolated_until = 0.0
        process.on_silence = lambda: broker.watch(self)

    def is_silent(self) -> bool:
        return not self._process.is_alive or self._process.is_frozen or self._is_isolated()

    def join(self, listener: Listener) -> None:
        self._listener = listener
        self._broker.join(self)

    def leave(self) -> None:
        """Close the consumer: revoke everything, then leave the group."""
        if self._broker.has_member(self) and self._listener is not None:
            self._listener.on_revoked(sorted(self._assigned))
        self._broker.leave(self)

    def poll(self, count: int, seconds: float) -> Sequence[Message]:
        self._process.cross()
        self._isolate_sometimes(self._world.rates.commit / 30)
        if not self._is_isolated():
            self._serve_callbacks()
        taken = self._fetch(count)
        if not taken:
            self._process.wait(self._world.between(seconds, POLL_SECONDS_MAX))
            taken = self._fetch(count)
        self._world.counts["polls during inserts"] += bool(taken) and self.is_inserting()
        return taken

    def topic(self) -> Topic:
        self._request("topic")
        return TOPIC

    def position(self, at: Coordinates) -> Position:
        self._request("position")
        offset, metadata = self._broker.committed.get(at.partition, (None, ""))
        self._world.note(self.name, "reads position", at.partition, offset, metadata)
        self._world.counts["plans found"] += '"end"' in metadata
        self._process.cross()
        return read_position(at.topic.identity, offset, metadata)

    def committed_offsets(self, topic: Topic, partitions: Collection[int]) -> Mapping[int, int]:
        assert topic == TOPIC
        self._request("committed offsets")
        found = {number: self._broker.committed.get(number, (0, ""))[0] for number in partitions}
        self._process.cross()
        return found

    def limits(self, partition: int) -> tuple[int, int]:
        return 0, len(self._broker.logs[partition].messages)

    def lag(self, partition: int, offset: int) -> int:
        return max(0, len(self._broker.logs[partition].messages) - offset)

    def resume(self, partition: int, offset: int) -> None:
        if partition not in self._assigned:
            raise SourceError("the partition is not assigned")
        self._positions[partition] = offset

    def pause(self, partition: int) -> None:
        self._positions.pop(partition, None)

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        world, broker = self._world, self._broker
        self._process.cross()
        if self._is_isolated():
            self._no_answer("commit while isolated")
        fault = (
            world.chance.choice(("lost", "unanswered", "late", "delayed")) if world.strikes(world.rates.commit) else ""
        )
        world.note(self.name, "commits", partition, offset, metadata, fault)
        if fault:
            world.counts["commits unknown"] += 1
        if fault == "lost":
            self._no_answer("commit lost")
        if fault == "delayed":
            broker.commit_later(self, partition, offset, metadata, world.between(0, 3 * ANSWER_SECONDS_MAX))
            self._no_answer("commit not answered in time")
        broker.commit(self, partition, offset, metadata)
        if fault == "unanswered":
            self._no_answer("commit applied, its answer lost")
        if fault == "late":
            # The answer arrives late, when another member may have read the commit and continued.
            self._isolate_sometimes(0.7)
            self._process.wait(world.between(0, 5))
        self._process.cross()

    def _request(self, what: str) -> None:
        self._process.cross()
        if self._is_isolated() or self._world.strikes(self._world.rates.read):
            self._no_answer(what)

    def _no_answer(self, what: str) -> None:
        self._process.wait(self._world.between(0.1, ANSWER_SECONDS_MAX))
        raise SourceError(f"{what}: timed out")

    def _is_isolated(self) -> bool:
        return self._world.now < self._isolated_until

    def _isolate_sometimes(self, rate: float) -> None:
        if self._world.strikes(rate):
            self._world.counts["isolations"] += 1
            self._isolated_until = self._world.now + self._world.between(0.2, 5)
            self._broker.watch(self)

    def _serve_callbacks(self) -> None:
        """Run the callbacks of a rebalance, in librdkafka's order."""
        assert self._listener is not None
        if not self._broker.has_member(self):
            lost = sorted(self._assigned)
            self._world.counts["losses during inserts"] += bool(lost) and self.is_inserting()
            self._assigned.clear()
            self._positions.clear()
            self._listener.on_lost(lost)
            self._broker.join(self)
            return
        if revoked := self._broker.to_revoke(self):
            self._world.counts["revocations"] += 1
            self._world.counts["revocations during inserts"] += self.is_inserting()
            self._world.note(self.name, "revoked", revoked)
            self._listener.on_revoked(revoked)
            self._assigned.difference_update(revoked)
            for partition in revoked:
                self._positions.pop(partition, None)
            self._process.cross()
            self._broker.revoked(self, revoked)
        if new := self._broker.assign(self):
            self._world.note(self.name, "assigned", new)
            self._assigned.update(new)
            self._listener.on_assigned(new)

    def _fetch(self, count: int) -> list[Message]:
        taken: list[Message] = []
        for partition in sorted(self._positions):
            log, start = self._broker.logs[partition].messages, self._positions[partition]
            if self._world.strikes(self._world.rates.read / 4):
                # Messages that were fetched before the position was set come first.
                start = max(0, start - self._world.chance.randint(1, 5))
            # The number of messages that the client has fetched varies.
            end = min(len(log), start + self._world.chance.randint(1, count))
            taken.extend(message for message in log[start:end] if message is not None)
            self._positions[partition] = max(end, self._positions[partition])
        return taken
