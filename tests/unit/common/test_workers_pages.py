"""Management pages of several workers: what each answers, and that one which does not answer holds up no page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from common.heartbeat import SILENCE_SECONDS_MAX, Heartbeat
from common.management import managing
from common.metrics import Metrics
from common.page_server import Answer
from common.workers import asking
from common.workers.asking import ask, open_listener
from common.workers.pages import worker_pages
from tests.support.processes.management import samples, value


def metrics(number: int) -> Metrics:
    """Return the metrics of a worker."""
    found = Metrics()
    found.counter("calls", "Calls.").child().value = number
    return found


@contextlib.contextmanager
def worker(number: int, problem: str = "") -> Iterator[str | bytes]:
    """Serve a worker's pages; yield their address."""
    listener = open_listener()
    address: str | bytes = listener.getsockname()
    with managing("setting", listener, metrics(number), lambda: "", lambda: problem):
        yield address


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[str | bytes]:
    """Yield the address of a worker that accepts connections, and answers nothing."""
    monkeypatch.setattr(asking, "SECONDS_MAX", 0.5)
    with open_listener() as listener:
        yield listener.getsockname()


def test_pages(hung: str | bytes) -> None:
    """The pages have what the workers answer that answer in time."""
    with worker(1) as first, worker(2, "Kafka is away") as second:
        workers = {2: second, 1: first, 3: hung}
        pages = worker_pages(lambda: workers, Heartbeat())
        found = samples(pages["/metrics"]("").body.decode())
        ready = pages["/readyz"]("")

    assert [value(found, "calls_total", worker=each) for each in "12"] == [1, 2]
    assert {dict(labels)["worker"] for _, labels in found} == {"parent", "1", "2"}
    assert value(found, "process_open_fds", worker="parent") > 0
    assert ready.status is HTTPStatus.OK
    assert ready.body == b"worker 1: ok\nworker 2: Kafka is away\nworker 3: does not answer\n"


def test_not_ready(hung: str | bytes) -> None:
    """The server is not ready while no worker is."""
    workers: dict[int, str | bytes] = {}
    ready = worker_pages(lambda: workers, Heartbeat())["/readyz"]
    assert ready("") == Answer(b"no worker serves\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    with worker(2, "Kafka is away") as second:
        workers |= {2: second, 3: hung}
        assert ready("").status is HTTPStatus.SERVICE_UNAVAILABLE


def test_live() -> None:
    """The parent is alive while its own event loop turns, whatever its workers do."""
    now = 0.0
    live = worker_pages(dict, Heartbeat(lambda: now))["/livez"]
    assert live("").status is HTTPStatus.OK
    now += SILENCE_SECONDS_MAX + 1
    assert live("").status is HTTPStatus.SERVICE_UNAVAILABLE


def test_answers_that_are_not_whole(hung: str | bytes) -> None:
    """A worker that is gone, whose queue is full or whose answer is cut has no answer."""
    with open_listener() as closed:
        gone = closed.getsockname()
    assert ask({1: gone, 2: hung}, "/metrics") == {}
    assert asking.parse(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\nContent-Type: text/plain\r\n\r\nshort") is None
    assert asking.parse(b"HTTP/1.0 200 OK\r\n") is None
