"""The command lines of the administration; each command loads its libraries after its arguments were parsed."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from common.commands import Command, loading, seconds
from common.running_system import use_running_system

REASONS = ("undecodable", "refused", "duplicate")
# The range of a DateTime64 of ClickHouse.
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)
# Ingest reads the number of partitions every 10 s, and then still delivers for UGC_INGEST_DELIVERY_SECONDS_MAX (5 s).
SETTLE_SECONDS = 20.0
INTERRUPTED = {130: "interrupted by Ctrl-C", 143: "stopped by SIGTERM"}
NO_READER = {141: "the reader of standard output has closed it"}
NO_ANSWER = "Kafka or ClickHouse does not answer"


def audit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ugc-audit`."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="wait up to this long until every message is consumed; one that is not consumed by then is a breach",
    )


def replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ugc-replay`."""
    time = "as ISO 8601, in UTC unless it has an offset; it is compared with the time that Kafka has for the message"
    parser.add_argument("--reason", choices=REASONS, required=True, help="replay events that were rejected for this")
    parser.add_argument(
        "--since", type=moment, default=EARLIEST, metavar="TIME", help=f"first time to include, {time}; default: all"
    )
    parser.add_argument(
        "--until", type=moment, default=datetime.now(UTC), metavar="TIME", help="first time to exclude; default: now"
    )
    parser.add_argument("--limit", type=count, default=sys.maxsize, metavar="N", help="send at most N events")
    parser.add_argument("--dry-run", action="store_true", help="send nothing, print how many events would be sent")


def rewind_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ugc-rewind`."""
    parser.add_argument(
        "--to-table",
        action="store_true",
        required=True,
        help="set each offset back to the first message that the tables do not hold",
    )
    parser.add_argument("--apply", action="store_true", help="set the offsets; without it nothing is changed")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def add_partitions_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ugc-add-partitions`."""
    parser.add_argument("--to", type=count, required=True, metavar="N", help="partitions that the topic shall have")
    parser.add_argument(
        "--settle",
        type=seconds,
        default=SETTLE_SECONDS,
        metavar="SECONDS",
        help="wait so long until all producers use the new number of partitions; default: %(default)g",
    )
    parser.add_argument("--apply", action="store_true", help="do it; without it nothing is changed")


MIGRATE = Command(
    name="ugc-migrate",
    purpose="Create the Kafka topic and the ClickHouse tables, or apply the migrations that are missing. Safe to "
    "repeat, to interrupt, and to run twice at the same time. Without settings it uses those of a running `make up`.",
    settings="db.settings:MigrateSettings",
    statuses={
        0: "topic and tables are as configured",
        1: "they are not; the last line of the log has the reason",
        **INTERRUPTED,
    },
)
AUDIT = Command(
    name="ugc-audit",
    purpose="Check that every consumed Kafka message is exactly one row of ClickHouse. Reads only; safe while the etl "
    "runs. Without settings it uses those of a running `make up`.",
    settings="db.settings:AuditSettings",
    arguments=audit_arguments,
    statuses={
        0: "no breach",
        1: "at least one breach",
        3: f"{NO_ANSWER}, or a replica has not caught up",
        **INTERRUPTED,
        **NO_READER,
    },
)
REPLAY = Command(
    name="ugc-replay",
    purpose="Write rejected events to the Kafka topic again, chosen by reason and time, each event at most once. "
    "Without settings it uses those of a running `make up`.",
    settings="db.settings:ReplaySettings",
    arguments=replay_arguments,
    statuses={0: "all chosen events were sent", 1: "some were not sent", 3: NO_ANSWER, **INTERRUPTED, **NO_READER},
)
REWIND = Command(
    name="ugc-rewind",
    purpose="Set the committed offsets of the etl's consumer group back to what the tables hold, after ClickHouse was "
    "restored from a backup. A dry run unless --apply is given. Refuses to set offsets while an etl is a member of the "
    "group. Without settings it uses those of a running `make up`.",
    settings="db.settings:RewindSettings",
    arguments=rewind_arguments,
    statuses={
        0: "the offsets fit the tables, or would with --apply",
        1: "the group has a member, or messages are lost that the tables do not hold and Kafka has deleted",
        3: f"{NO_ANSWER}, or a replica has not caught up; no offset was set",
        **INTERRUPTED,
        **NO_READER,
    },
)
ADD_PARTITIONS = Command(
    name="ugc-add-partitions",
    purpose="Add partitions to the Kafka topic and record the change in it, so that the etl finds an event that is "
    "repeated across the change. A dry run unless --apply is given. Safe to repeat. Without settings it uses those of "
    "a running `make up`.",
    settings="db.settings:AddPartitionsSettings",
    arguments=add_partitions_arguments,
    statuses={
        0: "the topic has the partitions, and the change is recorded; or a dry run",
        1: "the topic has more partitions, or does not exist",
        3: "Kafka does not answer; run the command again",
        **INTERRUPTED,
        **NO_READER,
    },
)


def migrate() -> None:
    """Run `ugc-migrate`."""
    MIGRATE.parse()
    use_running_system()
    with loading():
        from db.migrate import main
    main()


def audit() -> None:
    """Run `ugc-audit`."""
    given = AUDIT.parse()
    use_running_system()
    with loading():
        from db.audit import main
    main(given)


def replay() -> None:
    """Run `ugc-replay`."""
    given = REPLAY.parse()
    use_running_system()
    with loading():
        from db.replay import main
    main(given)


def rewind() -> None:
    """Run `ugc-rewind`."""
    given = REWIND.parse()
    use_running_system()
    with loading():
        from db.rewind import main
    main(given)


def add_partitions() -> None:
    """Run `ugc-add-partitions`."""
    given = ADD_PARTITIONS.parse()
    use_running_system()
    with loading():
        from db.add_partitions import main
    main(given)


def moment(text: str) -> datetime:
    """Read a point in time; ArgumentTypeError when it is not a valid one, or ClickHouse cannot store it."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a time as in 2026-11-24T10:00, not {text!r}") from None
    read = read if read.tzinfo else read.replace(tzinfo=UTC)
    if not EARLIEST <= read < LATEST:
        raise argparse.ArgumentTypeError(f"must be from {EARLIEST.year} to {LATEST.year - 1}, not {text!r}")
    return read


def count(text: str) -> int:
    """Read a number of things; ArgumentTypeError when it is not an integer from 1."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"must be an integer from 1, not {text!r}")
    return int(text)
