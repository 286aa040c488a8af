"""A member that does not follow what the group assigns is noticed, and joins anew."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from etl.errors import ConsumerLostError
from etl.kafka.assignment import ASK_SECONDS, STUCK_SECONDS, Assignment
from etl.kafka.membership import Membership
from etl.kafka.source import KafkaSource

GROUP, MINE, OTHER = "group", "mine", "other"
CHECKS = round(STUCK_SECONDS / ASK_SECONDS)


def partitions(given: set[int] | None) -> object:
    """Return an assignment as the library has it."""
    return (
        None if given is None else SimpleNamespace(topic_partitions=[SimpleNamespace(partition=each) for each in given])
    )


class Group:
    """A group whose coordinator answers what the test wants."""

    def __init__(self) -> None:
        self.members: dict[str, tuple[set[int], set[int] | None]] = {}
        self.error: KafkaException | None = None
        self.now = 0.0
        self.membership = Membership()
        self.assignment = Assignment(self, GROUP, 1.0, lambda: MINE, self.membership, lambda: self.now)  # type: ignore[arg-type]  # a stand-in for the admin client

    def describe_consumer_groups(self, _groups: list[str], **_limits: Any) -> dict[str, Future[Any]]:
        """Return the description of the group."""
        answer: Future[Any] = Future()
        if self.error is not None:
            answer.set_exception(self.error)
        else:
            described = [
                SimpleNamespace(member_id=name, assignment=partitions(current), target_assignment=partitions(target))
                for name, (current, target) in self.members.items()
            ]
            answer.set_result(SimpleNamespace(members=described))
        return {GROUP: answer}

    def pass_checks(self, count: int) -> str:
        """Let so many checks be due; return why the member must join anew."""
        for _ in range(count):
            self.assignment.check()
            self.now += ASK_SECONDS
        return self.membership.stuck


@pytest.mark.parametrize(
    ("members", "owned", "text"),
    [
        ({MINE: ({0, 1, 2}, {0, 1, 4}), OTHER: ({3, 5}, {2, 3, 5})}, {0, 1, 2}, "kept partitions [2]"),
        ({MINE: ({0, 1}, {0, 1, 4}), OTHER: ({3}, {3})}, {0, 1}, "not taken [4]"),
        ({MINE: ({0, 1}, {0, 1}), OTHER: ({2}, {2})}, {0}, "not read [1]"),
    ],
)
def test_difference_that_lasts(
    members: dict[str, tuple[set[int], set[int] | None]], owned: set[int], text: str
) -> None:
    """A difference is a reason to join anew once it has lasted, and not before."""
    group = Group()
    group.members = members
    group.membership.assigned(owned)
    assert group.pass_checks(CHECKS) == ""
    assert text in group.pass_checks(1)


@pytest.mark.parametrize(
    "members",
    [
        {MINE: ({0, 1}, {0, 1}), OTHER: ({2}, {2})},
        # The other member has not given the partition up.
        {MINE: ({0, 1}, {0, 1, 2}), OTHER: ({2, 3}, {3})},
        # Of the classic protocol, and of a group that this process is not a member of.
        {MINE: ({0, 1}, None)},
        {OTHER: ({0, 1}, {0})},
        {},
    ],
)
def test_no_difference(members: dict[str, tuple[set[int], set[int] | None]]) -> None:
    """What others must do, and what is not known, is no reason."""
    group = Group()
    group.members = members
    group.membership.assigned([0, 1])
    assert group.pass_checks(10 * CHECKS) == ""


def test_difference_that_changes() -> None:
    """A rebalance that makes progress, and an answer that is missing, begin the time anew."""
    group = Group()
    group.membership.assigned([0, 1, 2])
    for target in ({0, 1}, {0}, {0, 1}):
        group.members = {MINE: ({0, 1, 2}, target)}
        assert group.pass_checks(CHECKS) == ""
    group.error = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    assert group.pass_checks(1) == ""
    group.error = None
    assert group.pass_checks(CHECKS) == ""


def test_checks_are_spaced() -> None:
    """The coordinator is asked no more often than it needs to be."""
    group = Group()
    group.members = {MINE: ({0}, set())}
    group.membership.assigned([0])
    for _ in range(10 * CHECKS):
        group.assignment.check()
    group.now = STUCK_SECONDS
    assert group.membership.stuck == ""


def test_owned_partitions() -> None:
    """The membership has what the callbacks of the client have said."""
    membership = Membership()
    membership.assigned([1, 2, 3])
    membership.revoked([2])
    assert membership.owned == {1, 3}
    membership.lost([1, 3])
    assert membership.owned == frozenset()


def test_poll_ends() -> None:
    """A stuck member ends the process, which its supervisor starts again."""
    membership = Membership()
    membership.stuck = "a reason"
    source = KafkaSource(SimpleNamespace(commit=None), SimpleNamespace(), "topic", 1.0, SimpleNamespace(), membership)  # type: ignore[arg-type]  # nothing of them is used
    with pytest.raises(ConsumerLostError, match="a reason"):
        source.poll(1, 0.0)
