"""ReadPermits: their number, the order in which they are granted, and cancelled waiters."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from services.ingest.limits.read_permits import ReadPermits, TooManyReadsError


async def settle() -> None:
    """Let all tasks run that can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def waiting(permits: ReadPermits, *peers: str) -> list[asyncio.Task[None]]:
    """Wait for a permit as each peer."""
    tasks = [asyncio.create_task(permits.acquire(peer)) for peer in peers]
    await settle()
    return tasks


async def test_limit() -> None:
    """A limited number is taken at once; a released permit goes to the waiter, and cannot be taken before it."""
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
    """Release permits one after another; return which peers were granted one."""
    for _ in range(count):
        permits.release()
        await settle()
    return Counter(name for name, task in zip(names, tasks, strict=True) if task.done())


async def test_rotation() -> None:
    """A peer with many waiters does not delay peers with one."""
    permits = ReadPermits(1)
    assert permits.try_acquire()
    names = [*["many"] * 50, *"abcdef"]
    tasks = await waiting(permits, *names)

    assert set("abcdef") <= set(await granted(permits, names, tasks, 14))
    assert (await granted(permits, names, tasks, 42)).total() == 56
    assert permits.waiting == 0


async def test_newcomer() -> None:
    """The peer that began to wait last is one of the next two, however many wait."""
    permits = ReadPermits(1)
    assert permits.try_acquire()
    names = [f"silent {number}" for number in range(1_000)] + ["good"]
    tasks = await waiting(permits, *names)

    assert "good" in await granted(permits, names, tasks, 2)
    for task in tasks:
        task.cancel()


async def test_cancelled() -> None:
    """A waiter that is cancelled, also when it is granted, leaves no permit taken and no entry in the queue."""
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


async def test_eviction() -> None:
    """Above the limit the latest waiter of the peer with the most is evicted for another peer, not for the same one."""
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
