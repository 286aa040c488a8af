"""The figures of the benchmarks of loading and of the whole chain."""

from __future__ import annotations

import pytest

from tests.benchmarks import chain, etl_backlog
from tests.support.benchmarks.samples import Sample
from tests.support.load.meter import Cost

ENGINE = Cost(client=0.0, server=10.0, merges=1.0, parts=9, seconds=12.0, rows_per_second=100_000.0)


def test_ratios_to_the_kafka_engine() -> None:
    """The CPU of etl and ClickHouse together is compared with ClickHouse's alone, and the rates; merges are apart."""
    own = Cost(client=3.0, server=2.0, merges=50.0, parts=20, seconds=4.0, rows_per_second=260_000.0)
    found = etl_backlog.figures({"etl": [own] * 3, "discard": [own] * 3, "engine": [ENGINE] * 3}, 1_000_000)
    cpu, rate = etl_backlog.comparisons(found, 1_000_000)

    assert (cpu.value, cpu.beside_value, cpu.ratio, cpu.is_met) == (5.0, 10.0, 0.5, True)
    assert (rate.ratio, rate.aim, rate.is_met) == (2.6, 2.6, True)
    assert found[0].parts == {"process": 3.0, "ClickHouse": 2.0}


def test_chain() -> None:
    """The rate and the CPU are medians of the rounds, the p99 is of all rounds together."""
    samples = {"rest-one": [Sample(rate, {"ingest": rate / 10, "etl": 1.0}, {}) for rate in (100.0, 300.0, 200.0)]}
    found = chain.figures(samples, {"rest-one": [[1.0] * 99, [2.0, 9.0], [3.0]]})

    assert [(each.quantity, each.median) for each in found] == [
        (chain.SUSTAINED, 200.0),
        (chain.CPU, pytest.approx(21.0)),
        (chain.VISIBLE + "p50", 2.0),
        (chain.VISIBLE + "p99", 3.0),
    ]
    assert found[1].parts == {"ingest": 20.0, "etl": 1.0}
