"""`ugc-up` and `ugc-servers`: their command lines; each loads its libraries after it was parsed."""

from __future__ import annotations

import argparse
import time

from common.commands import Command, loading


def up_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ugc-up`."""
    parser.add_argument(
        "--check", action="store_true", help="exit with status 0 once both events are rows, instead of running on"
    )


UP = Command(
    name="ugc-up",
    purpose="Run the whole system on this machine: Kafka, ClickHouse, ingest, gateway and etl. Sends one event over "
    "gRPC and one over HTTP, waits for both rows, then supervises all processes until Ctrl-C. A Kafka or "
    "ClickHouse named by its setting is used instead of a local one.",
    settings="local.settings:UpSettings",
    arguments=up_arguments,
    statuses={0: "stopped by a signal, or the check succeeded", 1: "a part of the system could not start"},
)
SERVERS = Command(
    name="ugc-servers",
    purpose="Run Kafka and ClickHouse on this machine, without the other processes, until Ctrl-C.",
    settings="local.settings:LocalSettings",
    statuses={0: "stopped by a signal", 1: "a server could not start"},
)


def up() -> None:
    """Run `ugc-up`."""
    began = time.monotonic()
    given = UP.parse()
    with loading():
        from local.up.__main__ import main
    main(check=given.check, began=began)


def servers() -> None:
    """Run `ugc-servers`."""
    SERVERS.parse()
    with loading():
        from local.servers import main
    main()
