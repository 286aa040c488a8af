"""Leases: how many there are, whose turn it is, and what those leave behind that go away."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from services.ingest.limits.leases import CrowdedError, Leases


async def settle() -> None:
    """Let the tasks run that can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def waiting(leases: Leases, *peers: str) -> list[asyncio.Task[None]]:
    """Wait for a lease as each peer."""
    tasks = [asyncio.create_task(leases.wait(peer)) for peer in peers]
    await settle()
    return tasks


async def test_limit() -> None:
    """So many are taken at once; one that is given back goes to the one that waits, and is not taken past it."""
    leases = Leases(2)
    assert leases.take()
    assert leases.take()
    assert not leases.take()
    (task,) = await waiting(leases, "a")
    leases.give_back()
    assert not leases.take()
    await task

    leases.give_back()
    assert leases.take()
    assert not leases.take()


async def granted(leases: Leases, names: list[str], tasks: list[asyncio.Task[None]], count: int) -> Counter[str]:
    """Give back so many leases one after another; return who has had one."""
    for _ in range(count):
        leases.give_back()
        await settle()
    return Counter(name for name, task in zip(names, tasks, strict=True) if task.done())


async def test_turns() -> None:
    """A peer with many wishes does not keep those with one."""
    leases = Leases(1)
    assert leases.take()
    names = [*["many"] * 50, *"abcdef"]
    tasks = await waiting(leases, *names)

    assert set("abcdef") <= set(await granted(leases, names, tasks, 14))
    assert (await granted(leases, names, tasks, 42)).total() == 56
    assert leases.waiting == 0


async def test_newcomer() -> None:
    """The peer that came last is one of the next two, however many wait."""
    leases = Leases(1)
    assert leases.take()
    names = [f"silent {number}" for number in range(1_000)] + ["good"]
    tasks = await waiting(leases, *names)

    assert "good" in await granted(leases, names, tasks, 2)
    for task in tasks:
        task.cancel()


async def test_cancelled() -> None:
    """One that goes away while it waits, or at the moment it is granted, leaves nothing taken or queued."""
    leases = Leases(1)
    assert leases.take()
    first, second, third = await waiting(leases, *"aaa")
    second.cancel()
    await settle()
    assert leases.waiting == 2
    leases.give_back()
    first.cancel()
    await third
    assert first.cancelled()

    leases.give_back()
    assert leases.take()
    assert not leases.take()
    assert leases.waiting == 0


async def test_room() -> None:
    """Where too many wait, the latest of the peer that has the most makes room; that peer itself gets none."""
    leases = Leases(1)
    assert leases.take()
    tasks = await waiting(leases, "many", "many", "many", "few")

    assert not leases.make_room("many")
    assert leases.make_room("new")
    with pytest.raises(CrowdedError):
        await tasks[2]
    assert leases.waiting == 3
    for task in tasks:
        task.cancel()
    await settle()
    assert leases.waiting == 0
