"""Gzip expands within limits of size, ratio and client bucket; large bodies wait in a bounded queue."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.decoding import LargeBodyQueue
from gateway.errors import BodyTooLargeError, OverloadedError, RequestError
from gateway.http.expansion import (
    BUCKET_BYTES,
    CLIENTS_MAX,
    FREE_BYTES,
    GZIP_MEMBERS_MAX,
    OVERFLOW_RATIO_MAX,
    Allowance,
    BucketOverflowError,
    ClientBuckets,
    ExpandsTooMuchError,
    gunzip,
)
from gateway.settings import GatewaySettings
from local.processes.ports import free_port
from local.up.example import DOCUMENTED_EVENT
from tests.contract.endpoints import WAIT_SECONDS_MAX, gateway, ingest, post

BODY_BYTES_MAX = GatewaySettings().gateway_body_bytes_max
PRODUCE, BATCH = "/api/v1/produce", "/api/v1/batch_produce"
MANY_VALUES = b"[{" + b'"x":1,' * 2_800_000 + b'"x":1}]'


@pytest.fixture
async def url() -> AsyncIterator[str]:
    port = free_port()
    async with ingest(port), gateway(port, gateway_body_bytes_max=BODY_BYTES_MAX) as address:
        yield address


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 300_000])
@pytest.mark.parametrize("members", [1, 2, GZIP_MEMBERS_MAX])
@pytest.mark.parametrize("level", [0, 9])
def test_gzip_is_read_whole(size: int, members: int, level: int) -> None:
    """All gzip members are decompressed, stored or compressed; a truncated body is refused."""
    part = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    packed = gzip.compress(part, level) * members
    assert gunzip(packed, Allowance(BODY_BYTES_MAX * 3, 1_100)) == part * members
    for cut in (1, 8, len(packed) // members // 2):
        with pytest.raises(RequestError, match="not valid gzip"):
            gunzip(packed[:-cut], Allowance(BODY_BYTES_MAX * 3, 1_100))


def test_gzip_members_are_limited() -> None:
    """The number of gzip members is limited, even of empty ones."""
    with pytest.raises(RequestError, match=str(GZIP_MEMBERS_MAX)):
        gunzip(gzip.compress(b"") * (GZIP_MEMBERS_MAX + 1), Allowance(BODY_BYTES_MAX, 100))


def test_expansion_is_limited() -> None:
    """Below 4 MiB only the size is limited, above it the ratio too."""
    zeros = gzip.compress(b"0" * (FREE_BYTES + 1))
    with pytest.raises(ExpandsTooMuchError, match="100 times"):
        gunzip(zeros, Allowance(BODY_BYTES_MAX, 100))
    assert len(gunzip(zeros, Allowance(BODY_BYTES_MAX, 1_100))) == FREE_BYTES + 1
    with pytest.raises(BodyTooLargeError, match="4096"):
        gunzip(zeros, Allowance(4_096, 100))


def test_buckets_leak() -> None:
    """A client whose bucket overflows is held to a low ratio until the bucket has leaked; other clients are not."""
    now = 0.0
    buckets = ClientBuckets(lambda: now)
    buckets.charge("a", 1_000, 1_000 * OVERFLOW_RATIO_MAX)
    assert buckets.level("a") == 0
    buckets.charge("a", 1_000, 1_000 * OVERFLOW_RATIO_MAX + 2 * BUCKET_BYTES)
    assert buckets.allowance("b", BODY_BYTES_MAX, 100) == Allowance(BODY_BYTES_MAX, 100)
    allowance, packed = buckets.allowance("a", BODY_BYTES_MAX, 100), gzip.compress(b"0" * 20_000)
    with pytest.raises(BucketOverflowError) as caught:
        gunzip(packed, allowance)
    assert (caught.value.status, int(caught.value.headers["Retry-After"])) == (429, allowance.wait_seconds)
    assert len(gunzip(gzip.compress(bytes(range(256)) * 4), allowance)) == 1_024
    now = float(allowance.wait_seconds)
    assert len(gunzip(packed, buckets.allowance("a", BODY_BYTES_MAX, 100))) == 20_000


def test_the_level_of_a_bucket_is_limited() -> None:
    """A body that the service refused counts for more, and no bucket overflows for longer than a minute."""
    buckets = ClientBuckets(lambda: 0.0)
    buckets.charge("a", 100, 31_000, by_service=True)
    assert buckets.level("a") == 32 * 30_000
    buckets.charge("a", 0, 10**9, by_service=True)
    assert buckets.allowance("a", BODY_BYTES_MAX, 100).wait_seconds < 60


def test_the_number_of_buckets_is_limited() -> None:
    """Only the buckets of the clients charged last are kept."""
    buckets = ClientBuckets(lambda: 0.0)
    for number in range(CLIENTS_MAX + 10):
        buckets.charge(str(number), 0, 2 * BUCKET_BYTES)
    assert (buckets.level("0"), buckets.level(str(CLIENTS_MAX + 9))) == (0, 2 * BUCKET_BYTES)


async def test_refused_bodies_fill_the_bucket(url: str) -> None:
    """Refused bodies that expand much lead to 429; bodies that expand little, and plain ones, are still accepted."""
    packed = gzip.compress(MANY_VALUES)
    statuses = [(await post(f"{url}{BATCH}", packed))[0] for _attempt in range(8)]
    assert statuses[0] == 400
    assert statuses[-1] == 429
    assert (await post(f"{url}{PRODUCE}", gzip.compress(DOCUMENTED_EVENT.encode())))[0] == 201
    assert (await post(f"{url}{BATCH}", f"[{DOCUMENTED_EVENT}]".encode()))[0] == 207


async def test_large_bodies_wait_in_a_bounded_queue() -> None:
    """One body is decoded while others wait; above the limit they are refused, and that of a gone client is skipped."""
    large, begun, go_on = LargeBodyQueue(2, WAIT_SECONDS_MAX), threading.Event(), threading.Event()
    done: list[str] = []

    def slow() -> None:
        begun.set()
        assert go_on.wait(WAIT_SECONDS_MAX)

    def named(name: str) -> Callable[[], None]:
        return lambda: done.append(name)

    first = asyncio.create_task(large.run(slow, lambda: False))
    await asyncio.to_thread(begun.wait, WAIT_SECONDS_MAX)
    gone = asyncio.create_task(large.run(named("gone"), lambda: True))
    second = asyncio.create_task(large.run(named("second"), lambda: False))
    await asyncio.sleep(0)  # both tasks start and wait
    assert large.waiting == 2
    with pytest.raises(OverloadedError, match="large bodies"):
        await large.run(named("refused"), lambda: False)
    go_on.set()
    await asyncio.gather(first, second)
    with pytest.raises(ConnectionResetError):
        await gone
    assert done == ["second"]
    large.close()


async def test_the_wait_in_the_queue_is_limited() -> None:
    """A body waits in the queue no longer than a call may take."""
    large, begun, go_on = LargeBodyQueue(2, 0.01), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(WAIT_SECONDS_MAX)

    first = asyncio.create_task(large.run(slow, lambda: False))
    await asyncio.to_thread(begun.wait, WAIT_SECONDS_MAX)
    with pytest.raises(OverloadedError, match="its turn"):
        await large.run(lambda: None, lambda: False)
    go_on.set()
    await first
    large.close()


def test_raw_deflate_is_not_gzip() -> None:
    """A body with the magic bytes of gzip that is not gzip is refused."""
    with pytest.raises(RequestError, match=r"not valid gzip$"):
        gunzip(b"\x1f\x8b" + zlib.compress(b"{}"), Allowance(BODY_BYTES_MAX, 100))
