"""The process of `ugc-gateway`: reads the settings, opens channel and server, and closes them in reverse on SIGTERM."""

from __future__ import annotations

import gc
import sys

import uvloop

from common.lifecycle import stopping
from common.logs import configure_logs, logger
from common.settings import load
from common.watchdog import watched
from gateway.app import Gateway, serving
from gateway.backend import Backend, connecting
from gateway.descriptors import load_schema
from gateway.errors import DescriptorError
from gateway.openapi.document import document
from gateway.openapi.page import Page, missing_bundle
from gateway.routing.routes import load_routes
from gateway.settings import GatewaySettings
from gateway.transcoding import Transcoder

# JSON is no cycle, and to look for some among the millions of values that one body may have takes seconds.
RARE_COLLECTIONS = 100_000, 50, 100
EXIT_CANNOT_SERVE = 1
EXIT_BAD_SETTING = 2


def main() -> None:
    """Run the gateway until it is told to stop; status 1 when it cannot listen, 2 when a setting is bad."""
    settings = load(GatewaySettings)
    gc.set_threshold(*RARE_COLLECTIONS)
    configure_logs("gateway", settings.log_level)
    missing = missing_bundle()
    if missing is not None:
        sys.exit(missing)
    sys.exit(uvloop.run(run(settings)))


async def run(settings: GatewaySettings) -> int:
    """Serve until a signal; return the exit status."""
    async with stopping() as stop, watched(settings), connecting(settings) as backend:
        try:
            gateway = build(settings, backend)
        except (DescriptorError, OSError) as error:
            sys.stderr.write(f"bad setting UGC_GATEWAY_DESCRIPTORS: {settings.gateway_descriptors}: {error}\n")
            return EXIT_BAD_SETTING
        try:
            async with serving(gateway) as address:
                logger().info("serving", address=str(address), target=settings.ingest_target)
                await stop.wait()
        except OSError as error:
            logger().error("cannot serve", setting="UGC_GATEWAY_LISTEN", error=str(error))
            return EXIT_CANNOT_SERVE
    logger().info("stopped serving")
    return 0


def build(settings: GatewaySettings, backend: Backend) -> Gateway:
    """Derive everything from the descriptor set."""
    schema = load_schema(settings.gateway_descriptors.read_bytes())
    routes = load_routes(schema)
    page = Page(document(schema, routes, settings.gateway_api_version), has_demo=settings.gateway_demo)
    transcoder = Transcoder(schema, settings.gateway_values_max)
    transcoder.prepare(routes.all)
    return Gateway(settings, routes, transcoder, backend, page)
