"""The gRPC server: the address it binds, its options, and its health."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2
from structlog.testing import capture_logs
from ugc.v1.ingest_service_pb2_grpc import IngestServiceStub

from common import logs
from common.settings import Address
from services.ingest import listening, server
from services.ingest.debug import DisabledDebugServicer
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.kafka.reachability import UnreachableError
from services.ingest.metrics import IngestMetrics
from services.ingest.probes import Probes
from services.ingest.server import serving, watch_kafka
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings
from tests.support.clients.calls import EVENT_BYTES_MAX, AcceptingPublisher
from tests.support.clients.raw_http2 import GOAWAY, PING, RawConnection, raw_connection
from tests.support.inputs.events import documented
from tests.support.processes.ipv6 import needs_ipv6

COOKIE_CHARACTERS = 12_000
CALLS = 40
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PINGS = 8


@contextlib.asynccontextmanager
async def served(address: Address = Address("127.0.0.1", 0)) -> AsyncIterator[Address]:  # noqa: B008 -- it is frozen
    """Serve with a publisher that acknowledges everything."""
    settings = IngestSettings(ingest_listen=address, ingest_drain_seconds=0, ingest_stop_seconds_max=0)
    servicer = IngestServicer(EventValidator(EVENT_BYTES_MAX), batch_limits(), AcceptingPublisher(), retry_seconds=1.0)
    probes = Probes(servicer.metrics)
    async with serving(settings, servicer, DisabledDebugServicer(), lambda _seconds: None, probes) as bound:
        yield bound


@pytest.fixture
def used_port() -> Iterator[int]:
    """Return a port of the loopback on which another socket listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


async def test_much_metadata() -> None:
    """Kilobytes of a browser's cookies are always accepted; the library's default rejects some calls at random."""
    metadata = (("grpcgateway-cookie", "c" * COOKIE_CHARACTERS), ("grpcgateway-referer", "r" * COOKIE_CHARACTERS))
    async with served() as address, grpc.aio.insecure_channel(str(address)) as channel:
        stub = IngestServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        for _call in range(CALLS):
            assert (await stub.Produce(documented(), metadata=metadata)).event_id


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost"])  # noqa: S104 -- hosts to be rejected
async def test_busy_port(used_port: int, host: str) -> None:
    """A port in use is rejected with the address and the reason, also if it is in use on one of two addresses only."""
    with pytest.raises(OSError, match=rf"{used_port}: Address already in use"):
        async with served(Address(host, used_port)):
            pass


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("nowhere.invalid", "not known|failure in name resolution|No address"),
        ("192.0.2.1", "Cannot assign requested address"),
        ("x" * 80, "not a valid host name"),
        ("a..b", "not a valid host name"),
    ],
)
async def test_unavailable_hosts(host: str, reason: str) -> None:
    """An address that this machine does not have, or an invalid host name, is rejected with the reason."""
    with pytest.raises(OSError, match=rf"{host}:1: .*({reason})"):
        async with served(Address(host, 1)):
            pass


