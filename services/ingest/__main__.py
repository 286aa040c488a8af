"""`ugc-ingest`: its command line; what the process opens and runs is in process.py."""

from __future__ import annotations

from common.commands import Command

COMMAND = Command(
    name="ugc-ingest",
    purpose="Run the gRPC server that validates events and writes them to Kafka, until SIGTERM or Ctrl-C.",
    settings="services.ingest.settings:IngestSettings",
    statuses={0: "stopped by a signal", 1: "cannot listen, or a fatal error of the Kafka producer: restart it"},
)


def main() -> None:
    """Run the command."""
    COMMAND.parse()
    from services.ingest.process import main as run

    run()


if __name__ == "__main__":
    main()
