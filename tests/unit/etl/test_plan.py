"""The metadata of commits, written and read; and the deadlines of plans."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import LogChangedError
from etl.placement import Placement
from etl.plan import (
    METADATA_CHARACTERS_MAX,
    Coordinates,
    Plan,
    Position,
    ServerClock,
    Topic,
    completed_metadata,
    read_position,
)

TOPIC = "0d6be9f0-7c1f-4f5e-9f0f-3d2a6c1b8e55"
OFFSETS = st.integers(min_value=0, max_value=2**63 - 1)
PLAN = Plan(TOPIC, first=100, end=199, rows=100, digest="00c0ffee", deadline=1_790_000_005_000)
PLANNED = json.loads(PLAN.metadata())
NOT_TEXTS: tuple[object, ...] = (None, 5, [], {}, True)
NUMBERS = ("end", "rows", "deadline", "v")
NOT_NUMBERS: tuple[object, ...] = ("199", 199.0, -1, True, [], {}, 2**63, 10**400, float("nan"), float("inf"), "x")


@given(data=st.data(), first=OFFSETS, digest=st.integers(0, 2**32 - 1), deadline=OFFSETS)
def test_round_trip(data: st.DataObject, first: int, digest: int, deadline: int) -> None:
    """A plan is read as it was written, and fits into Kafka's metadata whatever its values are."""
    end = data.draw(st.integers(first, 2**63 - 1))
    rows = data.draw(st.integers(1, 2**63 - 1))
    plan = Plan(TOPIC, first, end, rows, f"{digest:08x}", deadline)
    metadata = plan.metadata()

    assert read_position(TOPIC, first, metadata) == Position(first, plan, is_from_etl=True)
    assert len(metadata) <= METADATA_CHARACTERS_MAX


def test_the_contract() -> None:
    """The metadata has the documented form, which other versions read."""
    assert PLAN.metadata() == (
        f'{{"v":1,"topic":"{TOPIC}","end":199,"rows":100,"hash":"00c0ffee","deadline":1790000005000}}'
    )
    assert completed_metadata(TOPIC, Placement()) == f'{{"v":1,"topic":"{TOPIC}"}}'


def test_a_commit_without_a_plan() -> None:
    """A completed commit is an offset of the etl without a plan."""
    assert read_position(TOPIC, 200, completed_metadata(TOPIC, Placement())) == Position(200, None, is_from_etl=True)


@pytest.mark.parametrize("metadata", [PLAN.metadata(), completed_metadata(TOPIC, Placement())])
def test_another_topic(metadata: str) -> None:
    """A commit for an earlier topic of the same name counts as none."""
    assert read_position("another", 100, metadata) == Position()


def test_nothing_committed() -> None:
    """Without a commit there is no offset."""
    assert read_position(TOPIC, None, "") == Position()


def test_other_tools() -> None:
    """An offset that another tool committed is used, and is not marked as the etl's."""
    assert read_position(TOPIC, 42, "") == Position(42, None, is_from_etl=False)


@pytest.mark.parametrize(
    "metadata",
    [
        "reset by hand",
        "[]",
        "7",
        "null",
        json.dumps({"v": 1}),
        json.dumps({"topic": TOPIC}),
        json.dumps({"v": 2, "topic": TOPIC}),
        json.dumps({"v": 1, "topic": TOPIC, "end": 5}),
        PLAN.metadata()[:-1],
        "[" * 3_000,
        '{"v":1,"topic":"%s","end":%s}' % (TOPIC, "[" * 3_000),  # noqa: UP031 -- braces are JSON's
        *(json.dumps(PLANNED | {name: value}) for name in NUMBERS for value in NOT_NUMBERS),
        *(json.dumps(PLANNED | {name: value}) for name in ("topic", "hash") for value in NOT_TEXTS),
        *(
            json.dumps({key: value for key, value in PLANNED.items() if key != name})
            for name in PLANNED
            if name != "end"
        ),
        json.dumps(PLANNED | {"end": 99}),
        json.dumps(PLANNED | {"rows": 0}),
    ],
)
def test_unreadable(metadata: str) -> None:
    """Metadata that this version does not write is an error, which quotes it."""
    with pytest.raises(LogChangedError, match="offset 100") as caught:
        read_position(TOPIC, 100, metadata)

    assert metadata in str(caught.value)


def test_until() -> None:
    """A renewed plan differs only in its deadline."""
    again = PLAN.until(7)

    assert again.deadline == 7
    assert again.until(PLAN.deadline) == PLAN


class Time:
    """A monotonic clock that a test sets, in seconds."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_clock_deadline() -> None:
    """A deadline is the fence ahead of ClickHouse's time, which advances with the monotonic clock."""
    time = Time()
    clock = ServerClock(5.0, time)
    clock.sync(1_790_000_000_000)
    time.seconds += 1.5

    assert clock.deadline() == 1_790_000_006_500


def test_clock_sync_again() -> None:
    """The last time that ClickHouse returned counts, in either direction."""
    clock = ServerClock(5.0, Time())
    clock.sync(1_790_000_000_000)
    clock.sync(1_780_000_000_000)

    assert clock.deadline() == 1_780_000_005_000


def test_clock_near() -> None:
    """A deadline is near when more than half of the fence has passed since it was made."""
    time = Time()
    clock = ServerClock(5.0, time)
    clock.sync(1_790_000_000_000)
    deadline = clock.deadline()
    time.seconds += 2.5

    assert not clock.is_near(deadline)

    time.seconds += 0.1

    assert clock.is_near(deadline)


PLACED = replace(PLAN, placement=Placement(4, 90))


def test_placement_is_recorded() -> None:
    """Each commit records the number of shards, and from which offset on rows are on their own shard."""
    for metadata, plan in ((PLACED.metadata(), PLACED), (completed_metadata(TOPIC, Placement(4, 90)), None)):
        position = read_position(TOPIC, PLAN.first, metadata)

        assert (position.placement, position.plan) == (Placement(4, 90), plan)


def test_placement_of_one_shard_is_not_recorded() -> None:
    """With one shard the metadata is that of versions without the rule."""
    assert read_position(TOPIC, PLAN.first, PLAN.metadata()).placement is None


@pytest.mark.parametrize(
    "text", ['"shards":0,"since":1', '"shards":2', '"shards":"2","since":1', '"shards":2,"since":-1']
)
def test_placement_that_is_not_valid(text: str) -> None:
    """A placement that this version does not write is an error."""
    with pytest.raises(LogChangedError, match="cannot read"):
        read_position(TOPIC, 100, f'{{"v":1,"topic":"{TOPIC}",{text}}}')


@pytest.mark.parametrize(
    ("placement", "first", "is_on"), [((3, 90), 90, True), ((3, 90), 89, False), ((1, 90), 0, True)]
)
def test_rows_on_their_own_shard(placement: tuple[int, int], first: int, is_on: bool) -> None:
    """Rows since the recorded offset are on the partition's shard, and all rows if there is one shard."""
    assert Placement(*placement).is_on_its_shard(first) is is_on


def test_shard_of_a_partition() -> None:
    """The shard is the partition modulo the number of shards, as of a Distributed table with this key."""
    topic = Topic("ugc.events", TOPIC, "cluster")

    assert [Coordinates(topic, number, Placement(3)).shard for number in range(7)] == [0, 1, 2, 0, 1, 2, 0]
