"""The gRPC server: its options, handlers and standard services, the Kafka health check, and its graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection
from ugc.v1 import debug_service_pb2, ingest_service_pb2

from common.logs import log_limited, logger
from common.memory import MemoryHeadroom
from common.outage_log import OutageLog
from common.settings import Address
from common.threads import in_thread
from common.watched_files import reloading
from services.ingest import relay
from services.ingest.admission_interceptor import AdmissionInterceptor
from services.ingest.call_acceptance import CallAcceptance, Handlers
from services.ingest.debug import DebugServicer, DisabledDebugServicer
from services.ingest.error_interceptor import limit_library_log
from services.ingest.kafka.reachability import UnreachableError
from services.ingest.limits.admission import Admission
from services.ingest.limits.memory_budget import MemoryBudget
from services.ingest.limits.message_reader import MessageReader
from services.ingest.listening import listen
from services.ingest.metrics import BATCH_PRODUCE, PRODUCE, RANDOM_BATCH_PRODUCE, IngestMetrics
from services.ingest.probes import Probes
from services.ingest.relay.limits import STREAM_SECONDS_MAX
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings
from services.ingest.standard_services import StandardServices
from services.ingest.tls import server_credentials, server_tls
from services.ingest.tracing import CallTracing

SERVICE = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
DEBUG_SERVICE = debug_service_pb2.DESCRIPTOR.services_by_name["DebugService"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
OVERALL = ""
# Browsers send cookies of kilobytes, and the gateway forwards them; the library's default limit is 8 KiB.
METADATA_BYTES_MAX = 65_536
# Shortest interval between a client's pings, with and without calls. By default the library allows one in five minutes
# and closes the connections of clients that ping every ten seconds, as many load balancers and channels do.
PING_SECONDS_MIN = 5.0
# How much longer than its own timeout a Kafka check may take before it counts as failed.
OVERTIME_SECONDS_MAX = 5.0
# Calls that wait for a handler; the limits of connections and their streams apply first.
PENDING_MAX = 1_000_000
# Bits of the accepted compression algorithms: only identity, or deflate and gzip too.
UNCOMPRESSED, ALL_ALGORITHMS = 0b001, 0b111
# Messages read at once, not counting slow ones: enough for small messages. Fewer if the largest requests are so large
# that the limit of bytes in flight has no room for as many.
READS_MAX, READS_MIN = 16, 4
# How long a new connection may take to complete its HTTP/2 handshake.
HANDSHAKE_MILLISECONDS_MAX = 10_000


@contextlib.asynccontextmanager
async def serving(
    settings: IngestSettings,
    servicer: IngestServicer,
    debug: DebugServicer | DisabledDebugServicer,
    check_reachable: Callable[[float], None],
    probes: Probes,
    tracing: CallTracing | None = None,
) -> AsyncIterator[Address]:
    """Serve at the yielded address; at the end report NOT_SERVING, wait for callers to leave, finish running calls.

    Health and reflection need no authentication: they expose no viewer's data, and probes send no token.
    """
    limit_library_log()
    server = grpc.aio.server(options=options(settings))
    has_headroom = MemoryHeadroom(settings.ingest_bytes_in_flight_max)
    interceptor = admission_interceptor(settings, has_headroom, tracing)
    servicer.metrics.saturation.read_admission(interceptor.intake.admission)
    acceptance = CallAcceptance(server, SERVICE, ingest_handlers(servicer, interceptor))
    server.add_generic_rpc_handlers((debug_handler(debug, interceptor, servicer.metrics),))
    health_servicer = health.aio.HealthServicer()
    await set_health(health_servicer, NOT_SERVING)
    # Reflection does not list a disabled service.
    listed = (SERVICE, *([DEBUG_SERVICE] if isinstance(debug, DebugServicer) else []))
    if settings.ingest_relay:
        listed += (relay.SERVICE,)
    standard = StandardServices(health_servicer, (*listed, health.SERVICE_NAME, reflection.SERVICE_NAME))
    server.add_generic_rpc_handlers(standard.handlers())
    relay_service = relay.RelayService(
        relayed_methods(servicer, debug),
        interceptor.intake,
        relay_limits(settings),
        has_headroom,
        settings.ingest_workers,
    )
    if settings.ingest_relay:
        server.add_generic_rpc_handlers((relay_service.handler(),))
    address = settings.ingest_listen
    tls = server_tls(settings.ingest_tls, servicer.metrics)
    port = listen(server, address, server_credentials(tls) if tls else None, is_shared=settings.ingest_workers > 1)
    async with interceptor.reader.enforcing(), standard.reader.enforcing(), relay_service.enforcing(), reloading(tls):
        await server.start()
        acceptance.start()
        watching = watch_kafka(health_servicer, check_reachable, settings.ingest_health_seconds, probes)
        watch = asyncio.create_task(watching)
        try:
            yield Address(address.host, port)
        finally:
            probes.stop()
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await set_health(health_servicer, NOT_SERVING)
            await asyncio.sleep(settings.ingest_drain_seconds)
            relay_service.stop()
            await server.stop(settings.ingest_stop_seconds_max)
            logger().info("stopped serving")


def options(settings: IngestSettings) -> tuple[tuple[str, int], ...]:
    """Return the gRPC library's options: limits of connections, and of calls before they are admitted."""
    return (
        # Without workers two servers could share the port, and each would get half of the calls. The parent of several
        # workers holds the port for them.
        ("grpc.so_reuseport", int(settings.ingest_workers > 1)),
        ("grpc.max_receive_message_length", settings.ingest_request_bytes_max),
        (
            "grpc.compression_enabled_algorithms_bitset",
            ALL_ALGORITHMS if settings.ingest_compression else UNCOMPRESSED,
        ),
        # Above the first limit the library rejects some calls at random, above the second all.
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        # Likewise for calls that wait for a handler, which the library cancels; admission rejects them with a delay.
        ("grpc.server.max_pending_requests", PENDING_MAX),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
        # Otherwise the library estimates the bandwidth and accepts megabytes of a message that is not being read yet.
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
    """Return seconds as whole milliseconds."""
    return round(seconds * 1000)


def admission_interceptor(
    settings: IngestSettings, has_headroom: Callable[[], bool] = lambda: True, tracing: CallTracing | None = None
) -> AdmissionInterceptor:
    """Return the interceptor with the limits of the settings."""
    # Slow reads: as many of the largest messages as fit into the limit of bytes in flight, more while there is memory.
    slow_max = settings.ingest_bytes_in_flight_max // settings.ingest_request_bytes_max
    reads_max = max(READS_MIN, min(READS_MAX, slow_max))
    return AdmissionInterceptor(
        MessageReader(settings.ingest_message_seconds_max, slow_max, reads_max, has_headroom),
        relay.Intake(
            Admission(settings.ingest_requests_max, settings.ingest_bytes_in_flight_max),
            MemoryBudget(settings.ingest_request_bytes_max),
            settings.ingest_retry_seconds,
            tracing,
        ),
    )


def ingest_handlers(servicer: IngestServicer, interceptor: AdmissionInterceptor) -> Handlers:
    """Return gRPC's handlers of IngestService, without serializers, so that requests and responses are bytes."""
    return {
        "Produce": interceptor.handler(servicer.produce, servicer.metrics.produce),
        "BatchProduce": interceptor.handler(servicer.batch_produce, servicer.metrics.batch_produce),
    }


def relayed_methods(servicer: IngestServicer, debug: DebugServicer | DisabledDebugServicer) -> dict[str, relay.Method]:
    """Return the methods that may be relayed, by their path."""
    metrics = servicer.metrics
    return {
        f"/{PRODUCE}": relay.Method(servicer.produce, metrics.produce, servicer.start_produce),
        f"/{BATCH_PRODUCE}": relay.Method(servicer.batch_produce, metrics.batch_produce),
        f"/{RANDOM_BATCH_PRODUCE}": relay.Method(debug.random_batch_produce, metrics.random_batch_produce),
    }


def relay_limits(settings: IngestSettings) -> relay.RelayLimits:
    """Return the limits of relay streams by the settings."""
    return relay.RelayLimits(
        settings.ingest_relay_streams_max,
        # As many as messages of the largest size fit into the limit of bytes in flight.
        settings.ingest_bytes_in_flight_max // settings.ingest_request_bytes_max,
        # When a connection is asked to close for its age, its stream ends well within the time that calls have left.
        min(STREAM_SECONDS_MAX, settings.ingest_connection_grace_seconds / 2),
    )


def debug_handler(
    debug: DebugServicer | DisabledDebugServicer, interceptor: AdmissionInterceptor, metrics: IngestMetrics
) -> grpc.GenericRpcHandler:
    """Return gRPC's handler of DebugService."""
    handler = interceptor.handler(debug.random_batch_produce, metrics.random_batch_produce)
    return grpc.method_handlers_generic_handler(DEBUG_SERVICE, {"RandomBatchProduce": handler})


async def watch_kafka(
    health_servicer: health.aio.HealthServicer, check_reachable: Callable[[float], None], seconds: float, probes: Probes
) -> None:
    """Report through the health service and the probes whether Kafka is reachable, until cancelled."""
    outage = OutageLog("reaching Kafka")
    while True:
        # Every error is handled here: if this task ended, the health service would report an outdated status.
        # A check may block for longer than the process takes to stop.
        check = asyncio.wrap_future(in_thread(partial(check_reachable, seconds)))
        try:
            while not (await asyncio.wait({check}, timeout=seconds + OVERTIME_SECONDS_MAX))[0]:
                late = TimeoutError("Kafka's client does not answer")
                probes.failed(late)
                outage.failed(late)
                await set_health(health_servicer, NOT_SERVING)
        finally:
            check.cancel()  # otherwise its error would be logged as one that nobody has retrieved
        error = check.exception()
        if error is None:
            outage.over()
            probes.reached()
            await set_health(health_servicer, SERVING)
        else:
            if not isinstance(error, UnreachableError):
                log_limited(logging.ERROR, "watching Kafka failed unexpectedly", exc_info=error)
            probes.failed(error)
            outage.failed(error)
            await set_health(health_servicer, NOT_SERVING)
        await asyncio.sleep(seconds)


async def set_health(health_servicer: health.aio.HealthServicer, status: int) -> None:
    """Set the status of the server as a whole and of its service."""
    for name in (OVERALL, SERVICE):
        await health_servicer.set(name, status)
