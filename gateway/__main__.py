"""`ugc-gateway`: its command line, and the parent of several workers; what a worker opens and runs is in process.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from common.commands import Command, loading

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings

COMMAND = Command(
    name="ugc-gateway",
    purpose="Run the HTTP server that serves gRPC services as JSON, by their descriptors, until SIGTERM or Ctrl-C.",
    settings="gateway.settings:GatewaySettings",
    statuses={0: "stopped by a signal", 1: "cannot listen, or a file of the installation is missing"},
)


def main() -> None:
    """Run the command."""
    COMMAND.parse()
    with loading():
        from common.settings import load
        from gateway.settings import GatewaySettings

    settings = load(GatewaySettings)
    if settings.gateway_workers > 1:
        sys.exit(run_several(settings))
    with loading():
        from gateway.process import main as run
    run()


def run_several(settings: GatewaySettings) -> int:
    """Run several workers until a stop signal; return the exit status."""
    from common.logs import configure_logs
    from common.workers.process import Workers
    from common.workers.supervisor import run_workers

    configure_logs("gateway", settings)
    return run_workers(
        Workers(
            module="gateway.process",
            server="UGC_GATEWAY",
            listen=settings.gateway_listen,
            management_listen=settings.gateway_management_listen,
            count=settings.gateway_workers,
            loop_seconds_max=settings.loop_seconds_max,
            stop_seconds_max=settings.gateway_drain_seconds + settings.gateway_stop_seconds_max,
        )
    )


if __name__ == "__main__":
    main()
