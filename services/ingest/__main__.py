"""`ugc-ingest`: its command line, and the parent of several workers; what a worker opens and runs is in process.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from common.commands import Command, loading

if TYPE_CHECKING:
    from services.ingest.settings import IngestSettings

COMMAND = Command(
    name="ugc-ingest",
    purpose="Run the gRPC server that validates events and writes them to Kafka, until SIGTERM or Ctrl-C.",
    settings="services.ingest.settings:IngestSettings",
    statuses={0: "stopped by a signal", 1: "cannot listen"},
)


def main() -> None:
    """Run the command."""
    COMMAND.parse()
    with loading():
        from common.settings import load
        from services.ingest.settings import IngestSettings

    settings = load(IngestSettings)
    if settings.ingest_workers > 1:
        sys.exit(run_several(settings))
    with loading():
        from services.ingest.process import main as run
    run()


def run_several(settings: IngestSettings) -> int:
    """Run several workers until a stop signal; return the exit status."""
    from common.logs import configure_logs
    from common.workers.process import Workers
    from common.workers.supervisor import run_workers

    configure_logs("ingest", settings)
    stop_seconds = (
        settings.ingest_drain_seconds,
        settings.ingest_stop_seconds_max,
        settings.ingest_delivery_seconds_max,
    )
    return run_workers(
        Workers(
            module="services.ingest.process",
            server="UGC_INGEST",
            listen=settings.ingest_listen,
            management_listen=settings.ingest_management_listen,
            count=settings.ingest_workers,
            loop_seconds_max=settings.loop_seconds_max,
            stop_seconds_max=sum(stop_seconds),
        )
    )


if __name__ == "__main__":
    main()
