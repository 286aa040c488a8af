"""Log lines: an unexpected error has its stack, without the values of local variables."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from common import logs
from common.logs import KINDS_MAX, REPEAT_SECONDS, RateLimiter, configure_logs, log_limited, logger
from common.settings import LogSettings
from tests.support.processes.own_logs import Terminal, own_logs

TOKEN = "a-clients-token"  # noqa: S105 -- of a test


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore structlog and the root logger after each test."""
    with own_logs(monkeypatch):
        yield


def fail(authorization: str) -> None:
    """Raise in a frame that has a client's token among its variables."""
    raise ValueError(f"{len(authorization)} characters")


def quote(text: str) -> NoReturn:
    """Raise with a text that a client sent."""
    raise ValueError(text)


def lines_of_an_error(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """Log the same error by structlog and by the standard library; return the output."""
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", LogSettings())
    try:
        fail(TOKEN)
    except ValueError:
        logger().exception("a request failed")
        logging.getLogger("a.library").exception("a request failed")
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["for machines", "for people"])
def test_stacks_without_variables(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both logging libraries write the functions and the error in either format, but no variable's value."""
    written = lines_of_an_error(stream, monkeypatch)

    assert written.count("ValueError") >= 2
    assert "15 characters" in written
    assert "fail" in written
    assert TOKEN not in written


def test_lines_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is one JSON object with the name of the process and the level."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in lines_of_an_error(io.StringIO(), monkeypatch).splitlines()
    ]

    assert [(line["process"], line["level"], line["event"]) for line in lines] == [
        ("test", "error", "a request failed")
    ] * 2


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Use the test's clock for the limits of log lines."""
    clock = Clock()
    monkeypatch.setattr(logs, "CLIENT_LINES", RateLimiter(now=clock))
    return clock


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the lines in JSON."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", LogSettings())
    return stream


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_repeats_of_a_client(clock: Clock, written: io.StringIO) -> None:
    """One line of a kind in ten seconds, whatever its values; the next line counts those left out."""
    for number in range(1_000):
        log_limited(logging.INFO, "refused a request", reason=f"reason {number}")
        log_limited(logging.INFO, "a client left", address=f"10.0.0.{number % 250}")
    clock.seconds += REPEAT_SECONDS
    log_limited(logging.INFO, "refused a request", reason="last")

    assert [(line["event"], line.get("reason"), line.get("left_out")) for line in objects(written)] == [
        ("refused a request", "reason 0", None),
        ("a client left", None, None),
        ("refused a request", "last", 999),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        b"x" * 1_000_000,
        bytes(1_000_000),
        ["x" * 1_000_000],
        {"a": ("x" * 1_000_000,)},
        "\n" * 1_000_000,
        "\0" * 1_000_000,
    ],
    ids=["text", "bytes", "NULs", "list", "nested", "line feeds", "control characters"],
)
@pytest.mark.usefixtures("clock")
def test_values_of_a_client(value: object, written: io.StringIO) -> None:
    """No value makes a line long, and none makes two lines of it."""
    log_limited(logging.WARNING, "refused a request", reason=value)

    assert len(objects(written)) == 1
    assert len(written.getvalue()) < 2_000


def test_length_of_lines(written: io.StringIO) -> None:
    """Lines without a rate limit are bounded too, of both libraries, with and without a stack."""
    text = "x" * 1_000_000
    logger().error("a request failed", path=text)
    logging.getLogger("a.library").warning("bad value %s", text)
    try:
        quote(text)
    except ValueError:
        logger().exception("a request failed")
        logging.getLogger("a.library").exception("a request failed")

    assert len(objects(written)) == 4
    assert max(map(len, written.getvalue().splitlines())) < 20_000


def test_length_of_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines for a terminal are bounded too."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", LogSettings())
    try:
        quote("x" * 1_000_000)
    except ValueError:
        logger().exception("a request failed")

    assert "ValueError" in stream.getvalue()
    assert len(stream.getvalue()) < 20_000


def test_repeats_of_a_library(written: io.StringIO) -> None:
    """One place in a library's source writes one line for each class of exception in ten seconds."""
    for error in [ValueError, KeyError] * 500:
        try:
            raise error(f"value {id(error)}")
        except (ValueError, KeyError) as raised:
            logging.getLogger("a.library").exception("message %s", raised)  # noqa: TRY401 -- as libraries do

    assert [line["exception"][0]["exc_type"] for line in objects(written)] == ["ValueError", "KeyError"]


def test_kinds_are_bounded() -> None:
    """Kinds beyond a limit share one rate limit, so that a mistake of a caller grows neither memory nor log."""
    limiter = RateLimiter(now=Clock())
    passed = [limiter.acquire(number) for number in range(KINDS_MAX + 100)]

    assert passed.count(None) == 99


class Full(io.StringIO):
    """A file on a full disk, or a pipe without a reader."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_lines_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work continues when its log cannot be written: a full disk does not fail a request."""
    monkeypatch.setattr("sys.stderr", Full())
    configure_logs("test", LogSettings())

    logger().info("a line")
    logger().error("another", exc_info=ValueError("x"))


def test_kinds_of_one_event(clock: Clock, written: io.StringIO) -> None:
    """What is limited for each partition is logged once for each partition, and again after ten seconds."""
    for _ in range(2):
        for partition in [1, 2, 1, 2]:
            log_limited(logging.INFO, "restored", kind=partition, partition=partition)
        clock.seconds += REPEAT_SECONDS

    assert [(line["partition"], line.get("left_out")) for line in objects(written)] == [
        (1, None),
        (2, None),
        (1, 1),
        (2, 1),
    ]
