"""Rows are counted by table and reason, each once: the sum is the number of messages."""

from __future__ import annotations

import pytest

from etl.errors import SinkError, SourceError
from etl.events.rows import DUPLICATE, REFUSED, UNDECODABLE
from etl.metrics import EtlMetrics
from etl.plan import EVENTS
from tests.support.fakes.delivering import POISON, Stores, deliver, made, messages, recover, restored

BATCH = [b"a", b"b", None, b"a", POISON, b"c"]
COUNTS = {"accepted": 3, UNDECODABLE: 1, DUPLICATE: 1, REFUSED: 1}


def counts(metrics: EtlMetrics) -> dict[str, float]:
    return {reason: value.value for (_, reason), value in metrics.rows.items() if value.value}


def test_each_reason_is_counted() -> None:
    """Every message of a batch is counted when ClickHouse has acknowledged all of it."""
    metrics = EtlMetrics()
    deliver(made(Stores(), metrics=metrics), restored(), messages(BATCH))

    assert counts(metrics) == COUNTS


@pytest.mark.parametrize("stored", [0, 1, 3, 5, 6])
def test_what_was_stored_before_is_counted(stored: int) -> None:
    """Another owner counts the rows that it finds stored, by what they have become."""
    rows = dict(zip(range(100, 106), [EVENTS, EVENTS, UNDECODABLE, DUPLICATE, REFUSED, EVENTS], strict=True))
    metrics = EtlMetrics()
    stores = Stores(rows={offset: row for offset, row in rows.items() if offset < 100 + stored})
    recover(made(stores, metrics=metrics), restored(), messages(BATCH))

    assert counts(metrics) == COUNTS


def test_a_failed_insert_is_not_counted() -> None:
    """A batch that failed is counted by its recovery, once, whatever of it was stored."""
    metrics, stores = EtlMetrics(), Stores()
    delivery = made(stores, metrics=metrics)
    stores.insert_error = SinkError("no answer")
    with pytest.raises(SinkError):
        deliver(delivery, restored(), messages(BATCH))
    assert counts(metrics) == {}
    stores.insert_error = None
    stores.rows[100] = EVENTS
    recover(delivery, restored(), messages(BATCH))

    assert counts(metrics) == COUNTS


def test_a_batch_whose_commit_failed_is_counted_once() -> None:
    """A process that reads a batch again, because its commit failed, does not count it again."""
    metrics, stores = EtlMetrics(), Stores()
    delivery, partition = made(stores, metrics=metrics), restored()
    deliver(delivery, partition, messages(BATCH))
    stores.commit_error = SourceError("no answer")
    with pytest.raises(SourceError):
        delivery.commit_acknowledged(partition)
    stores.commit_error = None
    recover(delivery, restored(), messages([*BATCH, b"d"]))

    assert counts(metrics) == COUNTS | {"accepted": 4}
