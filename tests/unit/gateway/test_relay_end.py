"""The end of relayed calls: announced by the server, by a write that fails, or by an answer that cannot be one."""

from __future__ import annotations

import grpc
from ugc.relay.v1.relay_service_pb2 import Answer, RelayResponse

from gateway.call_errors import CONNECTION_LOST
from gateway.errors import CallError
from gateway.reply import Reply
from tests.support.fakes.relayed_calls import METHOD, Calls, messages, settle


async def test_draining() -> None:
    """Calls that wait are made alone; the writer closes its side after its frame, and other calls are answered."""
    calls = Calls(writes=1)
    had, begun = calls.begin(b"had")
    await settle()
    written, writing = calls.begin(b"being written")
    await settle()
    waits, waiting = calls.begin(b"waits")
    calls.call.answers.put_nowait(RelayResponse(draining=True).SerializeToString())
    await settle()
    assert calls.alone == [waiting]
    before = calls.call.is_closed
    assert not calls.stream.takes(METHOD, b"")
    calls.call.allow(10)
    await settle()
    assert (before, calls.call.is_closed) == (False, True)
    begun.abandon()
    answers = [Answer(id=begun.id), Answer(id=writing.id, message=b"answer")]
    calls.call.answers.put_nowait(RelayResponse(answers=answers).SerializeToString())
    calls.call.answers.put_nowait(grpc.aio.EOF)
    await calls.running
    assert messages(calls) == [[b"had"], [b"being written"]]
    assert (had.verdict, written.verdict, waits.verdict) == (None, Reply(b"answer", (), ()), None)
    assert calls.alone == [waiting]


async def test_a_write_that_fails() -> None:
    """The library's status of a failed write is not that of the service: its calls are those of a broken connection."""
    calls = Calls(writes=1)
    caller, _begun = calls.begin()
    await settle()
    broken = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "Internal error from Core", "send_message"
    )
    calls.call.answers.put_nowait(broken)
    await calls.running
    assert isinstance(caller.verdict, CallError)
    assert (caller.verdict.message, caller.verdict.status) == (CONNECTION_LOST, 503)


async def test_an_answer_that_cannot_be_one() -> None:
    """A status beyond the numbers of google.rpc.Code fails its call only; the others of its frame are answered."""
    calls = Calls(writes=10)
    (strange, first), (other, second) = calls.begin(), calls.begin()
    await settle()
    answers = [Answer(id=first.id, status_code=2**31), Answer(id=second.id, message=b"answer")]
    calls.call.answers.put_nowait(RelayResponse(answers=answers).SerializeToString())
    await settle()
    assert isinstance(strange.verdict, ValueError)
    assert other.verdict == Reply(b"answer", (), ())
    assert not calls.running.done()
    calls.running.cancel()
