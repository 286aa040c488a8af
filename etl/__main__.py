"""`ugc-etl`: its command line; what the process opens and runs is in process.py."""

from __future__ import annotations

from common.commands import Command, loading

COMMAND = Command(
    name="ugc-etl",
    purpose="Load events from Kafka into ClickHouse, each exactly once, until SIGTERM or Ctrl-C.",
    settings="etl.settings:EtlSettings",
    statuses={
        0: "stopped by a signal",
        1: "a person must decide how to continue: the log has the reason",
    },
)


def main() -> None:
    """Run the command."""
    COMMAND.parse()
    with loading():
        from etl.process import main as run
    run()


if __name__ == "__main__":
    main()
