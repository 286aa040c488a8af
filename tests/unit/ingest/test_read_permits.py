"""ReadPermits: how many there are, whose turn it is, and what those leave behind that go away."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from services.ingest.limits.read_permits import ReadPermits, TooManyReadsError


async def settle() -> None:
    """Let the tasks run that can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def waiting(permits: ReadPermits, *peers: str) -> list[asyncio.Task[None]]:
    """Wait for a lease as each peer."""
    tasks = [asyncio.create_task(permits.acquire(peer)) for peer in peers]
    await settle()
    return tasks


async def test_limit() -> None:
    """So many are taken at once; one that is given back goes to the one that waits, and is not taken past it."""
    permits = ReadPermits(2)
    assert permits.try_acquire()
    assert permits.try_acquire()
    assert not permits.try_acquire()
    (task,) = await waiting(permits, "a")
    permits.release()
    assert not permits.try_acquire()
    await task

    permits.release()
    assert permits.try_acquire()
    assert not permits.try_acquire()


async def granted(permits: ReadPermits, names: list[str], tasks: list[asyncio.Task[None]], count: int) -> Counter[str]:
    """Give back so many permits one after another; return who has had one."""
    for _ in range(count):
        permits.release()
        await settle()
    return Counter(name for name, task in zip(names, tasks, strict=True) if task.done())


async def test_turns() -> None:
    """A peer with many wishes does not keep those with one."""
    permits = ReadPermits(1)
    assert permits.try_acquire()
    names = [*["many"] * 50, *"abcdef"]
    tasks = await waiting(permits, *names)

    assert set("abcdef") <= set(await granted(permits, names, tasks, 14))
    assert (await granted(permits, names, tasks, 42)).total() == 56
    assert permits.waiting == 0


async def test_newcomer() -> None:
    """The peer that came last is one of the next two, however many wait."""
    permits = ReadPermits(1)
    assert permits.try_acquire()
    names = [f"silent {number}" for number in range(1_000)] + ["good"]
    tasks = await waiting(permits, *names)

    assert "good" in await granted(permits, names, tasks, 2)
    for task in tasks:
        task.cancel()


async def test_cancelled() -> None:
    """One that goes away while it waits, or at the moment it is granted, leaves nothing taken or queued."""
    permits = ReadPermits(1)
    assert permits.try_acquire()
    first, second, third = await waiting(permits, *"aaa")
    second.cancel()
    await settle()
    assert permits.waiting == 2
    permits.release()
    first.cancel()
    await third
    assert first.cancelled()

    permits.release()
    assert permits.try_acquire()
    assert not permits.try_acquire()
    assert permits.waiting == 0


async def test_room() -> None:
    """Where too many wait, the latest of the peer that has the most makes room; that peer itself gets none."""
    permits = ReadPermits(1)
    assert permits.try_acquire()
    tasks = await waiting(permits, "many", "many", "many", "few")

    assert not permits.evict_for("many")
    assert permits.evict_for("new")
    with pytest.raises(TooManyReadsError):
        await tasks[2]
    assert permits.waiting == 3
    for task in tasks:
        task.cancel()
    await settle()
    assert permits.waiting == 0
