"""The stream of relayed calls: what goes into a frame, and what happens to calls when it breaks."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from ugc.relay.v1.relay_service_pb2 import Answer, RelayResponse

from common import pacing
from gateway.call_errors import CONNECTION_LOST
from gateway.errors import CallError
from gateway.relay import stream
from gateway.reply import Reply
from tests.support.fakes.relayed_calls import FOREVER, METHOD, Calls, FakeCaller, messages, settle


async def test_what_waits_is_one_frame() -> None:
    """The first call is a frame at once; those that arrive while it is written are the next frame, in their order."""
    calls = Calls(writes=0)
    await settle()
    calls.begin(b"1")
    await settle()
    for message in (b"2", b"3", b"4"):
        calls.begin(message)
    await settle()
    assert messages(calls) == [[b"1"]]
    calls.call.allow(1)
    await settle()
    assert messages(calls) == [[b"1"], [b"2", b"3", b"4"]]
    calls.running.cancel()


async def test_a_frame_has_a_limit() -> None:
    """What does not fit into a frame goes into the next ones."""
    calls = Calls(writes=10, frame_bytes_max=500)
    for number in range(10):
        calls.begin(bytes([number]) * 100)
    await settle()
    assert [len(each) for each in messages(calls)] == [3, 3, 3, 1]
    assert all(frame.ByteSize() <= 500 for frame in calls.call.frames)
    calls.running.cancel()


async def test_a_call_that_is_larger_than_a_frame_is_not_taken() -> None:
    """No frame is larger than the server allows, whatever metadata a call has."""
    calls = Calls(writes=10, frame_bytes_max=500)
    assert calls.stream.begin(FakeCaller(), METHOD, b"m" * 300, b"\x22" * 200, None, FOREVER) is None
    calls.running.cancel()


async def test_cancellation() -> None:
    """A cancelled call that waits is not sent; one that was sent is named in the next frame; neither gets a verdict."""
    calls = Calls(writes=1)
    sent, begun = calls.begin(b"sent")
    await settle()
    calls.begin(b"blocks")
    await settle()
    waits, waiting = calls.begin(b"waits")
    for each in (begun, waiting, begun):
        each.abandon()
    calls.call.allow(10)
    await settle()
    assert messages(calls) == [[b"sent"], [b"blocks"], []]
    assert list(calls.call.frames[-1].cancelled) == [calls.call.frames[0].calls[0].id]
    calls.call.answers.put_nowait(RelayResponse(answers=[Answer(id=begun.id)]).SerializeToString())
    await settle()
    assert (sent.verdict, waits.verdict) == (None, None)
    calls.running.cancel()


@pytest.mark.parametrize("broken", ["does not read", "sends no frame", "ends"])
async def test_a_broken_stream(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that the server may have are answered with CONNECTION_LOST; those that wait are made alone.

    All are made alone when the server has ended the stream in order.
    """
    monkeypatch.setattr(stream, "FRAME_SECONDS_MAX", 0.01 if broken == "does not read" else FOREVER)
    calls = Calls(writes=1)
    had, _begun = calls.begin(b"had")
    await settle()
    written, _begun = calls.begin(b"being written")
    await settle()
    waits, waiting = calls.begin(b"waits")
    if broken != "does not read":
        calls.call.answers.put_nowait(grpc.aio.EOF if broken == "ends" else b"\xff")
    await calls.running

    assert calls.alone[-1] is waiting
    assert waits.verdict is None
    assert len(calls.alone) == (3 if broken == "ends" else 1)
    for caller in (had, written):
        if broken == "ends":
            assert caller.verdict is None
        else:
            assert isinstance(caller.verdict, CallError)
            assert (caller.verdict.message, caller.verdict.status) == (CONNECTION_LOST, 503)
    assert not calls.stream.takes(METHOD, b"")


async def test_deadlines_in_any_order() -> None:
    """Each call ends at its own deadline, whichever was begun first."""
    calls = Calls(writes=100)
    callers = [calls.begin(limit=limit)[0] for limit in (FOREVER, 0.02, 0.01, 0.03)]
    async with asyncio.timeout(60):
        while sum(caller.verdict is not None for caller in callers) < 3:  # noqa: ASYNC110 -- there is no event for it
            await asyncio.sleep(0.001)
    assert [isinstance(caller.verdict, CallError) for caller in callers] == [False, True, True, True]
    calls.running.cancel()


async def test_ids_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids begin anew after the largest one, without those of calls in progress."""
    monkeypatch.setattr(stream, "ID_MAX", 5)
    calls = Calls(writes=100)
    held = calls.begin()[1]
    for _round in range(10):
        caller, begun = calls.begin()
        assert begun.id in {2, 3, 4, 5}
        await settle()
        calls.call.answers.put_nowait(RelayResponse(answers=[Answer(id=begun.id)]).SerializeToString())
        await settle()
        assert caller.verdict == Reply(b"", (), ())
    assert held.id == 1
    calls.running.cancel()


@pytest.fixture
def _at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls gather for as long as the test takes."""
    monkeypatch.setattr(pacing, "ITEMS_MIN", 2)
    monkeypatch.setattr(pacing, "GATHER_SECONDS", FOREVER)
    monkeypatch.setattr(pacing, "ITEM_SECONDS_MAX", FOREVER)


@pytest.mark.usefixtures("_at_load")
async def test_calls_gather_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a frame of several calls the next ones wait for one another, but not when they are large together."""
    monkeypatch.setattr(stream, "GATHERED_BYTES_MAX", 300)
    calls = Calls(writes=100)
    for message in (b"1", b"2"):
        calls.begin(message)
    await settle()
    calls.begin(b"3")
    await settle()
    calls.begin(b"4")
    await settle()
    assert messages(calls) == [[b"1", b"2"]]
    calls.begin(b"5" * 300)
    await settle()
    assert messages(calls) == [[b"1", b"2"], [b"3", b"4", b"5" * 300]]
    calls.begin(b"6" * 300)
    await settle()
    assert len(messages(calls)) == 3
    calls.begin(b"7")
    await settle()
    assert messages(calls)[3] == [b"7"]
    calls.running.cancel()


@pytest.mark.usefixtures("_at_load")
async def test_what_does_not_fit_does_not_gather() -> None:
    """What a frame could not hold is sent after it, at load too."""
    calls = Calls(writes=10, frame_bytes_max=300)
    for number in range(3):
        calls.begin(bytes([number]) * 100)
    await settle()
    assert [len(each) for each in messages(calls)] == [2, 1]
    calls.running.cancel()


@pytest.mark.usefixtures("_at_load")
async def test_gathering_calls_are_not_lost() -> None:
    """When the stream ends, a call that gathers is made alone, and an abandoned one is not made."""
    calls = Calls(writes=10)
    for message in (b"1", b"2"):
        calls.begin(message)
    await settle()
    _, waits = calls.begin(b"3")
    _, abandoned = calls.begin(b"4")
    abandoned.abandon()
    await settle()
    calls.call.answers.put_nowait(RelayResponse(draining=True).SerializeToString())
    await settle()
    assert calls.alone == [waits]
    assert calls.call.is_closed
    assert messages(calls) == [[b"1", b"2"]]
    calls.running.cancel()
