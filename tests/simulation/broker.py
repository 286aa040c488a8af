"""The fake Kafka: logs, committed offsets, and a group by the rules of KIP-848."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from etl.errors import SourceError
from tests.simulation.log import Log
from tests.simulation.world import World

# Sessions are shorter and longer than the fence.
SESSION_SECONDS_MIN, SESSION_SECONDS_MAX = 0.5, 4.0


class Member(Protocol):
    """A member of the group as the broker sees it."""

    name: str

    def is_silent(self) -> bool:
        """Whether it sends no heartbeats now."""


class Broker:
    """Keeps what is committed; says whose a partition is, and who must give one up."""

    def __init__(self, world: World, logs: list[Log]) -> None:
        self.world = world
        self.logs = logs
        self._session_seconds = world.between(SESSION_SECONDS_MIN, SESSION_SECONDS_MAX)
        self.committed: dict[int, tuple[int, str]] = {}
        self.members: list[Member] = []
        # Who has a partition, until it has given it up; and who is to have it.
        self.owner: dict[int, Member] = {}
        self.target: dict[int, Member] = {}
        # Commits of which the sender has heard that they failed, and which may yet be applied.
        self._delayed: list[tuple[Member, int, int, str]] = []

    def join(self, member: Member) -> None:
        """Let a new member in."""
        self.members.append(member)
        self.world.note(member.name, "joins")
        self.rebalance()

    def leave(self, member: Member) -> None:
        """Let a member go, whose partitions are free at once."""
        self._settle(member)
        self._remove(member)

    def knows(self, member: Member) -> bool:
        """Whether requests of a member are heard."""
        return member in self.members

    def watch(self, member: Member) -> None:
        """Evict a member unless it is heard again within the session; to be called when it falls silent."""
        self.world.after(self._session_seconds * self.world.between(0.8, 1), lambda: self._evict(member))

    def _evict(self, member: Member) -> None:
        if member.is_silent() and self.knows(member):
            self.world.counts["evictions"] += 1
            self.world.note(member.name, "EVICTED")
            self._delayed = [each for each in self._delayed if each[0] is not member]
            self._remove(member)

    def _remove(self, member: Member) -> None:
        if not self.knows(member):
            return
        self.members.remove(member)
        for partition in [number for number, owner in self.owner.items() if owner is member]:
            del self.owner[partition]
        self.rebalance()

    def rebalance(self) -> None:
        """Decide anew who is to have which partition."""
        self.world.counts["rebalances"] += 1
        shift = self.world.chance.randrange(8)
        self.target = {
            log.partition: self.members[(log.partition + shift) % len(self.members)]
            for log in self.logs
            if self.members
        }

    def to_give_up(self, member: Member) -> list[int]:
        """Return which of its partitions a member must give up."""
        return [number for number, owner in self.owner.items() if owner is member and self.target[number] is not member]

    def gave_up(self, member: Member, partitions: Iterable[int]) -> None:
        """Hear that a member has served the revocation of some."""
        self._settle(member)
        for number in partitions:
            if self.owner.get(number) is member:
                del self.owner[number]

    def hand_over(self, member: Member) -> list[int]:
        """Return which partitions become a member's now."""
        if not self.knows(member):
            return []
        free = [number for number, target in self.target.items() if target is member and number not in self.owner]
        self.owner |= dict.fromkeys(free, member)
        return free

    def commit(self, member: Member, partition: int, offset: int, metadata: str) -> None:
        """Apply a commit of any member that is known, whether it owns the partition or not: so does the real one."""
        self._settle(member)
        if not self.knows(member):
            self.world.counts["commits refused"] += 1
            raise SourceError("UNKNOWN_MEMBER_ID")
        self.committed[partition] = (offset, metadata)

    def commit_later(self, member: Member, partition: int, offset: int, metadata: str, seconds: float) -> None:
        """Apply a commit in a while, if the member sends nothing in between; else perhaps just before that.

        It names the membership in which it was sent; a later one of the same process is another.
        """
        if not self.knows(member):
            return
        delayed = (member, partition, offset, metadata)
        self._delayed.append(delayed)
        self.world.after(seconds, lambda: self._apply(delayed))

    def _settle(self, member: Member) -> None:
        """One member's requests are applied in the order in which they were sent, or not at all."""
        for delayed in [each for each in self._delayed if each[0] is member]:
            if self.world.chance.random() < 0.5:
                self._apply(delayed)
            else:
                self._delayed.remove(delayed)

    def _apply(self, delayed: tuple[Member, int, int, str]) -> None:
        if delayed in self._delayed:
            self._delayed.remove(delayed)
            member, partition, offset, metadata = delayed
            if self.knows(member):
                self.world.counts["commits late"] += 1
                self.world.note(member.name, "LATE commit applied", partition, offset, metadata)
                self.committed[partition] = (offset, metadata)
