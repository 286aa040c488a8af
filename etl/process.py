"""The process of `ugc-etl`: reads the settings, joins the group, and loads until SIGTERM."""

from __future__ import annotations

import gc
import sys
import time

from common.failpoints import arm
from common.lifecycle import stop_flag
from common.logs import configure_logs, logger
from common.settings import load
from etl.alive import Heartbeat, exit_seconds
from etl.background import Background, threads
from etl.clickhouse.client import InsertClient
from etl.clickhouse.sink import ClickHouseSink
from etl.clickhouse.sink import connected as connected_to_clickhouse
from etl.delivery import Delivery
from etl.errors import LoaderStoppedError
from etl.inserting import Threaded
from etl.kafka.source import KafkaSource
from etl.kafka.source import connected as connected_to_kafka
from etl.loader import Loader
from etl.partition import FlushLimits, LoaderLimits
from etl.plan import ServerClock
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from etl.settings import EtlSettings

EXIT_STOPPED = 1
# More than the messages that are in memory, so that they are not searched again and again.
GARBAGE_THRESHOLD = 1_000_000


def main(client_type: type[InsertClient] = InsertClient) -> None:
    """Run the ETL until SIGTERM; status 1 if a person must decide how to continue.

    `client_type` connects to ClickHouse; fault tests pass one of their own.
    """
    settings = load(EtlSettings)
    # No message is part of a reference cycle, and the search for cycles costs a tenth of the work.
    gc.set_threshold(GARBAGE_THRESHOLD)
    configure_logs("etl", settings)
    arm(settings.failpoint)
    heartbeat = Heartbeat(settings.etl_alive_file, exit_seconds(settings))
    with (
        stop_flag() as stop,
        connected_to_clickhouse(settings, client_type, heartbeat.beat) as sink,
        connected_to_kafka(settings) as source,
    ):
        loader = make_loader(settings, source, sink, threads(), heartbeat)
        source.join(loader)
        logger().info("loading", topic=settings.kafka_topic, group=settings.etl_group)
        try:
            loader.run(stop)
        except LoaderStoppedError as error:
            logger().error("cannot go on", error=str(error))
            sys.exit(EXIT_STOPPED)


def make_loader(
    settings: EtlSettings, source: KafkaSource, sink: ClickHouseSink, background: Background, heartbeat: Heartbeat
) -> Loader:
    """Compose the loader."""
    clock = ServerClock(settings.etl_fence_seconds, time.monotonic)
    refusals = Refusals(settings.etl_refused_ratio_max, settings.etl_refused_in_a_row_max)
    limits = LoaderLimits(
        FlushLimits(settings.etl_flush_seconds, settings.etl_flush_rows, settings.etl_flush_bytes),
        settings.etl_poll_rows,
        settings.etl_retry_seconds_min,
        settings.etl_retry_seconds_max,
        settings.etl_buffer_bytes_max,
    )
    restorer = PartitionRestorer(source, sink, clock, settings.etl_duplicate_window, background=background)
    delivery = Delivery(source, sink, clock, refusals, settings.etl_clock_skew_seconds, start=Threaded)
    return Loader(source, restorer, delivery, limits, beat=heartbeat.beat)
