"""The live page: points from scrapes, the state of processes, and pages that need no other host."""

from __future__ import annotations

import json
import re
import socket
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from common.management import managing
from common.metrics import Metrics
from common.page_server import Page
from common.settings import Address
from local.live.history import POINTS_MAX, History
from local.live.scraping import Sample, Scrape, scrape
from local.live.status import DOCUMENTS, HISTORY_PATH, LATEST_PATH, LATEST_POINTS, PAGE_PATH, LiveStatus
from local.processes.errors import ProgramError
from local.settings import ROOT

LOCAL = Address("127.0.0.1", 0)


def ingest(accepted: int, invalid: int = 0) -> list[Sample]:
    """Return what ingest counts."""
    return [
        Sample("ugc_ingest_events_total", {"outcome": "accepted"}, accepted),
        Sample("ugc_ingest_events_total", {"outcome": "invalid"}, invalid),
        Sample("ugc_ingest_invalid_total", {"field": "ip"}, invalid),
    ]


def etl(rows: int, duplicates: int, lag: int, *through: float) -> list[Sample]:
    """Return what the etl counts."""
    return [
        Sample("ugc_etl_rows_total", {"table": "events", "reason": ""}, rows),
        Sample("ugc_etl_rows_total", {"table": "rejected_events", "reason": "duplicate"}, duplicates),
        Sample("ugc_etl_lag_messages", {"kafka_partition": "0"}, lag),
        Sample("ugc_etl_lag_messages", {"kafka_partition": "1"}, 1),
        *(Sample("ugc_etl_complete_through_timestamp_seconds", {"kafka_partition": "0"}, each) for each in through),
    ]


def test_a_point_has_rates_and_values() -> None:
    """Counters become rates a second, gauges are sums, and the age is that of the partition furthest behind."""
    history = History()
    history.add(100, ingest(10), etl(5, 1, 7))
    point = history.add(102, ingest(30, 4), etl(25, 3, 9, 101.5, 99))

    assert point.events == {"accepted": 10, "invalid": 2}
    assert (point.stored, point.lag, point.age) == (11, 10, 3)
    assert (point.invalid, point.rejected) == ({"ip": 4}, {"duplicate": 2})


def test_a_process_that_does_not_answer_has_no_figures() -> None:
    """A rate needs an answer before and one now; the other process's figures are there."""
    history = History()
    first = history.add(100, ingest(10), None)
    second = history.add(101, None, etl(1, 0, 0))
    third = history.add(102, ingest(20), etl(3, 0, 0))

    assert (first.events, first.lag, first.stored) == (None, None, None)
    assert (second.events, second.lag, second.stored) == (None, 1, None)
    assert (third.events, third.stored) == (None, 2)


def test_counters_of_a_process_that_was_started_again() -> None:
    """Counters that began at 0 again have grown by their value."""
    history = History()
    history.add(100, ingest(1_000), None)

    assert history.add(101, ingest(30, 1), None).events == {"accepted": 30, "invalid": 1}


def test_workers_are_counted_together() -> None:
    """The counts of all workers are one figure; one that did not answer in time makes no peak when it does again."""

    def workers(**counts: int) -> list[Sample]:
        labels = {"outcome": "accepted"}
        return [Sample("ugc_ingest_events_total", {**labels, "worker": key}, value) for key, value in counts.items()]

    history = History()
    history.add(100, workers(a=1_000, b=2_000), None)
    found = [
        history.add(101, workers(a=1_010, b=2_020), None),
        history.add(102, workers(b=2_025), None),
        history.add(103, workers(a=1_030, b=2_035), None),
        history.add(104, workers(a=1_040, b=3), None),
    ]

    assert [point.events for point in found] == [{"accepted": each} for each in (30, 5, 10, 13)]


def test_a_reason_that_is_new_counts_from_nothing() -> None:
    """The first row of a reason is counted."""
    history = History()
    history.add(100, None, [])

    assert history.add(101, None, etl(0, 1, 0)).rejected == {"duplicate": 1}


def test_an_etl_without_partitions_has_no_lag_and_no_age() -> None:
    """What is not known is not shown as 0."""
    point = History().add(100, None, [])

    assert (point.lag, point.age) == (None, None)


