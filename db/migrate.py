"""`ugc-migrate`: creates topic and tables; safe to repeat, to interrupt, and to run concurrently.

Its command line and exit statuses are in commands.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from common.lifecycle import interruptible
from common.logs import configure_logs, logger
from common.outage_log import OutageLog
from common.settings import load
from db.clickhouse.schema import migrate
from db.errors import StoreError, UnavailableError
from db.kafka.layout import Difference, TopicLayout
from db.kafka.topics import provision
from db.settings import MigrateSettings

RETRY_SECONDS = 0.5
T = TypeVar("T")


def main() -> None:
    """Wait for the servers, then create what is missing; exit with status 1 when that is impossible."""
    with interruptible("ugc-migrate"):
        settings = load(MigrateSettings)
        configure_logs("migrate", settings)
        try:
            create(settings)
        except StoreError as error:
            logger().error("cannot migrate", error=str(error))
            sys.exit(1)


def create(settings: MigrateSettings) -> None:
    """Create topic and tables; raise StoreError when that is impossible."""
    servers, topic = settings.kafka_bootstrap_servers, settings.kafka_topic
    layout = TopicLayout(
        settings.kafka_partitions,
        settings.kafka_replication_factor,
        settings.kafka_min_insync_replicas,
        settings.kafka_retention_hours,
    )
    differences: list[Difference] = []
    deadline = time.monotonic() + settings.migrate_wait_seconds_max
    try:
        created = retry_until(deadline, "Kafka", lambda: provision(settings, topic, layout, differences.append))
    finally:
        warn_of(differences, servers, topic)
    logger().info("topic created" if created else "topic exists", topic=topic)
    applied = retry_until(deadline, "ClickHouse", lambda: migrate(settings.clickhouse_url, settings.clickhouse_cluster))
    logger().info("tables are up to date", applied=applied)


def warn_of(differences: Iterable[Difference], servers: str, topic: str) -> None:
    """Log the differences that do not break the guarantee, each once although retries find them again."""
    for each in dict.fromkeys(differences):
        logger().warning(
            "the topic differs from the settings, and is not changed",
            topic=topic,
            name=each.name,
            found=each.found,
            wanted=each.wanted,
            reason=each.reason,
            to_change_it=each.remedy(servers, topic),
        )


def retry_until(deadline: float, server: str, act: Callable[[], T]) -> T:
    """Return the result of `act`, which is repeated while a server does not answer, until the deadline."""
    outage = OutageLog(f"reaching {server}")
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
