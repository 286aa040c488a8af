"""What producers write: events, duplicates, undecodable messages, and events that ClickHouse refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ugc.v1.event_pb2 import EventRecord

from common.partition_change import PartitionChange
from etl.events.identity import split
from etl.events.rows import (
    DUPLICATE,
    PARTITIONS_ADDED,
    REFUSED,
    UNDECODABLE,
    Column,
    Message,
    Rows,
    reject,
    reject_undecodable,
)
from tests.simulation.world import World

MILLISECONDS_OF_A_MONTH = 2_592_000_000
MONTH_ENDS_SECONDS = 25.0
EVENT = ""
USERS = [bytes(15) + bytes((number,)) for number in range(3)]
# Unknown groups, nested deeper than Python's parser allows; the etl's decoder accepts them.
NESTED_GROUPS = b"\xa3\x06" * 101 + b"\xa4\x06" * 101


def partition_of(identity: bytes, partitions: int) -> int:
    """Return the partition of an event once there are so many; the real one depends on the user alone."""
    return identity[15] % partitions


class SimulatedMessage:
    """A message with the methods of confluent_kafka's; `identity` is None if it cannot be decoded.

    `ids` are the ids that can be read of such a message. `suffix` is appended to an event's bytes. With a `change` it
    is the record of added partitions.
    """

    __slots__ = ("_at", "_milliseconds", "_partition", "_value", "change", "identity", "ids")

    def __init__(
        self,
        partition: int,
        offset: int,
        identity: bytes | None,
        milliseconds: int,
        ids: bytes = b"",
        suffix: bytes = b"",
        change: PartitionChange | None = None,
    ) -> None:
        self.change = change
        self.identity = identity
        self.ids = ids
        self._partition = partition
        self._at = offset
        self._milliseconds = milliseconds
        if change is not None:
            self._value = change.value()
        elif identity is None:
            self._value = b"garbage %d" % offset
        else:
            self._value = EventRecord(event_id=identity, received_at=milliseconds).SerializeToString() + suffix

    def value(self) -> bytes:
        return self._value

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._at

    def timestamp(self) -> tuple[int, int]:
        return 1, self._milliseconds

    def __len__(self) -> int:
        return len(self._value)


def decode(messages: Sequence[Message]) -> Rows:
    """Replace etl.events.rows.decode, with three columns only: identities, times, offsets."""
    known = [message for message in messages if isinstance(message, SimulatedMessage)]
    assert len(known) == len(messages)
    good = [message for message in known if message.identity is not None]
    columns: list[Column] = [
        [message.identity for message in good],
        [message.timestamp()[1] for message in good],
        [message.offset() for message in good],
    ]
    rejected = [
        reject(each, UNDECODABLE, "garbage", *split(each.ids)) if each.change is None else reject_undecodable(each, "")
        for each in known
        if each.identity is None
    ]
    return Rows(columns, rejected, [message.identity for message in good if message.identity is not None])


def another_user(user: bytes) -> bytes:
    """Return another user."""
    return USERS[(USERS.index(user) + 1) % len(USERS)]


@dataclass
class Log:
    """One partition. None is a gap, as left by a transaction's marker or by compaction."""

    partition: int
    horizon: int
    messages: list[SimulatedMessage | None] = field(default_factory=list)
    # Offsets of messages that ClickHouse refuses, and identities that have such copies.
    poison: set[int] = field(default_factory=set)
    # When each message was appended.
    appended: list[float] = field(default_factory=list)
    # Identities of other partitions before partitions were added, which are sent again to this one afterwards.
    moved: list[bytes] = field(default_factory=list)
    # All partitions.
    logs: list[Log] = field(default_factory=list)
    _bad: set[bytes] = field(default_factory=set)
    _identities: list[bytes] = field(default_factory=list)

    def append(self, world: World, gaps: float) -> None:
        """Append one message, or a gap."""
        chance = world.chance
        self.appended.append(world.now)
        if chance.random() < gaps:
            self.messages.append(None)
            return
        offset = len(self.messages)
        # A new month begins during the run, at different times by different clocks.
        month = int(world.now + world.between(-20, 20) > MONTH_ENDS_SECONDS)
        identity: bytes | None = self._identity(world)
        ids = suffix = b""
        dice = chance.random()
        if dice < 0.02:
            # The ids are those of an event that was sent before or will be sent.
            identity, ids = None, identity or b""
            world.counts["undecodable with ids"] += 1
        elif dice < 0.04:
            identity = None
        elif dice < 0.1:
            suffix = NESTED_GROUPS
            world.counts["poison messages"] += 1
        if identity is not None and chance.random() < (0.5 if identity in self._bad else 0.04):
            # Copies of an event differ, and ClickHouse accepts some of them.
            self._bad.add(identity)
            self.poison.add(offset)
        time = month * MILLISECONDS_OF_A_MONTH
        self.messages.append(SimulatedMessage(self.partition, offset, identity, time, ids, suffix))

    def append_change(self, change: PartitionChange) -> None:
        """Append the record that partitions were added; users of other partitions continue here."""
        self.appended.append(float("inf"))
        self.messages.append(SimulatedMessage(self.partition, len(self.messages), None, 0, change=change))
        # Some are from before the horizon.
        around = (log.messages[max(0, change.ends[log.partition] - 2 * self.horizon) :] for log in self._others())
        sent = (message.identity for messages in around for message in messages if message and message.identity)
        self.moved += [each for each in sent if partition_of(each, change.partitions) == self.partition]

    def _others(self) -> list[Log]:
        return [log for log in self.logs if log is not self]

    def _identity(self, world: World) -> bytes:
        """Return mostly a new identity, else a recent one or one from about a horizon ago, of any user."""
        chance, known = world.chance, self._identities
        dice = chance.random()
        if self.moved and chance.random() < 0.4:
            identity = chance.choice(self.moved)
            world.counts["events of other partitions"] += 1
        elif known and dice < 0.1:
            identity = known[-chance.randint(1, min(8, len(known)))]
        elif known and dice < 0.2:
            identity = known[-min(len(known), self.horizon + chance.randint(-3, 6))]
        elif known and dice < 0.28:
            event_id, user = split(known[-chance.randint(1, min(8, len(known)))])
            identity = event_id + another_user(user)
            world.counts["event_ids of other users"] += 1
        else:
            identity = (self.partition << 32 | len(known)).to_bytes(16, "big") + chance.choice(USERS)
        known.append(identity)
        return identity

    def expected(self, until: int | None = None) -> dict[int, str]:
        """Return what each message must become, from the logs alone: EVENT or the reason of its rejection."""
        seen: dict[bytes, int] = {}
        found: dict[int, str] = {}
        for offset, message in enumerate(self.messages[:until]):
            if message is None:
                continue
            if message.change is not None:
                found[offset] = PARTITIONS_ADDED
                for identity, at in self._moved_at(offset, message.change):
                    seen[identity] = max(at, seen.get(identity, at))
                continue
            if message.identity is None:
                found[offset] = UNDECODABLE
                continue
            before = seen.get(message.identity)
            if before is not None and offset - before <= self.horizon:
                found[offset] = DUPLICATE
            elif offset in self.poison:
                # It is not stored, so its copies are not duplicates of it.
                found[offset] = REFUSED
                continue
            else:
                found[offset] = EVENT
            seen[message.identity] = offset
        return found

    def _moved_at(self, record: int, change: PartitionChange) -> Iterator[tuple[bytes, int]]:
        """Yield the identities that other partitions had before a change, and their places before its record."""
        for log in (each for each in self._others() if each.partition < change.partitions):
            end = change.ends[log.partition]
            for offset, kind in log.expected(end).items():
                message = log.messages[offset]
                identity = None if message is None or kind not in {EVENT, DUPLICATE} else message.identity
                if identity is not None and partition_of(identity, change.partitions) == self.partition:
                    yield identity, record - (end - offset)
