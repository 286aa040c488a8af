"""Reads the management listener of a process: the samples that the live page shows, and whether it is ready."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from common.settings import Address
from local.processes.direct import DIRECT

# How long a process may take to answer; then the page shows that it does not.
ANSWER_SECONDS_MAX = 2.0
PAGE_BYTES_MAX = 4_000_000
REASON_CHARACTERS_MAX = 200

EVENTS, INVALID = "ugc_ingest_events_total", "ugc_ingest_invalid_total"
ROWS, LAG, COMPLETE = "ugc_etl_rows_total", "ugc_etl_lag_messages", "ugc_etl_complete_through_timestamp_seconds"
# The parser of the library is slow: lines of other metrics are left out before.
READ = (EVENTS, INVALID, ROWS, LAG, COMPLETE)


class Sample(NamedTuple):
    """One number of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float


class Scrape(NamedTuple):
    """What a process answered: its samples, None when it did not; and why it is not ready, empty when it is."""

    samples: tuple[Sample, ...] | None
    problem: str


def scrape(address: Address) -> Scrape:
    """Ask a process."""
    try:
        _status, text = page(address, "/metrics")
        status, reason = page(address, "/readyz")
        found = tuple(samples(text))
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        return Scrape(None, f"does not answer: {text}"[:REASON_CHARACTERS_MAX])
    is_ready = status == http.client.OK
    return Scrape(found, "" if is_ready else reason.strip()[:REASON_CHARACTERS_MAX] or f"status {status}")


def page(address: Address, path: str) -> tuple[int, str]:
    """Return the status and the text of a page of a management listener."""
    try:
        with DIRECT.open(f"http://{address}{path}", timeout=ANSWER_SECONDS_MAX) as answer:
            return answer.status, answer.read(PAGE_BYTES_MAX).decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(PAGE_BYTES_MAX).decode()


def samples(text: str) -> Iterator[Sample]:
    """Yield the samples that the page shows."""
    kept = "".join(line for line in text.splitlines(keepends=True) if line.startswith(READ))
    for family in text_string_to_metric_families(kept):
        for each in family.samples:
            yield Sample(each.name, each.labels, each.value)
