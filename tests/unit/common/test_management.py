"""The management listener answers probes and scrapes, whatever its clients do."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.management import ManagementListen, managing, reason_page
from common.metrics import Metrics
from common.page_server import CONNECTIONS_MAX, THREADS_MAX, Answer, serve_pages
from common.settings import Address, Settings, load


@dataclass
class Process:
    """What the probes of a test's process answer, and where."""

    address: Address
    live: str = ""
    ready: str = ""

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
        """Return the status, the content type and the body of an answer."""
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=60)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def process(metrics: Metrics) -> Iterator[Process]:
    made = Process(Address("", 0))
    with managing("UGC_X", Address("127.0.0.1", 0), metrics, lambda: made.live, lambda: made.ready) as address:
        assert address is not None
        made.address = address
        yield made


def test_probes(process: Process) -> None:
    """A probe answers 200, or 503 with the reason."""
    assert process.get("/livez")[::2] == (200, "ok\n")
    assert process.get("/readyz")[::2] == (200, "ok\n")
    process.ready = "Kafka does not answer"

    assert process.get("/livez")[0] == 200
    assert process.get("/readyz")[::2] == (503, "Kafka does not answer\n")


def test_metrics_in_both_formats(process: Process, metrics: Metrics) -> None:
    """The text format is the default, OpenMetrics is for clients that accept it."""
    metrics.counter("served", "Served.").child().value += 3
    _, plain, text = process.get("/metrics")
    _, open_type, opened = process.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert plain.startswith("text/plain")
    assert "served_total 3.0" in text
    assert open_type.startswith("application/openmetrics-text")
    assert opened.endswith("# EOF\n")


def test_standard_metrics(process: Process) -> None:
    """The metrics of the system and of Python are there under their usual names."""
    names = {family.name for family in text_string_to_metric_families(process.get("/metrics")[2])}

    assert {"process_resident_memory_bytes", "process_cpu_seconds", "python_info", "ugc_build_info"} <= names


def test_other_path(process: Process) -> None:
    """Another path is 404, and the answer lists the pages."""
    status, _, text = process.get("/")

    assert status == 404
    assert "/metrics, /livez, /readyz" in text


def test_head(process: Process) -> None:
    """HEAD answers without a body; another method is refused."""
    assert process.get("/livez", "HEAD")[::2] == (200, "")
    assert process.get("/livez", "POST")[0] == 501


def test_silent_connections(process: Process) -> None:
    """Connections that send nothing do not keep a probe from its answer."""
    with contextlib.ExitStack() as stack:
        for _ in range(3 * CONNECTIONS_MAX):
            stack.enter_context(socket.create_connection(process.address))

        assert process.get("/livez")[0] == 200


def test_threads_are_limited() -> None:
    """However many clients ask at once for a page that takes long, few threads answer, and later ones are answered."""
    free, numbers = threading.Event(), []

    def slow(_accept: str) -> Answer:
        numbers.append(threading.active_count())
        free.wait()
        return Answer(b"done")

    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(serve_pages(Address("127.0.0.1", 0), {"/slow": slow, "/fast": reason_page(str)}))
        stack.callback(free.set)
        for _ in range(2 * THREADS_MAX):
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        while len(numbers) < THREADS_MAX:
            time.sleep(0.01)
        free.set()

        assert Process(address).get("/fast")[0] == 200
    # The thread that accepts is one too.
    assert max(numbers) <= before + THREADS_MAX + 1


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", "text/plain;version=1..0", ";=,;"])
def test_accept_that_cannot_be_read(process: Process, accept: str) -> None:
    """An Accept header that is not valid gets the text format."""
    assert process.get("/metrics", Accept=accept)[1].startswith("text/plain")


def test_disabled() -> None:
    """Without an address nothing is served."""
    with managing("UGC_X", None, Metrics(), str, str) as address:
        assert address is None


def test_busy_port(process: Process, capfd: pytest.CaptureFixture[str]) -> None:
    """A port that is taken ends the process with the name of the setting."""
    with pytest.raises(SystemExit) as ended, managing("UGC_X_LISTEN", process.address, Metrics(), str, str):
        pass

    assert ended.value.code == 1
    assert "UGC_X_LISTEN" in "".join(capfd.readouterr())


class Example(Settings):
    """Settings of a test."""

    example_listen: ManagementListen = Address("127.0.0.1", 9464)
    """Where."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Address("127.0.0.1", 9464)),
        ("", None),
        ("localhost:1", Address("localhost", 1)),
        ("[::1]:2", Address("::1", 2)),
    ],
)
def test_setting(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: Address | None) -> None:
    """An empty variable disables the listener, an unset one means the default."""
    if value is not None:
        monkeypatch.setenv("UGC_EXAMPLE_LISTEN", value)

    assert load(Example).example_listen == expected


def test_bad_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is not an address ends the process with status 2 and the name of the setting."""
    monkeypatch.setenv("UGC_EXAMPLE_LISTEN", "9464")
    with pytest.raises(SystemExit) as ended:
        load(Example)

    assert ended.value.code == 2
    assert "UGC_EXAMPLE_LISTEN" in capsys.readouterr().err
