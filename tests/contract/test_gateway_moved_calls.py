"""Which calls of a replica another one gets, and when a replica that does not answer is left."""

from __future__ import annotations

import asyncio

import pytest
from google.rpc import code_pb2
from ugc.v1 import ingest_service_pb2

from gateway.balancing import replica
from gateway.metrics import GatewayMetrics
from tests.contract import raw_service as raw
from tests.contract.endpoints import post
from tests.contract.relayed_service import PATH, event
from tests.contract.replicas import all_available, balanced, moved

HOUR = 3_600.0
NO_ERROR = raw.answered(ingest_service_pb2.ProduceResponse(event_id="e").SerializeToString(), (), ())


@pytest.mark.parametrize(
    ("ending", "is_moved"),
    [
        pytest.param(raw.reset(7), True, id="refused stream"),
        pytest.param(raw.reset(2), False, id="reset stream"),
        pytest.param(raw.go_away(1, 0), False, id="ended after the service may have seen the call"),
        pytest.param(raw.closed, False, id="closed"),
        pytest.param(raw.aborted, False, id="aborted"),
        pytest.param(
            raw.answered(b"", (), ((b"grpc-message", b"failed to connect to all addresses"),), status=14),
            False,
            id="the service's own answer, in the words of the library",
        ),
    ],
)
async def test_which_calls_another_replica_gets(
    ending: raw.Answer, is_moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that a replica has certainly not processed goes to another one; no other call is made twice."""
    monkeypatch.setattr(replica, "CHECK_SECONDS", HOUR)
    metrics, seen = GatewayMetrics(), [0, 0]

    def serve(number: int, answer: raw.Answer) -> raw.Answer:
        def counted(stream: int, writer: asyncio.StreamWriter) -> None:
            seen[number] += 1
            answer(stream, writer)

        return counted

    async with (
        raw.raw_service(serve(0, ending)) as one,
        raw.raw_service(serve(1, NO_ERROR)) as two,
        balanced(one, two, metrics=metrics, is_relayed=False, has_discovery=False) as url,
    ):
        await all_available(metrics, 2, 0)
        found = [await post(f"{url}{PATH}", event("e")) for _ in range(32)]
    failed = [answer for code, answer, _headers in found if code != 200]

    assert moved(metrics) == (sum(code == 200 for code, _answer, _headers in found) - 16 if is_moved else 0)
    assert bool(failed) != is_moved
    assert {answer["code"] for answer in failed} <= {code_pb2.UNAVAILABLE}
    assert sum(seen) <= len(found) + moved(metrics)


async def test_an_unanswered_ping() -> None:
    """A replica that answers no ping is left: its calls end with 503 long before their limit of time."""
    async with (
        raw.raw_service(lambda _stream, _writer: None) as port,
        balanced(
            port, is_relayed=False, has_discovery=False, gateway_ping_seconds=1, gateway_ping_seconds_max=0.1
        ) as url,
    ):
        code, answer, _headers = await post(f"{url}{PATH}", event("e"))

    assert (code, answer["code"]) == (503, code_pb2.UNAVAILABLE)
