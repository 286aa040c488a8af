"""Metrics of Kafka's client, librdkafka, which ingest and the etl have in common: its errors and its statistics."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from common.logs import log_limited
from common.metrics import Metrics, Value

# How often the client reports its statistics: JSON of some kilobytes, which takes 0.2 ms to parse.
STATISTICS_SECONDS = 5.0
PROPERTIES = {"statistics.interval.ms": int(STATISTICS_SECONDS * 1000)}
Statistics: TypeAlias = Mapping[str, Any]  # librdkafka's JSON, whose shape is its own
# Different errors, and brokers, beyond which further ones are counted together.
ERRORS_MAX, BROKERS_MAX = 100, 100
MICROSECONDS, MILLISECONDS = 1e-6, 1e-3
BROKER = {"broker": BROKERS_MAX}


class KafkaClientMetrics:
    """Metrics of one process's client, changed by the thread that polls the client."""

    def __init__(self, metrics: Metrics) -> None:
        """Declare the metrics."""
        # Gets the statistics too, each time.
        self.on_statistics: Callable[[Statistics], None] = lambda _statistics: None
        self._errors = metrics.counter(
            "ugc_kafka_client_errors",
            "Errors that Kafka's client has reported, by librdkafka's name.",
            error=ERRORS_MAX,
        )
        statistic = ("avg", "p99")
        self._round_trips = metrics.gauge(
            "ugc_kafka_client_rtt_seconds",
            "Time from a request to a broker until its response, in the latest seconds with requests.",
            **BROKER,
            statistic=statistic,
        )
        self._waits = metrics.gauge(
            "ugc_kafka_client_queue_wait_seconds",
            "Time that messages wait in the client until they are sent to a broker, in the latest seconds with any.",
            **BROKER,
            statistic=statistic,
        )
        self._throttles = metrics.gauge(
            "ugc_kafka_client_throttle_seconds", "Delay that a broker's quota has imposed on the client.", **BROKER
        )
        self._retries = metrics.gauge(
            "ugc_kafka_client_retries", "Requests to a broker that were sent again, since the start.", **BROKER
        )
        self._timeouts = metrics.gauge(
            "ugc_kafka_client_timeouts", "Requests to a broker that had no response in time, since the start.", **BROKER
        )
        self._is_up = metrics.gauge(
            "ugc_kafka_client_broker_up", "Whether the client is connected to a broker: 1 or 0.", **BROKER
        )
        # The brokers that the client has named so far.
        self._brokers: set[str] = set()

    def error(self, name: str) -> None:
        """Count an error by its name, as in `_TRANSPORT`."""
        self._errors.child(name).value += 1

    def statistics(self, text: str) -> None:
        """Take over the statistics of the client, in JSON; raises nothing, because librdkafka calls it inside poll."""
        try:
            statistics: Statistics = json.loads(text)
            self._take(statistics)
            self.on_statistics(statistics)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            log_limited(logging.ERROR, "the statistics of Kafka's client could not be read", exc_info=error)

    def _take(self, statistics: Statistics) -> None:
        brokers: Mapping[str, Mapping[str, object]] = statistics.get("brokers", {})
        named: set[str] = set()
        for broker in brokers.values():
            number = cast("int", broker["nodeid"])
            # Bootstrap addresses and the coordinator's second connection have no number.
            if number < 0:
                continue
            name = str(number)
            named.add(name)
            take_window(self._round_trips.child(name, "avg"), broker["rtt"], "avg", MICROSECONDS)
            take_window(self._round_trips.child(name, "p99"), broker["rtt"], "p99", MICROSECONDS)
            take_window(self._waits.child(name, "avg"), broker["int_latency"], "avg", MICROSECONDS)
            take_window(self._waits.child(name, "p99"), broker["int_latency"], "p99", MICROSECONDS)
            take_window(self._throttles.child(name), broker["throttle"], "avg", MILLISECONDS)
            self._retries.child(name).value = cast("int", broker["txretries"])
            self._timeouts.child(name).value = cast("int", broker["req_timeouts"])
            self._is_up.child(name).value = int(broker["state"] == "UP")
        # Observed: when no broker answers, the client forgets all of them until one does.
        for name in self._brokers - named:
            self._is_up.child(name).value = 0
        if len(self._brokers) < BROKERS_MAX:
            self._brokers |= named


def take_window(into: Value, window: object, name: str, unit: float) -> None:
    """Take over one number of a window of time; a window without requests has zeros, and changes nothing."""
    values = cast("Mapping[str, int]", window)
    if values["cnt"]:
        into.value = values[name] * unit
