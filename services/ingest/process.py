"""The process of `ugc-ingest`: reads the settings, opens producer and server, and closes them in reverse on SIGTERM."""

from __future__ import annotations

import gc
import os
import sys

import uvloop

# Read by gRPC when it is imported. Its core would write a line to standard error for each malformed header.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from common.failpoints import arm
from common.lifecycle import allow_open_files, stopping
from common.logs import configure_logs, logger
from common.management import managing
from common.settings import load
from common.tracing import tracing
from common.watchdog import watched
from common.workers.worker import Worker, attached, this_worker
from services.ingest.auth.opening import authenticating
from services.ingest.debug import DebugServicer, DisabledDebugServicer
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.kafka.publisher import publishing
from services.ingest.limits.callers import CallerNames
from services.ingest.limits.event_admission import EventAdmission
from services.ingest.metrics import IngestMetrics
from services.ingest.probes import Probes
from services.ingest.server import serving
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings
from services.ingest.tracing import CallTracing


def main(worker: Worker | None = None) -> None:
    """Run ingest until a stop signal; exit with status 1 if it cannot listen, with 2 on an invalid setting.

    `worker` is this process as one of several, which have equal shares of the limits.
    """
    settings = load(IngestSettings).share()
    configure_logs("ingest", settings, worker.number if worker else None)
    arm(settings.failpoint)
    allow_open_files()
    metrics = IngestMetrics()
    probes = Probes(metrics)
    listen = worker.management if worker else settings.ingest_management_listen
    with (
        managing("UGC_INGEST_MANAGEMENT_LISTEN", listen, metrics, probes.live, probes.ready),
        tracing(settings, "ingest", worker.number if worker else None) as traces,
    ):
        calls = None
        if traces is not None:
            metrics.traces_dropped.reads(lambda: traces.dropped)
            calls = CallTracing(traces, settings.kafka_topic)
        status = uvloop.run(run(settings, metrics, probes, worker, calls))
    sys.exit(status)


async def run(
    settings: IngestSettings,
    metrics: IngestMetrics,
    probes: Probes,
    worker: Worker | None = None,
    calls: CallTracing | None = None,
) -> int:
    """Serve until a stop signal; return the exit status."""
    async with stopping() as stop, watched(settings), attached(worker), probes.heartbeat.beating():
        admission = event_admission(settings)
        metrics.saturation.read_events(admission)
        metrics.read_shed(admission.shed)
        async with (
            authenticating(settings, stop) as authenticator,
            publishing(settings, metrics, admission.meter) as publisher,
        ):
            if stop.is_set():
                return 0
            validator = EventValidator(settings.ingest_event_bytes_max)
            servicer = IngestServicer(
                validator,
                batch_limits(),
                publisher,
                settings.ingest_retry_seconds,
                authenticator,
                metrics,
                admission,
            )
            debug = DebugServicer(servicer, validator) if settings.ingest_debug else DisabledDebugServicer()
            try:
                async with serving(settings, servicer, debug, publisher.reachability.check, probes, calls) as address:
                    logger().info(
                        "serving",
                        address=str(address),
                        topic=settings.kafka_topic,
                        tls=settings.ingest_tls is not None,
                        authentication=settings.is_authenticated,
                        debug=settings.ingest_debug,
                    )
                    if worker:
                        worker.ready()
                    freeze_garbage()
                    await stop.wait()
            except OSError as error:
                logger().error("cannot serve", setting="UGC_INGEST_LISTEN", error=str(error))
                return 1
    return 0


def freeze_garbage() -> None:
    """Exempt what the start has created from garbage collections, each of which would take tens of milliseconds."""
    gc.collect()
    gc.freeze()


def event_admission(settings: IngestSettings) -> EventAdmission:
    """Return the admission of events within the limits of the settings."""
    return EventAdmission(
        settings.ingest_in_flight_events_min,
        settings.ingest_queue_events_max,
        settings.ingest_ack_seconds,
        settings.ingest_retry_seconds,
        CallerNames(settings.ingest_trusted_networks),
    )


if __name__ == "__main__":
    main(this_worker(sys.argv[1:]))