def test_the_history_is_bounded() -> None:
    """Ten minutes are kept; the latest points are the last ones."""
    history = History()
    for second in range(POINTS_MAX + 50):
        history.add(second, ingest(second), None)
    times = [point["time"] for point in json.loads(history.encoded())]

    assert times == list(range(50, POINTS_MAX + 50))
    assert [point["time"] for point in json.loads(history.encoded(2))] == times[-2:]


class Watched(Metrics):
    """Metrics of a fake ingest."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted = self.counter("ugc_ingest_events", "Events.", outcome=("accepted",)).child("accepted")


def test_a_process_is_scraped() -> None:
    """Samples and readiness come from its management listener."""
    metrics, problems = Watched(), ["Kafka is not reachable"]
    metrics.accepted.value = 3
    with managing("X", LOCAL, metrics, str, lambda: problems[-1]) as address:
        assert address is not None
        unready = scrape(address)
        problems.append("")
        ready = scrape(address)

    assert ready == Scrape((Sample("ugc_ingest_events_total", {"outcome": "accepted"}, 3),), "")
    assert unready.problem == "Kafka is not reachable"
    assert unready.samples == ready.samples


def test_a_process_that_is_not_there_or_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised, and the wait has a limit."""
    monkeypatch.setattr("local.live.scraping.ANSWER_SECONDS_MAX", 0.1)
    with socket.create_server(LOCAL) as silent:
        address = Address(*silent.getsockname())
        assert scrape(address) == Scrape(None, "does not answer: timed out")
    assert scrape(address) == Scrape(None, "does not answer: Connection refused")


@pytest.fixture
def live() -> LiveStatus:
    """Return the state of three processes, of which two have been scraped twice."""
    made = LiveStatus(dict.fromkeys(("gateway", "ingest", "etl")))
    for now in (100.0, 101.0):
        made.take({"gateway": Scrape((), ""), "ingest": Scrape(None, "does not answer"), "etl": Scrape((), "")}, now)
    return made


def test_an_address_that_is_taken(live: LiveStatus) -> None:
    """The error names the address and its setting."""
    with socket.create_server(LOCAL) as other:
        taken = Address(*other.getsockname())
        text = f"{taken}: Address already in use; change UGC_LOCAL_STATUS_LISTEN"
        with pytest.raises(ProgramError, match=text), live.serving(taken):
            pass


def document(live: LiveStatus, path: str) -> Any:
    """Return a JSON document of the page."""
    return json.loads(live.pages()[path]("").body)


def test_the_document_has_states_and_points(live: LiveStatus) -> None:
    """A state has the time since when it lasts."""
    live.take(
        {"gateway": Scrape((), "stopping"), "ingest": Scrape(None, "does not answer"), "etl": Scrape((), "")}, 102
    )
    found = document(live, HISTORY_PATH)

    assert [(one["name"], one["answers"], one["problem"], one["since"]) for one in found["processes"]] == [
        ("gateway", True, "stopping", 102),
        ("ingest", False, "does not answer", 100),
        ("etl", True, "", 100),
    ]
    assert [one["time"] for one in found["points"]] == [100, 101, 102]
    assert len(document(live, LATEST_PATH)["points"]) <= LATEST_POINTS


def text_of(page: Page) -> str:
    """Return the text of a page."""
    return page("").body.decode()


def test_the_page_links_to_documents_that_are_served(live: LiveStatus) -> None:
    """Every link of the page is another page of the same listener, and every document exists."""
    pages = live.pages()
    html = text_of(pages[PAGE_PATH])
    links = set(re.findall('(?:href|src)="([^"]+)"', html))
    links |= {
        link for path in pages if path.endswith(".js") for link in re.findall("from '(.+)'", text_of(pages[path]))
    }
    served = {urlsplit(urljoin(f"http://a{PAGE_PATH}", link)).path for link in links if not link.startswith("data:")}

    assert served
    assert served <= set(pages)
    for name in DOCUMENTS:
        assert pages[f"/{name}"]("").body == (ROOT / name).read_bytes()


def test_the_policy_allows_the_page_alone(live: LiveStatus) -> None:
    """The browser runs only the script of the page, and asks only the host that served it."""
    ((name, policy),) = live.pages()[PAGE_PATH]("").headers

    assert name == "Content-Security-Policy"
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert "unsafe" not in policy
