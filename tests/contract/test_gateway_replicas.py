"""Several replicas behind the gateway: equal shares, and replicas that end, begin, hang or do not serve."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from grpc_health.v1 import health_pb2
from ugc.relay.v1.relay_service_pb2 import RelayResponse

from gateway.balancing import replica
from gateway.metrics import GatewayMetrics
from gateway.settings import REFLECTION
from local.processes.ports import free_port
from tests.contract import raw_service as raw
from tests.contract.endpoints import post
from tests.contract.relayed_service import PATH, event, until
from tests.contract.replicas import CALLS, Running, all_available, balanced, shares, statuses, wait
from tests.contract.test_gateway_discovery import SHOP, TILL, described, status
from tests.support.fakes.reflection import reflecting

# The largest difference of the shares of two replicas.
SHARES_RATIO_MAX = 1.1
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
BOTH_LANES = pytest.mark.parametrize("is_relayed", [True, False], ids=["relayed", "unary"])


@BOTH_LANES
async def test_equal_shares(is_relayed: bool) -> None:
    """Two replicas share calls within 10 % of each other, in streams and alone."""
    metrics = GatewayMetrics()
    async with (
        Running("one") as one,
        Running("two") as two,
        balanced(one.port, two.port, metrics=metrics, is_relayed=is_relayed) as url,
    ):
        await all_available(metrics, 2, 2 * is_relayed)
        found = await shares(url, one, two)
        assert sum(found) == CALLS
        assert max(found) <= SHARES_RATIO_MAX * min(found)
        assert bool(one.relay.begun and two.relay.begun) == is_relayed


@BOTH_LANES
async def test_a_replica_that_ends_and_one_that_begins(is_relayed: bool) -> None:
    """When a replica ends, the next calls go to the others without an error; one that begins gets its share."""
    metrics = GatewayMetrics()
    async with Running("one") as one, balanced(
        one.port, port := free_port(), metrics=metrics, is_relayed=is_relayed
    ) as url:  # fmt: skip
        assert await shares(url, one) == [CALLS]
        async with Running("two", port) as two:
            await all_available(metrics, 2, 2 * is_relayed)
            found = await shares(url, one, two)
            assert max(found) <= SHARES_RATIO_MAX * min(found)
        assert await shares(url, one) == [CALLS]


@BOTH_LANES
async def test_a_replica_that_is_not_serving(is_relayed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica whose health is NOT_SERVING gets no calls; the gateway is ready as long as another one serves."""
    monkeypatch.setattr(replica, "CHECK_SECONDS", 0.01)
    metrics = GatewayMetrics()
    async with (
        Running("one") as one,
        Running("two") as two,
        balanced(one.port, two.port, metrics=metrics, is_relayed=is_relayed) as url,
    ):
        await all_available(metrics, 2, 2 * is_relayed)
        await one.health.set("", NOT_SERVING)
        await all_available(metrics, 1, 2 * is_relayed)
        assert await shares(url, one, two) == [0, CALLS]
        assert await status(f"{url}/readyz") == 200
        await two.health.set("", NOT_SERVING)
        await all_available(metrics, 0, 2 * is_relayed)
        assert await status(f"{url}/readyz") == 503
        # The replicas answer themselves, with the reason.
        assert min(await shares(url, one, two)) > 0


@BOTH_LANES
async def test_a_replica_that_hangs(is_relayed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that accepts everything and answers nothing gets no calls once its health checks have failed."""
    monkeypatch.setattr(replica, "CHECK_SECONDS", 0.01)
    metrics, seen = GatewayMetrics(), list[int]()
    async with (
        raw.raw_service(lambda stream, _writer: seen.append(stream)) as hanging,
        Running("two") as two,
        balanced(
            hanging,
            two.port,
            metrics=metrics,
            is_relayed=is_relayed,
            has_discovery=False,
            gateway_ready_seconds_max=0.1,
        ) as url,
    ):
        # Each is a health check without an answer.
        await wait(lambda: asyncio.sleep(0, len(seen) > replica.FAILED_CHECKS_MAX), wanted=True)
        await all_available(metrics, 1, int(is_relayed))
        assert await shares(url, two) == [CALLS]


async def test_calls_that_wait_go_elsewhere() -> None:
    """Calls in progress on a stream that drains are answered; one that it gives back is made by another replica."""
    metrics = GatewayMetrics()
    async with Running("one") as one, Running("two") as two, balanced(one.port, two.port, metrics=metrics) as url:
        await all_available(metrics, 2, 2)
        held = asyncio.create_task(post(f"{url}{PATH}", event("held")))

        async def has_begun() -> bool:
            return one.calls + two.calls == 1

        await until(has_begun)
        holder = one if one.calls else two
        await holder.relay.send(RelayResponse(draining=True))
        await all_available(metrics, 2, 2)
        assert await statuses(url) == {201}
        holder.service.release.set()
        assert (await held)[0] == 201


async def test_replicas_of_different_versions() -> None:
    """While an old and a new version run, what both serve is served; the rest follows when the old one is gone."""
    new = described("Shop", "Till")
    async with reflecting(new) as new_port, contextlib.AsyncExitStack() as stack:
        old_port = await stack.enter_async_context(reflecting(described("Shop")))
        async with balanced(
            old_port, new_port, gateway_descriptors=REFLECTION, gateway_reflection_seconds=0.1, is_relayed=False
        ) as url:
            await wait(lambda: status(f"{url}/readyz"), 200)
            # Every call of what is served succeeds at either replica.
            assert {await status(url + SHOP) for _ in range(64)} == {200}
            assert await status(url + TILL) == 404
            await stack.aclose()
            await wait(lambda: status(url + TILL), 200)
            assert {await status(url + path) for path in (SHOP, TILL) for _ in range(32)} == {200}
