"""The fake Kafka: logs, committed offsets, and a consumer group by the rules of KIP-848."""

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
    """Keeps the committed offsets, assigns partitions to members, and revokes them."""

    def __init__(self, world: World, logs: list[Log]) -> None:
        self.world = world
        self.logs = logs
        self._session_seconds = world.between(SESSION_SECONDS_MIN, SESSION_SECONDS_MAX)
        self.committed: dict[int, tuple[int, str]] = {}
        self.members: list[Member] = []
        # The member that owns a partition until it has revoked it; and the member that is to own it.
        self.owner: dict[int, Member] = {}
        self.target: dict[int, Member] = {}
        # Commits that timed out at their sender, and may still be applied.
        self._delayed: list[tuple[Member, int, int, str]] = []

    def join(self, member: Member) -> None:
        """Add a member."""
        self.members.append(member)
        self.world.note(member.name, "joins")
        self.rebalance()

    def leave(self, member: Member) -> None:
        """Remove a member; its partitions are free at once."""
        self._apply_or_drop_delayed(member)
        self._remove(member)

    def has_member(self, member: Member) -> bool:
        """Whether a member is in the group."""
        return member in self.members

    def watch(self, member: Member) -> None:
        """Evict a member that sends no heartbeats until its session ends; to be called when it becomes silent."""
        self.world.after(self._session_seconds * self.world.between(0.8, 1), lambda: self._evict(member))

    def _evict(self, member: Member) -> None:
        if member.is_silent() and self.has_member(member):
            self.world.counts["evictions"] += 1
            self.world.note(member.name, "EVICTED")
            self._delayed = [each for each in self._delayed if each[0] is not member]
            self._remove(member)

    def _remove(self, member: Member) -> None:
        if not self.has_member(member):
            return
        self.members.remove(member)
        for partition in [number for number, owner in self.owner.items() if owner is member]:
            del self.owner[partition]
        self.rebalance()

    def rebalance(self) -> None:
        """Choose a new target assignment."""
        self.world.counts["rebalances"] += 1
        shift = self.world.chance.randrange(8)
        self.target = {
            log.partition: self.members[(log.partition + shift) % len(self.members)]
            for log in self.logs
            if self.members
        }

    def to_revoke(self, member: Member) -> list[int]:
        """Return which of its partitions a member must revoke."""
        return [number for number, owner in self.owner.items() if owner is member and self.target[number] is not member]

    def revoked(self, member: Member, partitions: Iterable[int]) -> None:
        """Free partitions whose revocation a member has completed."""
        self._apply_or_drop_delayed(member)
        for number in partitions:
            if self.owner.get(number) is member:
                del self.owner[number]

    def assign(self, member: Member) -> list[int]:
        """Assign the free partitions of a member, and return them."""
        if not self.has_member(member):
            return []
        free = [number for number, target in self.target.items() if target is member and number not in self.owner]
        self.owner |= dict.fromkeys(free, member)
        return free

    def commit(self, member: Member, partition: int, offset: int, metadata: str) -> None:
        """Apply a commit of any member of the group, whether it owns the partition or not, as the real broker does."""
        self._apply_or_drop_delayed(member)
        if not self.has_member(member):
            self.world.counts["commits refused"] += 1
            raise SourceError("UNKNOWN_MEMBER_ID")
        self.committed[partition] = (offset, metadata)

    def commit_later(self, member: Member, partition: int, offset: int, metadata: str, seconds: float) -> None:
        """Apply a commit later, if the member sends no request before; else perhaps just before that request.

        The commit belongs to the membership in which it was sent, not to a later one of the same process.
        """
        if not self.has_member(member):
            return
        delayed = (member, partition, offset, metadata)
        self._delayed.append(delayed)
        self.world.after(seconds, lambda: self._apply(delayed))

    def _apply_or_drop_delayed(self, member: Member) -> None:
        """Apply or drop a member's delayed commits: its requests are applied in order, or not at all."""
        for delayed in [each for each in self._delayed if each[0] is member]:
            if self.world.chance.random() < 0.5:
                self._apply(delayed)
            else:
                self._delayed.remove(delayed)

    def _apply(self, delayed: tuple[Member, int, int, str]) -> None:
        if delayed in self._delayed:
            self._delayed.remove(delayed)
            member, partition, offset, metadata = delayed
            if self.has_member(member):
                self.world.counts["commits late"] += 1
                self.world.note(member.name, "LATE commit applied", partition, offset, metadata)
                self.committed[partition] = (offset, metadata)