@pytest.mark.parametrize("number", [errno.EADDRINUSE, errno.EACCES])
async def test_one_address_of_several(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A host name of which one address is in use, or needs privileges, is rejected."""
    monkeypatch.setattr(listening, "bind_errors", lambda _address: [OSError(number, "a reason")])
    with pytest.raises(OSError, match=r"127\.0\.0\.1:0: a reason"):
        async with served():
            pass


async def test_two_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two servers that start at the same moment the second fails, instead of sharing the port."""
    async with served() as address:
        monkeypatch.setattr(listening, "bind_errors", lambda _address: [])
        with pytest.raises(OSError, match=str(address)):
            async with served(address):
                pass


@needs_ipv6
async def test_every_address() -> None:
    """A server that listens on all IPv6 addresses accepts IPv4 too."""
    async with served(Address("::", 0)) as bound:
        for host in ("127.0.0.1", "::1"):
            async with raw_connection(Address(host, bound.port)) as connection:
                assert (await connection.call("/grpc.health.v1.Health/Check", b"")).last(b"grpc-status") == b"0"


@pytest.mark.parametrize("in_call", [False, True])
async def test_allowed_pings(monkeypatch: pytest.MonkeyPatch, *, in_call: bool) -> None:
    """A client that pings within the limit keeps its connection, with and without a call."""
    monkeypatch.setattr(server, "PING_SECONDS_MIN", 0.05)

    async with served() as address, raw_connection(address) as connection:
        if in_call:
            connection.open("/ugc.v1.IngestService/Produce")
        assert await pings_answered(connection, pause_seconds=0.1) == PINGS


async def test_too_many_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection of a client that pings more often is closed."""
    monkeypatch.setattr(server, "PING_SECONDS_MIN", 600.0)

    async with served() as address, raw_connection(address) as connection:
        assert await pings_answered(connection, pause_seconds=0) < PINGS


def test_limit_of_pings() -> None:
    """The limit allows the ten seconds between pings that many channels and load balancers use."""
    assert server.PING_SECONDS_MIN <= 9


async def pings_answered(connection: RawConnection, pause_seconds: float) -> int:
    """Ping repeatedly; return how many pings were answered before the server closed the connection, if it did."""
    for number in range(PINGS):
        await asyncio.sleep(pause_seconds)
        connection.frame(PING, 0, 0, b"12345678")
        try:
            while (frame := await connection.next_frame()).kind != PING:
                if frame.kind == GOAWAY:
                    return number
        except ConnectionError:
            return number
    return PINGS


async def health_after(check_reachable: Callable[[float], None], wanted: int) -> None:
    """Run the health check until it reports the wanted status; raise TimeoutError otherwise."""
    checks = health.aio.HealthServicer()
    await server.set_health(checks, NOT_SERVING if wanted == SERVING else SERVING)
    watch = asyncio.create_task(watch_kafka(checks, check_reachable, 0.01, Probes(IngestMetrics())))
    try:
        async with asyncio.timeout(60):
            while await statuses(checks) != [wanted, wanted]:  # noqa: ASYNC110 -- the library has no event for it
                await asyncio.sleep(0.01)
            assert not watch.done()
    finally:
        watch.cancel()


async def statuses(checks: health.aio.HealthServicer) -> list[int]:
    """Return the status of the server as a whole and of its service."""
    requests = [health_pb2.HealthCheckRequest(service=name) for name in (server.OVERALL, server.SERVICE)]
    context: Any = None
    return [(await checks.Check(request, context)).status for request in requests]


@pytest.mark.parametrize(
    "error", [UnreachableError("away"), RuntimeError("closed"), KeyError("events"), MemoryError(), TypeError("a bug")]
)
async def test_health_survives_every_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever the check raises, the status is NOT_SERVING; after the next success it is SERVING."""
    monkeypatch.setattr(logs, "CLIENT_LINES", logs.RateLimiter())
    rounds = 0

    def failing(_seconds: float) -> None:
        raise error

    def failing_twice(_seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds <= 2:
            raise error

    with capture_logs() as lines:
        await health_after(failing, NOT_SERVING)
        await health_after(failing_twice, SERVING)

    stacks = [line for line in lines if line["log_level"] == "error"]
    assert [line["exc_info"] for line in stacks] == ([] if isinstance(error, UnreachableError) else [error])
    assert "reaching Kafka works again" in [line["event"] for line in lines]


async def test_health_while_kafkas_client_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that hangs makes the status NOT_SERVING, and no second check is started meanwhile."""
    monkeypatch.setattr(server, "OVERTIME_SECONDS_MAX", 0.01)
    answered, asked = threading.Event(), []

    def hanging(seconds: float) -> None:
        asked.append(seconds)
        answered.wait()

    try:
        await health_after(hanging, NOT_SERVING)
    finally:
        answered.set()
    assert len(asked) == 1


async def test_stop_during_a_check() -> None:
    """A check that blocks does not keep the process from ending; one that fails later leaves no unretrieved error."""
    began, may_end, errors, threads = asyncio.Event(), threading.Event(), list[object](), list[threading.Thread]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: errors.append(context))

    def failing(_seconds: float) -> None:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(began.set)
        may_end.wait(60)
        raise UnreachableError("away")

    watch = asyncio.create_task(watch_kafka(health.aio.HealthServicer(), failing, 60, Probes(IngestMetrics())))
    await began.wait()
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    assert [thread.daemon for thread in threads] == [True]
    may_end.set()
    threads[0].join()
    await asyncio.sleep(0.01)
    gc.collect()

    assert errors == []
