"""The example client docs/examples/send_events.py: what it sends again, what it keeps, and how long it waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import ClassVar

import pytest

from local.settings import ROOT

NOW = 1_800_000_000
EVENTS = [{"event_id": "a"}, {"event_id": "b"}]
STORED = json.dumps({"accepted": 2, "rejected": []})
PAGE = "<html><h1>502 Bad Gateway</h1></html>"


@dataclass(frozen=True)
class Answer:
    """One answer of the server."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example as a module; instead of sleeping it appends each delay to `delays`."""
    spec = spec_from_file_location("send_events", ROOT / "docs" / "examples" / "send_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "delays", [], raising=False)
    monkeypatch.setattr(module.time, "sleep", module.delays.append)
    return module


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[str, list[object]]]:
    """Serve answers one after the other; yield the address and the batches that have come in."""
    batches: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        left: ClassVar = list(answers)

        def do_POST(self) -> None:
            batches.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = self.left.pop(0)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body.encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", batches
        finally:
            server.shutdown()
            thread.join()


def rejected(index: int, code: int) -> str:
    """Return the body of an answer in which one event of two is rejected."""
    return json.dumps({"accepted": 1, "rejected": [{"index": index, "error": {"code": code, "message": "no"}}]})


@pytest.mark.parametrize("code", [9, 14])
def test_an_event_that_may_succeed_later_is_sent_again(client: ModuleType, code: int) -> None:
    """Of a batch, an event with code 9 or 14 is sent again by itself."""
    stored_one = json.dumps({"accepted": 1, "rejected": []})
    with answering(Answer(207, rejected(1, code)), Answer(201, stored_one)) as (url, batches):
        assert client.send(url, EVENTS) == (2, [])

    assert batches == [EVENTS, EVENTS[1:]]


def test_a_wrong_event_is_dropped(client: ModuleType) -> None:
    """An event with code 3 is not sent again, and is not kept."""
    with answering(Answer(207, rejected(0, 3))) as (url, batches):
        assert client.send(url, EVENTS) == (1, [])

    assert batches == [EVENTS]


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(400, '{"code": 9, "message": "an operator must act", "details": []}'),
        Answer(502, PAGE, {"Content-Type": "text/html"}),
        Answer(503, PAGE, {"Retry-After": formatdate(0, usegmt=True)}),
        Answer(429, "[]", {"Retry-After": "soon"}),
        Answer(504, ""),
        Answer(201, "{", {"Content-Length": "999"}),
    ],
)
def test_a_batch_that_may_succeed_later_is_sent_again(client: ModuleType, refusal: Answer) -> None:
    """The whole batch is sent again, whatever the body and the delay of the answer look like."""
    with answering(refusal, Answer(201, STORED)) as (url, batches):
        assert client.send(url, EVENTS) == (2, [])

    assert batches == [EVENTS, EVENTS]


def test_the_delay_of_the_server(client: ModuleType) -> None:
    """Between two attempts the client waits for as long as Retry-After asks."""
    with answering(Answer(503, PAGE, {"Retry-After": "7"}), Answer(201, STORED)) as (url, _):
        client.send(url, EVENTS)

    assert client.delays == [7]


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_request_that_cannot_succeed(client: ModuleType, status: int) -> None:
    """Any other answer ends the attempts, and the events are kept."""
    with answering(Answer(status, PAGE)) as (url, batches):
        assert client.send(url, EVENTS) == (0, EVENTS)

    assert batches == [EVENTS]


def test_events_are_kept_when_no_attempt_succeeds(client: ModuleType) -> None:
    """After the last attempt the events that are not stored are returned."""
    with answering(*[Answer(502, PAGE)] * client.ATTEMPTS_MAX) as (url, batches):
        assert client.send(url, EVENTS) == (0, EVENTS)

    assert batches == [EVENTS] * client.ATTEMPTS_MAX


def test_no_answer(client: ModuleType) -> None:
    """A server that does not answer is tried again, and the events are kept."""
    with answering() as (url, _):
        pass

    assert client.send(url, EVENTS) == (0, EVENTS)
    assert len(client.delays) == client.ATTEMPTS_MAX


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [
        ("0", 0),
        ("12", 12),
        ("86400", 60),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW - 30, usegmt=True), 0),
        (formatdate(NOW + 86_400, usegmt=True), 60),
        ("", 1),
        ("soon", 1),
        ("-5", 1),
        ("1.5", 1),
    ],
)
def test_retry_after(client: ModuleType, retry_after: str, delay: int) -> None:
    """Retry-After is a number of seconds or a date; anything else is one second."""
    assert client.seconds(retry_after, NOW) == delay
