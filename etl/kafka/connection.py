"""Creates the consumer and what belongs to it: its metrics, its membership, and the ends of the logs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from common.kafka_credentials import following_password
from common.kafka_metrics import PROPERTIES, KafkaClientMetrics
from common.kafka_problems import KafkaProblem
from common.outage_log import OutageLog
from etl.kafka.ends import KafkaLogEnds
from etl.kafka.membership import Membership
from etl.kafka.permissions import Permissions
from etl.kafka.source import KafkaSource
from etl.settings import EtlSettings

# Longer than the longest insert between two polls, with its retries.
POLL_INTERVAL_SECONDS_MAX = 600
SOCKET_MILLISECONDS_MIN = 2_000  # with less, the client would close connections on which the broker waits for messages
# How long the client waits to fetch again once it holds as many messages as it may. Its default of a second left the
# loader without messages for most of a second, at a sixth of the speed.
FETCH_BACKOFF_MILLISECONDS = 10


class Kafka(NamedTuple):
    """The connections to Kafka."""

    source: KafkaSource
    ends: KafkaLogEnds
    permissions: Permissions


@contextlib.contextmanager
def connected(settings: EtlSettings, metrics: KafkaClientMetrics, membership: Membership) -> Iterator[Kafka]:
    """Create the consumer, which joins the group with `join`, and leave the group when the context ends."""
    outage, problem = OutageLog("reaching Kafka"), KafkaProblem(settings)
    membership.explain = problem.explain

    def on_error(error: KafkaError) -> None:
        metrics.error(error.name())
        problem.note(error.name(), error.str())
        outage.failed(KafkaException(error))

    def on_statistics(text: str) -> None:
        metrics.statistics(text)
        membership.statistics(text)

    connection: dict[str, str | int] = {
        "reconnect.backoff.max.ms": 1000,
        # The time a broker has to answer any request, also a commit; then the client retries on a new connection.
        "socket.timeout.ms": max(round(settings.etl_kafka_seconds_max * 1_000), SOCKET_MILLISECONDS_MIN),
    }
    # At level 3 the client logs a line for each attempt to reach a broker; `outage` logs an outage once.
    quiet: dict[str, Any] = {"log_level": 2, "error_cb": on_error}
    consumer = Consumer(
        {
            **connection,
            **quiet,
            **PROPERTIES,
            "stats_cb": on_statistics,
            "client.id": "ugc-etl",
            "group.id": settings.etl_group,
            # KIP-848: joins in a fraction of a second, revokes single partitions, detects a recreated topic.
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # The position is set when a partition is restored; a person must decide about an offset that is gone.
            "auto.offset.reset": "error",
            "max.poll.interval.ms": POLL_INTERVAL_SECONDS_MAX * 1000,
            "queued.max.messages.kbytes": settings.etl_fetch_kilobytes_max,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": FETCH_BACKOFF_MILLISECONDS,
            "topic.metadata.refresh.interval.ms": 10_000,
            # The file of properties may replace some of the others.
            **settings.client_properties(),
        }
    )
    admin = AdminClient({**connection, **quiet, **settings.client_properties()})
    topic, seconds_max = settings.kafka_topic, settings.etl_kafka_seconds_max
    source = KafkaSource(consumer, admin, topic, seconds_max, outage, membership, metrics.error)
    permissions = Permissions(admin, topic, settings.etl_group, seconds_max)
    membership.missing = lambda: permissions.missing
    try:
        with following_password(settings, lambda: (consumer, admin)):
            yield Kafka(source, KafkaLogEnds(admin, topic, seconds_max, permissions.check), permissions)
    finally:
        source.leave()
