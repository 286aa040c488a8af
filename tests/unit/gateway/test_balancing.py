"""Which replica of a service gets the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from gateway.balancing import replica as replica_module
from gateway.balancing.replica import FAILED_CHECKS_MAX, Replica
from gateway.balancing.replicas import IN_FLIGHT_CALLS, TURN_CALLS
from tests.support.fakes.replicas import WAIT_SECONDS_MAX, Balanced, FakeReplica, until


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_equal_shares(count: int) -> None:
    """Replicas take turns of some calls, so that their shares are equal."""
    async with Balanced(count) as balanced:
        assert balanced.calls(TURN_CALLS * count * 10) == [TURN_CALLS * 10] * count


async def test_turns_of_processes() -> None:
    """Processes with different turns begin with different replicas."""
    firsts = set()
    for turn in range(2):
        async with Balanced(2, turn) as balanced:
            firsts.add(balanced.calls(1).index(1))
    assert firsts == {0, 1}


@pytest.mark.parametrize("state", [{"connected": False}, {"serving": False}])
async def test_a_replica_that_does_not_serve(state: dict[str, bool]) -> None:
    """A replica that is not connected, or does not serve, gets no calls while another one does both."""
    async with Balanced(3) as balanced:
        balanced.calls(5)
        balanced.opened[1].set(**state)
        assert balanced.calls(100)[1] == 0
        assert balanced.replicas.available() == 2
        balanced.opened[1].set()
        assert balanced.calls(3 * TURN_CALLS) == [TURN_CALLS] * 3


async def test_no_replica_serves() -> None:
    """Without a serving replica the connected ones get the calls, whose errors name the reason; without any, all do."""
    async with Balanced(2) as balanced:
        balanced.opened[0].set(serving=False)
        balanced.opened[1].set(connected=False)
        assert balanced.calls(50) == [50, 0]
        balanced.opened[0].set(connected=False)
        assert balanced.calls(2 * TURN_CALLS) == [TURN_CALLS] * 2


async def test_a_replica_that_hangs() -> None:
    """A replica whose calls are not answered is left out before it has many; the shares of the others stay equal."""
    async with Balanced(3) as balanced:
        for _ in range(100 * TURN_CALLS):
            chosen = cast("FakeReplica", balanced.replicas.next())
            if chosen is balanced.opened[0]:
                chosen.in_flight += 1
        assert balanced.opened[0].in_flight <= IN_FLIGHT_CALLS + TURN_CALLS
        balanced.opened[1].in_flight = balanced.opened[2].in_flight = IN_FLIGHT_CALLS
        assert min(balanced.calls(3 * TURN_CALLS)) == TURN_CALLS


async def test_a_name_gets_and_loses_an_address() -> None:
    """A new address gets its share; the channel of one that is gone lasts until its last answer."""
    async with Balanced(1) as balanced:
        balanced.names.addresses["a"] = ["10.0.0.1", "10.0.0.2"]
        await until(lambda: len(balanced.replicas) == 2)
        assert balanced.calls(2 * TURN_CALLS) == [TURN_CALLS] * 2
        balanced.names.addresses["a"] = ["10.0.0.2"]
        await until(lambda: len(balanced.replicas) == 1)
        assert balanced.calls(20) == [0, 20]
        assert not balanced.opened[0].channel.is_closed
        balanced.opened[0].left.set()
        await until(lambda: balanced.opened[0].channel.is_closed)
        assert not balanced.opened[1].channel.is_closed


async def test_another_replica() -> None:
    """A call that a replica did not get goes to a connected one that was not tried."""
    async with Balanced(3) as balanced:
        first, second, third = (cast("Replica", each) for each in balanced.opened)
        balanced.opened[1].set(connected=False)
        assert balanced.replicas.another([first]) is third
        assert balanced.replicas.another([first, third]) is None
        balanced.opened[1].set()
        assert balanced.replicas.another([first, third]) is second


class Checked(Replica):
    """A replica whose health checks a test answers."""

    def __init__(self, *statuses: int | None) -> None:
        self.is_serving = True
        self._statuses = iter(statuses)
        self.states: list[bool] = []
        self.ended = asyncio.Event()

    async def _status(self) -> int | None:
        try:
            return next(self._statuses)
        except StopIteration:
            self.ended.set()
            return 1


@pytest.mark.parametrize(
    ("statuses", "states"),
    [
        ([1, None, 1], []),
        ([1, *[None] * FAILED_CHECKS_MAX, None, 1], [False, True]),
        ([2, 2, 1], [False, True]),
        ([None, 2], [False]),
        ([2, None, 2], [False]),
    ],
)
async def test_health_checks(
    monkeypatch: pytest.MonkeyPatch, statuses: Sequence[int | None], states: Sequence[bool]
) -> None:
    """A replica that answers NOT_SERVING does not serve; one that does not answer counts so after several checks."""
    monkeypatch.setattr(replica_module, "CHECK_SECONDS", 0.0)
    checked = Checked(*statuses)
    checking = asyncio.create_task(checked._check(lambda: checked.states.append(checked.is_serving), lambda: True))
    await asyncio.wait_for(checked.ended.wait(), WAIT_SECONDS_MAX)
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)

    assert checked.states[: len(states)] == list(states)
    assert len(checked.states) <= len(states) + 1
