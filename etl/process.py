"""The process of `ugc-etl`: reads the settings, joins the group, and loads until SIGTERM."""

from __future__ import annotations

import gc
import sys
import threading
import time

from common.failpoints import arm
from common.lifecycle import stop_flag
from common.logs import configure_logs, logger
from common.management import managing
from common.settings import load
from common.tracing import tracing
from etl.alive import Heartbeat, exit_seconds
from etl.background import Background, threads
from etl.clickhouse.client import InsertClient
from etl.clickhouse.sink import ClickHouseSink
from etl.clickhouse.sink import connected as connected_to_clickhouse
from etl.delivery import Delivery
from etl.errors import LoaderStoppedError
from etl.health import Health
from etl.inserting import Threaded
from etl.kafka.connection import connected as connected_to_kafka
from etl.kafka.membership import Membership
from etl.kafka.source import KafkaSource
from etl.loader import Loader
from etl.metrics import EtlMetrics
from etl.partition import FlushLimits, LoaderLimits
from etl.plan import ServerClock
from etl.progress import Progress
from etl.refusals import Refusals
from etl.restoring import PartitionRestorer
from etl.settings import EtlSettings
from etl.tracing import BatchTracing

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
    metrics, membership = EtlMetrics(), Membership()
    progress = Progress(metrics, lateness_seconds_max=settings.etl_lateness_seconds_max)
    heartbeat = Heartbeat(settings.etl_alive_file, exit_seconds(settings), beaten=metrics.progressed)
    listen = settings.etl_management_listen
    with stop_flag() as stop:
        health = Health(heartbeat, settings.etl_alive_seconds_max, membership, progress, stop)
        with (
            tracing(settings, "etl") as traces,
            managing("UGC_ETL_MANAGEMENT_LISTEN", listen, metrics, health.live, health.ready, health.notes),
            connected_to_clickhouse(settings, client_type, heartbeat.beat) as sink,
            connected_to_kafka(settings, metrics.kafka, membership) as kafka,
        ):
            batches = None
            if traces is not None:
                metrics.traces_dropped.reads(lambda: traces.dropped)
                batches = BatchTracing(traces, settings.kafka_topic, settings.etl_group)
            loader = make_loader(settings, kafka.source, sink, threads(), heartbeat, progress, batches)
            progress.ends = kafka.ends
            metrics.joined.reads(lambda: membership.is_joined)
            metrics.topic_partitions.reads(lambda: kafka.ends.partitions)

            def wait() -> None:
                heartbeat.beat()
                # Kafka's client queues errors and statistics in memory until it is polled.
                kafka.source.poll(1, 0.0)

            kafka.permissions.await_granted(stop, wait)
            if not stop.is_set():
                kafka.source.join(loader)
            logger().info("loading", topic=settings.kafka_topic, group=settings.etl_group)
            with kafka.ends.asked(lambda: progress.partitions):
                run(loader, stop)


def run(loader: Loader, stop: threading.Event) -> None:
    """Load until `stop` is set; exit with status 1 if a person must decide."""
    try:
        loader.run(stop)
    except LoaderStoppedError as error:
        logger().error("cannot go on", error=str(error))
        sys.exit(EXIT_STOPPED)


def make_loader(
    settings: EtlSettings,
    source: KafkaSource,
    sink: ClickHouseSink,
    background: Background,
    heartbeat: Heartbeat,
    progress: Progress,
    batches: BatchTracing | None = None,
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
        len(settings.shard_urls),
    )
    window = settings.etl_duplicate_window
    restorer = PartitionRestorer(source, sink, clock, window, background=background, shards=limits.shards)
    skew, metrics = settings.etl_clock_skew_seconds, progress.metrics
    delivery = Delivery(source, sink, clock, refusals, skew, start=Threaded, metrics=metrics, tracing=batches)
    return Loader(source, restorer, delivery, limits, beat=heartbeat.beat, progress=progress)
