"""Large requests share the event loop with other calls, measured in iterations of the loop instead of seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT
from ugc.v1.event_pb2 import Event, EventBatch
from ugc.v1.ingest_service_pb2 import BatchProduceResponse

from services.ingest import batch_validation
from services.ingest.call import StatusError
from services.ingest.events import validation, violation_messages
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.limits.time_slices import TimeSlices
from services.ingest.servicer import IngestServicer
from tests.support.clients.calls import EVENT_BYTES_MAX, RETRY_SECONDS, AcceptingPublisher, plain_call
from tests.support.inputs.events import documented, valid

EVENTS = 4_000
BATCHES = {
    "good": [documented()] * EVENTS,
    "bad": [valid(movie_id="x", user_id="x", event="1", event_timestamp=-1, event_id="x")] * EVENTS,
    "empty": [Event()] * EVENTS,
    "one good": [documented(), *[valid(movie_id="x")] * (EVENTS - 1)],
    "one bad": [*[documented()] * (EVENTS - 1), valid(movie_id="x")],
}


class Loop:
    """Counts the iterations of the event loop and the steps of work in each."""

    def __init__(self) -> None:
        self.rounds = 0
        self.steps_by_round: dict[int, int] = {}

    async def count(self) -> None:
        while True:
            self.rounds += 1
            await asyncio.sleep(0)

    def step(self) -> None:
        self.steps_by_round[self.rounds] = self.steps_by_round.get(self.rounds, 0) + 1


async def test_rotation() -> None:
    """Computations advance in rotation, one slice in each iteration of the loop."""
    loop, time_slices, order = Loop(), TimeSlices(slice_seconds=0), list[str]()

    async def work(name: str) -> None:
        async with time_slices.acquire() as time_slice:
            for _ in range(5):
                order.append(name)
                loop.step()
                await time_slice.renew()

    counting = asyncio.create_task(loop.count())
    await asyncio.gather(work("a"), work("b"), work("c"))
    counting.cancel()

    assert order == ["a", "b", "c"] * 5
    assert max(loop.steps_by_round.values()) == 1


async def test_within_a_slice() -> None:
    """A computation keeps its slice until it is used up."""
    time_slices, order = TimeSlices(slice_seconds=3_600), list[str]()

    async def work(name: str) -> None:
        async with time_slices.acquire() as time_slice:
            for _ in range(3):
                order.append(name)
                await time_slice.renew()

    await asyncio.gather(work("a"), work("b"))

    assert order == ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize("steps", range(6))
async def test_cancelled(steps: int) -> None:
    """The slice of a cancelled computation, wherever it is, is free for the next."""
    time_slices = TimeSlices(slice_seconds=0)

    async def work() -> None:
        async with time_slices.acquire() as time_slice:
            for _ in range(3):
                await time_slice.renew()

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    for _ in range(steps):
        await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    await asyncio.wait_for(work(), 60)


@pytest.mark.parametrize("name", BATCHES)
async def test_batches_yield(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch yields to the loop between its parts, and several run at most one part in an iteration."""
    monkeypatch.setattr(TimeSlices.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr(batch_validation, "PART_EVENTS_MAX", 100)
    loop, validator = Loop(), EventValidator(EVENT_BYTES_MAX)

    def counted(method: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object, **options: object) -> object:
            loop.step()
            return method(*values, **options)

        return call

    for method in ("check_part", "check", "check_validity"):
        monkeypatch.setattr(validator, method, counted(getattr(validator, method)))
    servicer = IngestServicer(validator, batch_limits(), AcceptingPublisher(), RETRY_SECONDS)
    request = EventBatch(events=BATCHES[name]).SerializeToString()

    async def send() -> None:
        try:
            await servicer.batch_produce(request, plain_call())
        except StatusError:
            assert name in {"bad", "empty"}

    counting = asyncio.create_task(loop.count())
    await asyncio.gather(*(send() for _ in range(4)))
    counting.cancel()

    # The check of an invalid part as a whole runs in the same iteration as the check of its first event.
    assert max(loop.steps_by_round.values()) <= 2
    assert len(loop.steps_by_round) >= 4 * EVENTS // 100


class Counting:
    """Counts the explanations of a request."""

    def __init__(self, explain: Callable[..., object]) -> None:
        self.explain = explain
        self.count = 0

    def __call__(self, violation: object, message: object) -> object:
        self.count += 1
        return self.explain(violation, message)


@pytest.mark.parametrize(
    "bad",
    [
        Event(),
        valid(movie_id="x"),
        valid(movie_id="x", user_id="x", event="1", event_timestamp=-1, event_id="x"),
        valid(movie_id="\U0001f600" * 50, user_id="", event="!", event_timestamp=-1, language="x" * 50, ip="x" * 65),
    ],
)
@pytest.mark.parametrize("good", [0, 1])
async def test_explanations_are_bounded(bad: Event, good: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many violations a batch has, a bounded number is explained, and each invalid event has its error."""
    counting = Counting(violation_messages.explain)
    monkeypatch.setattr(validation, "explain", counting)
    servicer = IngestServicer(EventValidator(EVENT_BYTES_MAX), batch_limits(), AcceptingPublisher(), RETRY_SECONDS)
    request = EventBatch(events=[*[documented()] * good, *[bad] * 9_000]).SerializeToString()
    if not good:
        with pytest.raises(StatusError) as refused:
            await servicer.batch_produce(request, plain_call())
        assert refused.value.status.code == INVALID_ARGUMENT
    else:
        answer = await servicer.batch_produce(request, plain_call())
        response = BatchProduceResponse.FromString(answer.message)
        assert [rejected.index for rejected in response.rejected] == list(range(1, 9_001))
        assert {rejected.error.code for rejected in response.rejected} == {3}
        assert all(rejected.error.message for rejected in response.rejected)

    assert counting.count <= 20 + 9 + batch_validation.EVENTS_BRIEFLY_EXPLAINED_MAX
