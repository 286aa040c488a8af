"""`ugc-migrate`: makes topic and tables; safe to repeat, and to run twice at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from db.clickhouse.schema import migrate
from db.errors import StoreError, UnavailableError
from db.kafka.topics import TopicLayout, provision
from db.settings import MigrateSettings
from services.runtime.logs import Outage, configure_logs, logger
from services.runtime.settings import load

RETRY_SECONDS = 0.5
T = TypeVar("T")


def main() -> None:
    """Wait for the servers, then make what is missing; status 1 with a clear line when that cannot be."""
    settings = load(MigrateSettings)
    configure_logs("migrate", settings.log_level)
    layout = TopicLayout(
        settings.kafka_partitions,
        settings.kafka_replication_factor,
        settings.kafka_min_insync_replicas,
        settings.kafka_retention_hours,
    )
    deadline = time.monotonic() + settings.migrate_wait_seconds_max
    try:
        created = patiently(
            "Kafka", lambda: provision(settings.kafka_bootstrap_servers, settings.kafka_topic, layout), deadline
        )
        logger().info("topic created" if created else "topic was there", topic=settings.kafka_topic)
        applied = patiently(
            "ClickHouse", lambda: migrate(settings.clickhouse_url, settings.clickhouse_cluster), deadline
        )
        logger().info("tables are up to date", applied=applied)
    except StoreError as error:
        logger().error("cannot migrate", error=str(error))
        sys.exit(1)


def patiently(what: str, act: Callable[[], T], deadline: float) -> T:
    """Try again while a server does not answer, until the deadline."""
    outage = Outage(f"reaching {what}")
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
    main()
