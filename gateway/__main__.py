"""`ugc-gateway`: its command line; what the process opens and runs is in process.py."""

from __future__ import annotations

from common.commands import Command

COMMAND = Command(
    name="ugc-gateway",
    purpose="Run the HTTP server that serves gRPC services as JSON, by their descriptors, until SIGTERM or Ctrl-C.",
    settings="gateway.settings:GatewaySettings",
    statuses={0: "stopped by a signal", 1: "cannot listen, or a file of the installation is missing"},
)


def main() -> None:
    """Run the command."""
    COMMAND.parse()
    from gateway.process import main as run

    run()


if __name__ == "__main__":
    main()
