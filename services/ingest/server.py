"""The gRPC server around the servicer: handlers, reflection, health, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection
from ugc.v1 import debug_service_pb2, ingest_service_pb2

from common.logs import OutageLog, log_limited, logger
from common.memory import MemoryRoom
from common.settings import Address
from services.ingest.debug import ClosedDebugServicer, DebugServicer
from services.ingest.entrance import Entrance
from services.ingest.guard import limit_library_log
from services.ingest.kafka.publisher import UnreachableError
from services.ingest.limits.admission import Admission
from services.ingest.limits.arrivals import Arrivals
from services.ingest.limits.workspace import Workspace
from services.ingest.listening import listen
from services.ingest.probes import Probes
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings

SERVICE = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
DEBUG_SERVICE = debug_service_pb2.DESCRIPTOR.services_by_name["DebugService"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OVERALL = ""
# Browsers send cookies of kilobytes, and the gateway passes them on; the library's own limit is 8 KiB.
METADATA_BYTES_MAX = 65_536
# A client may ping so often, also while it has no call; the library's five minutes would send away those that ping
# every ten seconds, which many balancers and channels do.
PING_SECONDS_MIN = 5.0
# How much longer than its own limit a question to Kafka may take before it counts as unanswered.
OVERTIME_SECONDS_MAX = 5.0
# Calls that wait for a handler. The streams of the connections are the limit before this one.
PENDING_MAX = 1_000_000
# Bits of gRPC's compression algorithms: none, or deflate and gzip too.
UNCOMPRESSED, ALL_ALGORITHMS = 0b001, 0b111
# Messages that are read at once, beside those that take long: small ones do not need more. Fewer of a size of which the
# budget has no room for so many.
READS_MAX, READS_MIN = 16, 4
# How long a new connection may take until it speaks HTTP/2.
HANDSHAKE_MILLISECONDS_MAX = 10_000


@contextlib.asynccontextmanager
async def serving(
    settings: IngestSettings,
    servicer: IngestServicer,
    debug: DebugServicer | ClosedDebugServicer,
    check_reachable: Callable[[float], None],
) -> AsyncIterator[Address]:
    """Serve at the address yielded; at the end say NOT_SERVING, give callers a moment, let requests in work end.

    Health and reflection are open to all: they say nothing of any viewer, and probes carry no token.
    """
    limit_library_log()
    server = grpc.aio.server(options=options(settings))
    entrance = entrance_of(settings)
    server.add_generic_rpc_handlers((handlers(servicer, entrance), debug_handlers(debug, entrance)))
    checks = health.aio.HealthServicer()
    await say(checks, NOT_SERVING)
    # A closed endpoint is not shown.
    shown = (SERVICE, *([DEBUG_SERVICE] if isinstance(debug, DebugServicer) else []))
    probes = Probes(checks, (*shown, health.SERVICE_NAME, reflection.SERVICE_NAME))
    server.add_generic_rpc_handlers(probes.handlers())
    address = settings.ingest_listen
    port = listen(server, address)
    async with entrance.arrivals.watched(), probes.arrivals.watched():
        await server.start()
        watch = asyncio.create_task(watch_kafka(checks, check_reachable, settings.ingest_health_seconds))
        try:
            yield Address(address.host, port)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await say(checks, NOT_SERVING)
            await asyncio.sleep(settings.ingest_drain_seconds)
            await server.stop(settings.ingest_stop_seconds_max)
            logger().info("stopped serving")


def options(settings: IngestSettings) -> tuple[tuple[str, int], ...]:
    """Return gRPC's own limits, of connections and of what is not a request yet."""
    return (
        # Two servers would silently share the port, each taking half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.ingest_request_bytes_max),
        (
            "grpc.compression_enabled_algorithms_bitset",
            ALL_ALGORITHMS if settings.ingest_compression else UNCOMPRESSED,
        ),
        # From the first number on the library refuses some calls at random; from the second on all.
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        # Likewise for calls that no handler has begun yet, which end as CANCELLED: the servicer refuses with a delay.
        ("grpc.server.max_pending_requests", PENDING_MAX),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
        # Else the library lets a client send megabytes of a message that nobody reads yet, guessing at the bandwidth.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", settings.ingest_streams_max),
        ("grpc.max_allowed_incoming_connections", settings.ingest_connections_max),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MILLISECONDS_MAX),
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(PING_SECONDS_MIN)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_idle_ms", milliseconds(settings.ingest_connection_idle_seconds_max)),
        ("grpc.max_connection_age_ms", milliseconds(settings.ingest_connection_age_seconds_max)),
        ("grpc.max_connection_age_grace_ms", milliseconds(settings.ingest_connection_grace_seconds)),
    )


def milliseconds(seconds: float) -> int:
    """Return seconds as gRPC wants them."""
    return round(seconds * 1000)


def entrance_of(settings: IngestSettings) -> Entrance:
    """Return the limits of requests."""
    # As many of the largest messages may be on their way at once as the budget has room for, more while they are not
    # large, and as many just arriving.
    slow_max = settings.ingest_bytes_in_flight_max // settings.ingest_request_bytes_max
    reads_max = max(READS_MIN, min(READS_MAX, slow_max))
    room = MemoryRoom(settings.ingest_bytes_in_flight_max)
    return Entrance(
        Arrivals(settings.ingest_message_seconds_max, slow_max, reads_max, room),
        Admission(settings.ingest_requests_max, settings.ingest_bytes_in_flight_max),
        Workspace(settings.ingest_request_bytes_max),
        settings.ingest_retry_seconds,
    )


def handlers(servicer: IngestServicer, entrance: Entrance) -> grpc.GenericRpcHandler:
    """Bind the calls to their names; without serializers, so that requests and answers are bytes."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Produce": entrance.handler(servicer.produce),
            "BatchProduce": entrance.handler(servicer.batch_produce),
        },
    )


def debug_handlers(debug: DebugServicer | ClosedDebugServicer, entrance: Entrance) -> grpc.GenericRpcHandler:
    """Bind the developers' call to its name."""
    return grpc.method_handlers_generic_handler(
        DEBUG_SERVICE, {"RandomBatchProduce": entrance.handler(debug.random_batch_produce)}
    )


async def watch_kafka(
    checks: health.aio.HealthServicer, check_reachable: Callable[[float], None], seconds: float
) -> None:
    """Keep the health service's answer equal to whether Kafka is reachable, until cancelled."""
    outage = OutageLog("reaching Kafka")
    while True:
        # Whatever goes wrong, the answer stays true and the question is put again: this task must not end in silence.
        asked = asyncio.ensure_future(asyncio.to_thread(check_reachable, seconds))
        while not (await asyncio.wait({asked}, timeout=seconds + OVERTIME_SECONDS_MAX))[0]:
            outage.failed(TimeoutError("Kafka's client does not answer"))
            await say(checks, NOT_SERVING)
        error = asked.exception()
        if error is None:
            outage.over()
            await say(checks, SERVING)
        else:
            if not isinstance(error, UnreachableError):
                log_limited(logging.ERROR, "watching Kafka failed unexpectedly", exc_info=error)
            outage.failed(error)
            await say(checks, NOT_SERVING)
        await asyncio.sleep(seconds)


async def say(checks: health.aio.HealthServicer, status: int) -> None:
    """Give one answer for the server as a whole and for its service."""
    for name in (OVERALL, SERVICE):
        await checks.set(name, status)
