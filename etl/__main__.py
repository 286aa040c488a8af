"""`ugc-etl`: reads the settings, joins the group, loads until SIGTERM."""

from __future__ import annotations

from etl.buffer import Buffer
from etl.loader import AtLeastOnce, Loader, flush_limits
from etl.settings import EtlSettings
from etl.sink import connected
from etl.source import subscribed
from services.runtime.lifecycle import stop_flag
from services.runtime.logs import configure_logs, logger
from services.runtime.settings import load


def main() -> None:
    """Run the ETL until it is told to stop."""
    settings = load(EtlSettings)
    configure_logs("etl", settings.log_level)
    buffer = Buffer(flush_limits(settings))
    with stop_flag() as stop, connected(settings) as sink, subscribed(settings, buffer.drop) as source:
        logger().info("loading", topic=settings.kafka_topic, group=settings.etl_group)
        retry_seconds = settings.etl_retry_seconds_min, settings.etl_retry_seconds_max
        delivery = AtLeastOnce(source, sink, stop, retry_seconds)
        Loader(source, buffer, delivery, settings.etl_poll_rows).run(stop)


if __name__ == "__main__":
    main()
