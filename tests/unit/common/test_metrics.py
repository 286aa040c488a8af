"""Metrics are plain numbers, which prometheus_client writes in both formats."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from common.kafka_metrics import KafkaClientMetrics
from common.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Return all samples of the text format, by name and labels."""
    registry = CollectorRegistry()
    registry.register(metrics)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_counter() -> None:
    """A counter has one number for each value of its label."""
    metrics = Metrics()
    events = metrics.counter("events", "Events.", outcome=("accepted", "invalid"))
    accepted = events.child("accepted")
    accepted.value += 2
    accepted.value += 3
    events.child("invalid")

    found = samples(metrics)
    assert found["events_total{outcome=accepted}"] == 5
    assert found["events_total{outcome=invalid}"] == 0


def test_metric_without_labels_exists_from_the_start() -> None:
    """A metric without labels is exposed before anything was counted."""
    metrics = Metrics()
    metrics.counter("started", "Starts.")

    assert samples(metrics)["started_total"] == 0


def test_undeclared_value_of_a_label() -> None:
    """A label that lists its values takes no other one."""
    events = Metrics().counter("events", "Events.", outcome=("accepted",))

    with pytest.raises(AssertionError, match="refused"):
        events.child("refused")


def test_values_beyond_the_limit() -> None:
    """A label of free values counts those beyond its limit together."""
    metrics = Metrics()
    errors = metrics.counter("errors", "Errors.", error=2)
    for name in ("a", "b", "c", "d", "a"):
        errors.child(name).value += 1

    found = samples(metrics)
    assert {name: value for name, value in found.items() if name.startswith("errors")} == {
        "errors_total{error=a}": 2,
        "errors_total{error=b}": 1,
        "errors_total{error=other}": 2,
    }


def test_gauge_that_reads() -> None:
    """A gauge can take its numbers from elsewhere at each scrape."""
    metrics = Metrics()
    queue: list[int] = []
    metrics.gauge("queue", "Queue.").reads(lambda: len(queue))
    metrics.gauge("lag", "Lag.", partition=10).reads_each(lambda: {("0",): 7.0, ("1",): 8.0})
    queue.append(1)

    found = samples(metrics)
    assert found["queue"] == 1
    assert found["lag{partition=0}"] == 7
    assert found["lag{partition=1}"] == 8


def test_histogram() -> None:
    """Buckets are cumulative; a value on a bound is in its bucket."""
    metrics = Metrics()
    seconds = metrics.histogram("seconds", "Seconds.", (0.1, 1.0)).child()
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value)

    found = samples(metrics)
    assert found["seconds_bucket{le=0.1}"] == 2
    assert found["seconds_bucket{le=1.0}"] == 3
    assert found["seconds_bucket{le=+Inf}"] == 4
    assert found["seconds_count"] == 4
    assert found["seconds_sum"] == pytest.approx(7.65)


def test_exemplar() -> None:
    """An observation with a trace is the exemplar of its bucket, in OpenMetrics only."""
    metrics = Metrics()
    seconds = metrics.histogram("seconds", "Seconds.", (0.1, 1.0)).child()
    seconds.observe(0.5, "4bf92f3577b34da6a3ce929d0e0e4736")
    seconds.observe(0.6)
    registry = CollectorRegistry()
    registry.register(metrics)

    assert '# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.5' in generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]  # of the library
    assert "trace_id" not in generate_latest(registry).decode()


def test_metric_declared_twice() -> None:
    """A metric is declared once."""
    metrics = Metrics()
    metrics.gauge("queue", "Queue.")

    with pytest.raises(AssertionError, match="queue"):
        metrics.counter("queue", "Queue.")


WINDOW = {"cnt": 5, "avg": 2_000, "p99": 9_000}


def broker(number: int) -> dict[str, object]:
    """Return the statistics of a broker as librdkafka writes them."""
    return {
        "nodeid": number,
        "rtt": WINDOW,
        "int_latency": {"cnt": 0, "avg": 0, "p99": 0},
        "throttle": {"cnt": 1, "avg": 3, "p99": 3},
        "txretries": 4,
        "req_timeouts": 1,
        "state": "UP",
    }


def test_kafka_statistics() -> None:
    """The microseconds and milliseconds become seconds; bootstrap connections are left out."""
    metrics = Metrics()
    client = KafkaClientMetrics(metrics)
    client.error("_TRANSPORT")
    client.statistics(json.dumps({"brokers": {"a": broker(1), "bootstrap": broker(-1)}}))

    found = samples(metrics)
    assert found["ugc_kafka_client_errors_total{error=_TRANSPORT}"] == 1
    assert found["ugc_kafka_client_rtt_seconds{broker=1,statistic=p99}"] == pytest.approx(0.009)
    assert found["ugc_kafka_client_throttle_seconds{broker=1}"] == pytest.approx(0.003)
    assert found["ugc_kafka_client_retries{broker=1}"] == 4
    assert found["ugc_kafka_client_broker_up{broker=1}"] == 1
    assert not any("broker=-1" in name for name in found)


def test_brokers_that_the_client_has_forgotten() -> None:
    """When no broker answers, the client has only its bootstrap addresses: the brokers are not connected."""
    metrics = Metrics()
    client = KafkaClientMetrics(metrics)
    client.statistics(json.dumps({"brokers": {"a": broker(1), "b": broker(2)}}))
    client.statistics(json.dumps({"brokers": {"bootstrap": broker(-1)}}))
    assert [samples(metrics)[f"ugc_kafka_client_broker_up{{broker={number}}}"] for number in (1, 2)] == [0, 0]

    client.statistics(json.dumps({"brokers": {"a": broker(1)}}))
    assert [samples(metrics)[f"ugc_kafka_client_broker_up{{broker={number}}}"] for number in (1, 2)] == [1, 0]


@pytest.mark.parametrize("text", ["{", "[]", '{"brokers": {"a": {}}}', '{"brokers": 5}'])
def test_unreadable_kafka_statistics(text: str) -> None:
    """Statistics of another form raise nothing, because an exception would escape from the poll of the client."""
    KafkaClientMetrics(Metrics()).statistics(text)
