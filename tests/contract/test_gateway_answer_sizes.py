"""The limit of the service's responses is one for each: for calls that travel together, and not for reflection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ugc.relay.v1.relay_service_pb2 import Answer, RelayResponse
from ugc.v1.event_pb2 import Event
from ugc.v1.ingest_service_pb2 import ProduceResponse

from gateway.errors import RESPONSE_TOO_LARGE
from gateway.settings import REFLECTION
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, post
from tests.contract.relayed_service import PATH, event, relayed, until
from tests.contract.test_gateway_discovery import HOUR, SHOP, described, status
from tests.contract.test_gateway_discovery import until as until_wanted
from tests.support.fakes.reflection import reflecting

LIMIT = 1_024
CALLS = 40
LANES = pytest.mark.parametrize("lane", [True, False], ids=["on the lane", "in a task"])


@LANES
async def test_a_frame_of_many_answers(lane: bool) -> None:
    """The limit is that of one response: many in one frame are larger, and one that is too large fails by itself."""
    limits: Any = {"gateway_answer_bytes_max": LIMIT, "gateway_timeout_seconds": WAIT_SECONDS_MAX}
    async with relayed(gateway_lane=lane, **limits) as (url, relay, _service):
        posts = [asyncio.create_task(post(f"{url}{PATH}", event("held"))) for _ in range(CALLS)]

        async def held() -> bool:
            return len(ids()) == CALLS

        def ids() -> list[int]:
            return [call.id for call in relay.begun if Event.FromString(call.message).event_id == "held"]

        await until(held)
        small, large = (ProduceResponse(event_id="x" * size).SerializeToString() for size in (LIMIT // 2, LIMIT))
        first, *others = ids()
        answers = [Answer(id=first, message=large), *(Answer(id=each, message=small) for each in others)]
        await relay.send(RelayResponse(answers=answers))
        found = sorted((status, answer.get("message", "")) for status, answer, _ in await asyncio.gather(*posts))

    assert found == [(200, "")] * (CALLS - 1) + [(500, RESPONSE_TOO_LARGE)]


async def test_descriptors_that_are_larger_than_a_response() -> None:
    """Reflection has a limit of its own."""
    fields = " ".join(f"string field_{number} = {number};" for number in range(1, 200))
    server = described("Shop", text=f"message Large {{ {fields} }}")
    changes: Any = {"gateway_descriptors": REFLECTION, "gateway_reflection_seconds": HOUR}
    async with reflecting(server) as port, gateway(port, gateway_answer_bytes_max=LIMIT, **changes) as url:
        await until_wanted(lambda: status(url + SHOP), wanted=200)
