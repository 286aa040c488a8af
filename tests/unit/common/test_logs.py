"""The lines of a process: a bug is told with its stack, without what stood in local variables."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import structlog

from common import logs
from common.logs import KINDS_MAX, REPEAT_SECONDS, Repeats, configure_logs, log_limited, logger

TOKEN = "a-clients-token"  # noqa: S105 -- of a test


class Terminal(io.StringIO):
    """Standard error that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Leave structlog and the root logger as they were."""
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()
    logger.cache_clear()


def fail(authorization: str) -> None:
    """Fail in a frame that has a client's token among its variables."""
    raise ValueError(f"{len(authorization)} characters")


def quote(text: str) -> NoReturn:
    """Fail with a text that a client sent."""
    raise ValueError(text)


def lines_of_a_bug(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """Log the same bug by structlog and by the standard library; return what was written."""
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", "info")
    try:
        fail(TOKEN)
    except ValueError:
        logger().exception("a request failed")
        logging.getLogger("a.library").exception("a request failed")
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["for machines", "for people"])
def test_stacks_without_variables(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of logging name the functions and the error, in either form of the lines, and never a value."""
    written = lines_of_a_bug(stream, monkeypatch)

    assert written.count("ValueError") >= 2
    assert "15 characters" in written
    assert "fail" in written
    assert TOKEN not in written


def test_lines_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is one JSON object with the process's name and its level."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in lines_of_a_bug(io.StringIO(), monkeypatch).splitlines()]

    assert [(line["process"], line["level"], line["event"]) for line in lines] == [
        ("test", "error", "a request failed")
    ] * 2


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the limits of log lines go by a clock of the test."""
    clock = Clock()
    monkeypatch.setattr(logs, "CLIENT_LINES", Repeats(now=clock))
    return clock


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what is written for machines."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", "info")
    return stream


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_what_a_client_repeats_is_one_line(clock: Clock, written: io.StringIO) -> None:
    """However often and with whatever values: one line of a kind in ten seconds, the next counts those left out."""
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
def test_what_a_client_sends_is_a_short_line(value: object, written: io.StringIO) -> None:
    """No value makes a line long, and none makes it two."""
    log_limited(logging.WARNING, "refused a request", reason=value)

    assert len(objects(written)) == 1
    assert len(written.getvalue()) < 2_000


def test_any_line_is_bounded(written: io.StringIO) -> None:
    """Also lines that are not limited, of structlog and of the standard library, with a stack or without."""
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


def test_any_line_for_people_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal too."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", "info")
    try:
        quote("x" * 1_000_000)
    except ValueError:
        logger().exception("a request failed")

    assert "ValueError" in stream.getvalue()
    assert len(stream.getvalue()) < 20_000


def test_what_a_library_repeats_is_one_line(written: io.StringIO) -> None:
    """A place in a library's source writes one line a class of exception in ten seconds, whatever the texts are."""
    for error in [ValueError, KeyError] * 500:
        try:
            raise error(f"value {id(error)}")
        except (ValueError, KeyError) as raised:
            logging.getLogger("a.library").exception("message %s", raised)  # noqa: TRY401 -- as libraries do

    assert [line["exception"][0]["exc_type"] for line in objects(written)] == ["ValueError", "KeyError"]


def test_kinds_are_bounded() -> None:
    """Kinds beyond the limit are limited together, so that no mistake in a caller grows memory or the log."""
    repeats = Repeats(now=Clock())
    passed = [repeats.take(number) for number in range(KINDS_MAX + 100)]

    assert passed.count(None) == 99


class Full(io.StringIO):
    """A file on a disk without room, or a pipe that nobody reads any more."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_line_that_cannot_be_written_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work goes on when its log cannot be written: an answer is not turned into an error by a full disk."""
    monkeypatch.setattr("sys.stderr", Full())
    configure_logs("test", "info")

    logger().info("a line")
    logger().error("another", exc_info=ValueError("x"))
