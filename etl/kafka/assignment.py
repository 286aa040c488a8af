"""Notices an assignment that the group has changed, and that this member does not follow.

Observed with Kafka 4.4 and librdkafka 2.16, when the group's coordinator and a member were killed at the same moment:
the coordinator waited for this member to give a partition up, the client did not, and heartbeats went on. Nothing ended
that, and a partition had no owner. A member that joins anew gets its share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from common.logs import logger
from etl.kafka.membership import Membership

ASK_SECONDS = 10.0
# How long a difference must last. A member that follows gives a partition up within seconds.
STUCK_SECONDS = 60.0


class Difference(NamedTuple):
    """Partitions that this member keeps and should not have, that nobody has, and that it does not consume."""

    kept: frozenset[int] = frozenset()
    unowned: frozenset[int] = frozenset()
    unread: frozenset[int] = frozenset()


class Assignment:
    """Compares what the coordinator has assigned with what this member owns; one thread asks."""

    def __init__(
        self,
        admin: AdminClient,
        group: str,
        seconds_max: float,
        member: Callable[[], str | None],
        membership: Membership,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`member` returns the id that this process has in the group."""
        self._admin = admin
        self._group = group
        self._seconds_max = seconds_max
        self._member = member
        self._membership = membership
        self._monotonic = monotonic
        self._due = float("-inf")
        self._last, self._since = Difference(), 0.0

    def check(self) -> None:
        """Ask if it is time to; set `membership.stuck` once the same difference has lasted too long."""
        now = self._monotonic()
        if now < self._due:
            return
        self._due = now + ASK_SECONDS
        try:
            found = self._find()
        except (KafkaException, TimeoutError) as error:
            # The consumer logs an outage. What is not known is not a difference.
            logger().debug("Kafka does not describe the group", error=str(error))
            found = Difference()
        if found != self._last:
            self._last, self._since = found, now
        elif any(found) and now - self._since >= STUCK_SECONDS:
            self._membership.stuck = (
                f"for {STUCK_SECONDS:g} s this member of the group has kept partitions {sorted(found.kept)}, which are "
                f"assigned to others, not taken {sorted(found.unowned)}, and not read {sorted(found.unread)}"
            )

    def _find(self) -> Difference:
        owned, member = self._membership.owned, self._member()
        asked = self._admin.describe_consumer_groups([self._group], request_timeout=self._seconds_max)
        members = asked[self._group].result(2 * self._seconds_max).members
        current = {each.member_id: numbers(each.assignment) for each in members}
        mine = next((each for each in members if each.member_id == member), None)
        if mine is None or mine.target_assignment is None:
            return Difference()
        target, all_current = numbers(mine.target_assignment), frozenset[int]().union(*current.values())
        held = current[mine.member_id]
        return Difference(held - target, target - all_current, (held & target) - owned)


def numbers(assignment: object) -> frozenset[int]:
    """Return the partitions of an assignment; the group has one topic."""
    return frozenset(each.partition for each in assignment.topic_partitions)  # type: ignore[attr-defined]  # the client has no types
