"""The process of `ugc-gateway`: reads the settings, opens channel and server, and closes them in reverse on SIGTERM."""

from __future__ import annotations

import gc
import os
import sys

import uvloop

# Read by gRPC when it is imported. Its core would write lines of its own form to standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from common.lifecycle import stopping
from common.logs import configure_logs, logger
from common.settings import load
from common.tracing import Tracing, tracing
from common.watchdog import watched
from common.workers.worker import Worker, attached, this_worker
from gateway.app import Gateway
from gateway.backend import Backend, connecting
from gateway.discovery import Source, discovering, source_of
from gateway.errors import DescriptorError
from gateway.management import managed
from gateway.metrics import GatewayMetrics
from gateway.openapi.page import missing_bundle
from gateway.pages import Health
from gateway.serving import serving
from gateway.settings import GatewaySettings
from gateway.tracing import RequestTracing

# JSON has no reference cycles, and a search for them in the millions of values of one body takes seconds.
GC_THRESHOLDS = 100_000, 50, 100
EXIT_CANNOT_SERVE = 1
EXIT_BAD_SETTING = 2


def main(worker: Worker | None = None) -> None:
    """Run the gateway until SIGTERM or SIGINT; status 1 when it cannot listen, 2 when a setting is bad.

    `worker` is this process as one of several, which have equal shares of the limits.
    """
    settings = load(GatewaySettings).share()
    gc.set_threshold(*GC_THRESHOLDS)
    configure_logs("gateway", settings, worker.number if worker else None)
    missing = missing_bundle()
    if missing is not None:
        sys.exit(missing)
    sys.exit(uvloop.run(run(settings, worker)))


async def run(settings: GatewaySettings, worker: Worker | None = None) -> int:
    """Serve until a signal; return the exit status."""
    with tracing(settings, "gateway", worker.number if worker else None) as traces:
        return await serve(settings, traces, worker)


async def serve(settings: GatewaySettings, traces: Tracing | None, worker: Worker | None) -> int:
    """Do what `run` does; requests that are sampled open spans with `traces`."""
    metrics, number = GatewayMetrics(), worker.number if worker else None
    async with (
        stopping() as stop,
        watched(settings),
        attached(worker),
        connecting(settings, metrics, number or 0) as backend,
    ):
        try:
            gateway, source = build(settings, backend, metrics, traces)
        except (DescriptorError, OSError) as error:
            sys.stderr.write(f"bad setting UGC_GATEWAY_DESCRIPTORS: {settings.gateway_descriptors}: {error}\n")
            return EXIT_BAD_SETTING
        try:
            async with (
                managed(gateway, backend, worker),
                discovering(gateway, backend, source),
                serving(gateway) as address,
            ):
                logger().info(
                    "serving", address=str(address), target=settings.ingest_target, tls=settings.gateway_tls is not None
                )
                if worker:
                    worker.ready()
                await stop.wait()
        except OSError as error:
            logger().error("cannot serve", setting="UGC_GATEWAY_LISTEN", error=str(error))
            return EXIT_CANNOT_SERVE
    logger().info("stopped serving")
    return 0


def build(
    settings: GatewaySettings, backend: Backend, metrics: GatewayMetrics, traces: Tracing | None = None
) -> tuple[Gateway, Source | None]:
    """Return the gateway in front of a service, and what it learns from that while it runs.

    DescriptorError when its descriptor set cannot be served.
    """
    health = Health(backend)
    api, source = source_of(settings, health, backend)
    requests = None
    if traces is not None:
        metrics.traces_dropped.reads(lambda: traces.dropped)
        requests = RequestTracing(traces, settings.trace_ratio, settings.ingest_target)
    return Gateway(settings, api, backend, health, metrics, requests), source


if __name__ == "__main__":
    main(this_worker(sys.argv[1:]))
