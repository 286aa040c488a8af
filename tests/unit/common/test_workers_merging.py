"""Metrics of several workers in one text: parsed, they are those of each worker, with one more label."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from common.metrics import Metrics
from common.workers.merging import labelled, merged

FORMATS: dict[str, Callable[[str], Iterable[Metric]]] = {
    "text/plain": parse_text,
    "application/openmetrics-text": parse_openmetrics,
}


def metrics(number: int) -> Metrics:
    """Return metrics of every kind; the texts of labels have every character that has a meaning in the formats."""
    found = Metrics()
    found.counter("calls", "Calls.", code=("a {b} c", 'd="e",')).child("a {b} c").value = number
    found.gauge("size", "Size, \\ and\nmore.").child().value = number / 3
    durations = found.histogram("seconds", "Seconds.", (0.1, 1.0)).child()
    durations.observe(0.05, f"trace-{number}")
    durations.observe(3.0)
    if number == 2:
        found.gauge("late", "Only in one.", role=("x",)).child("x").value = 1
    return found


def exposed(found: Metrics, accept: str) -> str:
    """Return the text of metrics in a format."""
    registry = CollectorRegistry()
    registry.register(found)
    encode, _ = choose_encoder(accept)
    return encode(registry).decode()


def samples(families: Iterable[Metric], worker: str = "") -> list[Sample]:
    """Return the samples of families, without a worker's label or of that worker alone."""
    found = [sample for family in families for sample in family.samples if sample.labels.get("worker", "") == worker]
    return [each._replace(labels={k: v for k, v in each.labels.items() if k != "worker"}) for each in found]


@pytest.mark.parametrize("accept", FORMATS)
def test_merged(accept: str) -> None:
    """Each worker's samples are there with their exemplars, and each family is declared once."""
    parse = FORMATS[accept]
    texts = {name: exposed(metrics(number), accept) for number, name in enumerate(("parent", "1", "2"))}
    found = list(parse(merged(texts)))

    assert len({family.name for family in found}) == len(found)
    for name, text in texts.items():
        wanted = list(parse(text))
        assert samples(found, name) == samples(wanted)
        assert {each.name: (each.type, each.documentation) for each in wanted}.items() <= {
            each.name: (each.type, each.documentation) for each in found
        }.items()
    assert sum(len(family.samples) for family in found) == sum(len(samples(parse(text))) for text in texts.values())


def test_exemplars() -> None:
    """Exemplars are kept."""
    found = FORMATS["application/openmetrics-text"](merged({"7": exposed(metrics(7), "application/openmetrics-text")}))
    exemplars = [sample.exemplar for family in found for sample in family.samples if sample.exemplar]

    assert [each.labels for each in exemplars] == [{"trace_id": "trace-7"}]


def test_exemplar_without_labels() -> None:
    """The braces of an exemplar are not taken for those of a sample without labels."""
    sample = 'calls_total 1.0 # {trace_id="a"} 1.0 1700000000.0'

    assert labelled(sample, "1") == 'calls_total{worker="1"} 1.0 # {trace_id="a"} 1.0 1700000000.0'
