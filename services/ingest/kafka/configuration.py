"""The configuration of the Kafka producer, apart from its connection."""

from __future__ import annotations

from services.ingest.settings import IngestSettings

# Kafka processes one request of a connection at a time, so more in flight save a network round trip only. While more
# may be in flight, librdkafka polls without a pause for as long as a partition has messages waiting and others in
# flight: 20 us of CPU an event. So there are more only where round trips are long.
REQUESTS = "max.in.flight.requests.per.connection"


def producer_configuration(settings: IngestSettings) -> dict[str, str | int | float | bool]:
    """Return librdkafka's properties: an acknowledged event is stored by all in-sync replicas, exactly once."""
    delivery_milliseconds = int(settings.ingest_delivery_seconds_max * 1000)
    return {
        "client.id": "ugc-ingest",
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": delivery_milliseconds,
        "request.timeout.ms": delivery_milliseconds,
        # Single records linger before they are handed to the client (lingering.py), and batches are batches already.
        "linger.ms": 0,
        "queue.buffering.max.messages": settings.ingest_queue_events_max,
        "queue.buffering.max.kbytes": settings.ingest_queue_kilobytes_max,
        "compression.type": "lz4",
        # A report of success is not passed to Python: DeliveryTracker counts the reports without it.
        "delivery.report.only.error": True,
        # The partition that Java clients choose for the same key.
        "partitioner": "murmur2_random",
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 10_000,
        # In the statistics a broker that does not answer is found.
        "statistics.interval.ms": 1_000,
        # Level 3 logs each failed attempt to connect to a broker; the health check logs an outage once.
        "log_level": 2,
    }
