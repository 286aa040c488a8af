"""MessageReader: how long a call may wait for its message, how many may wait, and which calls are ended."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest

from services.ingest.limits.admission import RejectedError
from services.ingest.limits.message_reader import (
    FAST_TICKS_SLOW,
    SLOW_WITH_HEADROOM_MAX,
    TICK_SECONDS,
    TICKS_SLOW,
    MessageReader,
    MessageTimeoutError,
    MissingMessageError,
)
from services.ingest.limits.read_permits import TooManyReadsError

# More permits than the tests need that are not about permits.
READS = 2_000


class Sender:
    """A client's side of a call, whose message arrives when the test sets it."""

    def __init__(self, peer: str) -> None:
        self.name = peer
        self.message: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.is_read = False

    async def read(self) -> object:
        self.is_read = True
        return await self.message

    def peer(self) -> str:
        return self.name


async def begin(reader: MessageReader, *peers: str) -> tuple[list[Sender], list[asyncio.Task[bytes]]]:
    """Begin a call of each peer."""
    senders = [Sender(peer) for peer in peers]
    calls = [asyncio.create_task(reader.read(sender)) for sender in senders]
    await asyncio.sleep(0)
    return senders, calls


async def ticks(reader: MessageReader, count: int) -> None:
    """Advance the time by ticks."""
    for _ in range(count):
        reader.tick()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def waiting(senders: list[Sender], calls: list[asyncio.Task[bytes]]) -> Counter[str]:
    """Count the calls that still wait, by peer; each of the others must have ended with TooManyReadsError."""
    for call in calls:
        assert not call.done() or isinstance(call.exception(), TooManyReadsError)
    return Counter(sender.name for sender, call in zip(senders, calls, strict=True) if not call.done())


async def test_message() -> None:
    """A message is returned; the end of the client's side without one is an error of its own."""
    reader = MessageReader(seconds_max=1, slow_max=1, permits_max=READS)
    (one, two), (first, second) = await begin(reader, "a", "a")
    one.message.set_result(b"message")
    two.message.set_result(grpc.aio.EOF)

    assert await first == b"message"
    with pytest.raises(MissingMessageError):
        await second
    await ticks(reader, 100)


async def test_timeout() -> None:
    """A call that waits for longer than the limit is ended, a younger one is not."""
    reader = MessageReader(seconds_max=10 * TICK_SECONDS, slow_max=10, permits_max=READS)
    _, (old,) = await begin(reader, "a")
    await ticks(reader, 5)
    _, (young,) = await begin(reader, "a")
    await ticks(reader, 5)
    assert not old.done()
    await ticks(reader, 1)

    with pytest.raises(MessageTimeoutError):
        await old
    assert not young.done()
    young.cancel()


async def test_excess_by_peer() -> None:
    """Above the limit of slow reads those of the peer with the most are ended, so a peer with one keeps it."""
    reader = MessageReader(seconds_max=100, slow_max=8, permits_max=READS)
    senders, calls = await begin(reader, *["many"] * 1_000, *["some"] * 5, "one")
    await ticks(reader, TICKS_SLOW)
    assert waiting(senders, calls).total() == 1_006
    await ticks(reader, 1)

    left = waiting(senders, calls)
    assert left.total() == 8
    assert left["one"] == 1
    assert max(left.values()) <= 4
    for call in calls:
        call.cancel()


async def test_excess_with_headroom() -> None:
    """With headroom in memory more slow reads are allowed, up to a limit; without it they are ended."""
    has_headroom = True
    reader = MessageReader(seconds_max=100, slow_max=8, permits_max=READS, has_headroom=lambda: has_headroom)
    senders, calls = await begin(reader, *map(str, range(SLOW_WITH_HEADROOM_MAX + 3)))
    await ticks(reader, TICKS_SLOW + 1)
    assert waiting(senders, calls).total() == SLOW_WITH_HEADROOM_MAX
    has_headroom = False
    await ticks(reader, 1)

    assert waiting(senders, calls).total() == 8
    for call in calls:
        call.cancel()


async def test_excess_of_equals() -> None:
    """Among peers with one slow read each, the ones that wait longest are ended, so a new one gets its time."""
    reader = MessageReader(seconds_max=100, slow_max=2, permits_max=READS)
    senders, calls = await begin(reader, "a", "b")
    await ticks(reader, TICKS_SLOW + 1)
    assert waiting(senders, calls) == {"a": 1, "b": 1}
    more_senders, more_calls = await begin(reader, "c")
    await ticks(reader, TICKS_SLOW + 1)

    assert waiting(senders + more_senders, calls + more_calls) == {"b": 1, "c": 1}
    for call in calls + more_calls:
        call.cancel()


async def test_cancelled_by_the_client() -> None:
    """A call that its client cancels ends as cancelled, and does not count any more."""
    reader = MessageReader(seconds_max=1, slow_max=1, permits_max=READS)
    _, (call,) = await begin(reader, "a")
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await ticks(reader, 100)


async def test_few_are_read_at_once() -> None:
    """A message beyond the limit is not read, and so not in memory, until another has arrived."""
    reader = MessageReader(seconds_max=100, slow_max=8, permits_max=2)
    senders, calls = await begin(reader, *"abcd")
    assert [sender.is_read for sender in senders] == [True, True, False, False]
    senders[0].message.set_result(b"message")
    assert await calls[0] == b"message"
    await asyncio.sleep(0)

    assert sum(sender.is_read for sender in senders) == 3
    for call in calls:
        call.cancel()


async def test_slow_reads_do_not_keep_others() -> None:
    """Slow reads do not count as concurrent reads; they have a limit of their own."""
    reader = MessageReader(seconds_max=100, slow_max=3, permits_max=2)
    senders, calls = await begin(reader, *["silent"] * 100, "good")
    await ticks(reader, TICKS_SLOW + 1)
    assert sum(sender.is_read for sender in senders) == 4
    assert senders[-1].is_read
    for _ in range(10):
        await ticks(reader, TICKS_SLOW + 1)

    slow_and_fresh = sum(sender.is_read and not call.done() for sender, call in zip(senders, calls, strict=True))
    assert slow_and_fresh == 3 + 2
    assert not calls[-1].done()
    for call in calls:
        call.cancel()


async def test_overtaken_reads_give_way() -> None:
    """While calls wait, a read that a later one has overtaken returns its permit within fast ticks."""
    reader = MessageReader(seconds_max=100, slow_max=8, permits_max=2)
    senders, calls = await begin(reader, "silent", "good", "silent", "silent")
    senders[1].message.set_result(b"message")
    assert await calls[1] == b"message"
    await asyncio.sleep(0)
    assert [sender.is_read for sender in senders] == [True, True, True, False]
    for _ in range(FAST_TICKS_SLOW):
        reader.fast_tick()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert senders[3].is_read
    for call in calls:
        call.cancel()


async def test_check_after_waiting() -> None:
    """A call that waited for its permit is checked again before its message is read."""

    def reject(peer: str) -> None:
        assert peer == "a"
        raise RejectedError

    reader = MessageReader(seconds_max=100, slow_max=8, permits_max=1)
    (first,), (reading,) = await begin(reader, "a")
    second, third = Sender("a"), Sender("a")
    rejected = asyncio.create_task(reader.read(second, check=reject))
    last = asyncio.create_task(reader.read(third))
    await asyncio.sleep(0)
    first.message.set_result(b"message")
    assert await reading == b"message"

    with pytest.raises(RejectedError):
        await rejected
    assert not second.is_read
    third.message.set_result(b"last")
    assert await last == b"last"
