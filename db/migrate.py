"""`ugc-migrate`: makes topic and tables; safe to repeat, to interrupt, and to run twice at once.

Exit status: 0 topic and tables are as wanted, 1 they are not, 2 a bad setting, 130 or 143 interrupted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from common.lifecycle import interruptible
from common.logs import OutageLog, configure_logs, logger
from common.settings import load
from db.clickhouse.schema import migrate
from db.errors import StoreError, UnavailableError
from db.kafka.layout import Difference, TopicLayout
from db.kafka.topics import provision
from db.settings import MigrateSettings

RETRY_SECONDS = 0.5
T = TypeVar("T")


def main() -> None:
    """Wait for the servers, then make what is missing; status 1 with a clear line when that cannot be."""
    with interruptible("ugc-migrate"):
        settings = load(MigrateSettings)
        configure_logs("migrate", settings.log_level)
        try:
            make(settings)
        except StoreError as error:
            logger().error("cannot migrate", error=str(error))
            sys.exit(1)


def make(settings: MigrateSettings) -> None:
    """Make topic and tables; StoreError when that cannot be."""
    servers, topic = settings.kafka_bootstrap_servers, settings.kafka_topic
    layout = TopicLayout(
        settings.kafka_partitions,
        settings.kafka_replication_factor,
        settings.kafka_min_insync_replicas,
        settings.kafka_retention_hours,
    )
    found: list[Difference] = []
    deadline = time.monotonic() + settings.migrate_wait_seconds_max
    try:
        created = patiently("Kafka", lambda: provision(servers, topic, layout, found.append), deadline)
    finally:
        show(found, servers, topic)
    logger().info("topic created" if created else "topic was there", topic=topic)
    applied = patiently("ClickHouse", lambda: migrate(settings.clickhouse_url, settings.clickhouse_cluster), deadline)
    logger().info("tables are up to date", applied=applied)


def show(found: Iterable[Difference], servers: str, topic: str) -> None:
    """Log what differs and does not break the guarantee, each once, however often it was found."""
    for each in dict.fromkeys(found):
        logger().warning(
            "the topic differs from the settings, and is not changed",
            topic=topic,
            name=each.name,
            found=each.found,
            wanted=each.wanted,
            reason=each.reason,
            to_change_it=each.cure(servers, topic),
        )


def patiently(what: str, act: Callable[[], T], deadline: float) -> T:
    """Try again while a server does not answer, until the deadline."""
    outage = OutageLog(f"reaching {what}")
    while True:
        try:
            result = act()
        except UnavailableError as error:
            if time.monotonic() > deadline:
                raise
            outage.failed(error)
            time.sleep(RETRY_SECONDS)
        else:
            outage.over()
            return result


if __name__ == "__main__":
    from db.commands import migrate as command

    command()
