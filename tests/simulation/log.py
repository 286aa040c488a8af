"""What producers write: events, repeats near and far, messages that are none, and events that ClickHouse refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ugc.v1.event_pb2 import EventRecord

from etl.events.identity import split
from etl.events.rows import DUPLICATE, REFUSED, UNDECODABLE, Column, Message, Rows, reject
from tests.simulation.world import World

MILLISECONDS_OF_A_MONTH = 2_592_000_000
MONTH_ENDS_SECONDS = 25.0
EVENT = ""
USERS = [bytes(15) + bytes((number,)) for number in range(3)]
# Unknown groups deeper than one of two parsers allows: the etl's decoder takes them, Python's refuses the message.
NESTED_GROUPS = b"\xa3\x06" * 101 + b"\xa4\x06" * 101


class SimulatedMessage:
    """A message as confluent_kafka gives it; `identity` is None when it cannot be decoded.

    `ids` are what can be read of such a message all the same. `suffix` follows an event's bytes.
    """

    __slots__ = ("_at", "_milliseconds", "_partition", "_value", "identity", "ids")

    def __init__(
        self,
        partition: int,
        offset: int,
        identity: bytes | None,
        milliseconds: int,
        ids: bytes = b"",
        suffix: bytes = b"",
    ) -> None:
        self.identity = identity
        self.ids = ids
        self._partition = partition
        self._at = offset
        self._milliseconds = milliseconds
        self._value = (
            b"garbage %d" % offset
            if identity is None
            else EventRecord(event_id=identity, received_at=milliseconds).SerializeToString() + suffix
        )

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
    """Do what etl.events.rows.decode does, with the columns that matter here: identities, times, offsets."""
    known = [message for message in messages if isinstance(message, SimulatedMessage)]
    assert len(known) == len(messages)
    good = [message for message in known if message.identity is not None]
    columns: list[Column] = [
        [message.identity for message in good],
        [message.timestamp()[1] for message in good],
        [message.offset() for message in good],
    ]
    rejected = [reject(each, UNDECODABLE, "garbage", *split(each.ids)) for each in known if each.identity is None]
    return Rows(columns, rejected, [message.identity for message in good if message.identity is not None])


def another_user(user: bytes) -> bytes:
    """Return the user after one."""
    return USERS[(USERS.index(user) + 1) % len(USERS)]


@dataclass
class Log:
    """One partition. None stands where a transaction's marker or a compacted message left a gap."""

    partition: int
    horizon: int
    messages: list[SimulatedMessage | None] = field(default_factory=list)
    # Offsets of messages that ClickHouse refuses, and identities that have such copies.
    poison: set[int] = field(default_factory=set)
    _bad: set[bytes] = field(default_factory=set)
    _identities: list[bytes] = field(default_factory=list)

    def append(self, world: World, gaps: float) -> None:
        """Write one message, or leave a gap."""
        chance = world.chance
        if chance.random() < gaps:
            self.messages.append(None)
            return
        offset = len(self.messages)
        # Another month begins while the run goes on, and clocks of servers disagree about when.
        month = int(world.now + world.between(-20, 20) > MONTH_ENDS_SECONDS)
        identity: bytes | None = self._identity(world)
        ids = suffix = b""
        dice = chance.random()
        if dice < 0.02:
            # The ids of such a message are those of an event that was sent, or will be.
            identity, ids = None, identity or b""
            world.counts["undecodable with ids"] += 1
        elif dice < 0.04:
            identity = None
        elif dice < 0.1:
            suffix = NESTED_GROUPS
            world.counts["poison messages"] += 1
        if identity is not None and chance.random() < (0.5 if identity in self._bad else 0.04):
            # Copies of an event differ: some of them are taken.
            self._bad.add(identity)
            self.poison.add(offset)
        time = month * MILLISECONDS_OF_A_MONTH
        self.messages.append(SimulatedMessage(self.partition, offset, identity, time, ids, suffix))

    def _identity(self, world: World) -> bytes:
        """Choose a new identity mostly, else one written a moment ago or about one horizon ago, by any user."""
        chance, known = world.chance, self._identities
        dice = chance.random()
        if known and dice < 0.1:
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

    def verdicts(self) -> dict[int, str]:
        """Return what each message must become, computed from the log alone: EVENT or the reason of its rejection."""
        seen: dict[bytes, int] = {}
        found: dict[int, str] = {}
        for offset, message in enumerate(self.messages):
            if message is None:
                continue
            if message.identity is None:
                found[offset] = UNDECODABLE
                continue
            before = seen.get(message.identity)
            if before is not None and offset - before <= self.horizon:
                found[offset] = DUPLICATE
            elif offset in self.poison:
                # It is stored nowhere, so that its copies are no repeats of it.
                found[offset] = REFUSED
                continue
            else:
                found[offset] = EVENT
            seen[message.identity] = offset
        return found
