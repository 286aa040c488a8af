"""The process of `ugc-ingest`: reads the settings, opens producer and server, and closes them in reverse on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import sys

# gRPC reads this when it is first imported. Its core would write a line, past the log, for each malformed header.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from common.failpoints import arm
from common.lifecycle import allow_open_files, stopping
from common.logs import configure_logs, logger
from common.settings import load
from common.watchdog import watched
from services.ingest.auth.authentication import Authenticator
from services.ingest.debug import ClosedDebugServicer, DebugServicer
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.kafka.publisher import publishing
from services.ingest.server import serving
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings


def main() -> None:
    """Run ingest until it is told to stop; status 1 when it must be replaced, 2 when a setting is bad."""
    settings = load(IngestSettings)
    configure_logs("ingest", settings.log_level)
    for name, reason in settings.keys.left_out if settings.keys else ():
        logger().warning("a key of the JWKS is not used", kid=name, reason=reason)
    arm(settings.failpoint)
    allow_open_files()
    sys.exit(asyncio.run(run(settings)))


async def run(settings: IngestSettings) -> int:
    """Serve until a signal or a producer that can never work again; return the exit status."""
    loop = asyncio.get_running_loop()
    fatal: list[str] = []
    async with stopping() as stop, watched(settings):

        def on_fatal(reason: str) -> None:
            fatal.append(reason)
            loop.call_soon_threadsafe(stop.set)

        async with publishing(settings, on_fatal) as publisher:
            validator = EventValidator(settings.ingest_event_bytes_max)
            servicer = IngestServicer(
                validator, batch_limits(), publisher, settings.ingest_retry_seconds, authenticator(settings)
            )
            debug = DebugServicer(servicer, validator) if settings.ingest_debug else ClosedDebugServicer()
            try:
                async with serving(settings, servicer, debug, publisher.check_reachable) as address:
                    logger().info(
                        "serving",
                        address=str(address),
                        topic=settings.kafka_topic,
                        authentication=settings.keys is not None,
                        debug=settings.ingest_debug,
                    )
                    await stop.wait()
            except OSError as error:
                logger().error("cannot serve", setting="UGC_INGEST_LISTEN", error=str(error))
                return 1
    for reason in fatal:
        logger().error("the producer failed for good", error=reason)
    return 1 if fatal else 0


def authenticator(settings: IngestSettings) -> Authenticator | None:
    """Return what checks tokens, None when anybody may call."""
    if settings.keys is None:
        return None
    return Authenticator(settings.keys, settings.token_rules, settings.ingest_auth_cache_tokens_max)
