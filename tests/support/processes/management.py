"""Management listeners of processes under test: off unless a test chooses an address, and read as Prometheus does."""

from __future__ import annotations

import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

# The default ports are the same for all processes of a kind, of which tests run several at a time.
NO_MANAGEMENT = {f"UGC_{name}_MANAGEMENT_LISTEN": "" for name in ("INGEST", "GATEWAY", "ETL")}
SECONDS_MAX = 30.0
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def page(address: str, path: str) -> tuple[int, str]:
    """Return the status and the text of a page of a management listener, as at `127.0.0.1:9464`."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=SECONDS_MAX) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(address: str) -> Samples:
    """Return all samples of a process, by their names and their labels."""
    status, text = page(address, "/metrics")
    assert status == 200, text
    return samples(text)


def samples(text: str) -> Samples:
    """Return the samples of a text in Prometheus' format."""
    families = text_string_to_metric_families(text)
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Return one sample."""
    return found[name, tuple(sorted(labels.items()))]
