"""The form of log lines, and what Python would write to standard error without a line."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from common.logs import configure_logs, logger
from common.settings import LogSettings
from tests.support.processes.own_logs import Terminal, own_logs


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore structlog and the root logger after each test."""
    with own_logs(monkeypatch):
        yield


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the lines in JSON."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", LogSettings())
    return stream


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("chosen", "stream", "is_json"),
    [
        (None, io.StringIO(), True),
        (None, Terminal(), False),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_form_of_lines(chosen: Any, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, is_json: bool) -> None:
    """Lines are for a machine except on a terminal, and the setting changes that; only a terminal gets colors."""
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", LogSettings(log_format=chosen))

    logger().info("a line", value=1)
    logging.getLogger("a.library").warning("another")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert [line.startswith("{") for line in lines] == [is_json] * 2
    assert ("\033[" in stream.getvalue()) == (stream.isatty() and not is_json)


def test_errors_that_nobody_catches(written: io.StringIO) -> None:
    """An error that ends the process or a thread is one line, and so is a warning; Ctrl-C is none."""
    error = ValueError("x")
    sys.excepthook(ValueError, error, None)
    threading.excepthook(threading.ExceptHookArgs((ValueError, error, None, None)))
    threading.excepthook(threading.ExceptHookArgs((SystemExit, SystemExit(1), None, None)))
    warnings.showwarning("old", DeprecationWarning, "library.py", 7)

    assert [(line["level"], line["event"], line.get("place")) for line in objects(written)] == [
        ("critical", "ended by an unexpected error", None),
        ("error", "a thread ended by an unexpected error", None),
        ("info", "a library warns", "library.py:7"),
    ]
    assert [line["exception"][0]["exc_type"] for line in objects(written)[:2]] == ["ValueError"] * 2
